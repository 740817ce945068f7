//! `delete`: removes a container, whatever state it was left in.
use std::os::fd::{AsFd, OwnedFd};

use crate::host;
use crate::status::{self, Status};
use crate::store::{Entry, Lock, Purpose, State};
use crate::{Context, Error, Kind, Result, store};

/// How long init may take to end once it is killed, in milliseconds.
const PATIENCE: i64 = 10_000;

/// `delete`. With `force` a running container is killed first, and a missing one is fine.
pub fn delete(ctx: &Context, id: &str, force: bool) -> Result<()> {
    match remove(ctx, id, force) {
        Err(e) if force && e.kind == Kind::NotFound => Ok(()),
        other => other,
    }
}

fn remove(ctx: &Context, id: &str, force: bool) -> Result<()> {
    let entry = store::open(&ctx.root, id, Purpose::Change)?;
    let lock = entry.lock()?;
    let state = match entry.load() {
        Ok(state) => state,
        // A `create` that was killed before it made anything else. runc, too, removes the directory and
        // says that there was no container.
        Err(e) if e.kind == Kind::NotFound => {
            entry.remove(lock)?;
            return Err(e);
        }
        // A disk has lost it. It is never half written, but it may be gone with the power.
        Err(e) if force && e.kind == Kind::Invalid => {
            log::warn!("{e}: only the directory is removed");
            return entry.remove(lock);
        }
        Err(e) => return Err(e),
    };
    match status::of(&state, &entry)? {
        // Its maker would hold the lock, so the maker is gone: what is left ends by itself, or here.
        Status::Stopped | Status::Creating => host::destroy(&state, entry, lock),
        Status::Created => kill_and_destroy(&state, entry, lock),
        Status::Running | Status::Paused if force => kill_and_destroy(&state, entry, lock),
        status @ (Status::Running | Status::Paused) => {
            let text = format!("cannot delete container {id} that is not stopped: {status}");
            Err(Error::new(Kind::State, text).hint("`kill` stops it, `delete --force` does both"))
        }
    }
}

fn kill_and_destroy(state: &State, entry: Entry, lock: Lock) -> Result<()> {
    let pidfd = state.init.and_then(|init| sys::signal::open_process(init.pid).ok());
    super::kill::kill_all(state)?;
    if let Some(pidfd) = pidfd {
        wait(&pidfd)?;
    }
    host::destroy(state, entry, lock)
}

/// Waits until the process is gone, which is not our child.
fn wait(pidfd: &OwnedFd) -> Result<()> {
    let [ended] = sys::process::poll([Some(pidfd.as_fd())], PATIENCE)?;
    if ended { Ok(()) } else { Err(Error::new(Kind::State, "container init still running")) }
}
