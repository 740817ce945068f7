//! The device filter of cgroup v2: a BPF program made from the normal form of the rules.
//!
//! Loading a program costs time by its length and even more by its branches, so exceptions with the
//! same access share one check, and a device's two numbers are compared as one.
use sys::bpf::Insn;

use crate::devices::{Access, Exception, Filter, Kind};

// Registers: the result, the context, and what is loaded from it.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
/// Access in the upper half, the device's kind in the lower.
const REQUEST: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;
/// Both numbers, as the kernel packs them: 12 bits of major before 20 bits of minor.
const NUMBERS: u8 = 5;

const MAJOR_BITS: u32 = 12;
const MINOR_BITS: u32 = 20;

/// `BPF_DEVCG_DEV_*`, whose values happen to be bits.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

// Operation codes: class, operation and source of the operand.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const SHIFT_LEFT: u8 = 0x67;
const OR_REGISTER: u8 = 0x4f;
const JUMP: u8 = 0x05;
const JUMP_IF_ANY_BIT: u8 = 0x45;
/// Compares the lower halves (Linux 5.1).
const JUMP_IF_EQUAL: u8 = 0x16;
const EXIT: u8 = 0x95;

/// Exceptions with the same access, for devices of one kind or of both.
struct Group {
    kinds: i32,
    access: Access,
    numbers: Vec<(Option<u32>, Option<u32>)>,
}

/// An instruction that may be a jump to a place not yet known.
struct Line {
    opcode: u8,
    target: u8,
    source: u8,
    offset: Offset,
    immediate: i32,
}

/// The offset of a load, or the distance of a jump.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offset {
    Fixed(i16),
    /// To the end of the group with this number: none of its exceptions matches.
    End(usize),
    /// To the end of the program: an exception matches.
    Hit,
}

/// The program for a filter; `None` when it has more exceptions than jumps can cross.
///
/// It returns 1 to let an access pass and 0 to deny it.
pub(crate) fn program(filter: &Filter) -> Option<Vec<Insn>> {
    let groups = groups(&filter.exceptions);
    let mut lines = load(&groups);
    let mut ends = Vec::with_capacity(groups.len());
    for (n, group) in groups.iter().enumerate() {
        check_access(&mut lines, group, Offset::End(n), filter.allow);
        check_numbers(&mut lines, group);
        ends.push(lines.len());
    }
    lines.extend(verdict(filter.allow));
    let hit = lines.len();
    // The verifier refuses code that nothing jumps to.
    if !groups.is_empty() {
        lines.extend(verdict(!filter.allow));
    }
    let assemble = |(at, line): (usize, &Line)| {
        let destination = match line.offset {
            Offset::Fixed(offset) => at.checked_add_signed(offset.into())? + 1,
            Offset::End(n) => *ends.get(n)?,
            Offset::Hit => hit,
        };
        // Distances count from the instruction that follows.
        let offset = i16::try_from(destination.checked_sub(at + 1)?).ok()?;
        Some(Insn::new(line.opcode, line.target, line.source, offset, line.immediate))
    };
    lines.iter().enumerate().map(assemble).collect()
}

/// Puts exceptions together that can share checks, and leaves out what no device matches.
fn groups(exceptions: &[Exception]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for Exception { devices, access } in exceptions {
        let kinds = if devices.kind == Kind::Block { BLOCK } else { CHARACTER };
        let fits = |number: Option<u32>, bits: u32| number.is_none_or(|number| number >> bits == 0);
        if !fits(devices.major, MAJOR_BITS) || !fits(devices.minor, MINOR_BITS) {
            continue;
        }
        let numbers = (devices.major, devices.minor);
        match groups.iter_mut().find(|g| g.kinds == kinds && g.access == *access) {
            Some(group) => group.numbers.push(numbers),
            None => groups.push(Group { kinds, access: *access, numbers: vec![numbers] }),
        }
    }
    // An access to nodes of both kinds, like mknod in the default rules, needs no check of the kind. One
    // check has to remain, though: the verifier would see that what follows is never reached.
    let mut merged: Vec<Group> = Vec::with_capacity(groups.len());
    for group in groups {
        let same = |g: &&mut Group| g.access == group.access && g.numbers == group.numbers;
        match merged.iter_mut().filter(|_| group.access != Access::ALL).find(same) {
            Some(other) => other.kinds |= group.kinds,
            None => merged.push(group),
        }
    }
    merged
}

