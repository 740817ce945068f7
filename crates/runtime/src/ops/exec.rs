//! `exec`: one more process in a container.
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::error::On;
use crate::faults::Faults;
use crate::host::{self, Handles};
use crate::host_exec::{self, Plan};
use crate::plan::plan_process;
use crate::relay;
use crate::rooms::{fds, keyring, lsm, seccomp, signals, terminal};
use crate::status::{self, Status};
use crate::store::{self, Purpose, State};
use crate::{Context, Error, Kind, Result, bundle, facts};

/// What `exec` takes besides the id.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// `--process`: a file with the `process` of a config, in place of the flags below and the bundle's.
    pub process: Option<PathBuf>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `--cwd`.
    pub cwd: Option<String>,
    /// `--env`: `NAME=value` each, added to those of the bundle.
    pub env: Vec<String>,
    /// `--tty`.
    pub tty: bool,
    /// `--user`: `UID` or `UID:GID`, numbers.
    pub user: Option<String>,
    /// `--additional-gids`.
    pub additional_gids: Vec<i64>,
    /// `--no-new-privs`.
    pub no_new_privs: Option<bool>,
    /// `--cap`: added to the bounding, effective and permitted sets.
    pub caps: Vec<String>,
    /// `--process-label`.
    pub process_label: Option<String>,
    /// `--apparmor`.
    pub apparmor: Option<String>,
    /// `--detach`.
    pub detach: bool,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--cgroup`: `PATH`, or `CONTROLLERS:PATH` on v1.
    pub cgroup: Vec<String>,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
}

/// `exec`: returns the exit status for the caller to end with (0 when detached).
pub fn exec(ctx: &Context, id: &str, mut options: ExecOptions) -> Result<i32> {
    let entry = store::open(&ctx.root, id, Purpose::Change)?;
    let state = entry.load()?;
    let refuse = |text: &str| Err(Error::new(Kind::State, text));
    let init = match (status::of(&state, &entry)?, state.init) {
        (Status::Paused, _) if !options.ignore_paused => {
            return refuse("cannot exec in a paused container (use --ignore-paused to override)");
        }
        (Status::Created | Status::Running | Status::Paused, Some(init)) => init,
        _ => return refuse("cannot exec in a stopped container"),
    };
    let absolute = |path: &PathBuf| sys::file::current_dir().map(|dir| dir.join(path));
    let pid_file = options.pid_file.as_ref().map(absolute).transpose()?;
    let console_socket = options.console_socket.as_ref().map(absolute).transpose()?;
    let pidfd_socket = options.pidfd_socket.as_ref().map(absolute).transpose()?;
    let mut plan = plan(ctx, &state, &mut options, console_socket.as_deref())?;
    let handles = Handles { pid_file: pid_file.as_deref(), pidfd_socket: pidfd_socket.as_deref() };
    if options.detach {
        return host_exec::start(&plan, &state, init, handles).map(|_| 0);
    }
    let caller = if plan.terminal.is_new() { Some(sys::tty::of_caller()?) } else { None };
    if let Some(caller) = &caller {
        plan.terminal.take_size(caller.as_fd());
    }
    signals::host_hold()?;
    let mut started = host_exec::start(&plan, &state, init, handles)?;
    let ended = relay::run(&started.child, started.terminal.take(), caller, None);
    if ended.is_err() {
        host::kill(&started.child);
    }
    Ok(ended?.code())
}

/// Decides everything.
fn plan(ctx: &Context, state: &State, options: &mut ExecOptions, console: Option<&Path>) -> Result<Plan> {
    let mut raw = raw_process(state, options)?;
    lsm::inherit(&mut raw, &state.exec.defaults);
    let mut faults = Faults::default();
    let process = plan_process(&raw, facts::last_capability(), &mut faults);
    faults.into_result()?;
    let (terminal, size) = (process.terminal, process.size.as_ref());
    let terminal = terminal::plan(terminal, size, console, options.detach, ctx.program)?;
    Ok(Plan {
        caller: facts::caller(),
        seccomp_moment: seccomp::moment(
            state.exec.seccomp.as_ref(),
            process.privileges.no_new_privileges,
            false,
        ),
        process,
        terminal,
        keyring: keyring::plan(&state.id, !state.exec.keyring)?,
        fds: fds::plan(0, options.preserve_fds)?,
        cgroup: sub_cgroup(&state.cgroup, &options.cgroup)?,
        cgroup_is_named: !options.cgroup.is_empty(),
    })
}

/// The `process` to run: that of `--process`, or that of the bundle with what the flags change of it.
fn raw_process(state: &State, options: &mut ExecOptions) -> Result<oci::Process> {
    if let Some(path) = &options.process {
        let data = sys::file::read(path)?;
        let process = oci::from_json::<oci::Process>(&data)
            .map_err(|e| Error::new(Kind::Invalid, e.to_string()))
            .on(|| format!("--process {}", path.display()))?;
        let process =
            process.ok_or_else(|| Error::new(Kind::Invalid, "process property must not be empty"))?;
        return Ok(with_defaults(process, &state.exec.defaults));
    }
    let (_, config) = bundle::load(Some(&state.bundle))?;
    let mut process =
        config.process.ok_or_else(|| Error::new(Kind::Invalid, "process property must not be empty"))?;
    if options.args.is_empty() {
        return Err(Error::new(Kind::Invalid, "exec args cannot be empty"));
    }
    // Moved, as they may be large.
    process.args = std::mem::take(&mut options.args);
    process.terminal = options.tty;
    process.env.append(&mut options.env);
    if let Some(cwd) = options.cwd.as_ref().filter(|cwd| !cwd.is_empty()) {
        process.cwd.clone_from(cwd);
    }
    if let Some(label) = options.process_label.as_ref().filter(|label| !label.is_empty()) {
        process.selinux_label.clone_from(label);
    }
    if let Some(profile) = options.apparmor.as_ref().filter(|profile| !profile.is_empty()) {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(no_new_privs) = options.no_new_privs {
        process.no_new_privileges = no_new_privs;
    }
    if let Some(user) = options.user.as_ref().filter(|user| !user.is_empty()) {
        set_user(&mut process.user, user)?;
    }
    for gid in &options.additional_gids {
        let id = u32::try_from(*gid).ok().filter(|&id| id != u32::MAX);
        let text = format!("additional-gids must be a positive number {gid}");
        process.user.additional_gids.push(id.ok_or_else(|| Error::new(Kind::Invalid, text))?);
    }
    add_capabilities(&mut process, &options.caps);
    Ok(process)
}

/// Fills in from the container's first process what the file says nothing of.
fn with_defaults(mut process: oci::Process, defaults: &oci::Process) -> oci::Process {
    fn fill<T: Clone>(own: &mut Option<T>, default: &Option<T>) {
        if own.is_none() {
            own.clone_from(default);
        }
    }
    fill(&mut process.capabilities, &defaults.capabilities);
    fill(&mut process.scheduler, &defaults.scheduler);
    fill(&mut process.io_priority, &defaults.io_priority);
    fill(&mut process.exec_cpu_affinity, &defaults.exec_cpu_affinity);
    process
}

/// Never inheritable (CVE-2022-29162). Ambient only where the container already has inheritable ones,
/// without which an ambient one can't be.
fn add_capabilities(process: &mut oci::Process, caps: &[String]) {
    if caps.is_empty() {
        return;
    }
    let sets = process.capabilities.get_or_insert_default();
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        set.extend(caps.iter().cloned());
    }
    if !sets.inheritable.is_empty() {
        sets.ambient.extend(caps.iter().cloned());
    }
}

/// `UID` or `UID:GID`. Names are not looked up: the container's own files would say who is root
/// (CVE-2016-3697).
fn set_user(user: &mut oci::User, text: &str) -> Result<()> {
    let bad = |what: &str, part: &str| {
        Error::new(
            Kind::Invalid,
            format!("bad {what}: {part:?} is not a number from 0 to 4294967294 (--user)"),
        )
    };
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    if let Some(gid) = gid {
        user.gid = parse_id(gid).ok_or_else(|| bad("gid", gid))?;
    }
    user.uid = parse_id(uid).ok_or_else(|| bad("uid", uid))?;
    Ok(())
}

/// Digits and nothing else; the highest number stands for no id at all.
fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&id| digits && id != u32::MAX)
}

/// The container's cgroup with the paths of `--cgroup` below it.
fn sub_cgroup(own: &cgroup::Cgroup, list: &[String]) -> Result<cgroup::Cgroup> {
    let mut cgroup = own.clone();
    let bad = |text: String| Error::new(Kind::Invalid, text);
    if own.directories.is_empty() && !list.is_empty() {
        return Err(bad("--cgroup: the container has no cgroup".to_owned()));
    }
    let mut seen: Vec<&str> = Vec::new();
    for item in list {
        let (controllers, path) = match item.split_once(':') {
            Some((controllers, path)) => (Some(controllers), path),
            None if list.len() == 1 => (None, item.as_str()),
            None => {
                return Err(bad(format!("invalid --cgroup argument: {item} (missing <controller>: prefix)")));
            }
        };
        let Some(below) = below(path) else { return Err(bad(format!("bad sub cgroup path: {path}"))) };
        let Some(controllers) = controllers else {
            cgroup.directories.iter_mut().for_each(|directory| join(directory, &below));
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                let text = format!("invalid --cgroup argument: {item} (empty <controller> prefix)");
                return Err(bad(text));
            }
            if seen.contains(&controller) {
                let text = format!("controller {controller} specified multiple times");
                return Err(bad(format!("invalid --cgroup argument(s): {text}")));
            }
            seen.push(controller);
            let named = |d: &&mut cgroup::Directory| {
                d.controllers.iter().any(|c| c == controller || c.strip_prefix("name=") == Some(controller))
            };
            match cgroup.directories.iter_mut().find(named) {
                Some(directory) => join(directory, &below),
                None => return Err(bad(format!("unknown controller {controller} in SubCgroupPaths"))),
            }
        }
    }
    Ok(cgroup)
}

/// The path without `.` and `..`; `None` when it leads further up than to where it begins.
fn below(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn join(directory: &mut cgroup::Directory, below: &str) {
    if !below.is_empty() {
        directory.path = format!("{}/{below}", directory.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        for (text, want) in [
            ("1", Some((1, 7))),
            ("1:2", Some((1, 2))),
            ("0:0", Some((0, 0))),
            ("4294967294", Some((4_294_967_294, 7))),
            (":2", None),
            ("1:", None),
            ("-1", None),
            ("+1", None),
            ("4294967295", None),
            ("4294967296", None),
            ("0x1", None),
            ("1abc", None),
            (" 1", None),
            ("root", None),
            ("1:root", None),
        ] {
            let mut user = oci::User { uid: 9, gid: 7, ..Default::default() };
            let got = set_user(&mut user, text).ok().map(|()| (user.uid, user.gid));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn added_capabilities_are_not_inheritable() {
        let mut process = oci::Process::default();
        add_capabilities(&mut process, &["CAP_NET_RAW".into()]);
        let sets = process.capabilities.clone().expect("they were added");
        assert_eq!((sets.bounding.len(), sets.effective.len(), sets.permitted.len()), (1, 1, 1));
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
    }

    #[test]
    fn cgroups_below_the_own_one() {
        let directory = |controllers: &[&str]| cgroup::Directory {
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            mount: "/m".into(),
            path: "c".into(),
        };
        let own = cgroup::Cgroup {
            layout: cgroup::Layout::V1,
            directories: vec![directory(&["cpu", "cpuacct"]), directory(&["name=systemd"])],
        };
        for (list, want) in [
            (&[][..], Some(["c", "c"])),
            (&["a/b"], Some(["c/a/b", "c/a/b"])),
            (&["cpu:a", "systemd:/b"], Some(["c/a", "c/b"])),
            (&["cpu:a/../x"], Some(["c/x", "c"])),
            (&["/"], Some(["c", "c"])),
            (&[".."], None),
            (&["cpu:a/../../c"], None),
            (&["a", "b"], None),
            (&["cpu,cpu:a"], None),
            (&[":a"], None),
            (&["bogus:a"], None),
        ] {
            let list: Vec<String> = list.iter().map(|s| (*s).to_owned()).collect();
            let got = sub_cgroup(&own, &list).ok();
            let paths =
                got.as_ref().map(|c| [c.directories[0].path.as_str(), c.directories[1].path.as_str()]);
            assert_eq!(paths, want, "{list:?}");
        }
    }
}
