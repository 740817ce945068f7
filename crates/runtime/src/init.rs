//! The container's first process: the order of its steps, from the clone to the program.
//!
//! It shares the plan with the runtime by memory and reports over the sync socket. What goes wrong
//! before `Ready` is the error of `create`; after it there is only the log and stderr.
use std::borrow::Cow;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use crate::plan::Plan;
use crate::rooms::hooks::{self, DefaultEnv, Stage};
use crate::rooms::idmap::UserNamespaces;
use crate::rooms::namespaces::{self, Joins};
use crate::rooms::seccomp::{Moment, Way};
use crate::rooms::trees::{self, Trees};
use crate::rooms::{
    affinity, cgroup, devices, fds, keyring, lsm, mappings, mask, memory_policy, mounts, net_devices,
    personality, privileges, process, program, rlimits, rootfs, sched, seccomp, signals, sysctl, terminal,
    time, uts,
};
use crate::spawn::{Caller, Spawn};
use crate::sync::{self, FromInit, ToInit};
use crate::{Error, Kind, Result};
use sys::clone::InChild;

/// What the runtime leaves to init.
#[derive(Debug)]
pub struct Context<'a> {
    /// Everything decided.
    pub plan: &'a Plan,
    /// The container's cgroup, unless systemd makes it.
    pub cgroup: Option<&'a ::cgroup::Live>,
    /// How it has come to be, and what is left to do of that.
    pub spawn: Spawn,
    /// Namespaces to join.
    pub joins: &'a Joins,
    /// Whether the runtime opens files of the host for it.
    pub trees: bool,
    /// The ids of mounts with id maps.
    pub users: &'a UserNamespaces,
    /// Init's end of the sync socket.
    pub sync: Option<OwnedFd>,
    /// Where init waits for `start`; not there for `run`.
    pub fifo: Option<OwnedFd>,
}

/// The exit status of init when it could not become the program.
const FAILED: i32 = 255;

/// Runs init. It ends as the container's program, or by exiting: it never returns.
pub fn main(context: &mut Context<'_>, child: InChild) -> Infallible {
    let sync = begin(context.sync.take());
    let prepared = or_exit(prepare(context, &sync, &child), &sync);
    // The socket stays open until the program closes it by being executed: that is what the runtime
    // and, for the fifo, `start` wait for before `poststart` hooks.
    let error = match finish(context, prepared) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    fail_late(&error)
}

/// What every process of a container begins with. Its messages are its own, and its panics are told.
pub(crate) fn begin(sync: Option<OwnedFd>) -> OwnedFd {
    crate::log::forget();
    let Some(sync) = sync else { sys::process::exit(FAILED) };
    report_panics(&sync);
    sync
}

/// Goes on with what is prepared, or tells the runtime why not and ends.
pub(crate) fn or_exit<'a>(prepared: Result<Option<Prepared<'a>>>, sync: &OwnedFd) -> Prepared<'a> {
    match prepared {
        Ok(Some(prepared)) => prepared,
        // The runtime is gone: nobody waits for this process.
        Ok(None) => sys::process::exit(FAILED),
        Err(error) => {
            // When it can't be told either, the runtime sees that init is gone.
            sync::tell_runtime(sync, &FromInit::Failed(error)).ok();
            sys::process::exit(FAILED)
        }
    }
}

/// What is left to do when everything is set up.
pub(crate) struct Prepared<'a> {
    /// The path of the program in the container.
    pub program: CString,
    /// Its environment.
    pub env: Vec<Cow<'a, CStr>>,
    /// The filter that is loaded last of all.
    pub filter: Option<&'a seccomp::Filter>,
    /// What the listener of a filter that is loaded hears by. The runtime has taken it.
    pub listener: Option<OwnedFd>,
}

/// Says that the program could not be executed when nobody waits for that any more, and ends.
pub(crate) fn fail_late(error: &Error) -> ! {
    // The commands are over, so this goes where the container's own messages would go, bare as those are,
    // and to the log, if that is not the same.
    if !crate::log::goes_to_stderr() {
        log::error!("{error}");
    }
    let [_, _, stderr] = sys::process::stdio();
    sys::file::write_fd(stderr, format!("{error}\n").as_bytes()).ok();
    sys::process::exit(FAILED)
}

/// Becomes the program, with the signals that one begins with; returns only an error.
pub(crate) fn execute(prepared: &Prepared<'_>, args: &[CString]) -> Result<Infallible> {
    signals::init_reset()?;
    seccomp::init_load_last(prepared.filter)?;
    let errno = sys::process::execve(&prepared.program, args, &prepared.env);
    let text = format!("exec {}: {}", prepared.program.to_string_lossy(), sys::errno_text(errno));
    let why = program::init_explain(&prepared.program, args, &prepared.env, errno);
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    Err(Error::new(Kind::Exec, format!("{text}{why}")))
}

