//! `cargo xtask syscalls DIR`: writes the table of system calls of `crates/seccomp` from the kernel's own headers.
//!
//! `DIR` holds `include/linux/version.h` and `lib/linux/uapi/<architecture>/asm/`, as Debian's package
//! `linux-libc-dev` has them below `/usr` for all architectures at once (Debian 13 and later).
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::{Error, Result};
use std::path::Path;
use std::process::Command;

const OUTPUT: &str = "crates/seccomp/src/syscalls.rs";

/// The architectures with numbers: the constant's name, and where its header is.
const TABLES: [(&str, &str); 9] = [
    ("X86_64", "x86/asm/unistd_64.h"),
    ("X86", "x86/asm/unistd_32.h"),
    ("X32", "x86/asm/unistd_x32.h"),
    ("AARCH64", "arm64/asm/unistd_64.h"),
    ("ARM", "arm/asm/unistd-eabi.h"),
    ("RISCV64", "riscv/asm/unistd_64.h"),
    ("LOONGARCH64", "loongarch/asm/unistd_64.h"),
    ("PPC64LE", "powerpc/asm/unistd_64.h"),
    ("S390X", "s390/asm/unistd_64.h"),
];

/// Headers with further names that a profile may have, but numbers that no program of ours can meet.
const NAMES_ONLY: [&str; 4] =
    ["powerpc/asm/unistd_32.h", "mips/asm/unistd_o32.h", "mips/asm/unistd_n64.h", "mips/asm/unistd_n32.h"];

/// The calls that ARM has for itself count from here (`__ARM_NR_BASE`).
const ARM_PRIVATE: u32 = 0x0f_0000;
/// How the table writes those, in 16 bits: as runtime code of the crate reads them.
const ARM_PRIVATE_SHORT: u32 = 0xf000;

/// Writes the table.
pub fn write(root: &Path, source: &Path) -> Result<()> {
    let uapi = source.join("lib/linux/uapi");
    let mut names: BTreeMap<String, [Option<u32>; TABLES.len()]> = BTreeMap::new();
    for (column, (name, header)) in TABLES.iter().enumerate() {
        let mut text = fs::read_to_string(uapi.join(header))?;
        if *name == "ARM" {
            text.push_str(&fs::read_to_string(uapi.join("arm/asm/unistd.h"))?);
        }
        for (call, number) in numbers(&text) {
            names.entry(call).or_default()[column] = Some(number);
        }
    }
    for header in NAMES_ONLY {
        for (call, _) in numbers(&fs::read_to_string(uapi.join(header))?) {
            names.entry(call).or_default();
        }
    }
    let version = version(&fs::read_to_string(source.join("include/linux/version.h"))?)?;
    let output = root.join(OUTPUT);
    fs::write(&output, print(&names, &version)?)?;
    let formatted = Command::new("rustfmt").arg("--edition=2024").arg(&output).status()?;
    if formatted.success() { Ok(()) } else { Err(Error::other("rustfmt failed")) }
}

/// The system calls that a header defines. What it says of itself, such as how many there are, is left out.
fn numbers(header: &str) -> Vec<(String, u32)> {
    let mut found: Vec<(String, u32)> = Vec::new();
    for line in header.lines() {
        let mut words = line.split_whitespace();
        let (Some("#define"), Some(define)) = (words.next(), words.next()) else { continue };
        let (name, base) = match (define.strip_prefix("__NR_"), define.strip_prefix("__ARM_NR_")) {
            (Some(name), _) => (name, 0),
            (_, Some(name)) => (name, ARM_PRIVATE_SHORT),
            _ => continue,
        };
        if name.chars().any(|c| c.is_ascii_uppercase()) || name == "syscalls" {
            continue;
        }
        let value: String = words.collect();
        let value = value.trim_matches(['(', ')']);
        if let Some(other) = value.strip_prefix("__NR_").filter(|other| !other.contains('+')) {
            // Another name for a call that is there already.
            let number = found.iter().find(|(call, _)| call == other).map(|(_, number)| *number);
            found.extend(number.map(|number| (name.to_owned(), number)));
            continue;
        }
        let number = value.rsplit('+').next().and_then(|number| number.parse::<u32>().ok());
        found.extend(number.map(|number| (name.to_owned(), base + number)));
    }
    found
}

/// `7.2.13`, of `linux/version.h`.
fn version(header: &str) -> Result<String> {
    let code = header.lines().find_map(|line| line.strip_prefix("#define LINUX_VERSION_CODE "));
    let code = code.and_then(|code| code.trim().parse::<u32>().ok());
    let code = code.ok_or_else(|| Error::other("no version in linux/version.h"))?;
    Ok(format!("{}.{}.{}", code >> 16, code >> 8 & 255, code & 255))
}

fn print(names: &BTreeMap<String, [Option<u32>; TABLES.len()]>, version: &str) -> Result<String> {
    let mut text = format!(
        "//! System calls by name, and their numbers. Made by `cargo xtask syscalls` from the headers of Linux {version}.\n\n\
         /// The names, sorted, with a space between them.\npub(crate) const NAMES: &str = \"\\\n"
    );
    let mut line = String::from("    ");
    for (n, name) in names.keys().enumerate() {
        let word = if n == 0 { name.clone() } else { format!(" {name}") };
        if line.len() + word.len() > 106 {
            // The space goes before the end of the line: what begins one is not part of the text.
            writeln!(text, "{line} \\").map_err(Error::other)?;
            line = format!("    {name}");
        } else {
            line.push_str(&word);
        }
    }
    writeln!(text, "{line}\";\n\n/// How many there are.\npub(crate) const COUNT: usize = {};", names.len())
        .map_err(Error::other)?;
    writeln!(
        text,
        "\n/// What stands where an architecture has no such call.\npub(crate) const NONE: u16 = 0xffff;\n\n\
         /// From here on a number is one of ARM's private calls, which count from {ARM_PRIVATE:#x}.\n\
         pub(crate) const ARM_PRIVATE: u16 = {ARM_PRIVATE_SHORT:#x};\n\n\
         // One number a name, in their order.\n"
    )
    .map_err(Error::other)?;
    for (column, (name, _)) in TABLES.iter().enumerate() {
        write!(text, "pub(crate) static {name}: [u16; COUNT] = [").map_err(Error::other)?;
        for numbers in names.values() {
            match numbers[column] {
                Some(number) => write!(text, "{number},"),
                None => write!(text, "NONE,"),
            }
            .map_err(Error::other)?;
        }
        text.push_str("];\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_the_headers() {
        let header = "#define __NR_read 0\n#define __NR_open (__X32_SYSCALL_BIT + 2)\n#define __NR_x (__NR_Linux + 7)\n\
                      #define __NR_SYSCALL_BASE\t0\n#define __NR_syscalls 400\n#define __NR_y\t\t__NR_x\n\
                      #define __ARM_NR_BASE (__NR_SYSCALL_BASE+0x0f0000)\n#define __ARM_NR_set_tls (__ARM_NR_BASE+5)\n";
        let want = [("read", 0), ("open", 2), ("x", 7), ("y", 7), ("set_tls", 0xf005)];
        assert_eq!(numbers(header), want.map(|(name, number)| (name.to_owned(), number)));
        assert_eq!(version("#define LINUX_VERSION_CODE 459277\n").ok().as_deref(), Some("7.2.13"));
    }
}
