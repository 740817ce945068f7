//! `kill`: a signal for the container's first process, or for all of them.
use std::os::fd::AsFd;

use crate::status::{self, Status};
use crate::store::{Purpose, State};
use crate::{Context, Error, Kind, Result, members, store};

/// `kill`: `signal` as the user wrote it: a number, `TERM` or `SIGTERM`.
///
/// `all` is what older engines send before they delete: with it, a container that has stopped is no
/// error. Without a PID namespace of its own a container does not end with its first process; then
/// `KILL` is for all of its processes.
pub fn kill(ctx: &Context, id: &str, signal: &str, all: bool) -> Result<()> {
    let entry = store::open(&ctx.root, id, Purpose::Change)?;
    let state = entry.load()?;
    let number = sys::signal::number(signal)
        .ok_or_else(|| Error::new(Kind::Invalid, format!("unknown signal {signal:?}")))?;
    let status = status::of(&state, &entry)?;
    if number == sys::signal::KILL && !state.own_pid_namespace && status != Status::Creating {
        let left = !members::pids(&state)?.is_empty();
        if left {
            return kill_all(&state);
        }
    }
    match status {
        Status::Stopped | Status::Creating if all => Ok(()),
        Status::Stopped | Status::Creating => Err(not_running()),
        Status::Created | Status::Running | Status::Paused if all && !state.own_pid_namespace => {
            members::signal(&state, number)
        }
        Status::Created | Status::Running | Status::Paused => {
            signal_init(&state, number)?;
            if number == sys::signal::KILL && status == Status::Paused {
                // What is frozen dies when it is thawed.
                state.cgroup.kill(number)?;
            }
            Ok(())
        }
    }
}

/// What commands say of a container without a process.
pub(super) fn not_running() -> Error {
    Error::new(Kind::State, "container not running")
}

/// Sends a signal to init, and to no other process that may have its number by now.
fn signal_init(state: &State, number: i32) -> Result<()> {
    let init = state.init.ok_or_else(not_running)?;
    let gone = |e: sys::Error| if e.errno == sys::Errno::SRCH { not_running() } else { e.into() };
    let pidfd = sys::signal::open_process(init.pid).map_err(gone)?;
    // The descriptor stays with the process whose start time is read now.
    if status::process(init.pid)?.is_none_or(|p| p.start_time != init.start_time) {
        return Err(not_running());
    }
    sys::signal::send(pidfd.as_fd(), number).map_err(gone)
}

/// Kills every process of the container.
pub(super) fn kill_all(state: &State) -> Result<()> {
    // With its PID namespace they end with its first process.
    if state.init.is_some() && (state.own_pid_namespace || !state.cgroup.directories.is_empty()) {
        match signal_init(state, sys::signal::KILL) {
            Err(e) if e.kind != Kind::State => return Err(e),
            _ => {}
        }
    }
    members::signal(state, sys::signal::KILL)
}
