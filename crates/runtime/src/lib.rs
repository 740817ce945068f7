//! The library behind `tare`: everything but the command line.
#![forbid(unsafe_code)]

pub mod error;
pub mod log;
pub mod ops;
pub mod time;
mod context;

pub use context::{Context, Rootless};
pub use error::{Error, Kind, Result};
