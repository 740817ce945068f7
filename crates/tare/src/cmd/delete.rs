//! `tare delete`.
use clap::Args;
use runtime::{Context, Result, ops};

use super::Container;
use crate::cli::Act;

/// Remove what is left of a container that has ended
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    container: Container,
    /// Kill the container first if it runs, and don't mind if there is none
    #[arg(long, short)]
    force: bool,
}

impl Act for Delete {
    fn act(self, ctx: &Context) -> Result<i32> {
        ops::delete(ctx, &self.container.id, self.force)?;
        Ok(0)
    }
}
