//! Terminals: the caller's own, and the pseudo-terminal of a container.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};

use crate::error::{Named, Result};

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    rustix::termios::isatty(fd)
}

/// The state of a terminal, to be put back later.
#[derive(Clone, Debug)]
pub struct Saved(Termios);

/// Whether the caller's process group is the one that the terminal `fd` is for. Also true of a terminal
/// that does not control the caller's session, which nobody's job is in front of.
pub fn is_foreground(fd: BorrowedFd<'_>) -> bool {
    rustix::termios::tcgetpgrp(fd).map_or(true, |group| group == rustix::process::getpgrp())
}

/// Opens the terminal `fd` once more, for writes that don't wait; `None` for what is no terminal, and where
/// that can't be done. The descriptor that the caller handed over is shared with others, who expect theirs
/// to wait.
pub fn open_again(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let number = rustix::fs::fstat(fd).ok().map(|stat| stat.st_rdev)?;
    // A master is no way to a terminal but to another one.
    if !is_terminal(fd) || number == rustix::fs::makedev(5, 2) {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
    crate::file::open_at(crate::file::CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, 0).ok()
}

/// Remembers the state of the terminal `fd` and puts its input in raw mode. It still makes of a newline
/// what its own settings say.
pub fn make_raw(fd: BorrowedFd<'_>) -> Result<Saved> {
    let saved = rustix::termios::tcgetattr(fd).call("tcgetattr")?;
    let mut raw = saved.clone();
    raw.make_raw();
    raw.output_modes.insert(OutputModes::OPOST);
    rustix::termios::tcsetattr(fd, OptionalActions::Now, &raw).call("tcsetattr")?;
    Ok(Saved(saved))
}

/// Puts the terminal `fd` back into the state it had.
pub fn restore(fd: BorrowedFd<'_>, saved: &Saved) -> Result<()> {
    rustix::termios::tcsetattr(fd, OptionalActions::Now, &saved.0).call("tcsetattr")
}

/// Lets newlines from the container pass unchanged: the caller's terminal does what is needed.
pub fn keep_newlines(fd: BorrowedFd<'_>) -> Result<()> {
    let mut modes = rustix::termios::tcgetattr(fd).call("tcgetattr")?;
    modes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(fd, OptionalActions::Now, &modes).call("tcsetattr")
}

/// Gives the terminal `to` the size of the terminal `from`.
pub fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let size = rustix::termios::tcgetwinsize(from).call("ioctl TIOCGWINSZ")?;
    rustix::termios::tcsetwinsize(to, size).call("ioctl TIOCSWINSZ")
}

/// The rows and columns of a terminal, where it has any.
pub fn size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_row != 0 && size.ws_col != 0).then_some((size.ws_row, size.ws_col))
}

/// Sets the size of a terminal in characters.
pub fn set_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(fd, size).call("ioctl TIOCSWINSZ")
}

/// The other end of the pseudo-terminal `master`, opened by descriptor and not by a path that
/// a container could have replaced (`TIOCGPTPEER`).
pub fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::pty::unlockpt(master).call("unlockpt")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::ioctl_tiocgptpeer(master, flags).call("ioctl TIOCGPTPEER")
}

/// Makes `fd` the controlling terminal of the caller's session.
pub fn make_controlling(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::process::ioctl_tiocsctty(fd).call("ioctl TIOCSCTTY")
}

/// Makes `fd` the standard input, output and error.
pub fn become_stdio(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::stdio::dup2_stdin(fd).call("dup2 0")?;
    rustix::stdio::dup2_stdout(fd).call("dup2 1")?;
    rustix::stdio::dup2_stderr(fd).call("dup2 2")
}

/// Replaces one of the standard streams (0, 1 or 2) by `fd`.
pub fn replace_stdio(number: u32, fd: BorrowedFd<'_>) -> Result<()> {
    match number {
        0 => rustix::stdio::dup2_stdin(fd).call("dup2 0"),
        1 => rustix::stdio::dup2_stdout(fd).call("dup2 1"),
        _ => rustix::stdio::dup2_stderr(fd).call("dup2 2"),
    }
}

/// The caller's controlling terminal: the first standard stream that is a terminal, else `/dev/tty`.
pub fn of_caller() -> Result<OwnedFd> {
    for fd in [rustix::stdio::stderr(), rustix::stdio::stdout(), rustix::stdio::stdin()] {
        if is_terminal(fd.as_fd()) {
            return rustix::io::fcntl_dupfd_cloexec(fd, 3).call("fcntl F_DUPFD_CLOEXEC");
        }
    }
    crate::file::open_at(crate::file::CWD, "/dev/tty", OFlags::RDWR | OFlags::NOCTTY, 0)
}
