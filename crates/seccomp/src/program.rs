//! From what becomes of each call to the program: a tree over numbers, then chains of comparisons of arguments.
use sys::seccomp::Insn;

use crate::arch::{Arch, X32_BIT};
use crate::assemble::{Assembler, Place};
use crate::code;
use crate::profile::{Condition, Op, Profile, verdict};
use crate::rules::{self, Calls, Fate};

/// What becomes of the numbers from `start` to the next range.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    start: u32,
    fate: Fate,
    /// Whether this is one number between two ranges that have the same fate.
    is_single: bool,
}

/// Ranges in ascending order, of which the first begins with 0.
#[derive(Debug, Default)]
struct Ranges(Vec<Range>);

impl Ranges {
    /// Everything from `start` on is `fate`, until more is said.
    fn push(&mut self, start: u32, fate: Fate) {
        if self.0.last().is_some_and(|last| last.start == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| last.fate != fate) {
            self.0.push(Range { start, fate, is_single: false });
        }
    }

    /// All of them, with those that are single marked.
    fn finish(mut self) -> Vec<Range> {
        for at in 1..self.0.len() {
            if let Some([before, this, after]) = self.0.get_mut(at - 1..=at + 1) {
                let is_one = after.start - this.start == 1;
                this.is_single = is_one && !before.is_single && before.fate == after.fate;
            }
        }
        self.0
    }
}

/// Makes the program.
pub(crate) fn program(profile: &Profile) -> Vec<Insn> {
    let mut program = Assembler::default();
    // Of an architecture that the profile does not name nobody knows what its calls do.
    let mut next = program.verdict(verdict::KILL_THREAD);
    let shares_token = |arch: &&Arch| **arch != Arch::X32;
    // From the last to the first, the machine's own.
    for arch in profile.architectures.iter().filter(shares_token).rev() {
        let ranges = ranges(profile, *arch).finish();
        let tree = tree(&mut program, &ranges, u32::MAX, profile.default, *arch);
        let number = program.before(code::LOAD, code::NUMBER, tree);
        next = program.jump(code::IF_EQUAL, arch.token(), number, next);
    }
    program.before(code::LOAD, code::ARCH, next);
    program.finish()
}

/// What becomes of every number of the calls that the kernel says are of `arch`.
fn ranges(profile: &Profile, arch: Arch) -> Ranges {
    let default = Fate::Always(profile.default);
    let mut ranges = Ranges::default();
    let mut calls = rules::calls(profile, arch);
    if arch == Arch::S390x && calls.newest.is_some() {
        // Calls that the kernel has no number for come as this one, which has been none for decades.
        calls.fates.retain(|(number, _)| *number != 0);
        calls.fates.insert(0, (0, Fate::Always(verdict::NO_SUCH_CALL)));
    }
    let newer = part(&mut ranges, 0, calls, &default);
    if arch != Arch::X86_64 {
        return ranges;
    }
    let kill = Fate::Always(verdict::KILL_THREAD);
    let has_x32 = profile.architectures.contains(&Arch::X32);
    let newer_x32 = if has_x32 {
        part(&mut ranges, X32_BIT, rules::calls(profile, Arch::X32), &default)
    } else {
        ranges.push(X32_BIT, kill.clone());
        None
    };
    // Above both the bit of x32 comes again, and nothing that exists: as with libseccomp, behind what runc puts before.
    let otherwise = if has_x32 { default.clone() } else { kill };
    ranges.push(0x8000_0000, newer.unwrap_or_else(|| otherwise.clone()));
    ranges.push(0xc000_0000, newer_x32.clone().unwrap_or(otherwise));
    // A tracer makes the kernel leave a call out by this number.
    ranges.push(u32::MAX, newer_x32.unwrap_or(default));
    ranges
}

