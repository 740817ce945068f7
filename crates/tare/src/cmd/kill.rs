//! `tare kill`.
use clap::Args;
use runtime::{Context, Result, ops};

use super::{Container, lossy};
use crate::cli::Act;

/// Send a signal to the first process of a container
#[derive(Args)]
pub struct Kill {
    #[command(flatten)]
    container: Container,
    /// The signal: a number or a name such as KILL or SIGKILL; TERM by default
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", hide_default_value = true, value_parser = lossy())]
    signal: String,
    /// Send it to every process, and don't mind if there is none left
    #[arg(long, short, hide = true)]
    all: bool,
}

impl Act for Kill {
    fn act(self, ctx: &Context) -> Result<i32> {
        let signal = if self.signal.is_empty() { "SIGTERM" } else { &self.signal };
        ops::kill(ctx, &self.container.id, signal, self.all)?;
        Ok(0)
    }
}
