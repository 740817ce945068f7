//! Limits of memory.
//!
//! Owns: `linux.resources.memory`.
use oci::Memory;

use crate::limits::{MemoryCheck, Refusal};
use crate::plan::Planner;

pub(crate) const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";
const RESERVATION: &str = "linux.resources.memory.reservation";
pub(crate) const KILLER: &str = "linux.resources.memory.disableOOMKiller";
const SWAPPINESS: &str = "linux.resources.memory.swappiness";
const HIERARCHY: &str = "linux.resources.memory.useHierarchy";

impl Planner {
    pub(crate) fn memory(&mut self, memory: &Memory) -> Option<MemoryCheck> {
        let Memory {
            limit,
            reservation,
            swap,
            // What these limited is part of memory.limit; the kernel has dropped the first, runc both.
            kernel: _,
            kernel_tcp: _,
            swappiness,
            disable_oom_killer,
            use_hierarchy,
            check_before_update,
        } = memory;
        let (limit, swap, reservation) = (limit.unwrap_or(0), swap.unwrap_or(0), reservation.unwrap_or(0));
        if self.v2 {
            self.memory_v2(limit, swap, reservation);
        } else {
            self.memory_v1(limit, swap, reservation);
        }
        match (self.v2, disable_oom_killer) {
            (_, None | Some(false)) => {}
            (false, Some(true)) => self.write("memory.oom_control", "1", KILLER, Refusal::Error),
            (true, Some(true)) => self.fault(KILLER, "cgroup v2 cannot disable the OOM killer"),
        }
        match (self.v2, swappiness) {
            // -1 as engines in Go write it is for the kernel to decide.
            (_, None | Some(u64::MAX)) => {}
            (_, Some(101..)) => {
                self.fault(SWAPPINESS, "invalid memory swappiness value (valid range is 0-100)")
            }
            (false, Some(value)) => self.write("memory.swappiness", value, SWAPPINESS, Refusal::Error),
            (true, Some(_)) => self.fault(SWAPPINESS, "cgroup v2 has no swappiness"),
        }
        match (self.v2, use_hierarchy) {
            (_, None) | (true, Some(true)) => {}
            (false, Some(value)) => {
                self.write("memory.use_hierarchy", u8::from(*value), HIERARCHY, Refusal::Missing);
            }
            (true, Some(false)) => self.fault(HIERARCHY, "cgroup v2 always counts child cgroups"),
        }
        let limit_of = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        let check = MemoryCheck { memory: limit_of(limit), with_swap: limit_of(swap) };
        (self.v2 && *check_before_update == Some(true)).then_some(check)
    }

    fn memory_v1(&mut self, limit: i64, swap: i64, reservation: i64) {
        if limit != 0 {
            // The limit may not be above that with swap, nor the latter below the former.
            self.write("memory.limit_in_bytes", limit, LIMIT, Refusal::TooEarly);
        }
        if limit == -1 && swap == 0 {
            // No limit of memory would mean nothing while that with swap stays.
            self.write("memory.memsw.limit_in_bytes", -1, LIMIT, Refusal::Missing);
        } else if swap != 0 {
            self.write("memory.memsw.limit_in_bytes", swap, SWAP, Refusal::Error);
        }
        if reservation != 0 {
            self.write("memory.soft_limit_in_bytes", reservation, RESERVATION, Refusal::Error);
        }
    }

    fn memory_v2(&mut self, limit: i64, swap: i64, reservation: i64) {
        match swap_alone(limit, swap) {
            Ok(None) => {}
            Ok(Some(value)) => {
                // Without swap there is nothing to lift and nothing to forbid.
                let harmless = value == 0 || value == -1;
                let refusal = if harmless { Refusal::Missing } else { Refusal::Error };
                self.write("memory.swap.max", max_or(value), SWAP, refusal);
            }
            Err(text) => self.fault(SWAP, text),
        }
        if limit != 0 {
            self.write("memory.max", max_or(limit), LIMIT, Refusal::Error);
        }
        if reservation != 0 {
            self.write("memory.low", max_or(reservation), RESERVATION, Refusal::Error);
        }
    }
}

/// -1 is no limit.
fn max_or(value: i64) -> String {
    if value == -1 { "max".to_owned() } else { value.to_string() }
}

