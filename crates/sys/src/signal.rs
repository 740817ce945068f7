//! Signals: masks, dispositions, names, and waiting for them as descriptors.
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{Errno, Named, Result, check};

/// The kernel's set of 64 signals, bit n-1 for signal n.
pub type Set = u64;

/// The signal that no process can catch.
pub const KILL: i32 = libc::SIGKILL;
/// A child has ended.
pub const CHILD: i32 = libc::SIGCHLD;
/// The terminal has another size.
pub const WINDOW: i32 = libc::SIGWINCH;
/// The process was stopped and goes on.
pub const CONTINUE: i32 = libc::SIGCONT;
/// What was written to a pipe is read by nobody.
pub const PIPE: i32 = libc::SIGPIPE;
/// A job in the background has read from its terminal.
pub const BACKGROUND_READ: i32 = libc::SIGTTIN;
/// A job in the background has changed its terminal.
pub const BACKGROUND_WRITE: i32 = libc::SIGTTOU;

/// The signals by which a program is asked to end.
pub const ASK_TO_END: [i32; 5] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGABRT, libc::SIGTERM];

/// All signals.
pub const ALL: Set = Set::MAX;

/// The set that has only `signal`, a number from 1 to 64.
pub const fn only(signal: i32) -> Set {
    1 << (signal - 1)
}

/// Whether `signal` is one by which a person or a system asks a process to end.
pub fn asks_to_end(signal: i32) -> bool {
    matches!(signal, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM)
}

/// Replaces the caller's mask of blocked signals and returns the one it had.
pub fn set_mask(mask: Set) -> Result<Set> {
    let mut old: Set = 0;
    // SAFETY: both sets are of the size given, which is the kernel's.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::addr_of!(mask),
            std::ptr::addr_of_mut!(old),
            std::mem::size_of::<Set>(),
        )
    };
    check(ret).call("rt_sigprocmask")?;
    Ok(old)
}

/// The layout of the kernel's `struct sigaction` begins with the handler; all zeroes means the default.
#[repr(C)]
#[derive(Clone, Copy)]
struct KernelAction {
    handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: Set,
}

/// Gives every signal its default action, as a new program expects it.
///
/// Rust's runtime ignores `SIGPIPE` and handles faults; both would be inherited otherwise, the first
/// even through execve.
pub fn reset_dispositions() {
    let default = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    let none = std::ptr::null_mut::<KernelAction>();
    for signal in (1..=64).filter(|&s| s != libc::SIGKILL && s != libc::SIGSTOP) {
        // SAFETY: the structure has the kernel's layout and size of the set; SIG_DFL runs no code of ours.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                std::ptr::addr_of!(default),
                none,
                std::mem::size_of::<Set>(),
            )
        };
        debug_assert_eq!(ret, 0, "all signals but two can be reset");
    }
}

/// A descriptor from which the blocked signals of `mask` are read; does not block.
pub fn descriptor(mask: Set) -> Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set lives through the call and is of the size given.
    let ret = unsafe {
        libc::syscall(libc::SYS_signalfd4, -1, std::ptr::addr_of!(mask), std::mem::size_of::<Set>(), flags)
    };
    let raw = check(ret).call("signalfd4")?;
    let raw = i32::try_from(raw).unwrap_or(-1);
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The next pending signal, if there is one.
pub fn next(descriptor: BorrowedFd<'_>) -> Result<Option<i32>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = std::mem::size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is writable for its whole size.
    let ret = unsafe { libc::syscall(libc::SYS_read, descriptor.as_raw_fd(), info.as_mut_ptr(), size) };
    match check(ret) {
        Ok(_) => {
            // SAFETY: the structure was zeroed, for which all its fields are valid, and then filled by the kernel.
            let info = unsafe { info.assume_init() };
            Ok(i32::try_from(info.ssi_signo).ok())
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno).call("read signalfd"),
    }
}

/// Sends a signal to the process that `pidfd` refers to; 0 only asks whether it is there.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open; without siginfo the kernel makes it as for kill(2).
    let ret = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) };
    check(ret).named("pidfd_send_signal", || signal.to_string()).map(drop)
}

/// A descriptor for process `pid`.
pub fn open_process(pid: i32) -> Result<OwnedFd> {
    let id =
        rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH).named("pidfd_open", || pid.to_string())?;
    rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty())
        .named("pidfd_open", || pid.to_string())
}

/// A copy of the descriptor `number` of a process, close-on-exec. `EBADF` when it has none such.
pub fn take_descriptor(process: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    rustix::process::pidfd_getfd(process, number, rustix::process::PidfdGetfdFlags::empty())
        .named("pidfd_getfd", || number.to_string())
}

/// Signal names as kill(1) knows them, without `SIG`, with their numbers on this architecture.
const NAMES: [(&str, i32); 35] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGPOLL),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", 16),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("UNUSED", libc::SIGSYS),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

/// The number of a signal named in any of the ways `9`, `KILL`, `SIGKILL`, `kill`, `RTMIN+1`.
pub fn number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return Some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(&(_, number)) = NAMES.iter().find(|(known, _)| *known == bare) {
        return Some(number);
    }
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    // The real-time signals that a C library leaves to programs: 34 to 64.
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return offset(rest).map(|n| 34 + n).filter(|n| (34..=64).contains(n));
    }
    let rest = bare.strip_prefix("RTMAX")?;
    offset(rest).map(|n| 64 + n).filter(|n| (34..=64).contains(n))
}

/// What a signal says of the process that it ended, in the words of Go: `killed`, `segmentation fault`.
pub fn describe(number: i32) -> String {
    const WORDS: [&str; 15] = [
        "hangup",
        "interrupt",
        "quit",
        "illegal instruction",
        "trace/breakpoint trap",
        "aborted",
        "bus error",
        "floating point exception",
        "killed",
        "user defined signal 1",
        "segmentation fault",
        "user defined signal 2",
        "broken pipe",
        "alarm clock",
        "terminated",
    ];
    let place = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
    place.and_then(|n| WORDS.get(n)).map_or_else(|| format!("signal {number}"), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, want) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("0", Some(0)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+40", None),
            ("BOGUS", None),
            ("", None),
            ("SIG", None),
        ] {
            assert_eq!(number(name), want, "{name}");
        }
    }
}
