//! Files of the calling process in a procfs that is known to be one.
//!
//! What is written there says what the process may do from then on. Should it end up in another file, the process
//! would begin without its confinement, or something else would be changed (CVE-2019-16884, CVE-2025-52881).
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Errno, Error, Named, Result};
use crate::mount::PROC_MAGIC;

/// The number of a procfs's root directory: no other of its files has it.
const ROOT_INODE: u64 = 1;

/// Opens `/proc`; `ENOTDIR` when it is no procfs, or not the root of one.
pub fn open() -> Result<OwnedFd> {
    let proc = crate::file::open_dir("/proc")?;
    let is_root = crate::mount::fs_magic(proc.as_fd())? == PROC_MAGIC
        && crate::file::stat_fd(proc.as_fd())?.st_ino == ROOT_INODE;
    if !is_root {
        return Err(Error {
            call: "openat2",
            args: "/proc (it is not a procfs)".to_owned(),
            errno: Errno::NOTDIR,
        });
    }
    Ok(proc)
}

/// Opens the file at `path` below `thread-self` in the procfs `proc`.
///
/// `EXDEV` when something is mounted over the file, or over a directory on the way to it.
pub fn open_own(proc: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd> {
    // `thread-self` itself is a symlink, to a directory by its number.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(proc, format!("thread-self/{path}"), flags | OFlags::CLOEXEC, Mode::empty(), resolve)
        .named("openat2", || format!("/proc/thread-self/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_this_process() {
        let proc = open().unwrap();
        let open_own = |path| open_own(proc.as_fd(), path, OFlags::WRONLY);
        assert!(open_own("comm").is_ok());
        assert_eq!(open_own("../../../self/comm").map(drop).map_err(|e| e.errno), Ok(()));
        assert_eq!(open_own("../../../../etc/passwd").map(drop).map_err(|e| e.errno), Err(Errno::XDEV));
        assert_eq!(open_own("fd/0").map(drop).map_err(|e| e.errno), Err(Errno::LOOP));
        assert_eq!(open_own("attr/none").map(drop).map_err(|e| e.errno), Err(Errno::NOENT));
    }
}
