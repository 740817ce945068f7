//! The runtime process of `exec`: the order of the steps that put one more process into a container.
use std::os::fd::{AsFd, OwnedFd};

use cgroup::Live;

use crate::clone::{self, Request};
use crate::error::On;
use crate::host::{self, Handles, start_failed};
use crate::init_exec::{self, Context};
use crate::plan::ProcessPlan;
use crate::rooms::namespaces::Joins;
use crate::rooms::{fds, hooks, keyring, lsm, oom, pid_file, rdt, seccomp, terminal, unit};
use crate::spawn::{self, Caller};
use crate::store::{Init, State};
use crate::sync::{self, FromInit, ToInit};
use crate::{Error, Kind, Result};
use sys::clone::Child;

/// What is to be done, with nothing left open.
#[derive(Debug)]
pub struct Plan {
    /// Who calls.
    pub caller: Caller,
    /// What comes of `process`.
    pub process: ProcessPlan,
    /// When it loads the filter of the container.
    pub seccomp_moment: Option<seccomp::Moment>,
    /// The terminal of the process.
    pub terminal: terminal::Plan,
    /// The session keyring of the container.
    pub keyring: keyring::Plan,
    /// `--preserve-fds`.
    pub fds: fds::Plan,
    /// The cgroup to be in: the container's own, or one below it.
    pub cgroup: cgroup::Cgroup,
    /// Whether the caller has named that cgroup, so that no other will do.
    pub cgroup_is_named: bool,
}

/// A process that has been started in a container.
#[derive(Debug)]
pub struct Started {
    /// The process.
    pub child: Child,
    /// The runtime's end of its terminal, if the runtime is to serve it.
    pub terminal: Option<OwnedFd>,
}

/// Starts the process.
pub fn start(plan: &Plan, state: &State, init: Init, handles: Handles<'_>) -> Result<Started> {
    // A container that ends meanwhile shows in many ways: no namespaces, no cgroup, a killed process.
    attempt(plan, state, init, handles).map_err(|error| if is_ending(init) { stopped() } else { error })
}

fn attempt(plan: &Plan, state: &State, init: Init, handles: Handles<'_>) -> Result<Started> {
    oom::host_inherit(plan.process.oom.or(state.exec.oom), plan.caller)?;
    // The process is visible in the container from its first moment on (CVE-2016-9962).
    sys::cred::set_dumpable(false)?;
    let joins = Joins::Process(open_init(init)?);
    let console = terminal::host_connect(&plan.terminal)?;
    let pidfd_socket =
        handles.pidfd_socket.map(sys::sock::connect).transpose().on(|| "--pidfd-socket".to_owned())?;
    // Without a mount namespace of its own the container has at least a root of its own.
    let chroot = match state.namespaces & sys::ns::flag::MOUNT {
        0 => Some(sys::file::open_dir(format!("/proc/{}/root", init.pid))?),
        _ => None,
    };
    let (sync, child_sync) = sys::sock::pair()?;
    let spawn = spawn::exec(state.namespaces, plan.caller);
    let live = open_cgroup(plan, state, init)?;
    let needs_procfs = plan.terminal.is_new() || lsm::is_asked_for(&plan.process.lsm);
    let mut context = Context {
        plan,
        state,
        spawn,
        joins: &joins,
        chroot,
        procfs: needs_procfs.then(sys::procfs::open).transpose()?,
        cgroup: live.as_ref(),
        sync: Some(child_sync),
    };
    let child = clone_child(&mut context, init, &sync).map_err(start_failed)?;
    drop(context);
    let mut started = Started { child, terminal: None };
    let oom = plan.process.oom.or(state.exec.oom);
    let in_user_namespace = state.namespaces & sys::ns::flag::USER != 0;
    let privileged =
        host::privilege(oom, &plan.process.rlimits, in_user_namespace, plan.caller, started.child.pid);
    // As in runc a class that is gone is none.
    let group = state.rdt.as_ref().filter(|group| group.exists());
    let joined = privileged.and_then(|()| rdt::host_join(group, started.child.pid).map_err(start_failed));
    let placed = joined.and_then(|()| match live {
        Some(_) => Ok(()),
        None => {
            place(plan, state, init, started.child.pid).and_then(|()| sync::tell_init(&sync, ToInit::Placed))
        }
    });
    let done =
        placed.and_then(|()| talk(&mut started, state, init, &sync, console.as_ref())).and_then(|()| {
            if let Some(path) = handles.pid_file {
                pid_file::host_write(path, started.child.pid)?;
            }
            if let Some(socket) = &pidfd_socket {
                sys::sock::send(socket.as_fd(), b"setns", Some(started.child.pidfd.as_fd()))
                    .on(|| "--pidfd-socket".to_owned())?;
            }
            sync::tell_init(&sync, ToInit::Start)
        });
    match done {
        Ok(()) => Ok(started),
        Err(error) => {
            host::kill(&started.child);
            Err(error)
        }
    }
}

/// A descriptor for the container's first process, and for no other that has its number by now.
fn open_init(init: Init) -> Result<OwnedFd> {
    let pidfd = sys::signal::open_process(init.pid)
        .map_err(|e| if e.errno == sys::Errno::SRCH { stopped() } else { e.into() })?;
    if is_ending(init) { Err(stopped()) } else { Ok(pidfd) }
}

