//! `start`: the program of a created container begins.
use std::os::fd::AsFd;

use crate::error::On;
use crate::rooms::hooks::{self, DefaultEnv, Stage};
use crate::rooms::notify;
use crate::status::{self, Status};
use crate::store::{self, Purpose, State};
use crate::{Context, Error, Kind, Result};

/// `start`.
pub fn start(ctx: &Context, id: &str) -> Result<()> {
    let entry = store::open(&ctx.root, id, Purpose::Change)?;
    let lock = entry.lock()?;
    let state = entry.load()?;
    let wrong = |text: &str| Err(Error::new(Kind::State, text));
    match status::of(&state, &entry)? {
        Status::Created => {}
        Status::Stopped | Status::Creating => return wrong("cannot start a container that has stopped"),
        Status::Running => return wrong("cannot start an already running container"),
        Status::Paused => return wrong("cannot start a container in the paused state"),
    }
    let Some(fifo) = entry.open_fifo()? else {
        return wrong("cannot start an already running container");
    };
    let pid = state.init.map_or(0, |init| init.pid);
    let sockets = notify::host_listen(&notify::plan(std::env::var_os("NOTIFY_SOCKET")), &entry, &lock);
    let process = sockets.is_some().then(|| sys::signal::open_process(pid)).transpose()?;
    sys::file::write_fd(fifo.as_fd(), b"0")
        .map_err(|errno| sys::Error { call: "write", args: "exec.fifo".to_owned(), errno })
        .on(|| "telling the container's first process to start".to_owned())?;
    entry.remove_fifo()?;
    if !state.hooks.of(Stage::Poststart).is_empty() {
        // Init holds the other end until its program is executed.
        sys::process::poll([Some(fifo.as_fd())], -1)?;
        poststart(&state, pid)?;
    }
    // While it becomes ready, others may change it.
    drop(lock);
    match (sockets, process) {
        (Some(sockets), Some(process)) => notify::Proxy::new(sockets, pid).wait(process.as_fd()),
        _ => Ok(()),
    }
}

fn poststart(state: &State, pid: i32) -> Result<()> {
    let hook_state = hooks::state(&state.id, "running", pid, &state.bundle, &state.annotations);
    let hooked = hooks::run(&state.hooks, Stage::Poststart, &hook_state, DefaultEnv::Inherit);
    if hooked.is_err() {
        // As in runc, a container whose start is not complete does not go on.
        super::kill::kill_all(state)?;
    }
    hooked
}
