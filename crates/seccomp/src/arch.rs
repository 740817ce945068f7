//! Architectures: how their calls are numbered, and which of them one machine can run.
use crate::syscalls::{self, COUNT};

/// An architecture that programs are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// `SCMP_ARCH_X86_64`
    X86_64,
    /// `SCMP_ARCH_X86`
    X86,
    /// `SCMP_ARCH_X32`: to the kernel the same as the first, with a bit in the number.
    X32,
    /// `SCMP_ARCH_AARCH64`
    Aarch64,
    /// `SCMP_ARCH_ARM`
    Arm,
    /// `SCMP_ARCH_RISCV64`
    Riscv64,
    /// `SCMP_ARCH_LOONGARCH64`
    Loongarch64,
    /// `SCMP_ARCH_PPC64LE`
    Ppc64le,
    /// `SCMP_ARCH_S390X`
    S390x,
}

use Arch::{Aarch64, Arm, Loongarch64, Ppc64le, Riscv64, S390x, X32, X86, X86_64};

/// The architectures that a profile may name, sorted, and the same as an [`Arch`]. Of the others there is no table:
/// they are machines that tare is not made for, or the older half of one that the kernel has given up.
pub const ARCHITECTURES: [(&str, Option<Arch>); 18] = [
    ("SCMP_ARCH_AARCH64", Some(Aarch64)),
    ("SCMP_ARCH_ARM", Some(Arm)),
    ("SCMP_ARCH_LOONGARCH64", Some(Loongarch64)),
    ("SCMP_ARCH_MIPS", None),
    ("SCMP_ARCH_MIPS64", None),
    ("SCMP_ARCH_MIPS64N32", None),
    ("SCMP_ARCH_MIPSEL", None),
    ("SCMP_ARCH_MIPSEL64", None),
    ("SCMP_ARCH_MIPSEL64N32", None),
    ("SCMP_ARCH_PPC", None),
    ("SCMP_ARCH_PPC64", None),
    ("SCMP_ARCH_PPC64LE", Some(Ppc64le)),
    ("SCMP_ARCH_RISCV64", Some(Riscv64)),
    ("SCMP_ARCH_S390", None),
    ("SCMP_ARCH_S390X", Some(S390x)),
    ("SCMP_ARCH_X32", Some(X32)),
    ("SCMP_ARCH_X86", Some(X86)),
    ("SCMP_ARCH_X86_64", Some(X86_64)),
];

/// The bit that tells calls of x32 from those of x86_64 (`__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 1 << 30;

const ARM_PRIVATE: u32 = 0x0f_0000;

// Where each name begins in `syscalls::NAMES`; the last is where the next would.
static STARTS: [u16; COUNT + 1] = starts();

#[expect(clippy::cast_possible_truncation, reason = "the text has less than 64 KiB, which is checked")]
const fn starts() -> [u16; COUNT + 1] {
    let text = syscalls::NAMES.as_bytes();
    assert!(text.len() < 0xffff);
    let mut starts = [0; COUNT + 1];
    let (mut at, mut found) = (0, 1);
    while at < text.len() {
        if text[at] == b' ' {
            starts[found] = at as u16 + 1;
            found += 1;
        }
        at += 1;
    }
    assert!(found == COUNT);
    starts[found] = at as u16 + 1;
    starts
}

/// How many places the table of hashes has: a power of two, and so many that names rarely meet.
const PLACES: usize = 2048;

// The place of each name in `syscalls::NAMES`, where its hash says or behind that; `COUNT` where there is none.
static HASHES: [u16; PLACES] = hashes();

#[expect(clippy::cast_possible_truncation, reason = "there are less than 65536 names")]
const fn hashes() -> [u16; PLACES] {
    const { assert!(COUNT * 2 < PLACES) };
    let text = syscalls::NAMES.as_bytes();
    let mut hashes = [COUNT as u16; PLACES];
    let mut place = 0;
    while place < COUNT {
        let mut at = hash(text, STARTS[place] as usize, STARTS[place + 1] as usize - 1);
        while hashes[at] as usize != COUNT {
            at = (at + 1) % PLACES;
        }
        hashes[at] = place as u16;
        place += 1;
    }
    hashes
}

/// FNV-1a of a part of a text, as a place in the table.
const fn hash(text: &[u8], start: usize, end: usize) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = start;
    while at < end {
        hash = (hash ^ text[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ hash >> 16) as usize % PLACES
}

/// The name with this place in the table.
#[cfg(test)]
pub(crate) fn name(place: usize) -> &'static str {
    bytes(place).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
}

fn bytes(place: usize) -> Option<&'static [u8]> {
    let (start, end) = (STARTS.get(place)?, STARTS.get(place + 1)?);
    syscalls::NAMES.as_bytes().get(usize::from(*start)..usize::from(*end) - 1)
}