/// Whether the container's first process is ending or gone.
fn is_ending(init: Init) -> bool {
    match crate::status::process(init.pid) {
        Ok(Some(process)) => process.start_time != init.start_time || process.exiting,
        Ok(None) => true,
        Err(_) => false,
    }
}

fn stopped() -> Error {
    Error::new(Kind::State, "cannot exec in a stopped container")
}

/// Opens the cgroup. A container that has moved itself further down has left none for others in its own.
///
/// An ordinary user may move processes only below a cgroup that is theirs, which that of a login session is not. If
/// the container is a unit of systemd's, that moves the process: then this is `None`. Else, as in runc, the process
/// stays in the caller's cgroup; but it is said.
fn open_cgroup(plan: &Plan, state: &State, init: Init) -> Result<Option<Live>> {
    let can_be_moved = state.unit.is_some();
    if state.rootless_cgroups
        && (can_be_moved || !plan.cgroup_is_named)
        && !plan.cgroup.directories.is_empty()
    {
        let permitted = cgroup::permitted(&plan.cgroup, &cgroup::Host::detect()?);
        match permitted.refused.first() {
            Some(_) if can_be_moved => return Ok(None),
            Some((_, why)) => {
                warn_outside(why);
                return Ok(Some(permitted.cgroup.open()?));
            }
            None => {}
        }
    }
    match plan.cgroup.open() {
        Err(_) if !plan.cgroup_is_named => Ok(Some(plan.cgroup.of_process(init.pid)?.open()?)),
        other => other.map(Some).map_err(|e| start_failed(e.into())),
    }
}

fn warn_outside(why: &dyn std::fmt::Display) {
    log::warn!("the process is not in the container's cgroup, whose limits do not hold for it: {why}");
}

/// Has systemd move the process into the container's cgroup, or to where the container's first process has moved itself.
fn place(plan: &Plan, state: &State, init: Init, pid: i32) -> Result<()> {
    let Some(unit) = &state.unit else { return Ok(()) };
    let placed = unit::host_attach(unit, &plan.cgroup, pid);
    if plan.cgroup_is_named {
        return placed.map_err(start_failed);
    }
    let moved = plan.cgroup.of_process(init.pid)?;
    let placed = placed.or_else(|error| match moved == plan.cgroup {
        true => Err(error),
        false => unit::host_attach(unit, &moved, pid),
    });
    placed.unwrap_or_else(|why| warn_outside(&why));
    Ok(())
}

/// Clones the process, in the container's PID namespace and, on cgroup v2, in its cgroup.
fn clone_child(context: &mut Context<'_>, init: Init, sync: &OwnedFd) -> Result<Child> {
    let request = Request {
        spawn: context.spawn,
        caller: context.plan.caller,
        joins: context.joins,
        cgroup: context.cgroup.and_then(Live::into_cgroup),
        parent_only: &[sync.as_fd()],
    };
    let made = clone::process(request, context, init_exec::main);
    if made.is_ok() || context.plan.cgroup_is_named || context.cgroup.is_none() {
        return made;
    }
    // The kernel lets no process into a cgroup that has given its controllers to others below it, which
    // a container may have made for itself; the container's first process is in one of those.
    let moved = context.plan.cgroup.of_process(init.pid)?;
    if moved == context.plan.cgroup {
        return made;
    }
    let moved = moved.open()?;
    let mut again = Context {
        plan: context.plan,
        state: context.state,
        spawn: context.spawn,
        joins: context.joins,
        chroot: context.chroot.take(),
        procfs: context.procfs.take(),
        cgroup: Some(&moved),
        sync: context.sync.take(),
    };
    clone::process(Request { cgroup: moved.into_cgroup(), ..request }, &mut again, init_exec::main)
}

/// Listens until the process is ready.
fn talk(
    started: &mut Started,
    state: &State,
    init: Init,
    sync: &OwnedFd,
    console: Option<&OwnedFd>,
) -> Result<()> {
    let filter = state.exec.seccomp.as_ref();
    let of = || hooks::state(&state.id, "running", init.pid, &state.bundle, &state.annotations);
    loop {
        match sync::hear_init(sync)? {
            Some(FromInit::Console(master)) => started.terminal = host::take_terminal(master, console)?,
            Some(FromInit::Listener(number)) => {
                seccomp::host_serve(filter, &started.child, number, of()).map_err(start_failed)?;
            }
            Some(FromInit::Listening(listener)) => {
                seccomp::host_pass_on(filter, &started.child, &listener, of()).map_err(start_failed)?;
            }
            Some(FromInit::Ready) => return Ok(()),
            Some(FromInit::Failed(error)) => return Err(start_failed(error)),
            Some(
                FromInit::RootfsReady
                | FromInit::NeedMaps
                | FromInit::NeedDevices(_)
                | FromInit::NeedTrees(_)
                | FromInit::Cloned(_),
            ) => {
                return Err(Error::new(Kind::System, "a process of exec makes nothing of the container"));
            }
            None => {
                let how = host::how_it_ended(started.child.pid);
                let text = format!("the process ended before its program began: {how}");
                return Err(start_failed(seccomp::explain(Error::new(Kind::System, text), filter)));
            }
        }
    }
}
