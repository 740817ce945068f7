//! `tare events`: what a container uses and when it runs out of memory, as lines of JSON.
use std::time::Duration;

use clap::Args;
use oci::stats::Event;
use runtime::{Context, Error, Kind, Result, ops};

use super::Container;
use crate::cli::Act;
use crate::{duration, output};

/// Tell what a container uses, again and again, and when it runs out of memory
#[derive(Args)]
pub struct Events {
    #[command(flatten)]
    container: Container,
    /// How long to wait from one count to the next, such as 500ms or 1m30s; 5s by default
    #[arg(long, value_name = "TIME", default_value = "5s", hide_default_value = true)]
    #[arg(value_parser = duration::parse, allow_negative_numbers = true)]
    interval: i64,
    /// Count once, at once, and end
    #[arg(long)]
    stats: bool,
}

impl Act for Events {
    fn act(self, ctx: &Context) -> Result<i32> {
        let id = self.container.id;
        let interval = u64::try_from(self.interval).map(Duration::from_nanos).unwrap_or_default();
        if interval.is_zero() {
            return Err(Error::new(Kind::Invalid, "duration interval must be greater than 0"));
        }
        if self.stats {
            let data = Some(ops::stats(ctx, &id)?);
            tell(&Event { r#type: "stats".to_owned(), id, data })?;
        } else {
            let [_, stdout, _] = sys::process::stdio();
            ops::events(ctx, &id, interval, Some(stdout), tell)?;
        }
        Ok(0)
    }
}

/// One line, written at once.
fn tell(event: &Event) -> Result<()> {
    output::print(&output::line(event))
}
