//! Control groups.
#![forbid(unsafe_code)]

mod apply;
mod cpu;
mod cpuset;
mod devices;
mod error;
mod file;
mod host;
mod limits;
mod live;
mod members;
mod memory;
mod place;
mod plan;
mod program;
mod remove;
mod tree;
mod unified;

pub use error::{Error, Fault, Kind};
pub use host::{Hierarchy, Host, Layout};
pub use limits::{Limits, MemoryCheck, Refusal, Write};
pub use live::Live;
pub use place::{Cgroup, Directory, place};
pub use plan::plan;
