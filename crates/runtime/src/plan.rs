//! Everything decided: config.json, flags and facts of the host become one [`Plan`].
//!
//! The config is taken apart without `..`: a new field does not compile until a room owns it. All
//! faults are found before the first is told.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::facts::HostFacts;
use crate::faults::Faults;
use crate::ops::CreateOptions;
use crate::rooms::idmap::Ids;
use crate::rooms::mounts::Around;
use crate::rooms::{
    affinity, cgroup, devices, fds, hooks, keyring, lsm, mappings, mask, memory_policy, mounts, namespaces,
    net_devices, notify, oom, personality, privileges, process, rdt, rlimits, rootfs, sched, seccomp, subids,
    sysctl, terminal, time, unit, uts,
};
use crate::spawn::Caller;
use crate::{Error, Kind, Result};

/// What is to be done, with nothing left open. One field for each room.
#[derive(Debug)]
pub struct Plan {
    /// The container's name.
    pub id: String,
    /// The directory of config.json.
    pub bundle: PathBuf,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Who makes it.
    pub caller: Caller,
    /// `linux.namespaces`.
    pub namespaces: namespaces::Plan,
    /// `linux.uidMappings`, `linux.gidMappings`.
    pub mappings: mappings::Plan,
    /// `linux.timeOffsets`.
    pub time: time::Plan,
    /// `hostname`, `domainname`.
    pub uts: uts::Plan,
    /// `root`, `linux.rootfsPropagation`.
    pub rootfs: rootfs::Plan,
    /// `mounts`.
    pub mounts: mounts::Plan,
    /// `linux.devices`.
    pub devices: devices::Plan,
    /// `linux.netDevices`.
    pub net_devices: net_devices::Plan,
    /// `linux.maskedPaths`, `linux.readonlyPaths`.
    pub mask: mask::Plan,
    /// `linux.sysctl`.
    pub sysctl: sysctl::Plan,
    /// `linux.cgroupsPath`, `linux.resources`.
    pub cgroup: cgroup::Plan,
    /// `linux.intelRdt`.
    pub rdt: rdt::Plan,
    /// `process.args`, `process.env`, `process.cwd`.
    pub process: process::Plan,
    /// `process.user`, `process.capabilities`, `process.noNewPrivileges`.
    pub privileges: privileges::Plan,
    /// `process.rlimits`.
    pub rlimits: rlimits::Plan,
    /// `process.oomScoreAdj`.
    pub oom: oom::Plan,
    /// `process.scheduler`, `process.ioPriority`.
    pub sched: sched::Plan,
    /// `process.apparmorProfile`, `process.selinuxLabel`.
    pub lsm: lsm::Plan,
    /// `linux.memoryPolicy`.
    pub memory_policy: memory_policy::Plan,
    /// `linux.personality`.
    pub personality: personality::Plan,
    /// `linux.seccomp`.
    pub seccomp: seccomp::Plan,
    /// `process.terminal`, `process.consoleSize`.
    pub terminal: terminal::Plan,
    /// `hooks`.
    pub hooks: hooks::Plan,
    /// The session keyring.
    pub keyring: keyring::Plan,
    /// `--preserve-fds`, `LISTEN_FDS` of the caller.
    pub fds: fds::Plan,
    /// `NOTIFY_SOCKET` of the caller.
    pub notify: notify::Plan,
    /// What of `process` holds for those of `exec` that say nothing of it.
    pub exec_defaults: oci::Process,
}

impl Plan {
    /// When the filter is loaded. Programs of the image that run before the container's own have it as well.
    pub fn seccomp_moment(&self) -> Option<seccomp::Moment> {
        let image_first = !self.hooks.of(hooks::Stage::StartContainer).is_empty();
        seccomp::moment(self.seccomp.as_ref(), self.privileges.no_new_privileges, image_first)
    }
}

/// What besides the config decides.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The container's name, valid.
    pub id: &'a str,
    /// The absolute path of the bundle.
    pub bundle: &'a Path,
    /// The flags of the command.
    pub options: &'a CreateOptions,
    /// Whether the runtime ends before the container.
    pub detach: bool,
    /// What the program was called as, for messages.
    pub program: &'a str,
    /// `NOTIFY_SOCKET` of the caller.
    pub notify: notify::Plan,
    /// The descriptors of `LISTEN_FDS`.
    pub listen: fds::Listen,
}

