//! `tare features`.
use clap::Args;
use runtime::{Context, Result, ops};

use crate::cli::Act;
use crate::output;

/// Print what this program supports as JSON
#[derive(Args)]
pub struct Features {}

impl Act for Features {
    fn act(self, _: &Context) -> Result<i32> {
        let mut json = output::indented_json(&ops::features(), "    ");
        json.push(b'\n');
        output::print(&json)?;
        Ok(0)
    }
}
