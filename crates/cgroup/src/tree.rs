//! Walking the cgroups that a container made below its own.
//!
//! A container may nest them deeper than a path can be long or descriptors can be open, so the walk
//! holds one directory at a time and names on the heap.
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType};
use sys::Errno;

use crate::file;

/// What there is to do in one directory.
struct Level {
    /// Its name in its parent.
    name: CString,
    /// The children that are still to be visited.
    children: Vec<CString>,
}

/// Calls `visit` for `top` and every cgroup below it, children before parents, and `leave` with the
/// parent and the name of each one but `top` after it was visited.
///
/// What vanishes in the meantime is passed over.
pub(crate) fn walk(
    top: OwnedFd,
    mut visit: impl FnMut(&OwnedFd) -> Result<(), Errno>,
    mut leave: impl FnMut(&OwnedFd, &CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut here = top;
    let mut levels = vec![Level { name: CString::default(), children: children(&here)? }];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.children.pop() {
            match file::open_dir(&here, name.as_c_str()) {
                Ok(child) => here = child,
                Err(Errno::NOENT | Errno::NODEV) => continue,
                Err(errno) => return Err(errno),
            }
            levels.push(Level { name, children: children(&here)? });
            continue;
        }
        visit(&here)?;
        let Some(done) = levels.pop().filter(|_| !levels.is_empty()) else { break };
        here = file::open_dir(&here, "..")?;
        leave(&here, &done.name)?;
    }
    Ok(())
}

/// The names of the cgroups in a directory.
fn children(dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
    // cgroupfs counts directories as links, so most cgroups need not be listed: they have none.
    if rustix::fs::fstat(dir)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    let readable = match file::open_readable_dir(dir, ".") {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(names),
        readable => readable?,
    };
    for entry in Dir::new(readable)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
