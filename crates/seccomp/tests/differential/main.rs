//! The verdicts of our programs beside those of libseccomp's, with what runc puts before these: for the default
//! profiles of engines and for generated ones, for every number, every architecture, and arguments around those of the rules.
//!
//! libseccomp is asked through a small C program, which is built here against what is installed; `CFLAGS` and `LDLIBS`
//! name another version of it. `PROFILES` says how many profiles are generated.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod generate;
mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use generate::{Dice, Shape};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use oracle::{Answer, Oracle};
use seccomp::{Arch, Data, Filter, compile, run, run_big_endian, verdict};

/// A machine, its architectures by the names of libseccomp, and ours.
struct Machine {
    native: Arch,
    archs: &'static [(&'static str, Arch)],
}

const MACHINES: [Machine; 6] = [
    Machine {
        native: Arch::X86_64,
        archs: &[("x86_64", Arch::X86_64), ("x86", Arch::X86), ("x32", Arch::X32)],
    },
    Machine { native: Arch::Aarch64, archs: &[("aarch64", Arch::Aarch64), ("arm", Arch::Arm)] },
    Machine { native: Arch::Riscv64, archs: &[("riscv64", Arch::Riscv64)] },
    Machine { native: Arch::Loongarch64, archs: &[("loongarch64", Arch::Loongarch64)] },
    Machine { native: Arch::Ppc64le, archs: &[("ppc64le", Arch::Ppc64le)] },
    Machine { native: Arch::S390x, archs: &[("s390x", Arch::S390x)] },
];

fn main() {
    let trials = vec![
        Trial::ignorable_test("numbers", || with_oracle(numbers)),
        Trial::ignorable_test("default_profiles", || with_oracle(default_profiles)),
        Trial::ignorable_test("generated_profiles", || with_oracle(generated_profiles)),
        Trial::test("tangled_profiles", tangled_profiles),
    ];
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit();
}

fn with_oracle(test: fn(&mut Oracle) -> Result<(), Failed>) -> Result<Completion, Failed> {
    match Oracle::start() {
        Ok(mut oracle) => test(&mut oracle).map(|()| Completion::Completed),
        Err(why) => Ok(Completion::ignored_with(why)),
    }
}

