//! The library behind `tare`: everything but the command line.
//!
//! `config.json` becomes an [`oci::Config`], with the facts of the host a plan in which nothing is
//! left open, and then actions: see `plan.rs`, `host.rs` and `init.rs`, in this order. The operations
//! that commands stand for are in [`ops`].
#![forbid(unsafe_code)]

mod bundle;
mod clone;
mod context;
pub mod error;
mod facts;
mod faults;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod host;
mod host_exec;
mod init;
mod init_exec;
pub mod log;
mod members;
mod obstacles;
pub mod ops;
mod plan;
mod relay;
mod rooms;
mod spawn;
mod status;
mod store;
mod sync;
pub mod time;
mod users;

pub use context::{Context, Rootless, in_user_namespace};
pub use error::{Error, Kind, Result};

/// The version of the specification that `state` and hooks are told.
pub const OCI_VERSION: &str = oci::VERSION;
