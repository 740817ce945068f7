//! The smallest memory limit under which a container runs `true`.
use std::fs;

/// How often `true` must run under a limit until that counts as enough.
const TRIES: usize = 5;
/// Limits are whole pages; nobody cares for less.
const STEP: u64 = 4096;
/// A runtime that does not run under this does not run at all.
const MOST: u64 = 1 << 30;

/// Whether the host, as this process sees it, can limit memory.
pub fn can_be_limited() -> bool {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    controllers.split_whitespace().any(|name| name == "memory")
        || fs::exists("/sys/fs/cgroup/memory/memory.limit_in_bytes").unwrap_or(false)
}

/// Finds the smallest limit in bytes by bisection. `fits` runs `true` under a limit.
pub fn smallest_limit(fits: impl Fn(u64) -> Result<(), String>) -> Result<u64, String> {
    let enough = |limit| (0..TRIES).try_for_each(|_| fits(limit));
    let mut high = 64 << 10;
    while let Err(error) = enough(high) {
        if high >= MOST {
            return Err(error);
        }
        high *= 2;
    }
    let mut low = 0;
    while high - low > STEP {
        let middle = (low + high) / 2 / STEP * STEP;
        match enough(middle) {
            Ok(()) => high = middle,
            Err(_) => low = middle,
        }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_ends_at_the_smallest_limit_that_is_enough() {
        for least in [4096, 8192, 65_536, 69_632, 196_608, 27_500 * 1024 / 4096 * 4096] {
            let found = smallest_limit(|limit| if limit >= least { Ok(()) } else { Err("killed".into()) });
            assert_eq!(found, Ok(least));
        }
    }

    #[test]
    fn what_never_runs_is_an_error() {
        assert_eq!(smallest_limit(|_| Err("no".into())), Err("no".into()));
    }
}
