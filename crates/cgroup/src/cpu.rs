//! CPU time and placement.
//!
//! Owns: `linux.resources.cpu`.
use oci::Cpu;

use crate::limits::Refusal;
use crate::plan::Planner;

const SHARES: &str = "linux.resources.cpu.shares";
pub(crate) const QUOTA: &str = "linux.resources.cpu.quota";
pub(crate) const PERIOD: &str = "linux.resources.cpu.period";
const BURST: &str = "linux.resources.cpu.burst";
const IDLE: &str = "linux.resources.cpu.idle";
const RUNTIME: &str = "linux.resources.cpu.realtimeRuntime";
const RUNTIME_PERIOD: &str = "linux.resources.cpu.realtimePeriod";
const CPUS: &str = "linux.resources.cpu.cpus";
const MEMS: &str = "linux.resources.cpu.mems";

impl Planner {
    pub(crate) fn cpu(&mut self, cpu: &Cpu) {
        let Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, cpus, mems, idle } = cpu;
        let (shares, quota, period) = (shares.unwrap_or(0), quota.unwrap_or(0), period.unwrap_or(0));
        let (runtime, runtime_period) = (realtime_runtime.unwrap_or(0), realtime_period.unwrap_or(0));
        if self.v2 {
            self.cpu_v2(shares, quota, period, *burst, *idle);
            for (field, given) in [(RUNTIME, runtime != 0), (RUNTIME_PERIOD, runtime_period != 0)] {
                if given {
                    self.fault(field, "cgroup v2 has no limits for realtime processes");
                }
            }
        } else {
            self.cpu_v1(shares, quota, period, *burst, *idle);
            if runtime_period != 0 {
                self.write("cpu.rt_period_us", runtime_period, RUNTIME_PERIOD, Refusal::TooEarly);
            }
            if runtime != 0 {
                self.write("cpu.rt_runtime_us", runtime, RUNTIME, Refusal::Error);
            }
        }
        if !cpus.is_empty() {
            self.write("cpuset.cpus", cpus, CPUS, Refusal::Error);
        }
        if !mems.is_empty() {
            self.write("cpuset.mems", mems, MEMS, Refusal::Error);
        }
    }

    fn cpu_v1(&mut self, shares: u64, quota: i64, period: u64, burst: Option<u64>, idle: Option<i64>) {
        match shares {
            0 => {}
            // The kernel would take the nearest value that it likes.
            1 => self.fault(SHARES, "the minimum allowed cpu-shares is 2"),
            2..=262_144 => self.write("cpu.shares", shares, SHARES, Refusal::Error),
            _ => self.fault(SHARES, "the maximum allowed cpu-shares is 262144"),
        }
        // Quota and period make a share that the parent's bounds, and burst may not be above quota.
        if period != 0 {
            self.write("cpu.cfs_period_us", period, PERIOD, Refusal::TooEarly);
        }
        if let Some(burst) = burst {
            self.write("cpu.cfs_burst_us", burst, BURST, Refusal::MissingOrTooEarly);
        }
        if quota != 0 {
            self.write("cpu.cfs_quota_us", quota, QUOTA, Refusal::Error);
        }
        if let Some(idle) = idle {
            self.write("cpu.idle", idle, IDLE, Refusal::Error);
        }
    }

    fn cpu_v2(&mut self, shares: u64, quota: i64, period: u64, burst: Option<u64>, idle: Option<i64>) {
        if let Some(idle) = idle {
            self.write("cpu.idle", idle, IDLE, Refusal::Error);
        }
        if shares != 0 {
            self.write("cpu.weight", weight(shares), SHARES, Refusal::Error);
        }
        if let Some(burst) = burst {
            self.write("cpu.max.burst", burst, BURST, Refusal::TooEarly);
        }
        if quota != 0 || period != 0 {
            let quota_text = if quota > 0 { quota.to_string() } else { "max".to_owned() };
            // 100 ms is the kernel's own period.
            let period = if period == 0 { 100_000 } else { period };
            let at = if quota == 0 { PERIOD } else { QUOTA };
            self.write("cpu.max", format!("{quota_text} {period}"), at, Refusal::Error);
        }
    }
}

/// The weight of version 2 for the shares of version 1: a curve on which the least, the default and
/// the greatest values of both lie (2, 1024, 262144 and 1, 100, 10000).
fn weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        shares => {
            #[expect(clippy::cast_precision_loss, reason = "shares are below 2^18 here")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            let weight = 10f64.powf(exponent).ceil();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 10000"
            )]
            let weight = weight as u64;
            weight
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Layout;
    use crate::plan::tests::check;

    #[test]
    fn cpu_of_version_1() {
        check(
            Layout::Hybrid,
            &[
                (r#"{"cpu":{"shares":0,"quota":0,"period":0,"realtimePeriod":0,"cpus":""}}"#, &[]),
                (
                    r#"{"cpu":{"shares":512,"quota":50,"period":100,"burst":0,"idle":0}}"#,
                    &[
                        "cpu.shares=512",
                        "cpu.cfs_period_us=100 or later",
                        "cpu.cfs_burst_us=0 if there or later",
                        "cpu.cfs_quota_us=50",
                        "cpu.idle=0",
                    ],
                ),
                (r#"{"cpu":{"quota":-1}}"#, &["cpu.cfs_quota_us=-1"]),
                (
                    r#"{"cpu":{"realtimeRuntime":5,"realtimePeriod":9}}"#,
                    &["cpu.rt_period_us=9 or later", "cpu.rt_runtime_us=5"],
                ),
                (r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#, &["cpuset.cpus=0-1", "cpuset.mems=0"]),
                (
                    r#"{"cpu":{"shares":1}}"#,
                    &["the minimum allowed cpu-shares is 2 (linux.resources.cpu.shares)"],
                ),
                (
                    r#"{"cpu":{"shares":262145}}"#,
                    &["the maximum allowed cpu-shares is 262144 (linux.resources.cpu.shares)"],
                ),
            ],
        );
    }

    #[test]
    fn cpu_of_version_2() {
        check(
            Layout::V2,
            &[
                (r#"{"cpu":{"shares":0,"quota":0,"period":0,"realtimePeriod":0}}"#, &[]),
                (
                    r#"{"cpu":{"shares":1024,"quota":50,"period":100,"burst":3,"idle":1}}"#,
                    &["cpu.idle=1", "cpu.weight=100", "cpu.max.burst=3 or later", "cpu.max=50 100"],
                ),
                (r#"{"cpu":{"quota":50}}"#, &["cpu.max=50 100000"]),
                (r#"{"cpu":{"quota":-1}}"#, &["cpu.max=max 100000"]),
                (r#"{"cpu":{"period":50}}"#, &["cpu.max=max 50"]),
                (
                    r#"{"cpu":{"realtimeRuntime":5,"cpus":"0"}}"#,
                    &["cgroup v2 has no limits for realtime processes (linux.resources.cpu.realtimeRuntime)"],
                ),
            ],
        );
    }

    #[test]
    fn weights() {
        let table =
            [(1, 1), (2, 1), (3, 2), (100, 17), (512, 59), (1024, 100), (2048, 174), (262_143, 10_000)];
        for (shares, expected) in table {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        assert_eq!(weight(u64::MAX), 10_000);
    }
}
