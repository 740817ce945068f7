//! `process.terminal`, `process.consoleSize`, `--console-socket`: the container's pseudo-terminal.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::On;
use crate::rooms::namespaces::Namespace;
use crate::{Error, Kind, Result};
use sys::root::RootDir;

/// Whether there is a terminal, its size, and who gets the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// The program has the caller's standard streams while it runs in the foreground.
    #[default]
    Lent,
    /// The program has the caller's standard streams, and the runtime ends before it.
    Given,
    /// A new pseudo-terminal.
    New {
        /// Rows and columns to begin with.
        size: Option<(u16, u16)>,
        /// The Unix socket that gets the master; the caller's own terminal is connected when `None`.
        socket: Option<PathBuf>,
    },
}

/// Decides on the terminal. `detach` says that the runtime ends before the container.
pub fn plan(
    terminal: bool,
    size: Option<&oci::ConsoleSize>,
    socket: Option<&Path>,
    detach: bool,
    program: &str,
) -> Result<Plan> {
    let wrong = |text: String| Err(Error::new(Kind::Invalid, text));
    match (terminal, detach, socket) {
        (true, true, None) => {
            wrong(format!("cannot allocate tty if {program} will detach without setting console socket"))
        }
        (false, _, Some(_)) | (_, false, Some(_)) => {
            wrong(format!("cannot use console socket if {program} will not detach or allocate tty"))
        }
        (false, true, None) => Ok(Plan::Given),
        (false, false, None) => Ok(Plan::Lent),
        (true, ..) => {
            let cut = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
            let size = size.map(|oci::ConsoleSize { height, width }| (cut(*height), cut(*width)));
            let size = size.filter(|&(rows, columns)| rows != 0 && columns != 0);
            Ok(Plan::New { size, socket: socket.map(Path::to_path_buf) })
        }
    }
}

impl Plan {
    /// Begins with the size of the caller's terminal, which it is to follow.
    pub fn take_size(&mut self, caller: BorrowedFd<'_>) {
        if let (Plan::New { size, .. }, Some(given)) = (self, sys::tty::size(caller)) {
            *size = Some(given);
        }
    }

    /// Whether the program gets a terminal of its own.
    pub fn is_new(&self) -> bool {
        matches!(self, Plan::New { .. })
    }
}

/// Connects to `--console-socket` before anything is made, so that a wrong path costs nothing.
pub fn host_connect(plan: &Plan) -> Result<Option<OwnedFd>> {
    match plan {
        Plan::New { socket: Some(path), .. } => {
            sys::sock::connect(path).map(Some).on(|| "--console-socket".to_owned())
        }
        _ => Ok(None),
    }
}

/// Makes the master ready to be served by the runtime, before anything is written to the terminal.
pub fn host_serve(master: OwnedFd) -> Result<OwnedFd> {
    sys::tty::keep_newlines(master.as_fd())?;
    sys::file::set_nonblocking(master.as_fd())?;
    Ok(master)
}

/// Hands the master over; the message is the name of the device, as engines expect one.
pub fn host_hand_over(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<()> {
    sys::sock::send(socket, b"/dev/ptmx", Some(master)).on(|| "--console-socket".to_owned())
}

/// Opens a terminal of the container's own devpts. Returns the two ends.
///
/// Neither end is opened by a path that the image could have replaced (CVE-2025-52565): the master
/// must be on a devpts, and the slave comes from the master itself. `host_fds` is `/proc/self/fd` of the
/// host's procfs, by which a handle is opened for use.
pub fn init_open(
    plan: &Plan,
    root: &RootDir,
    host_fds: BorrowedFd<'_>,
) -> Result<Option<(OwnedFd, OwnedFd)>> {
    let Plan::New { size, .. } = plan else { return Ok(None) };
    let failed = || "opening the terminal (process.terminal)".to_owned();
    let device = root.open_path(Path::new("dev/pts/ptmx")).map_err(|e| {
        Error::from(e)
            .context(failed())
            .hint("a container with a terminal needs a mount of type devpts at /dev/pts")
    })?;
    // Only then is it opened for real: anything else may be there, a device of the image included.
    if sys::mount::fs_magic(device.as_fd()).on(failed)? != sys::mount::DEVPTS_MAGIC {
        return Err(Error::new(Kind::Invalid, "/dev/pts/ptmx is not of a devpts").context(failed()));
    }
    let flags = sys::OFlags::RDWR | sys::OFlags::NOCTTY;
    let master = sys::file::reopen(host_fds, device.as_fd(), flags).on(failed)?;
    let slave = sys::tty::peer(master.as_fd()).on(failed)?;
    if let Some((rows, columns)) = size {
        sys::tty::set_size(master.as_fd(), *rows, *columns).on(failed)?;
    }
    Ok(Some((master, slave)))
}

/// Puts the container's end of the terminal on `/dev/console`, unless the mounts are the host's, where it
/// would stay.
pub fn init_mount_console(slave: &OwnedFd, root: &RootDir, mounts: &Namespace) -> Result<()> {
    if !mounts.is_private() {
        return Ok(());
    }
    let failed = || "mounting /dev/console".to_owned();
    let place = match root.create_file(Path::new("dev/console"), 0o600) {
        Err(e) if e.errno == sys::Errno::EXIST => root.open_nofollow(Path::new("dev/console")),
        other => other,
    }
    .on(|| "making /dev/console".to_owned())?;
    let tree = sys::mount::clone_tree(slave.as_fd(), Path::new(""), false).on(failed)?;
    sys::mount::attach(tree.as_fd(), place.as_fd()).on(failed)
}

/// Makes the terminal the program's standard streams and controls its session by it.
pub fn init_use(slave: &OwnedFd) -> Result<()> {
    sys::tty::become_stdio(slave.as_fd())?;
    Ok(sys::tty::make_controlling(slave.as_fd())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_the_terminal() {
        let socket = Some(Path::new("/s"));
        for (terminal, detach, socket, want) in [
            (false, true, None, Ok(false)),
            (true, false, None, Ok(true)),
            (true, true, socket, Ok(true)),
            (true, true, None, Err("cannot allocate tty if tare will detach without setting console socket")),
            (false, true, socket, Err("cannot use console socket if tare will not detach or allocate tty")),
            (true, false, socket, Err("cannot use console socket if tare will not detach or allocate tty")),
        ] {
            let got = plan(terminal, None, socket, detach, "tare").map(|p| p.is_new());
            assert_eq!(got.map_err(|e| e.text), want.map_err(str::to_owned));
        }
    }
}
