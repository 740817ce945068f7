//! `tare pause`.
use clap::Args;
use runtime::{Context, Result, ops};

use super::Container;
use crate::cli::Act;

/// Halt all processes of a container until it is resumed
///
/// They are not told and can't prevent it. Signals wait, but for KILL. It takes a control group: an ordinary
/// user needs one that is delegated.
#[derive(Args)]
pub struct Pause {
    #[command(flatten)]
    container: Container,
}

impl Act for Pause {
    fn act(self, ctx: &Context) -> Result<i32> {
        ops::pause(ctx, &self.container.id)?;
        Ok(0)
    }
}
