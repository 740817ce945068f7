//! What becomes of each call of an architecture: rules by name become verdicts by number.
use crate::arch::{self, Arch};
use crate::profile::{Condition, Op, Profile, verdict};

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Always this verdict.
    Always(u32),
    /// That of the first of these whose conditions all hold, else the default one.
    First(Vec<(Vec<Condition>, u32)>),
}

/// All that a profile says of one architecture.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Calls that have rules, sorted by number.
    pub fates: Vec<(u32, Fate)>,
    /// The highest number of which the profile speaks at all; `None` when calls above it are nothing special.
    pub newest: Option<u32>,
}

/// The calls that x86, s390x and ppc64le also have behind one other: their names, sorted, that other, and what it is told
/// in its first argument. See `linux/net.h` and `linux/ipc.h`.
const MULTIPLEXED: [(&str, &str, u64); 32] = [
    ("accept", "socketcall", 5),
    ("accept4", "socketcall", 18),
    ("bind", "socketcall", 2),
    ("connect", "socketcall", 3),
    ("getpeername", "socketcall", 7),
    ("getsockname", "socketcall", 6),
    ("getsockopt", "socketcall", 15),
    ("listen", "socketcall", 4),
    ("msgctl", "ipc", 14),
    ("msgget", "ipc", 13),
    ("msgrcv", "ipc", 12),
    ("msgsnd", "ipc", 11),
    ("recv", "socketcall", 10),
    ("recvfrom", "socketcall", 12),
    ("recvmmsg", "socketcall", 19),
    ("recvmsg", "socketcall", 17),
    ("semctl", "ipc", 3),
    ("semget", "ipc", 2),
    ("semop", "ipc", 1),
    ("semtimedop", "ipc", 4),
    ("send", "socketcall", 9),
    ("sendmmsg", "socketcall", 20),
    ("sendmsg", "socketcall", 16),
    ("sendto", "socketcall", 11),
    ("setsockopt", "socketcall", 14),
    ("shmat", "ipc", 21),
    ("shmctl", "ipc", 24),
    ("shmdt", "ipc", 22),
    ("shmget", "ipc", 23),
    ("shutdown", "socketcall", 13),
    ("socket", "socketcall", 1),
    ("socketpair", "socketcall", 8),
];

/// A rule for one number, before those for the same number are put together.
struct Entry<'a> {
    number: u32,
    verdict: u32,
    /// What the first argument has to be, when the number stands for several calls.
    which: Option<u64>,
    conditions: &'a [Condition],
}

/// Puts together what the profile says of `arch`.
pub(crate) fn calls(profile: &Profile, arch: Arch) -> Calls {
    let count = profile.rules.iter().map(|rule| rule.calls.len() * rule.any.len()).sum();
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut newest = 0;
    let multiplexed = multiplexed(arch);
    for rule in &profile.rules {
        for &place in &rule.calls {
            let number = arch.number(place);
            let found = multiplexed.binary_search_by_key(&place, |call| call.place);
            let through = found.ok().and_then(|at| multiplexed.get(at));
            // As runc counts: those that have a second way in are not looked at.
            if through.is_none() {
                newest = newest.max(number.unwrap_or(0));
            }
            // A rule that says the same as the default is none, even where another says more.
            if rule.verdict == profile.default {
                continue;
            }
            for conditions in &rule.any {
                let verdict = rule.verdict;
                if let Some(&Multiplexed { number, which, .. }) = through {
                    entries.push(Entry { number, verdict, which: Some(which), conditions });
                }
                if let Some(number) = number {
                    entries.push(Entry { number, verdict, which: None, conditions });
                }
            }
        }
    }
    let entries = in_order(&entries);
    let fates = entries.chunk_by(|a, b| a.number == b.number).map(|of_one| fate(of_one, arch)).collect();
    Calls { fates, newest: answers_newer_calls(profile).then_some(newest).filter(|newest| *newest > 0) }
}