/// Loads what the checks need from the context, `struct bpf_cgroup_dev_ctx`.
fn load(groups: &[Group]) -> Vec<Line> {
    let numbers = || groups.iter().flat_map(|group| &group.numbers);
    let mut lines = Vec::with_capacity(16 + numbers().count());
    if !groups.is_empty() {
        lines.push(Line::new(LOAD_WORD, REQUEST, CONTEXT, Offset::Fixed(0), 0));
    }
    if numbers().any(|n| *n != (None, None)) {
        lines.push(Line::new(LOAD_WORD, MAJOR, CONTEXT, Offset::Fixed(4), 0));
        lines.push(Line::new(LOAD_WORD, MINOR, CONTEXT, Offset::Fixed(8), 0));
    }
    if numbers().any(|n| matches!(n, (Some(_), Some(_)))) {
        lines.push(Line::new(MOVE_REGISTER, NUMBERS, MAJOR, Offset::Fixed(0), 0));
        lines.push(Line::new(SHIFT_LEFT, NUMBERS, 0, Offset::Fixed(0), MINOR_BITS.cast_signed()));
        lines.push(Line::new(OR_REGISTER, NUMBERS, MINOR, Offset::Fixed(0), 0));
    }
    lines
}

/// Leaves the group when its exceptions do not speak of this kind of device or access.
fn check_access(lines: &mut Vec<Line>, group: &Group, end: Offset, allow: bool) {
    let access = i32::from(group.access.0) << 16;
    let all = i32::from(Access::ALL.0) << 16;
    let other_kind = (BLOCK | CHARACTER) & !group.kinds;
    // An access is let pass when all of it is excepted, but denied when any of it is.
    let miss = if allow { other_kind } else { other_kind | all & !access };
    if miss != 0 {
        lines.push(Line::new(JUMP_IF_ANY_BIT, REQUEST, 0, end, miss));
    }
    if allow && access != all {
        lines.push(Line::new(JUMP_IF_ANY_BIT, REQUEST, 0, Offset::Fixed(1), access));
        lines.push(Line::new(JUMP, 0, 0, end, 0));
    }
}

/// Jumps to the end of the program when the numbers are those of an exception.
fn check_numbers(lines: &mut Vec<Line>, group: &Group) {
    if group.numbers.contains(&(None, None)) {
        lines.push(Line::new(JUMP, 0, 0, Offset::Hit, 0));
        return;
    }
    for &numbers in &group.numbers {
        let (register, value) = match numbers {
            (Some(major), Some(minor)) => (NUMBERS, major << MINOR_BITS | minor),
            (Some(major), None) => (MAJOR, major),
            (None, Some(minor)) => (MINOR, minor),
            (None, None) => continue,
        };
        lines.push(Line::new(JUMP_IF_EQUAL, register, 0, Offset::Hit, value.cast_signed()));
    }
}

fn verdict(allow: bool) -> [Line; 2] {
    [
        Line::new(MOVE, RESULT, 0, Offset::Fixed(0), i32::from(allow)),
        Line::new(EXIT, 0, 0, Offset::Fixed(0), 0),
    ]
}

