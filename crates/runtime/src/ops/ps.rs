//! `ps`: the processes of a container.
use crate::{Context, Result, store};

/// `ps`: the processes of the container, as the host numbers them, ascending. One that has stopped has none.
pub fn ps(ctx: &Context, id: &str) -> Result<Vec<i32>> {
    let state = store::open(&ctx.root, id)?.load()?;
    crate::members::pids(&state)
}
