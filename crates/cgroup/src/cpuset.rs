//! The cpuset controller of version 1, which takes in no process before it has CPUs and memory nodes.
use std::os::fd::OwnedFd;

use sys::Errno;

use crate::file;

const FILES: [(&str, &str); 2] = [("cpuset.cpus", "../cpuset.cpus"), ("cpuset.mems", "../cpuset.mems")];

/// Gives a cgroup the CPUs and memory nodes of its parent.
pub(crate) fn inherit(dir: &OwnedFd) -> Result<(), Errno> {
    FILES.iter().try_for_each(|(own, above)| copy(dir, own, above))
}

/// The same for a cgroup that somebody else made, and only for what it does not have.
pub(crate) fn complete(dir: &OwnedFd) -> Result<(), Errno> {
    for (own, above) in FILES {
        if is_blank(&file::read(dir, own)?) {
            copy(dir, own, above)?;
        }
    }
    Ok(())
}

fn copy(dir: &OwnedFd, own: &str, above: &str) -> Result<(), Errno> {
    let mut value = file::read(dir, above)?;
    if is_blank(&value) {
        complete(&file::open_dir(dir, "..")?)?;
        value = file::read(dir, above)?;
    }
    match file::write(dir, own, value.trim_end()) {
        // A sibling may have them for itself alone (cpuset.cpu_exclusive): then the container must be
        // given others, and cannot be joined without.
        Err(Errno::INVAL) => Ok(()),
        done => done,
    }
}

fn is_blank(value: &str) -> bool {
    value.trim_end().is_empty()
}