/// Adds the calls of one architecture, whose numbers begin with `start`, and gives what becomes of newer ones, if
/// that is anything special.
fn part(ranges: &mut Ranges, start: u32, calls: Calls, default: &Fate) -> Option<Fate> {
    let Calls { fates, newest } = calls;
    let mut next = start;
    ranges.push(next, default.clone());
    for (number, fate) in
        fates.into_iter().filter(|(number, _)| newest.is_none_or(|newest| *number <= newest))
    {
        if number != next {
            ranges.push(next, default.clone());
        }
        ranges.push(number, fate);
        next = number + 1;
    }
    ranges.push(next, default.clone());
    let newer = Fate::Always(verdict::NO_SUCH_CALL);
    ranges.push(newest? + 1, newer.clone());
    Some(newer)
}

/// How many single numbers are looked for one after the other.
const FEW: usize = 3;

/// Finds the range of the number that is in the accumulator; the last one goes up to `end`.
///
/// The kernel asks this once about every call that it has, for its cache, and takes as long for each instruction of the
/// program. So there are few: a single number is one comparison, and so is the border between two ranges. And the way
/// is short for what is many numbers.
fn tree(program: &mut Assembler, ranges: &[Range], end: u32, default: u32, arch: Arch) -> Place {
    let Some(cut) = cut(ranges, end) else {
        let Some(around) = ranges.first() else { return program.verdict(default) };
        let mut place = fate(program, around, default, arch);
        for one in ranges.iter().filter(|range| range.is_single).rev() {
            let yes = fate(program, one, default, arch);
            place = program.jump(code::IF_EQUAL, one.start, yes, place);
        }
        return place;
    };
    let (low, high) = ranges.split_at(cut);
    let start = high.first().map_or(end, |range| range.start);
    let yes = tree(program, high, end, default, arch);
    let no = tree(program, low, start, default, arch);
    program.jump(code::IF_AT_LEAST, start, yes, no)
}

/// Where to cut ranges in two that weigh the same; `None` when they are one but for a few single numbers.
fn cut(ranges: &[Range], end: u32) -> Option<usize> {
    // By how many numbers may be calls, and by how many ranges.
    let start = ranges.first()?.start.min(CALLS);
    let weight = |end: u32, count: usize| end.min(CALLS) - start + u32::try_from(count).unwrap_or(u32::MAX);
    let all = weight(end, ranges.len());
    // What follows a single number goes on as before it: there is no border that would have to be found.
    let pairs = ranges.iter().zip(ranges.iter().skip(1)).enumerate();
    let borders = pairs.filter(|(_, (a, b))| !a.is_single && !b.is_single);
    let best = borders.min_by_key(|(at, (_, high))| (2 * weight(high.start, at + 1)).abs_diff(all));
    if let Some((at, _)) = best {
        return Some(at + 1);
    }
    // Every second one, from the second on.
    let singles = ranges.len() / 2;
    (singles > FEW).then_some(singles / 2 * 2)
}

/// More calls than there are; those of x32 are not in the kernel's cache.
const CALLS: u32 = 512;

fn fate(program: &mut Assembler, range: &Range, default: u32, arch: Arch) -> Place {
    // The kernel calls both the same.
    let is_x32 = arch == Arch::X86_64 && range.start & X32_BIT != 0;
    let arch = if is_x32 { Arch::X32 } else { arch };
    match &range.fate {
        Fate::Always(verdict) => program.verdict(*verdict),
        Fate::First(rules) => {
            let mut next = program.verdict(default);
            // Values that one argument is compared with, one after the other, need it loaded but once.
            for together in rules
                .chunk_by(|a, b| single_value(a, arch).is_some_and(|a| Some(a) == single_value(b, arch)))
                .rev()
            {
                next = match together {
                    [(conditions, verdict)] => all(program, conditions, *verdict, next, arch),
                    many => values(program, many, next, arch),
                };
            }
            next
        }
    }
}

