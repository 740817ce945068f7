//! The mount option `tmpcopyup`: a tmpfs begins with a copy of the directory that it covers.
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::Result;
use crate::error::On;
use sys::copy::{Entry, copy_file, copy_other, entries};

/// Deeper trees than this are refused: each level holds descriptors.
const MAX_DEPTH: u32 = 256;

/// Copies what is below `from` into `to`. Both are handles (`O_PATH`); symlinks are copied, not followed.
pub fn init_copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    copy_dir(from, to, 0).map_err(|e| e.context("tmpcopyup"))
}

fn copy_dir(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(crate::Error::new(
            crate::Kind::Invalid,
            format!("more than {MAX_DEPTH} directories deep"),
        ));
    }
    for Entry { name, stat } in entries(from)? {
        let path = Path::new(&name);
        let failed = || path.display().to_string();
        if sys::file::is_dir(&stat) {
            let (below, made) = sys::copy::make_dir_like(from, to, path, &stat).on(failed)?;
            copy_dir(below.as_fd(), made.as_fd(), depth + 1).map_err(|e| e.context(failed()))?;
        } else if sys::file::is_regular(&stat) {
            copy_file(from, to, path, &stat).on(failed)?;
        } else {
            copy_other(from, to, path, &stat).on(failed)?;
        }
    }
    Ok(())
}
