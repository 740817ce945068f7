//! `tare run`.
use clap::Args;
use runtime::ops::{self, RunOptions};
use runtime::{Context, Result};

use super::{Container, Making};
use crate::cli::Act;

/// Make a container, start it and wait for its end
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    container: Container,
    #[command(flatten)]
    making: Making,
    /// Leave the container running and return
    #[arg(long, short)]
    detach: bool,
    /// Keep the container when it has ended, until `delete`
    #[arg(long)]
    keep: bool,
    /// Don't adopt processes that the container's first one leaves behind
    #[arg(long)]
    no_subreaper: bool,
}

impl Act for Run {
    fn act(self, ctx: &Context) -> Result<i32> {
        let Run { container, making, detach, keep, no_subreaper } = self;
        let options = RunOptions { create: making.options(), detach, keep, no_subreaper };
        ops::run(ctx, &container.id, &options)
            .map_err(|error| error.context(format_args!("{} run failed", ctx.program)))
    }
}
