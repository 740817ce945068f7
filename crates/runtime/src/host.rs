//! The runtime process: the order of the steps that make a container, and their undoing.
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use cgroup::Live;
use cgroup::systemd::Manager;

use crate::clone::{self, Request};
use crate::error::On;
use crate::init::{self, Context};
use crate::plan::Plan;
use crate::rooms::hooks::{self, DefaultEnv, Stage};
use crate::rooms::idmap::UserNamespaces;
use crate::rooms::{
    cgroup as cgroup_room, idmap, mappings, mounts, namespaces, net_devices, notify, oom, pid_file, rdt,
    rlimits, seccomp, terminal, trees, unit,
};
use crate::spawn::{self, Caller};
use crate::status;
use crate::store::{Entry, Init, Lock, State};
use crate::sync::{self, FromInit, ToInit};
use crate::{Error, Kind, Result, obstacles};
use sys::clone::Child;

/// When the container's program begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// When `start` says so.
    Later,
    /// When the container is made.
    AtOnce,
}

impl Begin {
    /// What init is told when all is set up.
    fn word(self) -> ToInit {
        match self {
            Begin::Later => ToInit::WaitForStart,
            Begin::AtOnce => ToInit::Start,
        }
    }
}

/// What the caller gets besides the container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handles<'a> {
    /// `--pid-file`, absolute.
    pub pid_file: Option<&'a Path>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<&'a Path>,
}

/// A container whose first process stands where its program begins, or has begun it.
#[derive(Debug)]
pub struct Made {
    /// Its first process.
    pub child: Child,
    /// The runtime's end of the container's terminal, if the runtime is to serve it.
    pub terminal: Option<OwnedFd>,
    /// Where the container says that it is ready, if the runtime is to serve that.
    pub notify: Option<notify::Sockets>,
    sync: OwnedFd,
}

impl Made {
    /// Waits until the program is executed, or init has ended without that.
    pub fn wait_for_program(&self) -> Result<()> {
        sync::hear_init(&self.sync).map(drop)
    }
}

/// Makes the container. `state` is kept up to date, so that the caller can undo what a failure leaves. `systemd`
/// makes the cgroup, if that is planned.
pub fn make(
    plan: &Plan,
    mut systemd: Option<Manager>,
    begin: Begin,
    handles: Handles<'_>,
    state: &mut State,
    entry: &Entry,
    lock: &Lock,
) -> Result<Made> {
    // Before anything else, so that `delete` finds what a killed runtime leaves.
    entry.save(state, lock)?;
    let fifo = match begin {
        Begin::Later => Some(entry.make_fifo(lock)?),
        Begin::AtOnce => None,
    };
    let notify = notify::host_make(&plan.notify, begin, entry, lock)?;
    let console = terminal::host_connect(&plan.terminal)?;
    let pidfd_socket =
        handles.pidfd_socket.map(sys::sock::connect).transpose().on(|| "--pidfd-socket".to_owned())?;
    let joins = namespaces::host_open(&plan.namespaces)?;
    let users = idmap::host_open(mounts::id_maps(&plan.mounts), joins.user()).map_err(init_failed)?;
    let live = make_cgroup(plan, &mut state.rdt)?;
    let (sync, init_sync) = sys::sock::pair()?;
    oom::host_inherit(plan.oom, plan.caller)?;
    let spawn = spawn::spawn(&plan.namespaces, plan.caller);
    if !spawn.map {
        // Processes of namespaces that are joined must not look into init (CVE-2016-9962).
        sys::cred::set_dumpable(false)?;
    }
    let mut context = Context {
        plan,
        spawn,
        cgroup: live.as_ref(),
        joins: &joins,
        trees: trees::host_decide(plan)?,
        users: &users,
        sync: Some(init_sync),
        fifo,
    };
    let systemd_fd = systemd.as_ref().map(AsFd::as_fd);
    let parent_only: Vec<_> = [sync.as_fd(), lock.as_fd()].into_iter().chain(systemd_fd).collect();
    let request = Request {
        spawn,
        caller: plan.caller,
        joins: &joins,
        cgroup: live.as_ref().and_then(Live::into_cgroup),
        parent_only: &parent_only,
    };
    let child = clone::process(request, &mut context, init::main).map_err(start_failed)?;
    // Only init has its end of the socket now, so that its death is noticed.
    drop(context);
    let mut made = Made { child, terminal: None, notify, sync };
    let mut moved = None;
    let done =
        privilege(plan.oom, &plan.rlimits, plan.namespaces.user.is_private(), plan.caller, made.child.pid)
            .and_then(|()| start_unit(plan, systemd.as_mut(), &made, state))
            .and_then(|()| rdt::host_join(state.rdt.as_ref(), made.child.pid).map_err(start_failed))
            .and_then(|()| talk(plan, &users, &mut made, console.as_ref(), &mut moved))
            .and_then(|()| store_and_tell(&made, handles, pidfd_socket.as_ref(), state, entry, lock))
            .and_then(|()| sync::tell_init(&made.sync, begin.word()));
    match done {
        Ok(()) => Ok(made),
        Err(error) => {
            // While their namespace is there: those that are virtual would end with it.
            moved.into_iter().for_each(net_devices::host_return);
            kill(&made.child);
            Err(obstacles::explain(error, &plan.namespaces.user, plan.caller))
        }
    }
}

