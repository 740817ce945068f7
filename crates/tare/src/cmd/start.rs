//! `tare start`.
use clap::Args;
use runtime::{Context, Result, ops};

use super::Container;
use crate::cli::Act;

/// Start the program of a container that was created
#[derive(Args)]
pub struct Start {
    #[command(flatten)]
    container: Container,
}

impl Act for Start {
    fn act(self, ctx: &Context) -> Result<i32> {
        ops::start(ctx, &self.container.id)?;
        Ok(0)
    }
}