/// Decides everything, or tells all that is wrong with the config.
pub fn plan(config: &oci::Config, inputs: &Inputs<'_>, facts: &HostFacts) -> Result<Plan> {
    let Inputs { id, bundle, options, detach, program, notify, listen } = inputs;
    // Any version is taken, as runc does: unknown fields are the only thing a newer one could have.
    let oci::Config {
        oci_version: _,
        process,
        root,
        hostname,
        domainname,
        mounts,
        hooks,
        annotations,
        linux,
    } = config;
    let missing = || Error::new(Kind::Invalid, "process property must not be empty");
    let process = process.as_ref().ok_or_else(missing)?;
    let mut faults = Faults::default();
    let (user, exec_defaults) = (&process.user, exec_defaults(process));
    let process = plan_process(process, facts.last_capability, &mut faults);
    let place = root.as_ref().map_or_else(PathBuf::new, |root| rootfs::place(&root.path, bundle));
    let outside = Outside { mounts, user, root: &place, annotations };
    let linux = plan_linux(linux.as_ref(), &outside, inputs, facts, &mut faults)?;
    let rootfs = rootfs::plan(
        root.as_ref(),
        &linux.rootfs_propagation,
        bundle,
        options.no_pivot,
        &linux.namespaces.mount,
        sys::file::is_plain,
        &mut faults,
    );
    let uts = uts::plan(hostname, domainname, &linux.namespaces.uts, &mut faults);
    let hooks = hooks::plan(hooks.as_ref(), &mut faults);
    faults.into_result()?;
    let socket = options.console_socket.as_deref();
    let terminal = terminal::plan(process.terminal, process.size.as_ref(), socket, *detach, program)?;
    Ok(Plan {
        id: (*id).to_owned(),
        bundle: bundle.to_path_buf(),
        annotations: annotations.clone(),
        rootfs,
        uts,
        hooks,
        terminal,
        keyring: keyring::plan(id, options.no_new_keyring)?,
        fds: fds::plan(listen.count, options.preserve_fds)?,
        notify: notify.clone(),
        caller: facts.caller,
        namespaces: linux.namespaces,
        mappings: linux.mappings,
        time: linux.time,
        mounts: linux.mounts,
        devices: linux.devices,
        net_devices: linux.net_devices,
        mask: linux.mask,
        sysctl: linux.sysctl,
        cgroup: linux.cgroup,
        rdt: linux.rdt,
        memory_policy: linux.memory_policy,
        personality: linux.personality,
        seccomp: linux.seccomp,
        process: process.process,
        privileges: process.privileges,
        rlimits: process.rlimits,
        oom: process.oom,
        sched: process.sched,
        lsm: process.lsm,
        exec_defaults,
    })
}

/// What a process of `exec` has from this one when its own file doesn't say.
fn exec_defaults(process: &oci::Process) -> oci::Process {
    oci::Process {
        capabilities: process.capabilities.clone(),
        scheduler: process.scheduler.clone(),
        io_priority: process.io_priority.clone(),
        exec_cpu_affinity: process.exec_cpu_affinity.clone(),
        apparmor_profile: process.apparmor_profile.clone(),
        selinux_label: process.selinux_label.clone(),
        ..oci::Process::default()
    }
}

/// What comes of `process`, for the container's first process and for those of `exec`.
#[derive(Debug)]
pub struct ProcessPlan {
    /// `process.args`, `process.env`, `process.cwd`.
    pub process: process::Plan,
    /// `process.user`, `process.capabilities`, `process.noNewPrivileges`.
    pub privileges: privileges::Plan,
    /// `process.rlimits`.
    pub rlimits: rlimits::Plan,
    /// `process.oomScoreAdj`.
    pub oom: oom::Plan,
    /// `process.scheduler`, `process.ioPriority`.
    pub sched: sched::Plan,
    /// `process.apparmorProfile`, `process.selinuxLabel`.
    pub lsm: lsm::Plan,
    /// `process.execCPUAffinity`, which is for processes of `exec` alone.
    pub affinity: affinity::Plan,
    /// `process.terminal`.
    pub terminal: bool,
    /// `process.consoleSize`.
    pub size: Option<oci::ConsoleSize>,
}

/// Decides what `process` asks for.
pub fn plan_process(raw: &oci::Process, last_capability: u32, faults: &mut Faults) -> ProcessPlan {
    let oci::Process {
        terminal,
        console_size,
        user,
        args,
        env,
        cwd,
        capabilities,
        rlimits,
        no_new_privileges,
        apparmor_profile,
        oom_score_adj,
        scheduler,
        selinux_label,
        io_priority,
        exec_cpu_affinity,
    } = raw;
    ProcessPlan {
        process: process::plan(args, env, cwd, faults),
        privileges: privileges::plan(
            user,
            capabilities.as_ref(),
            *no_new_privileges,
            last_capability,
            faults,
        ),
        rlimits: rlimits::plan(rlimits, faults),
        oom: oom::plan(*oom_score_adj, faults),
        sched: sched::plan(scheduler.as_ref(), io_priority.as_ref(), faults),
        lsm: lsm::plan(apparmor_profile, selinux_label, lsm::host_has, faults),
        affinity: affinity::plan(exec_cpu_affinity.as_ref(), faults),
        terminal: *terminal,
        size: console_size.clone(),
    }
}

/// What comes of `linux` and `mounts`, and whether the user is one of the container's.
struct LinuxPlan {
    namespaces: namespaces::Plan,
    mappings: mappings::Plan,
    time: time::Plan,
    mounts: mounts::Plan,
    devices: devices::Plan,
    net_devices: net_devices::Plan,
    mask: mask::Plan,
    sysctl: sysctl::Plan,
    cgroup: cgroup::Plan,
    rdt: rdt::Plan,
    memory_policy: memory_policy::Plan,
    personality: personality::Plan,
    seccomp: seccomp::Plan,
    rootfs_propagation: String,
}