/// Does for a process of a container what it may not do itself in a user namespace.
pub fn privilege(
    oom: oom::Plan,
    rlimits: &rlimits::Plan,
    in_user_namespace: bool,
    caller: Caller,
    pid: i32,
) -> Result<()> {
    oom::host_apply(oom, pid, caller).map_err(start_failed)?;
    if in_user_namespace {
        rlimits::host_allow(rlimits, pid).map_err(start_failed)?;
    }
    Ok(())
}

/// Makes the class of service, and the cgroup unless systemd does: that makes one for a process that is there
/// already.
fn make_cgroup(plan: &Plan, class: &mut Option<rdt::Group>) -> Result<Option<Live>> {
    rdt::host_create(&plan.rdt, class).map_err(start_failed)?;
    match plan.cgroup.unit {
        None => cgroup_room::host_create(&plan.cgroup).map(Some).map_err(start_failed),
        Some(_) => Ok(None),
    }
}

/// Has systemd make the cgroup, with init in it, which waits for that.
fn start_unit(plan: &Plan, systemd: Option<&mut Manager>, made: &Made, state: &mut State) -> Result<()> {
    let (Some(unit), Some(systemd)) = (&plan.cgroup.unit, systemd) else { return Ok(()) };
    unit::host_start(unit, &plan.cgroup.cgroup, systemd, made.child.pid)
        .map_err(|error| start_failed(error.context("unable to apply cgroup configuration")))
        .and_then(|()| cgroup_room::host_create(&plan.cgroup).map_err(start_failed).map(drop))
        .and_then(|()| sync::tell_init(&made.sync, ToInit::Placed))
        // The unit ends with init, so that any of these may fail for it.
        .map_err(|error| oom_killed(plan, made).unwrap_or(error))
        .inspect_err(|error| disown(state, error))
}

/// A unit that is there already is somebody else's, and its cgroup with it, though nobody may have been seen in that: on
/// version 1 a unit of systemd's need not be in the hierarchies that are looked at. To undo this container is not to end it.
fn disown(state: &mut State, error: &Error) {
    if error.kind == Kind::Exists {
        state.unit = None;
        state.cgroup.directories.clear();
    }
}

/// Passes a terminal's master to the console socket, if there is one, or gives it back to be served.
pub fn take_terminal(master: OwnedFd, console: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
    let Some(socket) = console else { return terminal::host_serve(master).map(Some) };
    terminal::host_hand_over(socket.as_fd(), master.as_fd())?;
    Ok(None)
}

