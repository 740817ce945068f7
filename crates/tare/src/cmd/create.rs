//! `tare create`.
use clap::Args;
use runtime::{Context, Result, ops};

use super::{Container, Making};
use crate::cli::Act;

/// Make a container; its program waits for `start`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    container: Container,
    #[command(flatten)]
    making: Making,
}

impl Act for Create {
    fn act(self, ctx: &Context) -> Result<i32> {
        ops::create(ctx, &self.container.id, &self.making.options())
            .map_err(|error| error.context(format_args!("{} create failed", ctx.program)))?;
        Ok(0)
    }
}
