//! `tare state`.
use clap::Args;
use runtime::{Context, Result, ops};

use super::Container;
use crate::cli::Act;
use crate::output;

/// Print the state of a container as JSON
#[derive(Args)]
pub struct State {
    #[command(flatten)]
    container: Container,
}

impl Act for State {
    fn act(self, ctx: &Context) -> Result<i32> {
        let state = ops::state(ctx, &self.container.id)?;
        // No newline at the end: so does runc.
        output::print(&output::indented_json(&state, "  "))?;
        Ok(0)
    }
}