/// By number; rules for the same call stay in the order of the profile.
fn in_order<'a>(entries: &'a [Entry<'a>]) -> Vec<&'a Entry<'a>> {
    // Numbers of the machine are sorted much faster than structs.
    let keys = entries.iter().zip(0u64..).map(|(entry, n)| u64::from(entry.number) << 32 | n);
    let mut keys: Vec<u64> = keys.collect();
    keys.sort_unstable();
    let entry = |key: u64| usize::try_from(key & 0xffff_ffff).ok().and_then(|n| entries.get(n));
    keys.into_iter().filter_map(entry).collect()
}

/// Whether calls that are newer than the profile are told apart from those that it forbids: a program then sees that
/// there is no such call, and does without. Not where the default lets them pass, or somebody else decides.
pub(crate) fn answers_newer_calls(profile: &Profile) -> bool {
    let plain = profile.default & 0xffff_0000;
    !matches!(plain, verdict::ALLOW | verdict::LOG | verdict::TRACE)
}

/// A call that is also behind another one.
struct Multiplexed {
    /// Its own place in the table of names.
    place: usize,
    /// The number of the other one.
    number: u32,
    /// What that is told.
    which: u64,
}

/// The calls of an architecture that are also behind another one, sorted by place.
fn multiplexed(arch: Arch) -> Vec<Multiplexed> {
    if !arch.multiplexes() {
        return Vec::new();
    }
    let of = |(name, by, which): &(&str, &str, u64)| {
        Some(Multiplexed { place: arch::find(name)?, number: arch.syscall(by)?, which: *which })
    };
    MULTIPLEXED.iter().filter_map(of).collect()
}

/// What all rules for one number come to.
fn fate(entries: &[&Entry], arch: Arch) -> (u32, Fate) {
    let number = entries.first().map_or(0, |entry| entry.number);
    let mut rules = Vec::new();
    for entry in entries {
        let is_free = entry.which.is_none() && entry.conditions.is_empty();
        let conditions = if is_free { Vec::new() } else { simplify(entry, arch) };
        // A rule without conditions leaves nothing for others, wherever it stands.
        if conditions.is_empty() {
            return (number, Fate::Always(entry.verdict));
        }
        rules.push((conditions, entry.verdict));
    }
    rules.sort_by(|(a, _), (b, _)| compare(a, b));
    (number, Fate::First(rules))
}

/// The conditions of a rule without what always holds, and without what the architecture has no bits for.
///
/// A call that stands for others has a second argument that points to those that the rule is about, where no filter can
/// look: of the conditions those on the first argument are lost, and others mean something else. That is how libseccomp
/// has it.
fn simplify(entry: &Entry, arch: Arch) -> Vec<Condition> {
    let bits = if arch.is_wide() { u64::MAX } else { u64::from(u32::MAX) };
    let first = entry.which.map(|value| Condition { argument: 0, op: Op::Equal, value });
    let own = entry.conditions.iter().filter(|condition| first.is_none() || condition.argument != 0);
    let mut conditions: Vec<Condition> = first.into_iter().chain(own.copied()).collect();
    for condition in &mut conditions {
        if let Op::Masked(mask) = &mut condition.op {
            *mask &= bits;
            condition.value &= *mask;
        }
        condition.value &= bits;
    }
    conditions.retain(|condition| condition.op != Op::Masked(0));
    conditions.sort_by_key(|condition| condition.argument);
    conditions
}