/// What of the config besides `linux` counts there.
struct Outside<'a> {
    mounts: &'a [oci::Mount],
    user: &'a oci::User,
    /// Where the root file system is on the host.
    root: &'a Path,
    annotations: &'a BTreeMap<String, String>,
}

fn plan_linux(
    raw: Option<&oci::Linux>,
    outside: &Outside<'_>,
    inputs: &Inputs<'_>,
    facts: &HostFacts,
    faults: &mut Faults,
) -> Result<LinuxPlan> {
    let without = oci::Linux::default();
    let Outside { mounts, user, root, annotations } = *outside;
    let oci::Linux {
        uid_mappings,
        gid_mappings,
        sysctl,
        resources,
        cgroups_path,
        namespaces,
        devices,
        net_devices,
        seccomp,
        rootfs_propagation,
        masked_paths,
        readonly_paths,
        mount_label,
        intel_rdt,
        memory_policy,
        personality,
        time_offsets,
    } = raw.unwrap_or(&without);
    let namespaces = namespaces::plan(namespaces, faults);
    let asker = mappings::Asker { caller: facts.caller, uid: facts.ids.0, gid: facts.ids.1 };
    let mappings =
        mappings::plan(uid_mappings, gid_mappings, &namespaces.user, asker, subids::host_read, faults);
    mappings::check_user(user, uid_mappings, gid_mappings, &namespaces.user, faults);
    let cgroup = plan_cgroup(cgroups_path, resources.as_ref(), devices, annotations, inputs, facts, faults)?;
    if cgroup.cgroup.directories.is_empty() && namespaces.pid != namespaces::Namespace::New {
        log::warn!(
            "the container has neither a cgroup nor a PID namespace of its own: \
             processes that outlive its first one are not found again"
        );
    }
    let shown = cgroup::shown(&cgroup.cgroup, &facts.cgroups, &namespaces.cgroup);
    let ids = Ids { namespaces: &namespaces, mappings: &mappings, caller: facts.caller };
    let label = lsm::plan_mounts(mount_label, lsm::host_has, faults);
    let around = Around { bundle: inputs.bundle, root, cgroups: &shown, ids, label };
    let mounts = mounts::plan(mounts, &around, faults);
    let kernels = mounts::kernels(&mounts);
    // A path that can't be looked at is told when it is opened.
    let other = |path: &Path| sysctl::is_other_network(path, facts.network_namespace).unwrap_or(true);
    let way = match (namespaces.mount.is_private(), facts.in_user_namespace || namespaces.user.is_private()) {
        (false, _) => devices::Way::Made,
        (true, false) => devices::Way::MadeOrBound,
        (true, true) => devices::Way::Bound,
    };
    Ok(LinuxPlan {
        time: time::plan(&namespaces.time, time_offsets, faults),
        devices: devices::plan(devices, mounts::brings_dev(&mounts), way, faults),
        net_devices: net_devices::plan(net_devices, &namespaces.network, other, facts.rootless(), faults),
        mask: mask::plan(masked_paths, readonly_paths, &namespaces.mount, kernels, label, faults),
        sysctl: sysctl::plan(sysctl, &namespaces, other, faults),
        rdt: rdt::plan(intel_rdt.as_ref(), inputs.id, rdt::host_find, faults),
        memory_policy: memory_policy::plan(memory_policy.as_ref(), faults),
        personality: personality::plan(personality.as_ref(), faults),
        seccomp: seccomp::plan(seccomp.as_ref(), annotations, sys::seccomp::knows, faults),
        rootfs_propagation: rootfs_propagation.clone(),
        namespaces,
        mappings,
        mounts,
        cgroup,
    })
}

/// What comes of `linux.cgroupsPath` and `linux.resources`.
fn plan_cgroup(
    path: &str,
    resources: Option<&oci::Resources>,
    devices: &[oci::Device],
    annotations: &BTreeMap<String, String>,
    inputs: &Inputs<'_>,
    facts: &HostFacts,
    faults: &mut Faults,
) -> Result<cgroup::Plan> {
    let Inputs { id, program, .. } = *inputs;
    let wanted = facts.systemd.as_ref().map(|facts| unit::Wanted { facts, program, annotations });
    let placed = wanted.map(|wanted| unit::place(&facts.cgroups, wanted, path, id)).transpose()?;
    let (unit, systemd) = placed.unzip();
    let place = cgroup::Place { path, id, denied: facts.denied, systemd };
    let mut cgroup = cgroup::plan(&facts.cgroups, place, resources, devices, ::cgroup::permitted, faults)?;
    let plan =
        |(unit, wanted)| unit::plan(unit, id, wanted, &mut cgroup.limits, facts.cgroups.layout(), faults);
    cgroup.unit = unit.zip(wanted).map(plan);
    Ok(cgroup)
}
