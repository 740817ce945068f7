//! The cpuset controller of version 1, which takes in no process before it has CPUs and memory nodes.
use std::os::fd::OwnedFd;

use sys::Errno;

use crate::file;

const FILES: [(&str, &str); 2] = [("cpuset.cpus", "../cpuset.cpus"), ("cpuset.mems", "../cpuset.mems")];

/// Gives a cgroup the CPUs and memory nodes of its parent where it has none.
///
/// Parents that have none either, because somebody else made them, are filled first.
pub(crate) fn inherit(dir: &OwnedFd) -> Result<(), Errno> {
    for (own, above) in FILES {
        if !is_blank(&file::read(dir, own)?) {
            continue;
        }
        let mut value = file::read(dir, above)?;
        if is_blank(&value) {
            inherit(&file::open_dir(dir, "..")?)?;
            value = file::read(dir, above)?;
        }
        match file::write(dir, own, value.trim_end()) {
            // A sibling may have them for itself alone (cpuset.cpu_exclusive): then the container
            // must be given others, and cannot be joined without.
            Err(Errno::INVAL) => {}
            done => done?,
        }
    }
    Ok(())
}

fn is_blank(value: &str) -> bool {
    value.trim_end().is_empty()
}