/// Enters the cgroup, or waits until systemd has made it and put this process there, and takes all processors that it
/// has; false when the runtime has gone away meanwhile.
fn init_in_cgroup(context: &Context<'_>, sync: &OwnedFd) -> Result<bool> {
    match context.cgroup {
        Some(live) => cgroup::init_join(live)?,
        None if hear(sync)? != Some(ToInit::Placed) => return Ok(false),
        None => cgroup::init_join_late(&context.plan.cgroup)?,
    }
    affinity::init_reset();
    Ok(true)
}

/// Joins and makes what the clone could not; false when the runtime has gone away meanwhile.
fn init_in_namespaces(context: &Context<'_>, sync: &OwnedFd) -> Result<bool> {
    let Context { plan, spawn, joins, .. } = context;
    joins.enter(spawn.join, plan.caller)?;
    if spawn.map {
        sync::tell_runtime(sync, &FromInit::NeedMaps)?;
        if hear(sync)? != Some(ToInit::Mapped) {
            return Ok(false);
        }
    }
    mappings::init_check(&plan.mappings, &plan.namespaces.user)?;
    if spawn.become_root {
        mappings::init_become_root()?;
    }
    // To become another user has made it what a sysctl says. In a new user namespace there is nobody who could
    // look into it, and it could not write its own files of procfs.
    sys::cred::set_dumpable(spawn.map)?;
    if spawn.unshare != 0 {
        sys::ns::unshare(spawn.unshare)?;
    }
    init_receive_devices(plan, sync)
}

/// Waits for the network devices; false when the runtime has gone away meanwhile.
fn init_receive_devices(plan: &Plan, sync: &OwnedFd) -> Result<bool> {
    if plan.net_devices.is_empty() {
        return Ok(true);
    }
    sync::tell_runtime(sync, &FromInit::NeedDevices(net_devices::init_open()?))?;
    Ok(hear(sync)? == Some(ToInit::DevicesMoved))
}

/// Becomes the program's user, in the working directory. The kernel lets nobody but root of the host join the
/// namespaces of a process that may not be looked into: `exec` of an ordinary user could not reach a container that
/// waits, or has just been started.
fn become_user(context: &Context<'_>) -> Result<()> {
    let plan = context.plan;
    // First with the rights of the runtime, which may see directories that the user may not.
    let entered = process::init_enter_cwd(&plan.process)?;
    privileges::init_own_stdio(&plan.privileges, &plan.terminal)?;
    privileges::init_become_user(&plan.privileges, plan.caller)?;
    if context.spawn.map && plan.caller != Caller::Root {
        // What is in the environment of the caller is not for other processes of the container to read.
        sys::exe::forget_environment();
        sys::cred::set_dumpable(true)?;
    }
    if !entered {
        process::init_enter_cwd_as_user(&plan.process)?;
    }
    process::init_verify_cwd()
}

/// Sets everything up but the program; `None` when the runtime has gone away meanwhile.
fn prepare<'a>(context: &Context<'a>, sync: &OwnedFd, child: &InChild) -> Result<Option<Prepared<'a>>> {
    let plan = context.plan;
    // The kernel drops what is not held back, so that `kill` could come too early for `create`.
    signals::init_hold()?;
    // Modes are the plan's business and not the caller's umask's.
    sys::cred::set_umask(0);
    if !init_in_cgroup(context, sync)? || !init_in_namespaces(context, sync)? {
        return Ok(None);
    }
    time::init_apply(&plan.time)?;
    // The root of a new cgroup namespace is the cgroup that its maker is in.
    namespaces::init_new_cgroup(&plan.namespaces)?;
    sys::process::new_session()?;
    let procfs = lsm::is_asked_for(&plan.lsm).then(sys::procfs::open).transpose()?;
    let security = lsm::init_open(&plan.lsm, &plan.keyring, procfs.as_ref().map(AsFd::as_fd))?;
    drop(procfs);
    keyring::init_apply(&plan.keyring)?;
    namespaces::init_loopback(&plan.namespaces)?;
    uts::init_apply(&plan.uts)?;
    // These are written through the host's procfs, which is out of sight after the change of root.
    sysctl::init_apply(&plan.sysctl)?;
    let host_fds = sys::file::open_dir("/proc/self/fd")?;
    namespaces::init_join_mount(context.joins)?;

    let trees = trees::init_receive(plan, context.trees, sync)?;
    let Some(Trees { root, mounts: trees }) = trees else { return Ok(None) };
    let root = rootfs::init_prepare(&plan.rootfs, root)?;
    mounts::init_mount(&plan.mounts, &root, trees, context.users)?;
    devices::init_make(&plan.devices, &root)?;
    if plan.hooks.wait_for_runtime() {
        sync::tell_runtime(sync, &FromInit::RootfsReady)?;
        if hear(sync)? != Some(ToInit::HooksDone) {
            return Ok(None);
        }
    }
    create_container_hooks(plan, &root)?;
    process::init_make_cwd(&plan.process, &root)?;
    use_terminal(plan, &root, host_fds, sync)?;
    // What hooks have mounted is covered as well.
    mask::init_apply(&plan.mask, &root)?;
    mounts::init_seal(&plan.mounts, &root)?;
    rootfs::init_seal(&plan.rootfs, &root)?;
    rootfs::init_enter(&plan.rootfs, &root)?;
    drop(root);
    if !mounts::brings_dev(&plan.mounts) {
        rootfs::init_reopen_null()?;
    }

    sched::init_apply(&plan.sched)?;
    memory_policy::init_apply(&plan.memory_policy)?;
    personality::init_apply(plan.personality)?;
    lsm::init_apply(&plan.lsm, security)?;
    // From here on the limits may be too low to open a file.
    let env = process::init_env(&plan.process, plan.privileges.uid);
    rlimits::init_apply(&plan.rlimits)?;
    privileges::init_drop_bounding(&plan.privileges)?;
    become_user(context)?;
    close_descriptors(context, sync, child)?;
    let (filter, moment) = (plan.seccomp.as_ref(), plan.seccomp_moment());
    let with_rights = seccomp::init_load(filter, moment, Moment::WithRights, Way::Taken, sync)?;
    privileges::init_set_capabilities(&plan.privileges)?;
    sys::cred::set_umask(plan.privileges.umask);
    let program = process::init_find_program(&plan.process)?;
    let before_ready = seccomp::init_load(filter, moment, Moment::BeforeReady, Way::Taken, sync)?;
    sync::tell_runtime(sync, &FromInit::Ready)?;
    let go = matches!(hear(sync)?, Some(ToInit::Start | ToInit::WaitForStart));
    let listener = with_rights.or(before_ready);
    let filter = seccomp::for_last(filter, moment);
    Ok(go.then_some(Prepared { program, env, filter, listener }))
}

