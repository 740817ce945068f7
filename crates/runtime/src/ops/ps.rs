//! `ps`: the processes of a container.
use crate::store::{self, Purpose};
use crate::{Context, Result};

/// `ps`: the processes of the container, as the host numbers them, ascending. One that has stopped has none.
pub fn ps(ctx: &Context, id: &str) -> Result<Vec<i32>> {
    let state = store::open(&ctx.root, id, Purpose::Read)?.load()?;
    crate::members::pids(&state)
}
