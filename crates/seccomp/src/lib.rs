//! The compiler from a seccomp profile (`linux.seccomp` of config.json) to the program that the kernel runs at every
//! system call.
//!
//! What a profile means is what runc and libseccomp make of it; `tests/differential` holds this crate to that. How
//! the program gets to its verdict is our own:
//!
//! - Numbers are looked for in a balanced tree of ranges, where neighbours with the same verdict are one range.
//! - Whatever the arguments decide comes after the number, so that the kernel sees which calls are always allowed and
//!   does not run the program for them at all (Linux 5.11).
//! - Calls that are newer than the profile are told to not exist (`ENOSYS`) rather than to be forbidden, so that
//!   programs fall back to older ones. The highest number of which the profile speaks says what is newer.
//!
//! Everything here is pure: loading a program is `sys::seccomp::set_filter`.
#![forbid(unsafe_code)]

mod arch;
mod assemble;
mod code;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod interpret;
mod profile;
mod program;
mod rules;
mod syscalls;

pub use arch::{ARCHITECTURES, Arch};
pub use interpret::{Data, run, run_big_endian, without_arguments};
pub use profile::{ACTIONS, Fault, OPERATORS, verdict};
pub use sys::seccomp::Insn;

/// A profile as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<Insn>,
    /// Whether it asks a listener about some calls (`SCMP_ACT_NOTIFY`).
    pub notifies: bool,
    /// Names in the profile that no architecture has a call for. Nothing is done about them.
    pub unknown: Vec<String>,
}

/// Compiles a profile for a machine whose own architecture is `native`, or tells all that is wrong with it.
pub fn compile(raw: &oci::Seccomp, native: Arch) -> Result<Filter, Vec<Fault>> {
    let profile = profile::read(raw, native)?;
    let program = program::program(&profile);
    if program.len() > code::MOST {
        let text = format!(
            "the profile makes a program of {} instructions, and the kernel takes {}",
            program.len(),
            code::MOST
        );
        return Err(vec![Fault { at: "linux.seccomp.syscalls".to_owned(), text }]);
    }
    Ok(Filter { program, notifies: profile.notifies, unknown: profile.unknown })
}