/// Listens to init until it is ready, and does for it what only the runtime can do. What would be lost with a
/// container that is not made is in `moved`.
fn talk(
    plan: &Plan,
    users: &UserNamespaces,
    made: &mut Made,
    console: Option<&OwnedFd>,
    moved: &mut Option<net_devices::Moved>,
) -> Result<()> {
    loop {
        match sync::hear_init(&made.sync)? {
            Some(FromInit::Console(master)) => made.terminal = take_terminal(master, console)?,
            Some(FromInit::RootfsReady) => {
                let state =
                    hooks::state(&plan.id, "creating", made.child.pid, &plan.bundle, &plan.annotations);
                for stage in [Stage::Prestart, Stage::CreateRuntime] {
                    hooks::run(&plan.hooks, stage, &state, DefaultEnv::Inherit).map_err(init_failed)?;
                }
                sync::tell_init(&made.sync, ToInit::HooksDone)?;
            }
            Some(FromInit::NeedMaps) => {
                let pid = made.child.pid;
                mappings::host_write(&plan.mappings, "linux", pid).map_err(start_failed)?;
                sync::tell_init(&made.sync, ToInit::Mapped)?;
            }
            Some(FromInit::NeedDevices(socket)) => {
                let pid = made.child.pid;
                *moved = Some(net_devices::host_move(&plan.net_devices, socket, pid).map_err(start_failed)?);
                sync::tell_init(&made.sync, ToInit::DevicesMoved)?;
            }
            Some(FromInit::NeedTrees(root)) => {
                let Made { child, sync, .. } = &*made;
                trees::host_hand_over(plan, users, child.pidfd.as_fd(), root.as_fd(), sync)
                    .map_err(init_failed)?;
            }
            Some(FromInit::Listener(number)) => {
                let child = &made.child;
                let state = hooks::state(&plan.id, "creating", child.pid, &plan.bundle, &plan.annotations);
                seccomp::host_serve(plan.seccomp.as_ref(), child, number, state).map_err(start_failed)?;
            }
            Some(FromInit::Ready) => return Ok(()),
            Some(FromInit::Failed(error)) => return Err(init_failed(error)),
            Some(FromInit::Cloned(_) | FromInit::Listening(_)) => {
                return Err(init_failed(Error::new(Kind::System, "init is no helper and no exec")));
            }
            None => return Err(init_died(plan, made)),
        }
    }
}

/// Records the process and tells the caller of it.
fn store_and_tell(
    made: &Made,
    handles: Handles<'_>,
    pidfd_socket: Option<&OwnedFd>,
    state: &mut State,
    entry: &Entry,
    lock: &Lock,
) -> Result<()> {
    let pid = made.child.pid;
    let process =
        status::process(pid)?.ok_or_else(|| init_failed(Error::new(Kind::System, "init is gone")))?;
    state.init = Some(Init { pid, start_time: process.start_time });
    entry.save(state, lock)?;
    if let Some(path) = handles.pid_file {
        pid_file::host_write(path, pid)?;
    }
    if let Some(socket) = pidfd_socket {
        sys::sock::send(socket.as_fd(), b"standard", Some(made.child.pidfd.as_fd()))
            .on(|| "--pidfd-socket".to_owned())?;
    }
    Ok(())
}

/// Why init ended without a word: it can't tell itself when the kernel killed it.
fn init_died(plan: &Plan, made: &Made) -> Error {
    let how = how_it_ended(made.child.pid);
    oom_killed(plan, made).unwrap_or_else(|| {
        let error = Error::new(Kind::System, format!("init ended before the program began: {how}"));
        init_failed(seccomp::explain(error, plan.seccomp.as_ref()))
    })
}

/// The error for an init that had too little memory to become the program.
fn oom_killed(plan: &Plan, made: &Made) -> Option<Error> {
    let text = "container init was OOM-killed (memory limit too low?)";
    let killed = plan.cgroup.cgroup.oom_killed(made.child.pid);
    killed.then(|| start_failed(Error::new(Kind::System, text)))
}

/// Waits for a child, and says how it ended or why that is not known.
pub fn how_it_ended(pid: i32) -> String {
    sys::process::wait(pid).map_or_else(|e| e.to_string(), |ended| ended.to_string())
}

/// Says of an error that the caller's process could not be started, in the words that engines know.
pub fn start_failed(error: Error) -> Error {
    error.context("unable to start container process")
}

fn init_failed(error: Error) -> Error {
    error.context("unable to start container process: error during container init")
}

/// Ends init for good.
pub fn kill(child: &Child) {
    // It may be gone already, and its status taken.
    sys::signal::send(child.pidfd.as_fd(), sys::signal::KILL).ok();
    sys::process::wait(child.pid).ok();
}

/// Removes everything of a container whose first process is gone; then its `poststop` hooks run.
pub fn destroy(state: &State, entry: Entry, lock: Lock) -> Result<()> {
    // All processes of its PID namespace have ended with init. Without one of its own they live on, and
    // an init that was never recorded may still be there.
    if !state.own_pid_namespace || state.init.is_none() {
        state.cgroup.kill(sys::signal::KILL)?;
    }
    if let Some(unit) = &state.unit {
        unit::host_stop(unit, &state.cgroup);
    }
    state.cgroup.remove()?;
    rdt::host_remove(state.rdt.as_ref())?;
    entry.remove(lock)?;
    let hook_state = hooks::state(&state.id, "stopped", 0, &state.bundle, &state.annotations);
    hooks::run(&state.hooks, Stage::Poststop, &hook_state, DefaultEnv::Inherit)
}