/// The argument of a rule that wants it to be one value, and the upper half of that.
fn single_value((conditions, _): &(Vec<Condition>, u32), arch: Arch) -> Option<(u8, u32)> {
    match conditions[..] {
        [Condition { argument, op: Op::Equal, value }] if arch.is_wide() => Some((argument, high(value))),
        [Condition { argument, op: Op::Equal, .. }] => Some((argument, 0)),
        _ => None,
    }
}

/// Rules about single values of the same argument with the same upper half.
fn values(program: &mut Assembler, rules: &[(Vec<Condition>, u32)], next: Place, arch: Arch) -> Place {
    let mut place = next;
    let mut of_all = None;
    for (conditions, verdict) in rules.iter().rev() {
        let Some(condition) = conditions.first() else { continue };
        let yes = program.verdict(*verdict);
        place = program.jump(code::IF_EQUAL, low(condition.value), yes, place);
        of_all = Some(condition);
    }
    let Some(condition) = of_all else { return place };
    let place = program.before(code::LOAD, argument(condition, Half::Low, arch), place);
    if !arch.is_wide() {
        return place;
    }
    let place = program.jump(code::IF_EQUAL, high(condition.value), place, next);
    program.before(code::LOAD, argument(condition, Half::High, arch), place)
}

/// A rule whose conditions must all hold.
fn all(program: &mut Assembler, conditions: &[Condition], verdict: u32, next: Place, arch: Arch) -> Place {
    let mut place = program.verdict(verdict);
    for condition in conditions.iter().rev() {
        place = match condition.op {
            Op::NotEqual => equal(program, condition, u64::MAX, next, place, arch),
            Op::Equal => equal(program, condition, u64::MAX, place, next, arch),
            Op::Masked(mask) => equal(program, condition, mask, place, next, arch),
            Op::Greater => above(program, condition, code::IF_GREATER, place, next, arch),
            Op::AtLeast => above(program, condition, code::IF_AT_LEAST, place, next, arch),
            Op::AtMost => above(program, condition, code::IF_GREATER, next, place, arch),
            Op::Less => above(program, condition, code::IF_AT_LEAST, next, place, arch),
        };
    }
    place
}

/// Compares those bits of an argument that are in `mask`.
fn equal(
    program: &mut Assembler,
    condition: &Condition,
    mask: u64,
    yes: Place,
    no: Place,
    arch: Arch,
) -> Place {
    let mut place = yes;
    let halves =
        [(Half::Low, low(mask), low(condition.value)), (Half::High, high(mask), high(condition.value))];
    for (half, mask, value) in halves {
        if mask == 0 || half == Half::High && !arch.is_wide() {
            continue;
        }
        place = program.jump(code::IF_EQUAL, value, place, no);
        if mask != u32::MAX {
            place = program.before(code::AND, mask, place);
        }
        place = program.before(code::LOAD, argument(condition, half, arch), place);
    }
    place
}

/// Compares sizes, by `code`: a greater upper half is enough, an equal one leaves it to the lower.
fn above(
    program: &mut Assembler,
    condition: &Condition,
    code: u16,
    yes: Place,
    no: Place,
    arch: Arch,
) -> Place {
    let place = program.jump(code, low(condition.value), yes, no);
    let place = program.before(code::LOAD, argument(condition, Half::Low, arch), place);
    if !arch.is_wide() {
        return place;
    }
    let place = program.jump(code::IF_EQUAL, high(condition.value), place, no);
    let place = program.jump(code::IF_GREATER, high(condition.value), yes, place);
    program.before(code::LOAD, argument(condition, Half::High, arch), place)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Low,
    High,
}

/// Where half of an argument is.
fn argument(condition: &Condition, half: Half, arch: Arch) -> u32 {
    let second = (half == Half::High) != arch.is_big_endian();
    code::ARGUMENTS + 8 * u32::from(condition.argument) + if second { 4 } else { 0 }
}

fn high(value: u64) -> u32 {
    u32::try_from(value >> 32).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "the half that is wanted")]
fn low(value: u64) -> u32 {
    value as u32
}
