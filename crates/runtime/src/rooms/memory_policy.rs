//! `linux.memoryPolicy`: from which NUMA nodes memory comes; see set_mempolicy(2).
use crate::Result;
use crate::error::On;
use crate::faults::Faults;

/// Mode with its flags, and the nodes, 64 a word.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Policy {
    mode: u32,
    nodes: Vec<u64>,
}

/// The policy to set, if any.
pub type Plan = Option<Policy>;

/// The modes by name, with their numbers.
pub const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// The mode flags by name, with their bits.
pub const FLAGS: [(&str, u32); 3] =
    [("MPOL_F_STATIC_NODES", 0x8000), ("MPOL_F_RELATIVE_NODES", 0x4000), ("MPOL_F_NUMA_BALANCING", 0x2000)];

/// More nodes than any kernel is built for.
const MAX_NODE: u32 = 4096;

/// Decides the policy.
pub fn plan(raw: Option<&oci::MemoryPolicy>, faults: &mut Faults) -> Plan {
    let oci::MemoryPolicy { mode, nodes, flags } = raw?;
    let at = "linux.memoryPolicy";
    let Some(&(_, number)) = MODES.iter().find(|(name, _)| name == mode) else {
        faults.add(format!("{at}.mode"), format!("invalid memory policy mode {mode:?}"));
        return None;
    };
    let mut bits = 0;
    for flag in flags {
        match FLAGS.iter().find(|(name, _)| name == flag) {
            Some((_, bit)) => bits |= bit,
            None => faults.add(format!("{at}.flags"), format!("invalid memory policy flag {flag:?}")),
        }
    }
    let Some(set) = parse_nodes(nodes) else {
        faults.add(format!("{at}.nodes"), format!("invalid memory policy nodes {nodes:?}"));
        return None;
    };
    let count: u32 = set.iter().map(|word| word.count_ones()).sum();
    match mode.as_str() {
        "MPOL_DEFAULT" | "MPOL_LOCAL" if count != 0 => {
            faults.add(format!("{at}.nodes"), format!("memory policy mode requires 0 nodes but got {count}"));
        }
        "MPOL_BIND" | "MPOL_INTERLEAVE" | "MPOL_PREFERRED_MANY" | "MPOL_WEIGHTED_INTERLEAVE"
            if count == 0 =>
        {
            faults.add(format!("{at}.nodes"), "memory policy mode requires at least one node but got 0");
        }
        _ => {}
    }
    Some(Policy { mode: number | bits, nodes: set })
}

/// A list such as `0-3,7` as a mask.
fn parse_nodes(list: &str) -> Option<Vec<u64>> {
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MAX_NODE {
            return None;
        }
        for node in first..=last {
            let word = usize::try_from(node / 64).ok()?;
            if mask.len() <= word {
                mask.resize(word + 1, 0);
            }
            *mask.get_mut(word)? |= 1 << (node % 64);
        }
    }
    Some(mask)
}

/// Sets the policy of the caller, which the program inherits.
pub fn init_apply(plan: &Plan) -> Result<()> {
    match plan {
        Some(policy) => {
            sys::sched::set_memory_policy(policy.mode, &policy.nodes).on(|| "linux.memoryPolicy".to_owned())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_known_words() {
        for (mode, nodes, flag, want) in [
            ("MPOL_BIND", "0", "MPOL_F_STATIC_NODES", ""),
            ("MPOL_LOCAL", "", "", ""),
            ("MPOL_PREFERRED", "", "", ""),
            ("MPOL_BOGUS", "", "", "invalid memory policy mode \"MPOL_BOGUS\" (linux.memoryPolicy.mode)"),
            ("MPOL_BIND", "a", "", "invalid memory policy nodes \"a\" (linux.memoryPolicy.nodes)"),
            (
                "MPOL_BIND",
                "0",
                "MPOL_F_X",
                "invalid memory policy flag \"MPOL_F_X\" (linux.memoryPolicy.flags)",
            ),
            (
                "MPOL_BIND",
                "",
                "",
                "memory policy mode requires at least one node but got 0 (linux.memoryPolicy.nodes)",
            ),
            (
                "MPOL_DEFAULT",
                "0-1",
                "",
                "memory policy mode requires 0 nodes but got 2 (linux.memoryPolicy.nodes)",
            ),
        ] {
            let flags = [flag].into_iter().filter(|flag| !flag.is_empty()).map(str::to_owned).collect();
            let raw = oci::MemoryPolicy { mode: mode.into(), nodes: nodes.into(), flags };
            let mut faults = Faults::default();
            plan(Some(&raw), &mut faults);
            assert_eq!(faults.texts().concat(), want);
        }
    }

    #[test]
    fn node_lists() {
        for (list, want) in [
            ("", Some(vec![])),
            ("0", Some(vec![1])),
            ("0-2,4", Some(vec![0b10111])),
            ("64", Some(vec![0, 1])),
            ("2-1", None),
            ("x", None),
            ("99999", None),
        ] {
            assert_eq!(parse_nodes(list), want, "{list}");
        }
    }
}
