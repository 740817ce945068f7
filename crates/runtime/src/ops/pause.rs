//! `pause`: the processes of a container come to a halt where they are.
use super::kill::not_running;
use crate::rooms::cgroup::DELEGATE;
use crate::status::{self, Status};
use crate::store::{self, Purpose, State};
use crate::{Context, Error, Result};

/// `pause`: returns when all processes of the container have come to a halt. One that waits for `start`
/// can be paused as well.
pub fn pause(ctx: &Context, id: &str) -> Result<()> {
    let entry = store::open(&ctx.root, id, Purpose::Change)?;
    let _lock = entry.lock()?;
    let state = entry.load()?;
    match status::of(&state, &entry)? {
        Status::Created | Status::Running => state.cgroup.freeze().map_err(|e| explained(e, &state)),
        Status::Creating | Status::Paused | Status::Stopped => Err(not_running()),
    }
}

/// An ordinary user's container may have no cgroup to be frozen: then that is the reason.
pub(super) fn explained(error: cgroup::Error, state: &State) -> Error {
    let without = error.kind == cgroup::Kind::Unsupported && state.rootless_cgroups;
    let error = Error::from(error);
    if without { error.hint(DELEGATE) } else { error }
}
