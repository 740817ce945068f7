//! What the fuzzer calls; see `fuzz/`. Only its builds have it, and the tests, for what is in the corpus.
use crate::{Arch, Data, code, compile, run, run_big_endian, without_arguments};

const MACHINES: [Arch; 8] = [
    Arch::X86_64,
    Arch::X86,
    Arch::Aarch64,
    Arch::Arm,
    Arch::Riscv64,
    Arch::Loongarch64,
    Arch::Ppc64le,
    Arch::S390x,
];

/// A profile, after a byte that picks the machine and four that are the number of a call.
pub fn profile(data: &[u8]) {
    let [machine, a, b, c, d, json @ ..] = data else { return };
    let machine = MACHINES[usize::from(*machine) % MACHINES.len()];
    let Ok(Some(raw)) = oci::from_json::<oci::Seccomp>(json) else { return };
    let Ok(filter) = compile(&raw, machine) else { return };
    let program = &filter.program;
    assert!((1..=code::MOST).contains(&program.len()));
    let called = u32::from_le_bytes([*a, *b, *c, *d]);
    for arch in MACHINES {
        for number in [called, called & 0x1ff, called & 0x1ff | 0x4000_0000, u32::MAX] {
            let value = u64::from(called) << 16 | u64::from(*a);
            let asked = Data { number, arch: arch.token(), args: [0, 1, value, !value, u64::MAX, 1 << 32] };
            // Every call gets a verdict, whatever the profile is.
            let verdict = match machine {
                Arch::S390x => run_big_endian(program, &asked.to_big_endian()),
                _ => run(program, &asked.to_bytes()),
            };
            assert!(verdict.is_some(), "{asked:?}");
            // What the kernel finds out without the arguments is true with all of them.
            let early = without_arguments(program, number, arch.token());
            assert!(early.is_none() || early == verdict, "{asked:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_corpus() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/seccomp");
        let files = std::fs::read_dir(corpus).unwrap();
        assert!(files.map(|file| profile(&std::fs::read(file.unwrap().path()).unwrap())).count() > 0);
    }
}
