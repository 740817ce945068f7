//! Profiles and calls by the throw of dice, the same for the same seed.
use std::sync::OnceLock;

use seccomp::{Arch, Data, verdict};

/// In the order in which libseccomp counts them, from 1 on.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

/// Calls that some architectures also have behind another.
pub const MULTIPLEXED: [&str; 32] = [
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "send",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
    "shutdown",
    "socket",
    "socketpair",
];

/// A generator of numbers that is good enough for this (xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Every name in the table of the crate.
pub fn names() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let source = include_str!("../../src/syscalls.rs");
        let (_, text) = source.split_once("\"\\\n").unwrap();
        let (text, _) = text.split_once('"').unwrap();
        text.split_whitespace().filter(|word| *word != "\\").collect()
    })
}

/// The numbers to ask about.
pub fn numbers() -> impl Iterator<Item = u32> {
    let around =
        [1000, 4096, 0x0f_0000, 0x0f_0005, 0x0f_0006, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0x8000_0001];
    let huge = [0xbfff_ffff, 0xc000_0000, 0xc000_0029, 0xffff_fffe, 0xffff_ffff];
    (0..=600).chain(0x4000_0000..=0x4000_0258).chain(around).chain(huge)
}

/// The verdict of an action.
pub fn verdict(action: &str, errno: Option<u64>) -> u32 {
    let data = u32::try_from(errno.unwrap_or(1)).unwrap();
    match action {
        "SCMP_ACT_ALLOW" => verdict::ALLOW,
        "SCMP_ACT_ERRNO" => verdict::ERRNO | data,
        "SCMP_ACT_KILL_PROCESS" => verdict::KILL_PROCESS,
        "SCMP_ACT_LOG" => verdict::LOG,
        "SCMP_ACT_NOTIFY" => verdict::NOTIFY,
        "SCMP_ACT_TRACE" => verdict::TRACE | data,
        "SCMP_ACT_TRAP" => verdict::TRAP,
        _ => verdict::KILL_THREAD,
    }
}

/// Values that rules compare with, and what is asked about.
const VALUES: [u64; 14] = [
    0,
    1,
    2,
    5,
    40,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0005,
    0x7e02_0000,
    0xff_0000_0000,
    0x8000_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// What to ask about: what the rules of a profile compare with, and what is around that.
pub fn interesting(raw: &oci::Seccomp) -> Vec<u64> {
    let args = || raw.syscalls.iter().flat_map(|rule| &rule.args);
    let mut values: Vec<u64> = args().flat_map(|arg| [arg.value, arg.value_two]).collect();
    values.extend(values.clone().iter().flat_map(|v| {
        [v.wrapping_add(1), v.wrapping_sub(1), v ^ (1 << 32), v ^ (1 << 63), v & 0xffff_ffff, !v]
    }));
    values.extend([0, 1, 0xffff_ffff, u64::MAX]);
    values.extend(1..=24);
    values.sort_unstable();
    values.dedup();
    values
}

fn action(dice: &mut Dice) -> (String, Option<u64>) {
    let action = *dice.pick(&seccomp::ACTIONS);
    let errno = ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"].contains(&action) && dice.one_in(2);
    (action.to_owned(), errno.then(|| u64::try_from(dice.below(100)).unwrap()))
}

/// How the rules of a call with conditions belong together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One rule of several conditions; or rules of one condition each, about different arguments or about values without
    /// an upper half of the same one. These may have different actions.
    Simple,
    /// Anything, with one action. libseccomp's programs get some of these wrong: behind a comparison of another word they
    /// go on without loading the first one again.
    Tangled,
}

/// The conditions of all rules for one call.
fn rules(dice: &mut Dice, shape: Shape) -> Vec<Vec<oci::SyscallArg>> {
    let several = |dice: &mut Dice| (0..1 + dice.below(3)).map(|_| condition(dice)).collect();
    if shape == Shape::Tangled {
        return (0..1 + dice.below(5)).map(|_| several(dice)).collect();
    }
    match dice.below(3) {
        0 => loop {
            let rule: Vec<oci::SyscallArg> = several(dice);
            let mut indexes: Vec<u64> = rule.iter().map(|arg| arg.index).collect();
            indexes.sort_unstable();
            indexes.dedup();
            if indexes.len() == rule.len() {
                break vec![rule];
            }
        },
        1 => {
            let indexes: Vec<u64> = (0..4).filter(|_| dice.one_in(2)).collect();
            indexes.into_iter().map(|index| vec![oci::SyscallArg { index, ..condition(dice) }]).collect()
        }
        _ => {
            let index = u64::try_from(dice.below(4)).unwrap();
            // Each value once: a rule that comes twice makes libseccomp lose others.
            let values: Vec<u64> =
                VALUES.into_iter().filter(|v| *v <= 0xffff_ffff && dice.one_in(2)).collect();
            let op = || "SCMP_CMP_EQ".to_owned();
            let one = |value| vec![oci::SyscallArg { index, value, op: op(), value_two: 0 }];
            values.into_iter().map(one).collect()
        }
    }
}

