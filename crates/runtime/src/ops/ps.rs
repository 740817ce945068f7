//! `ps`: the processes of a container.
use crate::status::{self, Status};
use crate::{Context, Error, Kind, Result, store};

/// `ps`: the processes of the container, as the host numbers them, ascending.
pub fn ps(ctx: &Context, id: &str) -> Result<Vec<i32>> {
    let entry = store::open(&ctx.root, id)?;
    let state = entry.load()?;
    if state.own_pid_namespace && status::of(&state, &entry)? == Status::Stopped {
        return Err(Error::new(Kind::State, "container not running"));
    }
    Ok(state.cgroup.pids()?)
}
