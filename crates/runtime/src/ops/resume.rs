//! `resume`: the processes of a paused container go on.
use super::pause::explained;
use crate::status::{self, Status};
use crate::store::{self, Purpose};
use crate::{Context, Error, Kind, Result};

/// `resume`.
pub fn resume(ctx: &Context, id: &str) -> Result<()> {
    let entry = store::open(&ctx.root, id, Purpose::Change)?;
    let _lock = entry.lock()?;
    let state = entry.load()?;
    match status::of(&state, &entry)? {
        Status::Paused => state.cgroup.thaw().map_err(|e| explained(e, &state)),
        Status::Creating | Status::Created | Status::Running | Status::Stopped => {
            Err(Error::new(Kind::State, "container not paused"))
        }
    }
}
