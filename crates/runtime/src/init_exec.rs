//! A process of `exec` in a container: the order of its steps, from the clone to the program.
//!
//! What is hostile is already there: from the first moment on the container's processes see this one.
//! It has the rights of the runtime until they are dropped, so it is not dumpable, and it opens nothing
//! by a path of the container but what its user asked for.
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use crate::Result;
use crate::host_exec::Plan;
use crate::init::{self, Prepared};
use crate::rooms::namespaces::Joins;
use crate::rooms::seccomp::Moment;
use crate::rooms::{
    affinity, cgroup, fds, keyring, lsm, mappings, memory_policy, personality, privileges, process, rlimits,
    sched, seccomp, terminal,
};
use crate::spawn::Spawn;
use crate::store::State;
use crate::sync::{self, FromInit, ToInit};
use sys::clone::InChild;

/// What the runtime leaves to the process.
#[derive(Debug)]
pub struct Context<'a> {
    /// Everything decided.
    pub plan: &'a Plan,
    /// The container.
    pub state: &'a State,
    /// How this process has come to be, and what is left to do of that.
    pub spawn: Spawn,
    /// The namespaces of the container.
    pub joins: &'a Joins,
    /// Its root, where it has no mount namespace of its own.
    pub chroot: Option<OwnedFd>,
    /// The host's procfs, where it is needed: it is out of sight in the container's mount namespace.
    pub procfs: Option<OwnedFd>,
    /// The cgroup to be in, unless systemd moves the process there.
    pub cgroup: Option<&'a ::cgroup::Live>,
    /// The process's end of the sync socket.
    pub sync: Option<OwnedFd>,
}

/// Runs the process. It ends as the program, or by exiting: it never returns.
pub fn main(context: &mut Context<'_>, child: InChild) -> Infallible {
    let sync = init::begin(context.sync.take());
    let prepared = init::or_exit(prepare(context, &sync, &child), &sync);
    match init::execute(&prepared, &context.plan.process.process.args) {
        Ok(never) => match never {},
        Err(error) => init::fail_late(&error),
    }
}

/// Sets everything up but the program; `None` when the runtime has gone away meanwhile.
fn prepare<'a>(context: &mut Context<'a>, sync: &OwnedFd, child: &InChild) -> Result<Option<Prepared<'a>>> {
    let plan = context.plan;
    let exec = &context.state.exec;
    affinity::init_before(&plan.process.affinity)?;
    match context.cgroup {
        Some(live) => cgroup::init_join(live)?,
        None if init::hear(sync)? != Some(ToInit::Placed) => return Ok(None),
        None => {}
    }
    affinity::init_after(&plan.process.affinity)?;
    let procfs = context.procfs.take();
    let procfs = procfs.as_ref().map(AsFd::as_fd);
    let security = lsm::init_open(&plan.process.lsm, &plan.keyring, procfs)?;
    let host_fds = procfs.map(|procfs| sys::file::open_dir_at(procfs, "self/fd")).transpose()?;
    context.joins.enter(context.spawn.join, plan.caller)?;
    if context.spawn.become_root {
        mappings::init_become_root()?;
        // To become another user has made it what a sysctl says.
        sys::cred::set_dumpable(false)?;
    }
    if let Some(root) = context.chroot.take() {
        sys::file::fchdir(root.as_fd())?;
        sys::mount::chroot_to_current_dir()?;
    }
    sys::process::new_session()?;
    keyring::init_apply(&plan.keyring)?;
    if let Some(host_fds) = host_fds {
        use_terminal(plan, &host_fds, sync)?;
    }

    sched::init_apply(&plan.process.sched)?;
    memory_policy::init_apply(&exec.memory_policy)?;
    personality::init_apply(exec.personality)?;
    lsm::init_apply(&plan.process.lsm, security)?;
    // From here on the limits may be too low to open a file.
    let env = process::init_env(&plan.process.process, plan.process.privileges.uid);
    rlimits::init_apply(&plan.process.rlimits)?;
    privileges::init_drop_bounding(&plan.process.privileges)?;
    let entered = process::init_enter_cwd(&plan.process.process)?;
    privileges::init_own_stdio(&plan.process.privileges, &plan.terminal)?;
    privileges::init_become_user(&plan.process.privileges, plan.caller)?;
    if !entered {
        process::init_enter_cwd_as_user(&plan.process.process)?;
    }
    process::init_verify_cwd()?;
    // The filter may forbid that.
    fds::init_close_others(plan.fds, &[Some(sync.as_fd()), crate::log::file()], child)?;
    let (filter, moment) = (exec.seccomp.as_ref(), plan.seccomp_moment);
    let way = seccomp::way(plan.caller);
    let with_rights = seccomp::init_load(filter, moment, Moment::WithRights, way, sync)?;
    privileges::init_set_capabilities(&plan.process.privileges)?;
    sys::cred::set_umask(exec.umask);
    let program = process::init_find_program(&plan.process.process)?;
    let before_ready = seccomp::init_load(filter, moment, Moment::BeforeReady, way, sync)?;
    sync::tell_runtime(sync, &FromInit::Ready)?;
    let go = init::hear(sync)? == Some(ToInit::Start);
    let listener = with_rights.or(before_ready);
    let filter = seccomp::for_last(filter, moment);
    Ok(go.then_some(Prepared { program, env, filter, listener }))
}

/// Opens a terminal of the container's and hands its other end to the runtime.
fn use_terminal(plan: &Plan, host_fds: &OwnedFd, sync: &OwnedFd) -> Result<()> {
    let root = sys::root::RootDir::new(sys::file::open_dir("/")?);
    if let Some((master, slave)) = terminal::init_open(&plan.terminal, &root, host_fds.as_fd())? {
        sync::tell_runtime(sync, &FromInit::Console(master))?;
        terminal::init_use(&slave)?;
    }
    Ok(())
}