/// Every number that libseccomp knows is ours, but for those that it only has behind another call.
fn numbers(oracle: &mut Oracle) -> Result<(), Failed> {
    let (mut same, mut newer, mut wrong) = (0, BTreeSet::new(), Vec::new());
    for (name, arch) in MACHINES.iter().flat_map(|machine| machine.archs) {
        if !oracle.knows(name) {
            println!("{name}: not known to this libseccomp");
            continue;
        }
        for call in generate::names() {
            match (oracle.number(name, call), arch.syscall(call)) {
                (theirs, ours) if theirs == ours => same += usize::from(ours.is_some()),
                (None, Some(_)) => drop(newer.insert(call)),
                (theirs, ours) => wrong.push(format!("{name} {call}: {ours:?}, libseccomp has {theirs:?}")),
            }
        }
    }
    println!("{same} numbers are the same; libseccomp has none for: {newer:?}");
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// What engines use when nobody says anything, and the same with every other default action.
fn default_profiles(oracle: &mut Oracle) -> Result<(), Failed> {
    for (engine, mut raw) in engines()? {
        let mut count = Count::default();
        for machine in &MACHINES {
            // The same profile, as an engine would write it there.
            raw.architectures = machine.archs.iter().map(|(_, arch)| scmp(*arch).to_owned()).collect();
            compare(oracle, machine, &raw, &mut Dice::new(0), &mut count)?;
            compare_pairs(oracle, machine, &raw, &mut count)?;
            for action in seccomp::ACTIONS.iter().filter(|action| **action != "SCMP_ACT_NOTIFY") {
                let mut raw = raw.clone();
                (*action).clone_into(&mut raw.default_action);
                raw.default_errno_ret = None;
                compare(oracle, machine, &raw, &mut Dice::new(1), &mut count)
                    .map_err(|e| format!("{engine}, {action}: {}", e.message().unwrap_or("")))?;
            }
        }
        print!("{engine}: ");
        count.tell()?;
    }
    Ok(())
}

/// The default profiles of engines.
fn engines() -> Result<Vec<(&'static str, oci::Seccomp)>, Failed> {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/profiles");
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/bundles/docker-seccomp/config.json");
    let config = oci::Config::parse(&std::fs::read(bundle)?)?.ok_or("no config")?;
    let docker = config.linux.and_then(|linux| linux.seccomp).ok_or("no profile")?;
    let mut profiles = vec![("docker", docker)];
    for engine in ["podman", "containerd"] {
        let profile = oci::from_json(&std::fs::read(format!("{tests}/{engine}.json"))?)?;
        profiles.push((engine, profile.ok_or("no profile")?));
    }
    Ok(profiles)
}

fn generated_profiles(oracle: &mut Oracle) -> Result<(), Failed> {
    let mut count = Count::default();
    for seed in 0..profiles() {
        let mut dice = Dice::new(seed);
        let machine = dice.pick(&MACHINES);
        let mut raw = generate::profile(&mut dice, Shape::Simple);
        let archs = machine.archs.iter().filter(|_| dice.one_in(2)).map(|(_, arch)| scmp(*arch).to_owned());
        raw.architectures = archs.collect();
        compare(oracle, machine, &raw, &mut dice, &mut count)
            .map_err(|e| format!("seed {seed}: {}", e.message().unwrap_or("")))?;
    }
    count.tell()
}

/// Profiles that libseccomp gets wrong, beside their words.
fn tangled_profiles() -> Result<(), Failed> {
    let mut count = Count::default();
    for seed in 0..profiles() {
        let mut dice = Dice::new(seed);
        let machine = dice.pick(&MACHINES[..4]);
        let mut raw = generate::profile(&mut dice, Shape::Tangled);
        // Newer calls are not what this is about.
        raw.default_action = "SCMP_ACT_LOG".to_owned();
        raw.default_errno_ret = None;
        let archs = machine.archs.iter().filter(|(_, arch)| *arch != Arch::X86);
        raw.architectures = archs.clone().map(|(_, arch)| scmp(*arch).to_owned()).collect();
        let filter = compile(&raw, machine.native).map_err(|faults| format!("{faults:?}"))?;
        let conditional = conditional(&raw, &archs.clone().collect::<Vec<_>>());
        let interesting = generate::interesting(&raw);
        count.profiles += 1;
        count.ours += filter.program.len();
        for number in conditional.into_iter().filter(|number| *number < 0x0f_0000 || *number > 0x1f_ffff) {
            for _ in 0..200 {
                let x32 = number & (1 << 30) != 0;
                let of_number = |arch: &Arch| (*arch == Arch::X32) == x32;
                for arch in archs.clone().map(|(_, arch)| *arch).filter(of_number) {
                    let args = std::array::from_fn(|_| *dice.pick(&interesting));
                    let data = Data { number, arch: arch.token(), args };
                    let (ours, truth) =
                        (run(&filter.program, &data.to_bytes()), generate::truth(&raw, arch, &data));
                    count.points += 1;
                    if ours != Some(truth) {
                        return Err(
                            format!("seed {seed}: {}", different(&raw, &data, ours, Some(truth))).into()
                        );
                    }
                }
            }
        }
    }
    count.tell()
}

fn profiles() -> u64 {
    std::env::var("PROFILES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

#[derive(Default)]
struct Count {
    profiles: u64,
    refused: u64,
    points: u64,
    ours: usize,
    theirs: usize,
}

impl Count {
    fn tell(&self) -> Result<(), Failed> {
        println!(
            "{} profiles and {} calls compared; instructions: {}, libseccomp {}; libseccomp refuses {} profiles",
            self.profiles, self.points, self.ours, self.theirs, self.refused
        );
        if self.profiles == 0 { Err("nothing was compared".into()) } else { Ok(()) }
    }
}

/// A profile as both understand it, and what each makes of it.
struct Pair {
    raw: oci::Seccomp,
    filter: Filter,
    theirs: Vec<seccomp::Insn>,
    newest: BTreeMap<(u32, bool), u32>,
    /// The numbers of calls for which arguments may count.
    conditional: BTreeSet<u32>,
    big_endian: bool,
}

impl Pair {
    /// `None` where libseccomp has no word on it.
    fn new(
        oracle: &mut Oracle,
        machine: &Machine,
        raw: &oci::Seccomp,
        count: &mut Count,
    ) -> Result<Option<Pair>, Failed> {
        if !oracle.knows(machine.archs[0].0) {
            return Ok(None);
        }
        let raw = known_to_both(oracle, machine, raw);
        let filter = compile(&raw, machine.native).map_err(|faults| format!("{faults:?}"))?;
        let listed =
            |arch: Arch| arch == machine.native || raw.architectures.iter().any(|name| name == scmp(arch));
        let archs: Vec<_> = machine.archs.iter().filter(|(_, arch)| listed(*arch)).collect();
        let names: Vec<&str> = archs.iter().map(|(name, _)| *name).collect();
        let default = generate::verdict(&raw.default_action, raw.default_errno_ret);
        let big_endian = machine.native == Arch::S390x;
        let theirs = match oracle.program(&raw, default, &names, big_endian) {
            Answer::Program(program) => program,
            Answer::Refused(why) if why.ends_with(" -17") => {
                // Rules that contradict each other.
                count.refused += 1;
                return Ok(None);
            }
            Answer::Refused(why) => return Err(format!("libseccomp refuses: {why}").into()),
        };
        count.profiles += 1;
        count.ours += filter.program.len();
        count.theirs += theirs.len();
        let newest = newest(oracle, &raw, default, &archs);
        let conditional = conditional(&raw, &archs);
        Ok(Some(Pair { raw, filter, theirs, newest, conditional, big_endian }))
    }

    /// Compares the verdicts on one call.
    fn ask(&self, data: Data, count: &mut Count) -> Result<(), Failed> {
        let (ours, theirs) = if self.big_endian {
            let data = data.to_big_endian();
            (run_big_endian(&self.filter.program, &data), run_big_endian(&self.theirs, &data))
        } else {
            let data = data.to_bytes();
            (run(&self.filter.program, &data), run(&self.theirs, &data))
        };
        let theirs = enosys(&self.newest, &data).or(theirs);
        count.points += 1;
        if ours != theirs || ours.is_none() {
            return Err(different(&self.raw, &data, ours, theirs).into());
        }
        Ok(())
    }
}

/// Compares all verdicts of one profile.
fn compare(
    oracle: &mut Oracle,
    machine: &Machine,
    raw: &oci::Seccomp,
    dice: &mut Dice,
    count: &mut Count,
) -> Result<(), Failed> {
    let Some(pair) = Pair::new(oracle, machine, raw, count)? else { return Ok(()) };
    let mut tokens: BTreeSet<u32> = machine.archs.iter().map(|(_, arch)| arch.token()).collect();
    tokens.extend([0, 1, 0x4000_0008]);
    let interesting = generate::interesting(&pair.raw);
    for &arch in &tokens {
        for number in generate::numbers() {
            let tries = if pair.conditional.contains(&number) { 60 } else { 1 };
            for _ in 0..tries {
                let args = std::array::from_fn(|_| *dice.pick(&interesting));
                pair.ask(Data { number, arch, args }, count)?;
            }
        }
    }
    always_allowed_calls_are_seen(&pair.filter, &pair.raw, machine.native)
}

/// Compares the verdicts on the calls of a profile that have conditions, for every pair of interesting values of the
/// two arguments that engines look at.
fn compare_pairs(
    oracle: &mut Oracle,
    machine: &Machine,
    raw: &oci::Seccomp,
    count: &mut Count,
) -> Result<(), Failed> {
    let looked_at: BTreeSet<u64> =
        raw.syscalls.iter().flat_map(|rule| &rule.args).map(|arg| arg.index).collect();
    assert!(looked_at.iter().all(|index| [0, 2].contains(index)), "{looked_at:?}");
    // The profile is counted where it is compared for the first time.
    let Some(pair) = Pair::new(oracle, machine, raw, &mut Count::default())? else { return Ok(()) };
    let interesting = generate::interesting(&pair.raw);
    for arch in machine.archs.iter().map(|(_, arch)| arch.token()) {
        for &number in &pair.conditional {
            for &first in &interesting {
                for &third in &interesting {
                    pair.ask(Data { number, arch, args: [first, 0, third, 0, 0, 0] }, count)?;
                }
            }
        }
    }
    Ok(())
}

fn different(raw: &oci::Seccomp, data: &Data, ours: Option<u32>, theirs: Option<u32>) -> String {
    let rules: Vec<String> = raw
        .syscalls
        .iter()
        .filter(|rule| {
            let about = |arch: Arch| rule.names.iter().any(|name| arch.syscall(name) == Some(data.number));
            MACHINES
                .iter()
                .flat_map(|machine| machine.archs)
                .any(|(_, arch)| arch.token() == data.arch && about(*arch))
        })
        .map(|rule| format!("{} {:?} {:?}", rule.action, rule.errno_ret, rule.args))
        .collect();
    format!("{data:x?}: {ours:x?}, libseccomp {theirs:x?}; rules {rules:#?}")
}

/// The profile without names that only one of both knows, as one of both is newer.
fn known_to_both(oracle: &mut Oracle, machine: &Machine, raw: &oci::Seccomp) -> oci::Seccomp {
    let mut raw = raw.clone();
    for rule in &mut raw.syscalls {
        rule.names.retain(|call| {
            oracle.is_unmistakable(call)
                && machine.archs.iter().all(|(name, arch)| {
                    let theirs = oracle.number(name, call);
                    theirs == arch.syscall(call) || theirs.is_none() && oracle.is_multiplexed(name, call)
                })
        });
    }
    raw
}

/// Of the architectures, by what the kernel calls them and the bit of x32, the highest number of the profile: what runc
/// puts before libseccomp's program knows that.
fn newest(
    oracle: &mut Oracle,
    raw: &oci::Seccomp,
    default: u32,
    archs: &[&(&'static str, Arch)],
) -> BTreeMap<(u32, bool), u32> {
    let mut newest = BTreeMap::new();
    if matches!(default & 0xffff_0000, verdict::ALLOW | verdict::LOG | verdict::TRACE) {
        return newest;
    }
    for (name, arch) in archs {
        let numbers =
            raw.syscalls.iter().flat_map(|rule| &rule.names).filter_map(|call| oracle.number(name, call));
        if let Some(highest) = numbers.max().filter(|highest| *highest > 0) {
            newest.insert((arch.token(), *arch == Arch::X32), highest);
        }
    }
    newest
}

/// What runc answers for newer calls, before libseccomp's program is asked.
fn enosys(newest: &BTreeMap<(u32, bool), u32>, data: &Data) -> Option<u32> {
    let is_x32 = data.arch == Arch::X32.token() && data.number & (1 << 30) != 0;
    let highest = *newest.get(&(data.arch, is_x32))?;
    let setup = data.arch == Arch::S390x.token() && data.number == 0;
    (setup || data.number > highest).then_some(verdict::NO_SUCH_CALL)
}

/// Numbers of calls for which arguments may count.
fn conditional(raw: &oci::Seccomp, archs: &[&(&'static str, Arch)]) -> BTreeSet<u32> {
    let with = raw.syscalls.iter().filter(|rule| !rule.args.is_empty()).flat_map(|rule| &rule.names);
    let with: Vec<_> = with.map(String::as_str).chain(["socketcall", "ipc"]).collect();
    archs.iter().flat_map(|(_, arch)| with.iter().filter_map(|name| arch.syscall(name))).collect()
}

/// The kernel leaves the program out for calls of which it can see, without arguments, that they are allowed.
fn always_allowed_calls_are_seen(filter: &Filter, raw: &oci::Seccomp, native: Arch) -> Result<(), Failed> {
    let mut first: BTreeMap<u32, u32> = BTreeMap::new();
    let default = generate::verdict(&raw.default_action, raw.default_errno_ret);
    for rule in raw.syscalls.iter().filter(|rule| rule.args.is_empty()) {
        let verdict = generate::verdict(&rule.action, rule.errno_ret);
        for number in rule.names.iter().filter_map(|name| native.syscall(name)).filter(|_| verdict != default)
        {
            first.entry(number).or_insert(verdict);
        }
    }
    // There a rule may be about a call that stands for others, or for none.
    if matches!(native, Arch::S390x | Arch::Ppc64le) {
        return Ok(());
    }
    for (number, verdict) in first {
        if seccomp::without_arguments(&filter.program, number, native.token()) != Some(verdict) {
            return Err(format!("number {number} needs arguments to be {verdict:x}").into());
        }
    }
    Ok(())
}

fn scmp(wanted: Arch) -> &'static str {
    seccomp::ARCHITECTURES.iter().find(|(_, arch)| *arch == Some(wanted)).unwrap().0
}
