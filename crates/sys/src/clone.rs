//! Making processes: `clone3(2)`.
use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Errno, Error, Named, Result, check};

/// From `linux/sched.h`; libc's constant of this name has a type that is too small for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process that was just made.
#[derive(Debug)]
pub struct Child {
    /// Its number in the caller's PID namespace.
    pub pid: i32,
    /// A descriptor that stays with this process even when the number is reused.
    pub pidfd: OwnedFd,
}

/// The right to close what others in memory still own, which only a process has that never comes back to
/// them: [`clone_process`] gives it to the body of a child.
#[derive(Debug)]
pub struct InChild(());

impl InChild {
    /// Closes every descriptor from `first` on that is not in `keep`. Their owners must not be used any more.
    pub fn close_all_but(&self, first: u32, keep: &[Option<BorrowedFd<'_>>]) -> Result<()> {
        let mut keep: Vec<u32> =
            keep.iter().flatten().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
        keep.sort_unstable();
        let mut from = first;
        for kept in keep.into_iter().filter(|fd| *fd >= first) {
            if from < kept {
                close_range(from, kept - 1)?;
            }
            from = kept + 1;
        }
        close_range(from, u32::MAX)
    }
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: close_range takes integers. This is the child's own table of descriptors, and the guards of
    // the parent, which would close a number again, never run in the child.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    check(ret).named("close_range", || format!("{first}-{last}")).map(drop)
}

/// What a new process gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// `CLONE_NEW*` flags of new namespaces.
    pub namespaces: u64,
    /// The directory of cgroup v2 that the process starts in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Descriptors to be closed in the process before it does anything.
    pub parent_only: &'a [BorrowedFd<'a>],
}

/// That the caller has no other threads: locks they hold would stay locked in a child for ever.
#[derive(Clone, Copy, Debug)]
pub struct Alone(());

impl Alone {
    /// Looks whether it has, while the host's procfs is in sight. No code of this program makes threads.
    pub fn check() -> Result<Self> {
        let threads =
            rustix::fs::stat("/proc/self/task").call("stat /proc/self/task")?.st_nlink.saturating_sub(2);
        if threads > 1 {
            let args = format!("with {threads} threads in the caller");
            return Err(Error { call: "clone3", args, errno: Errno::INVAL });
        }
        Ok(Alone(()))
    }
}

/// Clones the caller like `fork(2)`.
///
/// The child runs `body` on its own copy of all memory and never comes back: `body` has no value to return, so
/// no guard of the caller can run twice. Its `context` must not use what is closed in it.
pub fn clone_process<T>(
    _: Alone,
    setting: Setting<'_>,
    context: &mut T,
    body: fn(&mut T, InChild) -> Infallible,
) -> Result<Child> {
    let mut pidfd: libc::c_int = -1;
    let mut args = empty_arguments();
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::addr_of_mut!(pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    let pid = clone(args, setting, context, body)?;
    // SAFETY: the call succeeded, so the kernel has put a new descriptor here that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// The same in a process that was itself cloned by [`clone_process`], and so has no other threads: the new
/// process is a child of the caller's parent (`CLONE_PARENT`). Returns its number in the caller's PID
/// namespace.
pub fn clone_sibling<T>(
    setting: Setting<'_>,
    context: &mut T,
    body: fn(&mut T, InChild) -> Infallible,
) -> Result<i32> {
    let mut args = empty_arguments();
    args.flags = libc::CLONE_PARENT as u64;
    clone(args, setting, context, body)
}

fn empty_arguments() -> libc::clone_args {
    // SAFETY: clone_args is a plain structure for which all zeroes is valid.
    unsafe { std::mem::zeroed() }
}

fn clone<T>(
    mut args: libc::clone_args,
    setting: Setting<'_>,
    context: &mut T,
    body: fn(&mut T, InChild) -> Infallible,
) -> Result<i32> {
    args.flags |= setting.namespaces;
    if let Some(fd) = setting.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(fd.as_raw_fd().unsigned_abs());
    }
    // SAFETY: args lives through the call and has the size given; without CLONE_VM the child has
    // memory and a stack of its own, and this is the only thread.
    let ret = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::addr_of!(args), std::mem::size_of::<libc::clone_args>())
    };
    let pid = check(ret).named("clone3", || format!("flags={:#x}", args.flags))?;
    if pid == 0 {
        for fd in setting.parent_only {
            // SAFETY: this is the child's own table of descriptors, and the guards of the parent, which would
            // close the number again, never run in the child.
            unsafe { libc::syscall(libc::SYS_close, fd.as_raw_fd()) };
        }
        body(context, InChild(()));
    }
    Ok(i32::try_from(pid).unwrap_or(i32::MAX))
}
