//! Processors and memory nodes of a cpuset of version 1. Of version 2 runc tells nothing.
use oci::stats::CpuSet;

use super::Files;
use crate::error::Error;

/// What the cpuset allows, from files of `cpuset`.
pub(super) fn v1(files: &Files) -> Result<CpuSet, Error> {
    let number = |name: &str| Ok::<_, Error>(files.number(&format!("cpuset.{name}"))?.unwrap_or(0));
    let members = |name: &str| Ok::<_, Error>(files.parsed(name, list)?.unwrap_or_default());
    Ok(CpuSet {
        cpus: members("cpuset.cpus")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mems: members("cpuset.mems")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: files
            .parsed("cpuset.sched_relax_domain_level", |text| text.trim().parse().ok())?
            .unwrap_or(0),
    })
}

/// The members of a list such as `0-3,7`; an empty one has none.
fn list(text: &str) -> Option<Vec<u16>> {
    let mut members = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        members.extend(first..=last);
    }
    Some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, members) in [
            ("0-2,7\n", Some(vec![0, 1, 2, 7])),
            ("1\n", Some(vec![1])),
            ("\n", Some(vec![])),
            ("2-1\n", None),
            ("a\n", None),
            ("70000\n", None),
        ] {
            assert_eq!(list(text), members, "{text:?}");
        }
    }
}
