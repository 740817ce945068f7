//! Processes and threads, whose files are the same in both versions.
use oci::stats::Pids;

use super::Files;
use crate::error::Error;

/// How many there are and may be. Without the controller, those in the cgroup itself are counted.
pub(super) fn read(files: &Files) -> Result<Pids, Error> {
    let Some(current) = files.number("pids.current")? else {
        let list = match files.text("cgroup.procs")? {
            None => files.text("cgroup.threads")?,
            list => list,
        };
        let current = list.unwrap_or_default().lines().count();
        return Ok(Pids { current: u64::try_from(current).unwrap_or(u64::MAX), limit: 0 });
    };
    let limit = files.number("pids.max")?.filter(|limit| *limit != u64::MAX);
    Ok(Pids { current, limit: limit.unwrap_or(0) })
}
