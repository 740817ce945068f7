//! What a process does to itself at the end of its set-up, and waiting for one.
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::error::{Errno, Named, Result, check};
use crate::file::retry;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// The status as shells and runc give it: 128+n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Killed(signal) => 128 + signal,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exited(code) => write!(f, "exit status {code}"),
            Ended::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Waits for the child `pid` to end and takes its status.
pub fn wait(pid: i32) -> Result<Ended> {
    loop {
        if let Some(ended) = reap(Some(pid), true)?.map(|(_, ended)| ended) {
            return Ok(ended);
        }
    }
}

/// Takes the status of a child that has ended, if there is one; with `block` waits for it.
///
/// `None` for `pid` means any child. No child at all is `None` as well.
pub fn reap(pid: Option<i32>, block: bool) -> Result<Option<(i32, Ended)>> {
    use rustix::process::{Pid, WaitOptions, wait as wait_any, waitpid};
    let options = if block { WaitOptions::empty() } else { WaitOptions::NOHANG };
    let result = retry(|| match pid {
        Some(pid) => waitpid(Pid::from_raw(pid), options),
        None => wait_any(options),
    });
    match result {
        Err(Errno::CHILD) if pid.is_none() => Ok(None),
        Err(errno) => Err(errno).named("wait4", || format!("{pid:?}")),
        Ok(None) => Ok(None),
        Ok(Some((pid, status))) => {
            let ended = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ended::Exited(code),
                (None, Some(signal)) => Ended::Killed(signal),
                (None, None) => return Ok(None),
            };
            Ok(Some((pid.as_raw_nonzero().get(), ended)))
        }
    }
}

/// Waits until a descriptor of `fds` can be read or its other end is gone; says for each whether it is.
///
/// `timeout_ms` of -1 waits for ever. A signal ends the wait with nothing ready.
pub fn poll<const N: usize>(fds: [Option<BorrowedFd<'_>>; N], timeout_ms: i64) -> Result<[bool; N]> {
    poll_for(fds.map(|fd| fd.map(|fd| (fd, For::Read))), timeout_ms)
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// There is something to read, or the other end is gone.
    Read,
    /// There is room to write, or the other end is gone.
    Write,
    /// The other end is gone.
    End,
}

/// Like [`poll`], with what to wait for at each descriptor.
pub fn poll_for<const N: usize>(
    fds: [Option<(BorrowedFd<'_>, For)>; N],
    timeout_ms: i64,
) -> Result<[bool; N]> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut list = Vec::with_capacity(N);
    let mut place = [usize::MAX; N];
    for (fd, place) in fds.iter().zip(&mut place) {
        if let Some((fd, what)) = fd {
            *place = list.len();
            let flags = match what {
                For::Read => PollFlags::IN,
                For::Write => PollFlags::OUT,
                // What is always told needs no flag.
                For::End => PollFlags::empty(),
            };
            list.push(PollFd::from_borrowed_fd(*fd, flags));
        }
    }
    let timeout = (timeout_ms >= 0)
        .then(|| Timespec { tv_sec: timeout_ms / 1000, tv_nsec: (timeout_ms % 1000) * 1_000_000 });
    match poll(&mut list, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno).call("poll"),
    }
    Ok(place.map(|at| list.get(at).is_some_and(|p| !p.revents().is_empty())))
}

/// Makes every descriptor from `first` on close at execve.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: close_range takes integers; descriptors are only marked, none is closed under its owner.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    check(ret).named("close_range", || first.to_string()).map(drop)
}

/// Whether a descriptor with the number `fd` is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD on a number has no effect; a closed one gives EBADF.
    let ret = unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFD) };
    ret != -1
}

/// Whether the descriptor number `fd` was handed over by the program before this one: it is open, and
/// not close-on-exec as all those are that were opened here.
pub fn is_inherited(fd: RawFd) -> bool {
    // SAFETY: F_GETFD on a number has no effect; a closed one gives EBADF.
    let ret = unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFD) };
    ret != -1 && ret & libc::c_long::from(libc::FD_CLOEXEC) == 0
}

/// Replaces the program of this process; returns only the reason why it could not.
pub fn execve(program: &CStr, args: &[impl AsRef<CStr>], env: &[impl AsRef<CStr>]) -> Errno {
    let (argv, envp) = (list(args), list(env));
    // SAFETY: all strings end with a NUL and both lists with a null pointer, and they live through the call.
    let ret = unsafe { libc::syscall(libc::SYS_execve, program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    check(ret).err().unwrap_or(Errno::IO)
}

/// The strings as the kernel takes them; they must live as long.
fn list(strings: &[impl AsRef<CStr>]) -> Vec<*const std::ffi::c_char> {
    strings.iter().map(|s| s.as_ref().as_ptr()).chain([std::ptr::null()]).collect()
}

/// Ends this process at once: no destructors, no buffers flushed. With another status where a filter of system calls
/// does not let it.
pub fn exit(status: i32) -> ! {
    // SAFETY: exit_group takes an integer.
    unsafe { libc::syscall(libc::SYS_exit_group, status) };
    // It has returned: a filter says that it may not be called. What this does in the end needs no call.
    std::process::abort()
}

/// Begins a new session without a controlling terminal.
pub fn new_session() -> Result<()> {
    rustix::process::setsid().call("setsid").map(drop)
}

/// The caller's own process number, asked from the kernel.
pub fn id() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The execution domain; see personality(2).
pub fn set_personality(domain: u64) -> Result<()> {
    let raw = libc::c_ulong::from(domain);
    // SAFETY: personality takes an integer.
    let ret = unsafe { libc::syscall(libc::SYS_personality, raw) };
    check(ret).named("personality", || format!("{domain:#x}")).map(drop)
}

/// Makes a command of the standard library die with its parent.
pub fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let hook = || {
        crate::cred::set_parent_death_signal(libc::SIGKILL)
            .map_err(|e| std::io::Error::from_raw_os_error(e.errno.raw_os_error()))
    };
    // SAFETY: the hook makes one system call and takes no lock, as the code between fork and exec must.
    unsafe { command.pre_exec(hook) };
}

/// Kills all processes of the group `group`; that there are none any more is fine.
pub fn kill_group(group: i32) {
    if let Some(group) = rustix::process::Pid::from_raw(group) {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
    }
}

/// The three standard streams.
pub fn stdio() -> [BorrowedFd<'static>; 3] {
    [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]
}

/// Opens `/dev/null` for each standard stream that the caller closed, so that no other file gets its number.
pub fn fill_stdio() -> Result<()> {
    for number in 0..3 {
        if !is_open(number) {
            let fd = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())
                .named("open", || "/dev/null".to_owned())?;
            // Numbers are given out from the lowest, so this is the one that was missing; it stays open.
            debug_assert_eq!(fd.as_raw_fd(), number);
            std::mem::forget(fd);
        }
    }
    Ok(())
}
