//! What an executable file says of itself: the `#!` line of a script, the headers of an ELF file.
//!
//! Pure, over bytes of the image: any of them may be missing or a lie.
use sys::Errno;

/// How much of a file the kernel looks at to see what it is (`BINPRM_BUF_SIZE`).
pub const HEAD: usize = 256;
/// The kernel takes no more bytes of program headers.
const MAX_TABLE: usize = 64 << 10;
/// The kernel takes no longer path (`PATH_MAX`).
const MAX_PATH: u64 = 4096;

/// ELF's numbers of machines, with the names that Rust has for them.
const MACHINES: [(u16, &str); 10] = [
    (3, "x86"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (258, "loongarch64"),
];
/// Machines of which one kernel may execute both, depending on how it was built.
const RELATED: [[u16; 2]; 3] = [[3, 62], [20, 21], [40, 183]];

/// What a look at a file has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The kernel can't execute it; to be read after a name for the file.
    Fault(String),
    /// It is executed by another file, whose path this is.
    Interpreter(Vec<u8>),
    /// Nothing is wrong with it, as far as can be seen.
    Nothing,
}

fn fault(text: impl Into<String>) -> Found {
    Found::Fault(text.into())
}

/// What a file says whose first [`HEAD`] bytes are `head`. `read` gives more of it: from an offset on so
/// many bytes, or fewer at its end. `errno` is what execve said.
pub fn look(head: &[u8], read: impl Fn(u64, usize) -> Option<Vec<u8>>, errno: Errno) -> Found {
    if is_elf(head) {
        let Some(elf) = Elf::of(head) else { return fault("has a damaged ELF header") };
        return elf.fault(errno).map_or_else(|| elf.interpreter(read), Found::Fault);
    }
    match head.strip_prefix(b"#!") {
        Some(line) => script(line, head.len() >= HEAD),
        None if head.is_empty() => fault("is empty"),
        None => fault("is neither an ELF program nor a script that begins with #!"),
    }
}

/// The same of a file that an ELF program names as its interpreter.
pub fn look_at_loader(head: &[u8], errno: Errno) -> Found {
    if !is_elf(head) {
        return fault("is not an ELF file");
    }
    let Some(elf) = Elf::of(head) else { return fault("has a damaged ELF header") };
    elf.fault(errno).map_or(Found::Nothing, Found::Fault)
}

/// Whether a file begins as ELF files do.
pub fn is_elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
}

/// The interpreter of a script: the first word after `#!`. `is_cut` says that the file goes on after `text`.
fn script(text: &[u8], is_cut: bool) -> Found {
    let end = text.iter().position(|&b| b == b'\n');
    let mut words = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
    while let [b' ' | b'\t', rest @ ..] = words {
        words = rest;
    }
    let word = words.iter().position(|b| b" \t\0".contains(b));
    match words.get(..word.unwrap_or(words.len())).unwrap_or(words) {
        [] => fault("names no interpreter after #!"),
        _ if is_cut && end.is_none() && word.is_none() => fault("has too long a line after #!"),
        name => Found::Interpreter(name.to_vec()),
    }
}

/// What execve wants to know of an ELF header; see elf(5).
struct Elf {
    /// Numbers of 64 bits, not 32.
    wide: bool,
    little: bool,
    kind: u16,
    machine: u16,
    /// Where the program headers are, how long one is, and how many there are.
    headers: (u64, u16, u16),
}

impl Elf {
    fn of(head: &[u8]) -> Option<Elf> {
        let (&class, &order) = (head.get(4)?, head.get(5)?);
        if ![1, 2].contains(&class) || ![1, 2].contains(&order) {
            return None;
        }
        let (wide, little) = (class == 2, order == 1);
        let short = |at| number(head, at, 2, little).and_then(|n| u16::try_from(n).ok());
        let headers = if wide {
            (number(head, 32, 8, little)?, short(54)?, short(56)?)
        } else {
            (number(head, 28, 4, little)?, short(42)?, short(44)?)
        };
        Some(Elf { wide, little, kind: short(16)?, machine: short(18)?, headers })
    }

    /// Why this is no program for this kernel.
    fn fault(&self, errno: Errno) -> Option<String> {
        let native = MACHINES.iter().find(|(_, name)| *name == std::env::consts::ARCH);
        if let Some((native, name)) = native.filter(|(native, _)| !self.is_for(*native, errno)) {
            let (bits, order) = (if self.wide { 64 } else { 32 }, if self.little { "little" } else { "big" });
            let own = match MACHINES.iter().find(|(machine, _)| *machine == self.machine) {
                // Then it is one of these two that makes the difference.
                _ if self.machine == *native => format!("{name} with {bits} bits, {order}-endian"),
                Some((_, own)) => (*own).to_owned(),
                None => format!("machine {} ({bits} bits, {order}-endian)", self.machine),
            };
            return Some(format!("is for {own}, and this host is {name}"));
        }
        match self.kind {
            2 | 3 => None,
            1 => Some("is an object file and not a program".to_owned()),
            4 => Some("is a core dump and not a program".to_owned()),
            other => Some(format!("is an ELF file of type {other} and not a program")),
        }
    }

