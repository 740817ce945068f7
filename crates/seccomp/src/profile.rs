//! What a profile says, read once: `linux.seccomp` but its flags and its listener.
//!
//! The words are those of libseccomp, the meaning is that of runc.
use std::collections::BTreeSet;
use std::fmt;

use crate::arch::{self, ARCHITECTURES, Arch};

/// The actions that a profile may name, sorted.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The comparisons that a profile may name, sorted.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// What the kernel does with a call (`SECCOMP_RET_*`).
pub mod verdict {
    /// The whole process ends, as by `SIGSYS`.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    /// The thread ends, as by `SIGSYS`.
    pub const KILL_THREAD: u32 = 0;
    /// The process gets `SIGSYS`.
    pub const TRAP: u32 = 0x0003_0000;
    /// The call fails with the errno that is in the lower half.
    pub const ERRNO: u32 = 0x0005_0000;
    /// A listener decides.
    pub const NOTIFY: u32 = 0x7fc0_0000;
    /// A tracer decides, who gets the lower half.
    pub const TRACE: u32 = 0x7ff0_0000;
    /// The call is done, and logged.
    pub const LOG: u32 = 0x7ffc_0000;
    /// The call is done.
    pub const ALLOW: u32 = 0x7fff_0000;
    /// There is no such call.
    pub const NO_SUCH_CALL: u32 = ERRNO | 38;
}

const EPERM: u16 = 1;

/// The highest that the kernel takes for one (`MAX_ERRNO`).
const HIGHEST_ERRNO: u16 = 4095;

/// A field of a profile that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field: `linux.seccomp.defaultAction`.
    pub at: String,
    /// What is wrong with it.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.at)
    }
}

/// A comparison of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    NotEqual,
    Less,
    AtMost,
    Equal,
    AtLeast,
    Greater,
    /// Compares what is left of the argument by this mask.
    Masked(u64),
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    pub op: Op,
    /// What the argument is compared with.
    pub value: u64,
}

/// What is to happen to some calls.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Places in the table of names.
    pub calls: Vec<usize>,
    pub verdict: u32,
    /// Any of these lists is enough; of each, all conditions must hold. One empty list: no condition.
    pub any: Vec<Vec<Condition>>,
}

/// A profile in which nothing is left open.
#[derive(Debug)]
pub(crate) struct Profile {
    /// What happens to calls of which no rule speaks.
    pub default: u32,
    /// The architectures that it is for.
    pub architectures: Vec<Arch>,
    pub rules: Vec<Rule>,
    /// Names that no architecture knows, each once, in the order of the profile.
    pub unknown: Vec<String>,
    /// Whether anything is asked of a listener.
    pub notifies: bool,
}

/// Reads a profile, for a machine whose own architecture is `native`, or tells all that is wrong with it.
pub(crate) fn read(raw: &oci::Seccomp, native: Arch) -> Result<Profile, Vec<Fault>> {
    // Flags and listener are not the program's business.
    let oci::Seccomp {
        default_action,
        default_errno_ret,
        architectures,
        flags: _,
        listener_path: _,
        listener_metadata: _,
        syscalls,
    } = raw;
    let mut faults = Faults(Vec::new());
    let default = action(default_action, *default_errno_ret, "defaultAction", "defaultErrnoRet", &mut faults);
    if default == Some(verdict::NOTIFY) {
        faults.add("defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action");
    }
    let architectures = read_architectures(architectures, native, &mut faults);
    let mut profile = Profile {
        default: default.unwrap_or(verdict::KILL_THREAD),
        architectures,
        rules: Vec::with_capacity(syscalls.len()),
        unknown: Vec::new(),
        notifies: false,
    };
    let mut unknown = Unknown::default();
    for (n, syscall) in syscalls.iter().enumerate() {
        if let Some(rule) = rule(syscall, n, &mut unknown, &mut faults) {
            profile.notifies |= rule.verdict == verdict::NOTIFY;
            profile.rules.push(rule);
        }
    }
    profile.unknown = unknown.names;
    if faults.0.is_empty() { Ok(profile) } else { Err(faults.0) }
}

/// Names that no architecture knows, and which are among them already: there may be many.
#[derive(Default)]
struct Unknown<'a> {
    names: Vec<String>,
    known: BTreeSet<&'a str>,
}

impl<'a> Unknown<'a> {
    fn add(&mut self, name: &'a str) {
        if self.known.insert(name) {
            self.names.push(name.to_owned());
        }
    }
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, at: &str, text: impl Into<String>) {
        self.0.push(Fault { at: format!("linux.seccomp.{at}"), text: text.into() });
    }
}

