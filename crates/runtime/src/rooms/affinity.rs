//! `process.execCPUAffinity`: the processors that a process of `exec` runs on, before and after it is in
//! the container's cgroup; and those of the first process, which are all that its cgroup allows.
use crate::Result;
use crate::error::On;
use crate::faults::Faults;

/// Masks of processors, 64 a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    initial: Option<Vec<u64>>,
    last: Option<Vec<u64>>,
}

/// More processors than any kernel is built for.
const MAX: u32 = 8192;

/// Decides the masks.
pub fn plan(raw: Option<&oci::CpuAffinity>, faults: &mut Faults) -> Plan {
    let Some(oci::CpuAffinity { initial, r#final }) = raw else { return Plan::default() };
    // The text is runc's, with its name of the field.
    let mut mask = |name: &str, words: &str, list: &str| {
        if list.is_empty() {
            return None;
        }
        let mask = parse(list);
        if mask.is_none() {
            faults
                .add(format!("process.execCPUAffinity.{name}"), format!("bad CPUAffinity.{words}: {list:?}"));
        }
        mask
    };
    Plan { initial: mask("initial", "Initial", initial), last: mask("final", "Final", r#final) }
}

/// A list such as `0-3,7`; not an empty one.
fn parse(list: &str) -> Option<Vec<u64>> {
    let mut mask = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MAX {
            return None;
        }
        for cpu in first..=last {
            let word = usize::try_from(cpu / 64).ok()?;
            if mask.len() <= word {
                mask.resize(word + 1, 0);
            }
            *mask.get_mut(word)? |= 1 << (cpu % 64);
        }
    }
    Some(mask)
}

/// Runs the process on the first mask, while it is not yet in the container's cgroup.
pub fn init_before(plan: &Plan) -> Result<()> {
    match &plan.initial {
        Some(mask) => sys::sched::set_affinity(mask).on(|| "process.execCPUAffinity.initial".to_owned()),
        None => Ok(()),
    }
}

/// Runs it on the last mask, or without any mask on all processors.
pub fn init_after(plan: &Plan) -> Result<()> {
    match (&plan.initial, &plan.last) {
        (_, Some(mask)) => sys::sched::set_affinity(mask).on(|| "process.execCPUAffinity.final".to_owned()),
        (Some(_), None) => Ok(()),
        (None, None) => {
            init_reset();
            Ok(())
        }
    }
}

/// Runs the process on all processors that its cgroup allows, and not on those that the caller of the
/// runtime happens to be bound to.
pub fn init_reset() {
    // A kernel that refuses leaves the process where it is.
    sys::sched::set_affinity(&[u64::MAX; 16]).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, want) in [
            ("0", Some(vec![1])),
            ("0-2, 4", Some(vec![0b10111])),
            ("65", Some(vec![0, 2])),
            ("2-1", None),
            ("", None),
            ("a", None),
        ] {
            assert_eq!(parse(list), want, "{list}");
        }
    }
}
