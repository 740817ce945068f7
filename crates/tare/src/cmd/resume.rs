//! `tare resume`.
use clap::Args;
use runtime::{Context, Result, ops};

use super::Container;
use crate::cli::Act;

/// Let the processes of a paused container go on
#[derive(Args)]
pub struct Resume {
    #[command(flatten)]
    container: Container,
}

impl Act for Resume {
    fn act(self, ctx: &Context) -> Result<i32> {
        ops::resume(ctx, &self.container.id)?;
        Ok(0)
    }
}