/// Closes what neither the program gets nor the rest of this needs. The filter may forbid that, so it comes before.
fn close_descriptors(context: &Context<'_>, sync: &OwnedFd, child: &InChild) -> Result<()> {
    let keep = [Some(sync.as_fd()), context.fifo.as_ref().map(|fifo| fifo.as_fd()), crate::log::file()];
    if context.fifo.is_some() {
        // Others may look into this process for as long as it waits: it has nothing of the host's open.
        fds::init_close_all_but(context.plan.fds, &keep, child)?;
    }
    fds::init_close_others(context.plan.fds, &keep, child)
}

/// The runtime's next word, where the end of the runtime is not an error to tell it.
pub(crate) fn hear(sync: &OwnedFd) -> Result<Option<ToInit>> {
    match sync::hear_runtime(sync) {
        Err(_) => Ok(None),
        other => other,
    }
}

/// These run in the container's namespaces, but are found in the runtime's root.
fn create_container_hooks(plan: &Plan, root: &sys::root::RootDir) -> Result<()> {
    if plan.hooks.of(Stage::CreateContainer).is_empty() {
        return Ok(());
    }
    sys::file::fchdir(root.as_fd())?;
    let state = hooks::state(&plan.id, "creating", sys::process::id(), &plan.bundle, &plan.annotations);
    hooks::run(&plan.hooks, Stage::CreateContainer, &state, DefaultEnv::Only(&[]))
}

/// Opens the container's terminal and hands its other end to the runtime. `host_fds` goes with the end of
/// this: nothing else is opened through the host's procfs.
fn use_terminal(plan: &Plan, root: &sys::root::RootDir, host_fds: OwnedFd, sync: &OwnedFd) -> Result<()> {
    if let Some((master, slave)) = terminal::init_open(&plan.terminal, root, host_fds.as_fd())? {
        terminal::init_mount_console(&slave, root, &plan.namespaces.mount)?;
        sync::tell_runtime(sync, &FromInit::Console(master))?;
        terminal::init_use(&slave)?;
    }
    Ok(())
}

/// Waits for `start` and becomes the program.
fn finish(context: &Context<'_>, mut prepared: Prepared<'_>) -> Result<Infallible> {
    let plan = context.plan;
    if let Some(fifo) = &context.fifo {
        // Nor has it this, with which others could answer in the listener's place.
        drop(prepared.listener.take());
        signals::init_wait_for_start(fifo.as_fd())?;
    }
    let state = hooks::state(&plan.id, "created", sys::process::id(), &plan.bundle, &plan.annotations);
    hooks::run(&plan.hooks, Stage::StartContainer, &state, DefaultEnv::Only(&prepared.env))?;
    execute(&prepared, &plan.process.args)
}

/// A panic of init would be silent: it becomes the error that the runtime tells.
fn report_panics(sync: &OwnedFd) {
    let Ok(sync) = sync.try_clone() else { return };
    std::panic::set_hook(Box::new(move |info| {
        let error = Error::new(Kind::System, format!("this is a bug in the runtime: {info}"));
        sync::tell_runtime(&sync, &FromInit::Failed(error)).ok();
        sys::process::exit(FAILED);
    }));
}
