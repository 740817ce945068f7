//! The runtime process of `exec`: the order of the steps that put one more process into a container.
use std::os::fd::{AsFd, OwnedFd};

use crate::error::On;
use crate::host::Handles;
use crate::init_exec::{self, Context};
use crate::plan::ProcessPlan;
use crate::rooms::{fds, keyring, pid_file, terminal};
use crate::store::{Init, State};
use crate::sync::{self, FromInit, ToInit};
use crate::{Error, Kind, Result};
use sys::clone::Child;

/// What is to be done, with nothing left open.
#[derive(Debug)]
pub struct Plan {
    /// What comes of `process`.
    pub process: ProcessPlan,
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
    // The process is visible in the container from its first moment on (CVE-2016-9962).
    sys::cred::set_dumpable(false)?;
    let container = open_init(init)?;
    let console = terminal::host_connect(&plan.terminal)?;
    let pidfd_socket =
        handles.pidfd_socket.map(sys::sock::connect).transpose().on(|| "--pidfd-socket".to_owned())?;
    // Without a mount namespace of its own the container has at least a root of its own.
    let chroot = match state.namespaces & sys::ns::flag::MOUNT {
        0 => Some(sys::file::open_dir(format!("/proc/{}/root", init.pid))?),
        _ => None,
    };
    let (sync, child_sync) = sys::sock::pair()?;
    let live = open_cgroup(plan, init)?;
    let mut context = Context {
        plan,
        state,
        container: &container,
        chroot,
        cgroup: &live,
        in_unified: false,
        sync: Some(child_sync),
    };
    let child = clone_child(&mut context, &container, &sync).map_err(start_failed)?;
    drop(context);
    let mut started = Started { child, terminal: None };
    let done = talk(&mut started, &sync, console.as_ref()).and_then(|()| {
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
            crate::host::kill(&started.child);
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
fn open_cgroup(plan: &Plan, init: Init) -> Result<cgroup::Live> {
    let own = plan.cgroup.open();
    match own {
        Err(_) if !plan.cgroup_is_named => Ok(plan.cgroup.of_process(init.pid)?.open()?),
        other => other.map_err(|e| start_failed(e.into())),
    }
}

/// Clones the process, in the container's PID namespace and, on cgroup v2, in its cgroup.
fn clone_child(context: &mut Context<'_>, container: &OwnedFd, sync: &OwnedFd) -> Result<Child> {
    let own = sys::file::open("/proc/self/ns/pid")?;
    let joins_pid = context.state.namespaces & sys::ns::flag::PID != 0;
    if joins_pid {
        sys::ns::enter(container.as_fd(), sys::ns::flag::PID)?;
    }
    let mut made = clone_into(context, sync);
    // The kernel lets no process into a cgroup that has given its controllers to others below it, which
    // a container may have made for itself; the container's first process is in one of those.
    let moved;
    if let Err(e) = &made
        && !context.plan.cgroup_is_named
        && matches!(e.errno, sys::Errno::BUSY | sys::Errno::OPNOTSUPP | sys::Errno::NOENT | sys::Errno::NODEV)
        && let Some(init) = context.state.init
    {
        moved = context.plan.cgroup.of_process(init.pid)?.open()?;
        let mut again = Context {
            plan: context.plan,
            state: context.state,
            container: context.container,
            chroot: context.chroot.take(),
            cgroup: &moved,
            in_unified: false,
            sync: context.sync.take(),
        };
        made = clone_into(&mut again, sync);
    }
    if joins_pid {
        sys::ns::enter(own.as_fd(), sys::ns::flag::PID)?;
    }
    made.map_err(|e| {
        let busy = e.errno == sys::Errno::BUSY;
        let error = Error::from(e);
        if busy { error.hint("its cgroup has given its controllers to cgroups below it") } else { error }
    })
}

fn clone_into(context: &mut Context<'_>, sync: &OwnedFd) -> Result<Child, sys::Error> {
    let parent_only = [sync.as_fd()];
    context.in_unified = context.cgroup.into_cgroup().is_some();
    let made =
        sys::clone::clone_process(0, context.cgroup.into_cgroup(), &parent_only, context, init_exec::main);
    match made {
        // A kernel before 5.7 has no CLONE_INTO_CGROUP.
        Err(e) if context.in_unified && matches!(e.errno, sys::Errno::TOOBIG | sys::Errno::INVAL) => {
            context.in_unified = false;
            sys::clone::clone_process(0, None, &parent_only, context, init_exec::main)
        }
        other => other,
    }
}

/// Listens until the process is ready.
fn talk(started: &mut Started, sync: &OwnedFd, console: Option<&OwnedFd>) -> Result<()> {
    loop {
        match sync::hear_init(sync)? {
            Some(FromInit::Console(master)) => match console {
                Some(socket) => terminal::host_hand_over(socket.as_fd(), master.as_fd())?,
                None => started.terminal = Some(terminal::host_serve(master)?),
            },
            Some(FromInit::Ready) => return Ok(()),
            Some(FromInit::Failed(error)) => return Err(start_failed(error)),
            Some(FromInit::RootfsReady) => {
                return Err(Error::new(Kind::System, "a process of exec has no root file system to make"));
            }
            None => {
                let ended = sys::process::wait(started.child.pid);
                let how = ended.map_or_else(|e| e.to_string(), |ended| ended.to_string());
                let text = format!("the process ended before its program began: {how}");
                return Err(start_failed(Error::new(Kind::System, text)));
            }
        }
    }
}

fn start_failed(error: Error) -> Error {
    error.context("unable to start container process")
}