/// The machine's own architecture is always among them. Those that it can't run are left out: the kernel will never
/// speak of one.
fn read_architectures(names: &[String], native: Arch, faults: &mut Faults) -> Vec<Arch> {
    let mut listed = vec![native];
    for (n, name) in names.iter().enumerate() {
        match ARCHITECTURES.iter().find(|(known, _)| known == name) {
            Some((_, arch)) => listed.extend(*arch),
            None => faults.add(
                &format!("architectures[{n}]"),
                format!("string {name} is not a valid arch for seccomp"),
            ),
        }
    }
    // In the order of the family, which has a place for each but once.
    native.family().iter().copied().filter(|arch| listed.contains(arch)).collect()
}

fn rule<'a>(raw: &'a oci::Syscall, n: usize, unknown: &mut Unknown<'a>, faults: &mut Faults) -> Option<Rule> {
    let oci::Syscall { names, action: named, errno_ret, args } = raw;
    let at = |field: &str| format!("syscalls[{n}].{field}");
    let verdict = action(named, *errno_ret, &at("action"), &at("errnoRet"), faults);
    let mut calls = Vec::with_capacity(names.len());
    for name in names {
        match arch::find(name) {
            Some(place) => calls.push(place),
            None if name.is_empty() => faults.add(&at("names"), "empty string is not a valid syscall"),
            None => unknown.add(name),
        }
    }
    // Whoever hands over the listener's descriptor has to be able to write, with runc.
    if verdict == Some(verdict::NOTIFY) && names.iter().any(|name| name == "write") {
        faults.add(&at("names"), "SCMP_ACT_NOTIFY cannot be used for the write syscall");
    }
    let conditions: Vec<Condition> = args
        .iter()
        .enumerate()
        .filter_map(|(m, arg)| condition(arg, &at(&format!("args[{m}]")), faults))
        .collect();
    let repeated = conditions
        .iter()
        .enumerate()
        .any(|(m, one)| conditions.iter().skip(m + 1).any(|other| other.argument == one.argument));
    // libseccomp has no "and" for two conditions on one argument: runc then makes each a rule of its own.
    let any = if repeated { conditions.into_iter().map(|one| vec![one]).collect() } else { vec![conditions] };
    Some(Rule { calls, verdict: verdict?, any })
}

fn condition(raw: &oci::SyscallArg, at: &str, faults: &mut Faults) -> Option<Condition> {
    let oci::SyscallArg { index, value, value_two, op } = raw;
    let argument = u8::try_from(*index).ok().filter(|index| *index < 6);
    if argument.is_none() {
        faults.add(
            &format!("{at}.index"),
            format!("syscalls only have up to 6 arguments, from 0 on, and not {index}"),
        );
    }
    let (op, value) = match op.as_str() {
        "SCMP_CMP_NE" => (Op::NotEqual, *value),
        "SCMP_CMP_LT" => (Op::Less, *value),
        "SCMP_CMP_LE" => (Op::AtMost, *value),
        "SCMP_CMP_EQ" => (Op::Equal, *value),
        "SCMP_CMP_GE" => (Op::AtLeast, *value),
        "SCMP_CMP_GT" => (Op::Greater, *value),
        "SCMP_CMP_MASKED_EQ" => (Op::Masked(*value), *value_two),
        other => {
            faults.add(&format!("{at}.op"), format!("string {other} is not a valid operator for seccomp"));
            return None;
        }
    };
    Some(Condition { argument: argument?, op, value })
}

