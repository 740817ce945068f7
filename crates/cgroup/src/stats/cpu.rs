//! Processor time: `cpuacct` and `cpu` of version 1, `cpu` of version 2.
use oci::stats::{Cpu, CpuUsage, Throttling};

use super::{Files, of, pressure};
use crate::error::Error;

/// What the kernel counts `cpuacct.stat` in: `USER_HZ` is 100 for all programs.
const NANOSECONDS_A_TICK: u64 = 10_000_000;

/// The time that was used, from files of `cpuacct`.
pub(super) fn v1(files: &Files) -> Result<CpuUsage, Error> {
    let modes = files.pairs("cpuacct.stat")?;
    let (percpu_user, percpu_kernel) = files.parsed("cpuacct.usage_all", all)?.unwrap_or_default();
    Ok(CpuUsage {
        total: files.number("cpuacct.usage")?.unwrap_or(0),
        percpu: files.parsed("cpuacct.usage_percpu", numbers)?.unwrap_or_default(),
        percpu_kernel,
        percpu_user,
        kernel: of(&modes, "system").saturating_mul(NANOSECONDS_A_TICK),
        user: of(&modes, "user").saturating_mul(NANOSECONDS_A_TICK),
    })
}

/// How often the quota was used up, from `cpu.stat` of version 1.
pub(super) fn throttling(files: &Files) -> Result<Throttling, Error> {
    let stat = files.pairs("cpu.stat")?;
    Ok(Throttling {
        periods: of(&stat, "nr_periods"),
        throttled_periods: of(&stat, "nr_throttled"),
        throttled_time: of(&stat, "throttled_time"),
    })
}

/// Everything, from `cpu.stat` of version 2, which counts microseconds. Without the controller it has the
/// times alone.
pub(super) fn v2(files: &Files) -> Result<Cpu, Error> {
    let stat = files.pairs("cpu.stat")?;
    let nanoseconds = |key| of(&stat, key).saturating_mul(1000);
    Ok(Cpu {
        usage: CpuUsage {
            total: nanoseconds("usage_usec"),
            kernel: nanoseconds("system_usec"),
            user: nanoseconds("user_usec"),
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: of(&stat, "nr_periods"),
            throttled_periods: of(&stat, "nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        },
        psi: pressure::read(files, "cpu.pressure")?,
    })
}

/// A line of numbers.
fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

/// For each processor the time in programs, and that in the kernel.
fn all(text: &str) -> Option<(Vec<u64>, Vec<u64>)> {
    let mut lines = text.lines();
    lines.next().filter(|header| header.starts_with("cpu user system"))?;
    lines
        .map(|line| {
            let mut words = line.split(' ').skip(1).map(|word| word.parse::<u64>().ok());
            Some((words.next()??, words.next()??))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors() {
        assert_eq!(numbers("12 0 3 \n"), Some(vec![12, 0, 3]));
        assert_eq!(numbers("12 x\n"), None);
        assert_eq!(all("cpu user system\n0 5 6\n1 7 8\n"), Some((vec![5, 7], vec![6, 8])));
        assert_eq!(all("cpu user system\n"), Some((vec![], vec![])));
        for broken in ["", "cpu system user\n0 1 2\n", "cpu user system\n0 1\n", "cpu user system\n0 a 1\n"] {
            assert_eq!(all(broken), None, "{broken:?}");
        }
    }
}