/// The limit of swap alone, as version 2 wants it, from the limit of memory and swap together; `None`
/// leaves it as it is.
fn swap_alone(limit: i64, swap: i64) -> Result<Option<i64>, String> {
    match (limit, swap) {
        (-1, 0) | (_, -1) => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (-1, swap) => Ok(Some(swap)),
        (0, _) => Err("unable to set swap limit without memory limit".to_owned()),
        (..0, _) => Err(format!("invalid memory value: {limit}")),
        (limit, swap) if swap < limit => Err("memory+swap limit should be >= memory limit".to_owned()),
        (limit, swap) => Ok(Some(swap - limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Layout;
    use crate::plan::plan;
    use crate::plan::tests::check;

    #[test]
    fn memory_of_version_1() {
        let (limit, swap) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
        check(
            Layout::V1,
            &[
                ("{}", &[]),
                (r#"{"memory":{}}"#, &[]),
                (r#"{"memory":{"limit":0,"swap":0,"reservation":0,"disableOOMKiller":false}}"#, &[]),
                (r#"{"memory":{"limit":7,"kernel":5,"kernelTCP":5}}"#, &[&format!("{limit}=7 or later")]),
                (
                    r#"{"memory":{"limit":7,"swap":9,"reservation":5}}"#,
                    &[&format!("{limit}=7 or later"), &format!("{swap}=9"), "memory.soft_limit_in_bytes=5"],
                ),
                (
                    r#"{"memory":{"limit":-1}}"#,
                    &[&format!("{limit}=-1 or later"), &format!("{swap}=-1 if there")],
                ),
                (
                    r#"{"memory":{"limit":-1,"swap":-1}}"#,
                    &[&format!("{limit}=-1 or later"), &format!("{swap}=-1")],
                ),
                (
                    r#"{"memory":{"disableOOMKiller":true,"swappiness":0,"useHierarchy":true}}"#,
                    &["memory.oom_control=1", "memory.swappiness=0", "memory.use_hierarchy=1 if there"],
                ),
                (r#"{"memory":{"swappiness":18446744073709551615}}"#, &[]),
                (
                    r#"{"memory":{"swappiness":101}}"#,
                    &[
                        "invalid memory swappiness value (valid range is 0-100) (linux.resources.memory.swappiness)",
                    ],
                ),
            ],
        );
    }

    #[test]
    fn memory_of_version_2() {
        check(
            Layout::V2,
            &[
                (r#"{"memory":{"limit":0,"swap":0,"reservation":0}}"#, &[]),
                (r#"{"memory":{"limit":7,"reservation":5}}"#, &["memory.max=7", "memory.low=5"]),
                (r#"{"memory":{"limit":7,"swap":9}}"#, &["memory.swap.max=2", "memory.max=7"]),
                (r#"{"memory":{"limit":7,"swap":7}}"#, &["memory.swap.max=0 if there", "memory.max=7"]),
                (r#"{"memory":{"limit":7,"swap":-1}}"#, &["memory.swap.max=max if there", "memory.max=7"]),
                (r#"{"memory":{"limit":-1}}"#, &["memory.swap.max=max if there", "memory.max=max"]),
                (r#"{"memory":{"limit":-1,"swap":9}}"#, &["memory.swap.max=9", "memory.max=max"]),
                (r#"{"memory":{"swap":-1}}"#, &["memory.swap.max=max if there"]),
                (r#"{"memory":{"reservation":-1}}"#, &["memory.low=max"]),
                (r#"{"memory":{"swappiness":18446744073709551615}}"#, &[]),
                (
                    r#"{"memory":{"swap":9}}"#,
                    &["unable to set swap limit without memory limit (linux.resources.memory.swap)"],
                ),
                (
                    r#"{"memory":{"limit":9,"swap":7}}"#,
                    &["memory+swap limit should be >= memory limit (linux.resources.memory.swap)"],
                ),
                (
                    r#"{"memory":{"limit":-2,"swap":7}}"#,
                    &["invalid memory value: -2 (linux.resources.memory.swap)"],
                ),
                (
                    r#"{"memory":{"disableOOMKiller":true,"swappiness":60,"useHierarchy":false}}"#,
                    &[
                        "cgroup v2 cannot disable the OOM killer (linux.resources.memory.disableOOMKiller)",
                        "cgroup v2 has no swappiness (linux.resources.memory.swappiness)",
                        "cgroup v2 always counts child cgroups (linux.resources.memory.useHierarchy)",
                    ],
                ),
            ],
        );
        let check =
            |json| plan(Some(&serde_json::from_str(json).unwrap()), &[], Layout::V2).unwrap().check_usage;
        assert_eq!(check(r#"{"memory":{"limit":7}}"#), None);
        assert_eq!(
            check(r#"{"memory":{"limit":7,"swap":-1,"checkBeforeUpdate":true}}"#),
            Some(MemoryCheck { memory: Some(7), with_swap: None })
        );
    }
}
