//! One file for one concern of config.json.
//!
//! A room holds its part of the plan and the functions that decide it (`plan`,
//! pure) and carry it out (`host_*` in the runtime process, `init_*` in the
//! container's first process). A room never calls another room: what is done
//! when is for `host.rs` and `init.rs` to say.

pub mod affinity;
pub mod cgroup;
pub mod copyup;
pub mod devices;
pub mod executable;
pub mod fds;
pub mod hooks;
pub mod idmap;
pub mod keyring;
pub mod lsm;
pub mod mappings;
pub mod mask;
pub mod memory_policy;
pub mod mount_options;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod notify;
pub mod oom;
pub mod over_proc;
pub mod personality;
pub mod pid_file;
pub mod privileges;
pub mod process;
pub mod program;
pub mod rdt;
pub mod rdt_stats;
pub mod rlimits;
pub mod rootfs;
pub mod sched;
pub mod seccomp;
pub mod signals;
pub mod subids;
pub mod sysctl;
pub mod terminal;
pub mod time;
pub mod trees;
pub mod unit;
pub mod uts;
