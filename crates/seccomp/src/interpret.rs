//! Runs a program as the kernel would: what tests and the fuzzer ask.
use sys::seccomp::Insn;

use crate::code;

/// What a program is asked about (`struct seccomp_data`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// The number of the call.
    pub number: u32,
    /// Its architecture ([`crate::Arch::token`]).
    pub arch: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Data {
    /// As a machine of little endian has it in memory.
    pub fn to_bytes(&self) -> [u8; 64] {
        self.bytes(u32::to_le_bytes, u64::to_le_bytes)
    }

    /// As a machine of big endian has it in memory, which is how a program for such a one has to see it.
    pub fn to_big_endian(&self) -> [u8; 64] {
        self.bytes(u32::to_be_bytes, u64::to_be_bytes)
    }

    fn bytes(&self, word: fn(u32) -> [u8; 4], long: fn(u64) -> [u8; 8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        let words = [self.number, self.arch].into_iter().flat_map(word);
        let rest = [0; 8].into_iter().chain(self.args.into_iter().flat_map(long));
        for (byte, value) in bytes.iter_mut().zip(words.chain(rest)) {
            *byte = value;
        }
        bytes
    }
}

/// The verdict of a program (`SECCOMP_RET_*`) over a call of little endian; `None` for one that the kernel would not load.
pub fn run(program: &[Insn], data: &[u8; 64]) -> Option<u32> {
    evaluate(program, |at| word(data, at).map(u32::from_le_bytes))
}

/// The same with data of big endian.
pub fn run_big_endian(program: &[Insn], data: &[u8; 64]) -> Option<u32> {
    evaluate(program, |at| word(data, at).map(u32::from_be_bytes))
}

/// What a program says of a call of which only number and architecture are known: what the kernel finds out once, for
/// every number, to leave the program out where that is "allowed". `None` when the program looks at more.
pub fn without_arguments(program: &[Insn], number: u32, arch: u32) -> Option<u32> {
    evaluate(program, |at| match at {
        code::NUMBER => Some(number),
        code::ARCH => Some(arch),
        _ => None,
    })
}

fn word(data: &[u8; 64], at: u32) -> Option<[u8; 4]> {
    let at = usize::try_from(at).ok().filter(|at| at % 4 == 0)?;
    data.get(at..at + 4)?.try_into().ok()
}

fn evaluate(program: &[Insn], load: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let Insn { code, yes, no, k } = *program.get(at)?;
        let branch = |holds: bool| usize::from(if holds { yes } else { no });
        at += 1;
        match code {
            code::LOAD => accumulator = load(k)?,
            code::AND => accumulator &= k,
            code::GO_TO => at += usize::try_from(k).ok()?,
            code::IF_EQUAL => at += branch(accumulator == k),
            code::IF_GREATER => at += branch(accumulator > k),
            code::IF_AT_LEAST => at += branch(accumulator >= k),
            code::RETURN => return Some(k),
            _ => return None,
        }
    }
}