/// A profile.
pub fn profile(dice: &mut Dice, shape: Shape) -> oci::Seccomp {
    let (default_action, default_errno_ret) = loop {
        let (action, errno) = action(dice);
        if action != "SCMP_ACT_NOTIFY" {
            break (action, errno);
        }
    };
    let mut raw = oci::Seccomp { default_action, default_errno_ret, ..oci::Seccomp::default() };
    for _ in 0..dice.below(12) {
        let (action, errno_ret) = action(dice);
        let names = (0..1 + dice.below(20)).map(|_| name(dice)).collect();
        raw.syscalls.push(oci::Syscall { names, action, errno_ret, args: Vec::new() });
    }
    let calls = 1 + dice.below(6);
    let mut used = Vec::new();
    for _ in 0..calls {
        let name = name(dice);
        if used.contains(&name) {
            continue;
        }
        used.push(name.clone());
        let one_action = action(dice);
        let same = shape == Shape::Tangled || dice.one_in(2);
        for args in rules(dice, shape) {
            let (action, errno_ret) = if same { one_action.clone() } else { action(dice) };
            raw.syscalls.push(oci::Syscall { names: vec![name.clone()], action, errno_ret, args });
        }
    }
    raw
}

/// What a profile says of a call, word by word; of calls whose rules have one action.
pub fn truth(raw: &oci::Seccomp, arch: Arch, data: &Data) -> u32 {
    let default = verdict(&raw.default_action, raw.default_errno_ret);
    let about = |rule: &&oci::Syscall| {
        let named = rule.names.iter().any(|name| arch.syscall(name) == Some(data.number));
        named && verdict(&rule.action, rule.errno_ret) != default
    };
    let rules = || raw.syscalls.iter().filter(about);
    let bits = if matches!(arch, Arch::Arm | Arch::X32) { 0xffff_ffff } else { u64::MAX };
    let holds = |arg: &oci::SyscallArg| {
        let is = data.args[usize::try_from(arg.index).unwrap()] & bits;
        let (value, two) = (arg.value & bits, arg.value_two & bits);
        match arg.op.as_str() {
            "SCMP_CMP_NE" => is != value,
            "SCMP_CMP_LT" => is < value,
            "SCMP_CMP_LE" => is <= value,
            "SCMP_CMP_EQ" => is == value,
            "SCMP_CMP_GE" => is >= value,
            "SCMP_CMP_GT" => is > value,
            _ => is & value == two & value,
        }
    };
    let never = |arg: &oci::SyscallArg| arg.op == "SCMP_CMP_MASKED_EQ" && arg.value & bits == 0;
    let repeats = |rule: &oci::Syscall| {
        (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1)
    };
    let free = |rule: &&oci::Syscall| {
        if repeats(rule) { rule.args.iter().any(never) } else { rule.args.iter().all(never) }
    };
    let matches = |rule: &&oci::Syscall| {
        if repeats(rule) { rule.args.iter().any(holds) } else { rule.args.iter().all(holds) }
    };
    let rule = rules().find(free).or_else(|| rules().find(matches));
    rule.map_or(default, |rule| verdict(&rule.action, rule.errno_ret))
}

/// Any but the one that may not be asked about.
fn name(dice: &mut Dice) -> String {
    loop {
        let name = if dice.one_in(8) { *dice.pick(&MULTIPLEXED) } else { *dice.pick(names()) };
        if name != "write" {
            return name.to_owned();
        }
    }
}

fn condition(dice: &mut Dice) -> oci::SyscallArg {
    let index = u64::try_from(dice.below(4)).unwrap();
    let (value, value_two) = (*dice.pick(&VALUES), *dice.pick(&VALUES));
    oci::SyscallArg { index, value, value_two, op: (*dice.pick(&OPERATORS)).to_owned() }
}
