//! `tare spec`.
use std::ffi::OsString;

use clap::Args;
use runtime::{Context, Result, ops};

use super::path;
use crate::cli::Act;

/// Write a config.json to begin with
///
/// The container that it describes runs `sh` in a terminal, with the directory
/// rootfs beside it as its root. A config.json that exists is left alone.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Spec {
    /// Write it to DIR instead of the current directory
    #[arg(long, short, value_name = "DIR")]
    bundle: Option<OsString>,
    /// Describe a container for a user who is not root
    #[arg(long)]
    rootless: bool,
}

impl Act for Spec {
    fn act(self, _: &Context) -> Result<i32> {
        ops::spec(path(self.bundle).as_deref(), self.rootless)?;
        Ok(0)
    }
}
