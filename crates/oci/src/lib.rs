//! Types of the OCI runtime specification 1.3: `config.json`, the state and
//! the features document; and of the statistics that runc adds. Knows no kernel and no policy: what a name in the
//! config means, and whether it is known at all, is decided by the runtime.
#![forbid(unsafe_code)]

mod config;
pub mod features;
mod hooks;
mod linux;
mod object;
mod parse;
mod process;
mod resources;
mod seccomp;
mod state;
pub mod stats;

pub use config::{Config, IdMapping, Mount, Root};
pub use features::Features;
pub use hooks::{Hook, Hooks};
pub use linux::{Device, IntelRdt, Linux, MemoryPolicy, Namespace, NetDevice, Personality, TimeOffset};
pub use parse::{ParseError, from_json};
pub use process::{Capabilities, ConsoleSize, CpuAffinity, IoPriority, Process, Rlimit, Scheduler, User};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma, Resources,
    ThrottleDevice, WeightDevice,
};
pub use seccomp::{Seccomp, Syscall, SyscallArg};
pub use state::{HookState, ProcessState, State};

/// The newest version of the specification that these types follow.
pub const VERSION: &str = "1.3.0";
