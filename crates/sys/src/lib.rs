//! The kernel calls of tare: the only crate with unsafe code.
//!
//! One typed function a call. Descriptors come in borrowed and go out owned;
//! every one is close-on-exec. An error names the call and its arguments.
//! Nothing here knows what a container is.

pub mod bpf;
mod classic;
pub mod clone;
pub mod copy;
pub mod cred;
pub mod entry;
pub mod error;
pub mod exe;
pub mod file;
mod ioctl;
pub mod mount;
pub mod netlink;
pub mod ns;
pub mod process;
pub mod procfs;
pub mod root;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod sock;
pub mod start;
pub mod tty;

pub use error::{Errno, Error, Result, errno_text};
pub use rustix::fs::OFlags;
pub use rustix::system::{setdomainname as set_domain_name, sethostname as set_host_name};