    /// Whether a kernel of the machine `native` may have taken this.
    fn is_for(&self, native: u16, errno: Errno) -> bool {
        // It may look at the machine alone, and take those of a related one too: ask what it has said.
        if !matches!(errno, Errno::NOEXEC | Errno::LIBBAD) {
            return RELATED.iter().any(|pair| pair.contains(&native) && pair.contains(&self.machine))
                || self.machine == native;
        }
        let wide = cfg!(target_pointer_width = "64");
        self.machine == native && self.wide == wide && self.little == cfg!(target_endian = "little")
    }

    /// The loader that the header `PT_INTERP` names, or nothing in a static program.
    fn interpreter(&self, read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Found {
        let (offset, size, count) = self.headers;
        let length = usize::from(size) * usize::from(count);
        let (known_size, place, extent, word) = if self.wide { (56, 8, 32, 8) } else { (32, 4, 16, 4) };
        if size != known_size || length == 0 || length > MAX_TABLE {
            return fault("has damaged ELF headers");
        }
        let Some(table) = read(offset, length) else { return Found::Nothing };
        if table.len() < length {
            return fault("is cut off: its ELF headers are not all there");
        }
        let of_interpreter = |header: &&[u8]| number(header, 0, 4, self.little) == Some(3);
        let Some(header) = table.chunks(usize::from(size)).find(of_interpreter) else {
            return Found::Nothing;
        };
        let field = |at| number(header, at, word, self.little);
        let (Some(offset), Some(length @ 2..=MAX_PATH)) = (field(place), field(extent)) else {
            return fault("has damaged ELF headers");
        };
        let Some(path) = read(offset, usize::try_from(length).unwrap_or(0)) else { return Found::Nothing };
        match path.split(|&b| b == 0).next() {
            Some(name) if name.len() < path.len() => Found::Interpreter(name.to_vec()),
            _ => fault("has damaged ELF headers"),
        }
    }
}

/// The number of `length` bytes at `at`.
fn number(data: &[u8], at: usize, length: usize, little: bool) -> Option<u64> {
    let bytes = data.get(at..at.checked_add(length)?)?;
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    Some(if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as `look` reads it.
    fn of(file: &[u8], errno: Errno) -> Found {
        let read = |offset: u64, limit: usize| {
            let rest = usize::try_from(offset).ok().and_then(|at| file.get(at..)).unwrap_or_default();
            Some(rest[..limit.min(rest.len())].to_vec())
        };
        look(&file[..HEAD.min(file.len())], read, errno)
    }

    fn host() -> (u16, &'static str) {
        *MACHINES.iter().find(|(_, name)| *name == std::env::consts::ARCH).unwrap()
    }

    /// An ELF file of 64 bits with one program header, `PT_INTERP`, and the path that it names.
    fn elf(machine: u16, kind: u16, little: bool, interpreter: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, if little { 1 } else { 2 }]);
        let mut put = |at: usize, length: usize, value: u64| {
            let mut bytes = value.to_le_bytes()[..length].to_vec();
            if !little {
                bytes.reverse();
            }
            file[at..at + length].copy_from_slice(&bytes);
        };
        put(16, 2, kind.into());
        put(18, 2, machine.into());
        put(32, 8, 64);
        put(54, 2, 56);
        put(56, 2, 1);
        put(64, 4, 3);
        put(64 + 8, 8, 120);
        put(64 + 32, 8, interpreter.len() as u64);
        file.extend_from_slice(interpreter);
        file
    }

