//! Namespaces: `unshare(2)`, `setns(2)`.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Named, Result, check};

/// `CLONE_NEW*` flags, as `clone3` and `unshare` take them.
pub mod flag {
    /// Mount namespace.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// Cgroup namespace.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// UTS namespace: host name and domain name.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// IPC namespace: System V objects and POSIX message queues.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// PID namespace.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// Network namespace.
    pub const NET: u64 = libc::CLONE_NEWNET as u64;
    /// User namespace: ids and the capabilities that go with them.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    /// Time namespace (Linux 5.6).
    pub const TIME: u64 = 0x80;
}

/// Puts the caller (for PID and time: its children) into new namespaces.
pub fn unshare(flags: u64) -> Result<()> {
    let raw = i32::try_from(flags).unwrap_or(i32::MAX);
    // SAFETY: unshare takes an integer; the flags used here share no memory.
    let ret = unsafe { libc::syscall(libc::SYS_unshare, raw) };
    check(ret).named("unshare", || format!("flags={flags:#x}")).map(drop)
}

/// `_IO(0xb7, 1)` of linux/nsfs.h.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// Whether the caller's own namespace of this name below `/proc/self/ns` belongs to its user namespace, so that
/// root there has a right to it. The kernel does not tell the owner when that is somebody above.
pub fn is_own(name: &str) -> Result<bool> {
    let file = crate::file::open(format!("/proc/self/ns/{name}"))?;
    let file = file.as_fd();
    // SAFETY: NS_GET_USERNS takes a descriptor that is open for the time of the call, and no argument.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_USERNS) };
    if ret < 0 {
        return Ok(false);
    }
    // SAFETY: the call has returned a new descriptor, which nobody else owns.
    drop(unsafe { OwnedFd::from_raw_fd(ret) });
    Ok(true)
}

/// Moves the caller into the namespace that `fd` refers to, which must be of the kind `flag`.
pub fn enter(fd: BorrowedFd<'_>, flag: u64) -> Result<()> {
    let raw = i32::try_from(flag).unwrap_or(i32::MAX);
    // SAFETY: setns takes a descriptor that is open for the time of the call, and an integer.
    let ret = unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), raw) };
    check(ret).named("setns", || format!("type={flag:#x}")).map(drop)
}