/// The place of a name in the table; `None` when no architecture has such a call.
pub(crate) fn find(wanted: &str) -> Option<usize> {
    let wanted = wanted.as_bytes();
    let mut at = hash(wanted, 0, wanted.len());
    loop {
        let place = usize::from(*HASHES.get(at)?);
        // Where there is none in the table, there is none behind the last one either.
        if bytes(place)? == wanted {
            return Some(place);
        }
        at = (at + 1) % PLACES;
    }
}

impl Arch {
    /// What this program is made for.
    pub const NATIVE: Option<Arch> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
        Some(X86_64)
    } else if cfg!(target_arch = "x86") {
        Some(X86)
    } else if cfg!(target_arch = "aarch64") {
        Some(Aarch64)
    } else if cfg!(target_arch = "arm") {
        Some(Arm)
    } else if cfg!(target_arch = "riscv64") {
        Some(Riscv64)
    } else if cfg!(target_arch = "loongarch64") {
        Some(Loongarch64)
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        Some(Ppc64le)
    } else if cfg!(target_arch = "s390x") {
        Some(S390x)
    } else {
        None
    };

    /// Those whose programs a machine of this one may run, itself first.
    pub(crate) fn family(self) -> &'static [Arch] {
        match self {
            X86_64 | X32 => &[X86_64, X32, X86],
            X86 => &[X86, X86_64, X32],
            Aarch64 => &[Aarch64, Arm],
            Arm => &[Arm, Aarch64],
            Riscv64 => &[Riscv64],
            Loongarch64 => &[Loongarch64],
            Ppc64le => &[Ppc64le],
            S390x => &[S390x],
        }
    }

    /// What the kernel calls it (`AUDIT_ARCH_*`): the number of its ELF machine, 64 bits, little endian.
    pub fn token(self) -> u32 {
        match self {
            X86_64 | X32 => 0xc000_003e,
            X86 => 0x4000_0003,
            Aarch64 => 0xc000_00b7,
            Arm => 0x4000_0028,
            Riscv64 => 0xc000_00f3,
            Loongarch64 => 0xc000_0102,
            Ppc64le => 0xc000_0015,
            S390x => 0x8000_0016,
        }
    }

    /// Whether arguments are compared as 64 bits. Those of x32 are not, as with libseccomp.
    pub(crate) fn is_wide(self) -> bool {
        !matches!(self, X86 | X32 | Arm)
    }

    /// Whether the upper half of an argument comes first.
    pub(crate) fn is_big_endian(self) -> bool {
        self == S390x
    }

    /// Whether sockets and System V IPC also have one call for all of them, `socketcall` and `ipc`.
    pub(crate) fn multiplexes(self) -> bool {
        matches!(self, X86 | Ppc64le | S390x)
    }

    /// The number of the call with this place in the table.
    pub(crate) fn number(self, place: usize) -> Option<u32> {
        let table = match self {
            X86_64 => &syscalls::X86_64,
            X86 => &syscalls::X86,
            X32 => &syscalls::X32,
            Aarch64 => &syscalls::AARCH64,
            Arm => &syscalls::ARM,
            Riscv64 => &syscalls::RISCV64,
            Loongarch64 => &syscalls::LOONGARCH64,
            Ppc64le => &syscalls::PPC64LE,
            S390x => &syscalls::S390X,
        };
        let number = *table.get(place).filter(|&&number| number != syscalls::NONE)?;
        Some(match self {
            X32 => X32_BIT | u32::from(number),
            Arm if number >= syscalls::ARM_PRIVATE => ARM_PRIVATE + u32::from(number - syscalls::ARM_PRIVATE),
            _ => u32::from(number),
        })
    }

    /// The number of a call by its name.
    pub fn syscall(self, name: &str) -> Option<u32> {
        find(name).and_then(|place| self.number(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        let all: Vec<&str> = (0..COUNT).map(name).collect();
        assert!(all.is_sorted() && all.iter().all(|name| !name.is_empty()));
        assert_eq!(all.join(" "), syscalls::NAMES);
        assert!(all.iter().enumerate().all(|(place, name)| find(name) == Some(place)));
        for unknown in ["", " ", "aaa", "read ", "zzz", "read write"] {
            assert_eq!(find(unknown), None, "{unknown:?}");
        }
        assert!(ARCHITECTURES.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn numbers_of_every_architecture() {
        for (arch, name, number) in [
            (X86_64, "read", Some(0)),
            (X86_64, "socketcall", None),
            (X86, "socketcall", Some(102)),
            (X86, "read", Some(3)),
            (X32, "read", Some(0x4000_0000)),
            (X32, "execve", Some(0x4000_0000 + 520)),
            (Aarch64, "openat", Some(56)),
            (Aarch64, "open", None),
            (Arm, "set_tls", Some(0x0f_0005)),
            (Arm, "sync_file_range2", Some(341)),
            (Riscv64, "riscv_flush_icache", Some(259)),
            (Loongarch64, "clone3", Some(435)),
            (Ppc64le, "read", Some(3)),
            (S390x, "s390_pci_mmio_read", Some(353)),
        ] {
            assert_eq!(arch.syscall(name), number, "{arch:?} {name}");
        }
    }
}