    #[test]
    fn the_first_word_of_a_script_is_its_interpreter() {
        let long = [b"#!/".as_slice(), &[b'x'; 300]].concat();
        let spaced = [b"#!/x ".as_slice(), &[b'y'; 300]].concat();
        let too_long = fault("has too long a line after #!");
        let none = || fault("names no interpreter after #!");
        for (text, found) in [
            (b"#!/bin/sh\n".as_slice(), Found::Interpreter(b"/bin/sh".to_vec())),
            (b"#!/bin/sh", Found::Interpreter(b"/bin/sh".to_vec())),
            (b"#! \t/bin/sh -e x\n", Found::Interpreter(b"/bin/sh".to_vec())),
            (b"#!sh\t\n", Found::Interpreter(b"sh".to_vec())),
            (b"#!/bin/sh\r\nexit\r\n", Found::Interpreter(b"/bin/sh\r".to_vec())),
            (b"#!/a\0b\n", Found::Interpreter(b"/a".to_vec())),
            (b"#!/\xff\n", Found::Interpreter(b"/\xff".to_vec())),
            (b"#!", none()),
            (b"#!\n/bin/sh", none()),
            (b"#!  \t ", none()),
            (&long, too_long),
            (&spaced, Found::Interpreter(b"/x".to_vec())),
            (b"", fault("is empty")),
            (b"echo hello\n", fault("is neither an ELF program nor a script that begins with #!")),
            (b"\xef\xbb\xbf#!/bin/sh\n", fault("is neither an ELF program nor a script that begins with #!")),
        ] {
            assert_eq!(of(text, Errno::NOENT), found, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn the_header_of_a_program_names_its_loader() {
        let (machine, _) = host();
        let little = cfg!(target_endian = "little");
        let damaged = || fault("has damaged ELF headers");
        for (interpreter, found) in [
            (b"/lib/ld.so\0".as_slice(), Found::Interpreter(b"/lib/ld.so".to_vec())),
            (b"/a\0b\0", Found::Interpreter(b"/a".to_vec())),
            (b"/lib/ld.so", damaged()),
            (b"\0", damaged()),
            (&[b'x'; 5000], damaged()),
        ] {
            assert_eq!(of(&elf(machine, 3, little, interpreter), Errno::NOENT), found, "{interpreter:?}");
        }
        let mut fixed = elf(machine, 2, little, b"/x\0");
        fixed[64..68].fill(0);
        assert_eq!(of(&fixed, Errno::NOENT), Found::Nothing, "static");
    }

    #[test]
    fn other_machines_and_other_files_are_told() {
        let (machine, name) = host();
        let little = cfg!(target_endian = "little");
        let other = if machine == 183 { (62, "x86_64") } else { (183, "aarch64") };
        for (file, text) in [
            (elf(other.0, 3, little, b"/x\0"), format!("is for {}, and this host is {name}", other.1)),
            (
                elf(9999, 3, false, b"/x\0"),
                format!("is for machine 9999 (64 bits, big-endian), and this host is {name}"),
            ),
            (
                elf(machine, 3, !little, b"/x\0"),
                format!(
                    "is for {name} with 64 bits, {}-endian, and this host is {name}",
                    if little { "big" } else { "little" }
                ),
            ),
            (elf(machine, 1, little, b"/x\0"), "is an object file and not a program".to_owned()),
            (elf(machine, 4, little, b"/x\0"), "is a core dump and not a program".to_owned()),
            (elf(machine, 7, little, b"/x\0"), "is an ELF file of type 7 and not a program".to_owned()),
        ] {
            assert_eq!(of(&file, Errno::NOEXEC), Found::Fault(text.clone()));
            assert_eq!(look_at_loader(&file, Errno::LIBBAD), Found::Fault(text));
        }
        assert_eq!(look_at_loader(b"#!/bin/sh\n", Errno::LIBBAD), fault("is not an ELF file"));
        assert_eq!(look_at_loader(&elf(machine, 3, little, b"/x\0"), Errno::LIBBAD), Found::Nothing);
    }

    #[test]
    fn a_kernel_may_take_programs_of_a_related_machine() {
        let (machine, name) = host();
        let Some(pair) = RELATED.iter().find(|pair| pair.contains(&machine)) else { return };
        let other = if pair[0] == machine { pair[1] } else { pair[0] };
        let file = elf(other, 3, cfg!(target_endian = "little"), b"/lib/ld.so\0");
        assert_eq!(of(&file, Errno::NOENT), Found::Interpreter(b"/lib/ld.so".to_vec()));
        let Found::Fault(text) = of(&file, Errno::NOEXEC) else { panic!("taken") };
        assert!(text.ends_with(&format!("this host is {name}")), "{text}");
    }

    /// A file of every length up to the whole, and with every byte of its headers set to something else.
    #[test]
    fn no_bytes_are_too_strange() {
        let (machine, _) = host();
        let whole = elf(machine, 3, cfg!(target_endian = "little"), b"/lib/ld.so\0");
        for length in 4..whole.len() {
            assert!(matches!(of(&whole[..length], Errno::NOEXEC), Found::Fault(_)), "{length} bytes");
        }
        for (at, value) in (0..120).flat_map(|at| [0, 1, 0x7f, 0x80, 0xff].map(|value| (at, value))) {
            let mut file = whole.clone();
            file[at] = value;
            of(&file, Errno::NOENT);
        }
        // xorshift, to have the same bytes each time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000_usize {
            let mut bytes = Vec::new();
            for _ in 0..round % 40 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend_from_slice(&state.to_ne_bytes());
            }
            for begin in [b"".as_slice(), b"#!", b"\x7fELF", &whole[..16], &whole[..64]] {
                let file = [begin, &bytes].concat();
                of(&file, Errno::NOENT);
                look_at_loader(&file, Errno::LIBBAD);
            }
        }
    }
}
