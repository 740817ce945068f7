//! Control groups: where a container lives, what limits it, which processes it has, and its end.
//!
//! Versions 1 and 2 and hybrid hosts, through the files of cgroupfs. The steps of a container's life:
//!
//! 1. [`Host::detect`] asks which hierarchies there are; [`place`] decides which directory in each is
//!    the container's, and [`plan`] what is written there. Both only decide, so that all faults of a
//!    config are known before anything is touched.
//!    An ordinary user may not have a cgroup everywhere: [`permitted`] leaves out where not.
//! 2. [`Cgroup::check_unused`], then the caller records the [`Cgroup`], then [`Cgroup::create`]. Killed
//!    at any point, it leaves what [`Cgroup::kill`] and [`Cgroup::remove`] clear away.
//! 3. [`Live::apply`] sets the limits. The first process is cloned into [`Live::into_cgroup`] and calls
//!    [`Live::join`] itself. Later
//!    processes do the same with [`Cgroup::open`].
//! 4. [`changes`] plans other limits for a container that lives, and [`Live::change`] makes them.
//!
//! What the container uses is told by [`Cgroup::stats`], and that it has no memory left by [`Cgroup::watch_oom`].
//! Where systemd makes the cgroup, [`systemd`] takes the place of the first two.
#![forbid(unsafe_code)]

mod apply;
mod block_io;
mod change;
mod changes;
mod cpu;
mod cpuset;
mod device_change;
mod devices;
mod error;
mod file;
mod freezer;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod host;
mod kernel_log;
mod limits;
mod live;
mod members;
mod memory;
mod network;
mod oom;
mod permitted;
mod place;
mod plan;
mod program;
mod rdma;
mod remove;
mod stats;
pub mod systemd;
mod tree;
mod undo;
mod unified;

pub use changes::{Asked, changes};
pub use devices::{Comparison, Rules};
pub use error::{Denied, Error, Fault, Kind};
pub use host::{Hierarchy, Host, Layout};
pub use limits::{Instead, Limits, MemoryCheck, Refusal, Write};
pub use live::Live;
pub use oom::OomWatch;
pub use permitted::{Permitted, permitted};
pub use place::{Cgroup, Directory, place};
pub use plan::plan;