/// Which of two rules is tried first when a call may match both: the order of libseccomp, which puts later arguments
/// before earlier ones, single values before ranges and, of two ranges, the narrower one first.
fn compare(a: &[Condition], b: &[Condition]) -> std::cmp::Ordering {
    let order = |condition: &Condition| {
        let (class, value) = match condition.op {
            Op::Equal | Op::NotEqual | Op::Masked(_) => (2, condition.value),
            Op::Less | Op::AtMost => (1, !condition.value),
            Op::Greater | Op::AtLeast => (0, condition.value),
        };
        std::cmp::Reverse((condition.argument, class, value))
    };
    a.iter().map(order).cmp(b.iter().map(order))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(syscalls: &str) -> Profile {
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {syscalls}}}"#);
        let raw = oci::from_json(text.as_bytes()).expect("JSON").expect("not null");
        crate::profile::read(&raw, Arch::X86_64).expect("fine")
    }

    fn fates(syscalls: &str, arch: Arch) -> Vec<(u32, Fate)> {
        calls(&profile(syscalls), arch).fates
    }

    #[test]
    fn every_call_behind_another_is_known() {
        for arch in [Arch::X86, Arch::Ppc64le, Arch::S390x] {
            let calls = multiplexed(arch);
            assert!(calls.len() == MULTIPLEXED.len() && calls.is_sorted_by_key(|call| call.place));
        }
        assert!(multiplexed(Arch::X86_64).is_empty());
    }

    #[test]
    fn a_rule_without_conditions_decides_alone() {
        let args = r#""args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]"#;
        let log = format!(r#"{{"names": ["read"], "action": "SCMP_ACT_LOG", {args}}}"#);
        let allow = r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW"}"#;
        let trap = r#"{"names": ["read"], "action": "SCMP_ACT_TRAP"}"#;
        let same = r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO"}"#;
        for list in [format!("[{log}, {allow}, {trap}]"), format!("[{same}, {allow}, {log}]")] {
            assert_eq!(fates(&list, Arch::X86_64), [(0, Fate::Always(verdict::ALLOW))], "{list}");
        }
        assert_eq!(fates(&format!("[{same}]"), Arch::X86_64), []);
    }

    #[test]
    fn the_narrower_rule_comes_first() {
        let rule = |index: u8, op: &str, value: u64| {
            format!(
                r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{{"index": {index}, "value": {value}, "op": "SCMP_CMP_{op}"}}]}}"#
            )
        };
        let list = [
            rule(0, "GT", 1),
            rule(0, "LT", 9),
            rule(0, "GT", 5),
            rule(0, "LT", 3),
            rule(0, "EQ", 4),
            rule(1, "GE", 0),
        ];
        let [(0, Fate::First(rules))] = &fates(&format!("[{}]", list.join(",")), Arch::X86_64)[..] else {
            panic!("one call")
        };
        let got: Vec<(u8, u64)> = rules.iter().map(|(all, _)| (all[0].argument, all[0].value)).collect();
        assert_eq!(got, [(1, 0), (0, 4), (0, 3), (0, 9), (0, 5), (0, 1)]);
    }

    #[test]
    fn calls_with_two_ways_in() {
        let list = r#"[{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 40, "op": "SCMP_CMP_NE"}, {"index": 2, "value": 9, "op": "SCMP_CMP_NE"}]}]"#;
        let fates = fates(list, Arch::X86);
        assert_eq!(fates.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [102, 359]);
        let Fate::First(rules) = &fates[0].1 else { panic!("conditions") };
        assert_eq!(rules[0].0[0], Condition { argument: 0, op: Op::Equal, value: 1 });
        assert_eq!(rules[0].0[1].argument, 2);
        assert_eq!(calls(&profile(list), Arch::X86).newest, None);
        assert_eq!(calls(&profile(list), Arch::X86_64).newest, Some(41));
    }

    #[test]
    fn halves_that_do_not_exist_are_not_compared() {
        let list = r#"[{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 18446744069414584320, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]}]"#;
        assert_eq!(fates(list, Arch::X86), [(3, Fate::Always(verdict::ALLOW))]);
        let value = |arch| match &fates(list, arch)[0].1 {
            Fate::First(rules) => rules[0].0[0],
            Fate::Always(_) => panic!("a condition"),
        };
        let op = Op::Masked(0xffff_ffff_0000_0000);
        assert_eq!(value(Arch::X86_64), Condition { argument: 0, op, value: 0 });
    }
}
