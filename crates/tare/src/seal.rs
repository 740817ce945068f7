//! Keeping the program's own file out of the reach of containers (CVE-2019-5736).
//!
//! A process of ours that enters a container can be looked at from inside: `/proc/PID/exe` leads to the
//! program on the host, and root in the container could overwrite it. So before such a process is made the
//! program starts again from a file that nobody can write to: itself, seen through a read-only mount that is
//! attached nowhere, or else a sealed copy in memory. The second start finds out by looking at its own
//! file that this has happened; it is told nothing, so nothing can be left behind or be forged.
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use runtime::{Error, Kind, Result};
use sys::{entry, exe, file, mount};

/// The file system that a sealed copy in memory is on.
const TMPFS: u64 = 0x0102_1994;

/// Returns when the program runs from a file that a container can't write to; else starts it again, with
/// the same arguments, from one.
pub fn seal(args: &[&OsStr]) -> Result<()> {
    let own = exe::open_own()?;
    if is_safe(own.as_fd())? {
        return restore_name(args);
    }
    let mut failures = Vec::new();
    for make in [through_mount, copy] {
        match make(own.as_fd()).and_then(|program| start_again(program.as_fd(), args)) {
            Err(error) => failures.push(error.text),
        }
    }
    let text = format!("the program's file can't be kept from the container: {}", failures.join("; "));
    Err(Error::new(Kind::System, text)
        .hint("whoever may not mount anything needs the sysctl vm.memfd_noexec to be less than 2"))
}

/// Whether no container can write to the program `fd`, judged by what file it is.
fn is_safe(program: BorrowedFd<'_>) -> Result<bool> {
    Ok(match mount::fs_magic(program)? {
        magic if entry::is_never_written(magic) => true,
        TMPFS if exe::is_sealed(program) => true,
        _ if is_out_of_reach(program)? => true,
        // Ours has this one file, and a mount that is attached nowhere stays as it is; others can be
        // remounted by those who see them.
        _ => exe::path(program)? == Path::new("/") && mount::is_read_only(program)?,
    })
}

/// Whether the caller is an ordinary user and the program is root's alone to write: a container has no more
/// rights over files of the host than its user and that user's subordinate ids.
fn is_out_of_reach(program: BorrowedFd<'_>) -> Result<bool> {
    let stat = file::stat_fd(program)?;
    // With an access control list the bits of the group are what the list gives at most.
    Ok(sys::cred::effective_uid() != 0 && stat.st_uid == 0 && stat.st_mode & 0o022 == 0)
}

/// Opens the program through a mount of its own, if [`sys::entry`] has not done so already.
fn through_mount(_: BorrowedFd<'_>) -> Result<OwnedFd> {
    Ok(entry::open_own_read_only()?)
}

/// Copies the program to memory.
fn copy(own: BorrowedFd<'_>) -> Result<OwnedFd> {
    Ok(exe::copy_to_memory(own, "tare")?)
}

/// Starts the program again from the file `program`.
fn start_again(program: BorrowedFd<'_>, args: &[&OsStr]) -> Result<Infallible> {
    // What the next start would not take for safe would make it try the same again, for ever.
    if !is_safe(program)? {
        return Err(Error::new(Kind::System, format!("{} can be written to", exe::path(program)?.display())));
    }
    let args = args.iter().map(|arg| CString::new(arg.as_bytes()).expect("an argument has no NUL inside"));
    let errno = exe::execute(program, &args.collect::<Vec<_>>());
    Err(Error::new(Kind::System, format!("execveat: {}", sys::errno_text(errno))))
}

/// Gives the process the name that it had before it was started again, which the kernel took from the file.
fn restore_name(args: &[&OsStr]) -> Result<()> {
    let name = args.first().and_then(|called_as| Path::new(called_as).file_name()).unwrap_or_default();
    match CString::new(name.as_bytes()) {
        Ok(name) if !name.is_empty() => Ok(exe::set_process_name(&name)?),
        _ => Ok(()),
    }
}
