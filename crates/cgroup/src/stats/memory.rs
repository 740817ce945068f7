//! Memory of both versions.
use oci::stats::{Memory, MemoryUse};

use super::{Files, of, pressure};
use crate::error::Error;

/// Everything from files of `memory` of version 1.
pub(super) fn v1(files: &Files) -> Result<Memory, Error> {
    let stat = files.pairs("memory.stat")?;
    let counters = |kind: &str| {
        let number = |name: &str| files.number(&format!("memory.{kind}{name}"));
        let Some(usage) = number("usage_in_bytes")? else { return Ok::<_, Error>(MemoryUse::default()) };
        Ok(MemoryUse {
            limit: number("limit_in_bytes")?.unwrap_or(0),
            usage,
            max: number("max_usage_in_bytes")?.unwrap_or(0),
            failcnt: number("failcnt")?.unwrap_or(0),
        })
    };
    Ok(Memory {
        cache: of(&stat, "cache"),
        usage: counters("")?,
        swap: counters("memsw.")?,
        kernel: counters("kmem.")?,
        kernel_tcp: counters("kmem.tcp.")?,
        raw: stat.into_iter().collect(),
        psi: None,
    })
}

/// Everything from files of version 2.
pub(super) fn v2(files: &Files) -> Result<Memory, Error> {
    let stat = files.pairs("memory.stat")?;
    let counters = |kind: &str| {
        let number = |name: &str| files.number(&format!("memory.{kind}{name}"));
        let Some(usage) = number("current")? else { return Ok::<_, Error>(MemoryUse::default()) };
        let (limit, max) = (number("max")?.unwrap_or(0), number("peak")?.unwrap_or(0));
        Ok(MemoryUse { limit, usage, max, failcnt: 0 })
    };
    let usage = counters("")?;
    Ok(Memory {
        cache: of(&stat, "file"),
        swap: with_swap(&usage, &counters("swap.")?),
        usage,
        raw: stat.into_iter().collect(),
        psi: pressure::read(files, "memory.pressure")?,
        ..Memory::default()
    })
}

/// Memory and swap together, as version 1 counts them. How much there ever was of both is not known.
fn with_swap(memory: &MemoryUse, swap: &MemoryUse) -> MemoryUse {
    MemoryUse {
        limit: swap.limit.saturating_add(memory.limit),
        usage: swap.usage.saturating_add(memory.usage),
        max: 0,
        failcnt: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_counts_with_memory() {
        let used = |limit, usage| MemoryUse { limit, usage, max: 9, failcnt: 0 };
        for (memory, swap, together) in [
            (used(100, 10), used(50, 5), (150, 15)),
            (used(100, 10), used(u64::MAX, 5), (u64::MAX, 15)),
            (used(u64::MAX, 10), used(50, 5), (u64::MAX, 15)),
            (used(100, 10), MemoryUse::default(), (100, 10)),
        ] {
            let MemoryUse { limit, usage, max, failcnt } = with_swap(&memory, &swap);
            assert_eq!(((limit, usage), max, failcnt), (together, 0, 0), "{memory:?} {swap:?}");
        }
    }
}