impl Line {
    fn new(opcode: u8, target: u8, source: u8, offset: Offset, immediate: i32) -> Self {
        Line { opcode, target, source, offset, immediate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::tests::rules;
    use crate::devices::{Devices, filter};

    /// Runs a program as the kernel would, on an access to a device.
    fn run(program: &[Insn], kind: Kind, access: u8, major: u32, minor: u32) -> bool {
        let code: Vec<u8> = program.iter().flat_map(|insn| insn.to_bytes()).collect();
        let kind = if kind == Kind::Block { BLOCK } else { CHARACTER };
        let request = u32::from(access) << 16 | kind.cast_unsigned();
        let mut context: Vec<u8> =
            [request, major, minor].iter().flat_map(|word| word.to_ne_bytes()).collect();
        match rbpf::EbpfVmRaw::new(Some(&code)).unwrap().execute_program(&mut context).unwrap() {
            0 => false,
            1 => true,
            other => panic!("{other}"),
        }
    }

    /// What the rules say about one kind of access: the last one that matches decides.
    fn last_match(texts: &[&str], kind: Kind, access: u8, major: u32, minor: u32) -> bool {
        let defaults = [
            "allow c *:* m",
            "allow b *:* m",
            "allow c 1:3 rwm",
            "allow c 1:8 rwm",
            "allow c 1:7 rwm",
            "allow c 5:0 rwm",
            "allow c 1:5 rwm",
            "allow c 1:9 rwm",
            "allow c 136:* rwm",
            "allow c 5:2 rwm",
            "allow c 10:200 rwm",
        ];
        let letter = match access {
            1 => 'm',
            2 => 'r',
            _ => 'w',
        };
        let is = |given: Option<i64>, number: u32| given.is_none_or(|given| given == i64::from(number));
        let kind = if kind == Kind::Block { "b" } else { "c" };
        let rules = rules(&[texts, &defaults].concat());
        let matching = rules.iter().rev().find(|rule| {
            ["", "a", kind].contains(&rule.r#type.as_str())
                && is(rule.major, major)
                && is(rule.minor, minor)
                && rule.access.contains(letter)
        });
        matching.is_some_and(|rule| rule.allow)
    }

    const TABLE: &[&[&str]] = &[
        &[],
        &["deny a *:* rwm"],
        &["allow a *:* rwm"],
        &["allow a *:* rwm", "deny b 8:* rwm", "deny b 259:1 w"],
        &["allow a *:* rwm", "deny b *:* rwm"],
        &["allow a *:* rwm", "deny b *:* w", "deny b *:7 r"],
        &["allow a *:* rwm", "deny c 10:229 rw", "deny b 8:0 m"],
        &["deny a *:* rwm", "allow b 8:0 r", "allow b 8:1 rw", "allow c 10:229 rwm"],
        &["allow b *:* rwm", "allow c *:* rwm"],
        &["allow b *:* rw", "allow c *:* rw"],
        &["allow c *:7 r", "allow c 7:* rwm", "allow b 7:7 w"],
        &["allow c 4095:1048575 rwm", "allow c 4096:1 rwm", "allow c 8:1048576 rwm"],
        &["allow b 8:0 rwm", "allow b 8:1 rwm", "deny b 8:* w", "deny c 1:3 rwm"],
        &["allow c 4294967295:0 rwm"],
    ];

    fn points() -> impl Iterator<Item = (Kind, u32, u32)> {
        let majors = [0, 1, 5, 7, 8, 10, 136, 137, 259, 2048, 4095];
        let minors = [0, 1, 2, 3, 5, 7, 8, 9, 10, 200, 229, 1_048_575];
        let numbers = majors.into_iter().flat_map(move |major| minors.map(|minor| (major, minor)));
        [Kind::Block, Kind::Character]
            .into_iter()
            .flat_map(move |kind| numbers.clone().map(move |(major, minor)| (kind, major, minor)))
    }

    #[test]
    fn one_access_is_decided_by_the_last_matching_rule() {
        for texts in TABLE {
            let program = program(&filter(&rules(texts), &[]).unwrap()).unwrap();
            for (kind, major, minor) in points() {
                for access in [1, 2, 4] {
                    let expected = last_match(texts, kind, access, major, minor);
                    let got = run(&program, kind, access, major, minor);
                    assert_eq!(got, expected, "{texts:?} {kind:?} {major}:{minor} {access}");
                }
            }
        }
    }

    #[test]
    fn reading_and_writing_at_once_is_decided_by_the_exceptions_as_in_version_1() {
        for texts in TABLE {
            let filter = filter(&rules(texts), &[]).unwrap();
            let program = program(&filter).unwrap();
            for (kind, major, minor) in points() {
                let devices = Devices { kind, major: Some(major), minor: Some(minor) };
                let expected = if filter.allow {
                    !filter.exceptions.iter().any(|e| e.devices.contains(devices) && e.access.0 & 6 != 0)
                } else {
                    filter.exceptions.iter().any(|e| e.devices.contains(devices) && e.access.0 & 6 == 6)
                };
                assert_eq!(
                    run(&program, kind, 6, major, minor),
                    expected,
                    "{texts:?} {kind:?} {major}:{minor}"
                );
            }
        }
    }

    #[test]
    fn programs_are_short() {
        let length = |texts: &[&str]| program(&filter(&rules(texts), &[]).unwrap()).unwrap().len();
        assert_eq!(length(&[]), 22);
        assert_eq!(length(&["allow a *:* rwm"]), 2);
    }

    #[test]
    fn too_many_exceptions_make_no_program() {
        let many = |count: u32| {
            let exception = |minor| Exception {
                devices: Devices { kind: Kind::Block, major: Some(1), minor: Some(minor) },
                access: Access::READ,
            };
            program(&Filter { allow: false, exceptions: (0..count).map(exception).collect() })
        };
        assert!(many(32_000).is_some());
        assert!(many(33_000).is_none());
    }
}
