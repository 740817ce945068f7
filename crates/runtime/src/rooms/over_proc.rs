//! `mounts`: what may be mounted at and below `/proc`.
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::{Error, Kind, Result};

/// What lxcfs may put over files of procfs.
const PROC_FILES: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// Refuses a mount that would pass something else off as procfs (CVE-2019-16884): labels and limits
/// are written there. `inside` is the real path in the root, symlinks of the image resolved.
pub fn check(destination: &str, inside: &Path, source: Option<BorrowedFd<'_>>) -> Result<()> {
    let Ok(below) = inside.strip_prefix("proc") else {
        return Ok(());
    };
    let text = if below.as_os_str().is_empty() {
        let is_proc = match source {
            Some(fd) => sys::mount::fs_magic(fd)? == sys::mount::PROC_MAGIC,
            None => false,
        };
        if is_proc {
            return Ok(());
        }
        format!("{destination:?} cannot be mounted because it is not of type proc")
    } else if PROC_FILES.iter().any(|file| below == Path::new(file)) {
        return Ok(());
    } else {
        format!("{destination:?} cannot be mounted because it is inside /proc")
    };
    Err(Error::new(Kind::Invalid, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_procfs_goes_over_proc() {
        for (inside, ok) in
            [("data", true), ("proc", false), ("proc/meminfo", true), ("proc/self", false), ("process", true)]
        {
            assert_eq!(check("/d", Path::new(inside), None).is_ok(), ok, "{inside}");
        }
    }
}