/// The verdict of an action. An errno is an error where the action has no use for it, as the specification asks.
fn action(name: &str, errno: Option<u64>, at: &str, errno_at: &str, faults: &mut Faults) -> Option<u32> {
    let plain = match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => verdict::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => verdict::KILL_PROCESS,
        "SCMP_ACT_TRAP" => verdict::TRAP,
        "SCMP_ACT_ERRNO" => verdict::ERRNO,
        "SCMP_ACT_TRACE" => verdict::TRACE,
        "SCMP_ACT_ALLOW" => verdict::ALLOW,
        "SCMP_ACT_LOG" => verdict::LOG,
        "SCMP_ACT_NOTIFY" => verdict::NOTIFY,
        _ => {
            faults.add(at, format!("string {name} is not a valid action for seccomp"));
            return None;
        }
    };
    let data = match errno {
        _ if matches!(plain, verdict::ERRNO | verdict::TRACE) => errno.unwrap_or(u64::from(EPERM)),
        None => 0,
        Some(_) => {
            faults.add(errno_at, format!("{name} has no errno"));
            return None;
        }
    };
    // A tracer may be told any number.
    let highest = if plain == verdict::ERRNO { HIGHEST_ERRNO } else { u16::MAX };
    match u16::try_from(data) {
        Ok(data) if data <= highest => Some(plain | u32::from(data)),
        _ => {
            faults.add(errno_at, format!("{data} is more than {highest}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> oci::Seccomp {
        oci::from_json(json.as_bytes()).expect("JSON").expect("not null")
    }

    #[test]
    fn every_fault_is_told() {
        let faults = read(
            &raw(
                r#"{"defaultAction": "SCMP_ACT_NOTIFY", "architectures": ["SCMP_ARCH_X86", "amd64"], "syscalls": [
                {"names": ["read", ""], "action": "ALLOW"},
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1},
                {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096},
                {"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536},
                {"names": ["write"], "action": "SCMP_ACT_NOTIFY",
                    "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 1, "op": "="}]}]}"#,
            ),
            Arch::X86_64,
        );
        let texts: Vec<String> = faults.expect_err("faults").iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "SCMP_ACT_NOTIFY cannot be used as default action (linux.seccomp.defaultAction)",
                "string amd64 is not a valid arch for seccomp (linux.seccomp.architectures[1])",
                "string ALLOW is not a valid action for seccomp (linux.seccomp.syscalls[0].action)",
                "empty string is not a valid syscall (linux.seccomp.syscalls[0].names)",
                "SCMP_ACT_ALLOW has no errno (linux.seccomp.syscalls[1].errnoRet)",
                "4096 is more than 4095 (linux.seccomp.syscalls[2].errnoRet)",
                "65536 is more than 65535 (linux.seccomp.syscalls[3].errnoRet)",
                "SCMP_ACT_NOTIFY cannot be used for the write syscall (linux.seccomp.syscalls[4].names)",
                "syscalls only have up to 6 arguments, from 0 on, and not 6 (linux.seccomp.syscalls[4].args[0].index)",
                "string = is not a valid operator for seccomp (linux.seccomp.syscalls[4].args[1].op)",
            ]
        );
    }

    #[test]
    fn words_and_their_verdicts() {
        assert!(ACTIONS.is_sorted() && OPERATORS.is_sorted());
        for name in ACTIONS {
            let mut faults = Faults(Vec::new());
            assert!(action(name, None, "", "", &mut faults).is_some(), "{name}");
        }
        for op in OPERATORS {
            let arg = oci::SyscallArg { op: op.into(), ..oci::SyscallArg::default() };
            assert!(condition(&arg, "", &mut Faults(Vec::new())).is_some(), "{op}");
        }
        let of = |name, errno| action(name, errno, "", "", &mut Faults(Vec::new()));
        assert_eq!(of("SCMP_ACT_ERRNO", None), Some(0x5_0001));
        assert_eq!(of("SCMP_ACT_ERRNO", Some(38)), Some(verdict::NO_SUCH_CALL));
        assert_eq!(of("SCMP_ACT_ERRNO", Some(4095)), Some(0x5_0fff));
        assert_eq!(of("SCMP_ACT_TRACE", Some(65535)), Some(0x7ff0_ffff));
        assert_eq!(of("SCMP_ACT_KILL", None), of("SCMP_ACT_KILL_THREAD", None));
    }

    #[test]
    fn architectures_of_one_machine() {
        let of = |names: &[&str], native| {
            let names: Vec<String> = names.iter().map(|name| format!("SCMP_ARCH_{name}")).collect();
            read_architectures(&names, native, &mut Faults(Vec::new()))
        };
        use Arch::{Aarch64, Arm, S390x, X32, X86, X86_64};
        assert_eq!(of(&[], X86_64), [X86_64]);
        assert_eq!(of(&["X86", "X32", "X86", "AARCH64", "MIPS"], X86_64), [X86_64, X32, X86]);
        assert_eq!(of(&["X86_64", "ARM"], Aarch64), [Aarch64, Arm]);
        assert_eq!(of(&["S390"], S390x), [S390x]);
    }

    #[test]
    fn two_conditions_on_one_argument_are_two_rules() {
        let of = |args: &str| {
            let text = format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    {{"names": ["read", "nope", "nope"], "action": "SCMP_ACT_ERRNO", "args": {args}}}]}}"#
            );
            let profile = read(&raw(&text), Arch::X86_64).expect("fine");
            assert_eq!(profile.unknown, ["nope"]);
            profile.rules[0].any.iter().map(Vec::len).collect::<Vec<_>>()
        };
        let arg = |index: u8| format!(r#"{{"index": {index}, "value": 1, "op": "SCMP_CMP_EQ"}}"#);
        assert_eq!(of("[]"), [0]);
        assert_eq!(of(&format!("[{}, {}]", arg(0), arg(1))), [2]);
        assert_eq!(of(&format!("[{}, {}, {}]", arg(0), arg(1), arg(0))), [1, 1, 1]);
    }
}
