//! The file that a program runs from: whether it can be written to, copies of it, and running those.
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::error::{Errno, Error, Named, Result, check};
use crate::file::{retry, stat_fd};

/// Opens the file that this process runs from.
pub fn open_own() -> Result<OwnedFd> {
    crate::file::open("/proc/self/exe")
}

/// The path of an open file; on a mount that is attached nowhere, its path below the root of the mount, which
/// is `/` for a mount of one file.
pub fn path(fd: BorrowedFd<'_>) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let link = link(fd);
    let text = rustix::fs::readlink(&link, Vec::new()).named("readlink", || link.clone())?;
    Ok(std::ffi::OsString::from_vec(text.into_bytes()).into())
}

fn link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Neither the content nor the length can change, and that can't be changed either.
const SEALED: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Whether nobody can change the content of `fd` any more; see fcntl(2) on file sealing.
pub fn is_sealed(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SEALED))
}

/// Copies a program to memory and seals the copy.
pub fn copy_to_memory(program: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 such a file could always be executed, and there was no flag to ask for it.
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    };
    let copy = copy.named("memfd_create", || name.to_owned())?;
    let mut left = usize::try_from(stat_fd(program)?.st_size).unwrap_or(0);
    let mut from = 0;
    while left > 0 {
        let done = retry(|| rustix::fs::sendfile(&copy, program, Some(&mut from), left)).call("sendfile")?;
        if done == 0 {
            return Err(Error {
                call: "sendfile",
                args: format!("{left} bytes are missing"),
                errno: Errno::IO,
            });
        }
        left = left.saturating_sub(done);
    }
    rustix::fs::fcntl_add_seals(&copy, SEALED).call("fcntl F_ADD_SEALS")?;
    Ok(copy)
}

unsafe extern "C" {
    /// The environment of the process as the kernel laid it out, with what is no `NAME=value` as well.
    static environ: *const *const c_char;
}

/// Replaces the program of this process by the file of `program`, with the same environment; returns
/// only the reason why it could not.
pub fn execute(program: BorrowedFd<'_>, args: &[CString]) -> Errno {
    let argv: Vec<_> = args.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: environ is set before main and nothing in this program writes to it.
    let envp = unsafe { environ };
    let (fd, here) = (program.as_raw_fd(), c"".as_ptr());
    // SAFETY: the strings end with a NUL, both lists with a null pointer, and all of them live through the call.
    let ret =
        unsafe { libc::syscall(libc::SYS_execveat, fd, here, argv.as_ptr(), envp, libc::AT_EMPTY_PATH) };
    check(ret).err().unwrap_or(Errno::IO)
}

/// Sets the name of the process that `ps` shows: after [`execute`] it would be a number on older kernels.
pub fn set_process_name(name: &CStr) -> Result<()> {
    rustix::thread::set_name(name).call("prctl PR_SET_NAME")
}

/// Overwrites the environment that this process was started with, in its memory and in `/proc/PID/environ`. It has none
/// from then on.
pub fn forget_environment() {
    // SAFETY: environ is set before main and nothing in this program writes to it.
    let mut next = unsafe { environ };
    while !next.is_null() {
        // SAFETY: `next` is within the list, as its end has not been passed.
        let text = unsafe { *next };
        if text.is_null() {
            break;
        }
        // SAFETY: what the list points to are texts that end with a zero byte.
        let len = unsafe { libc::strlen(text) };
        // SAFETY: the kernel has put these bytes on this process's own stack, where they can be written to, and nobody
        // refers to them: there is one thread, and the standard library copies what it reads.
        unsafe { text.cast_mut().write_bytes(0, len) };
        // SAFETY: this entry was not the last.
        next = unsafe { next.add(1) };
    }
}

/// The memory that the kernel shows as this process's arguments, and its length.
static ARGUMENTS: (AtomicPtr<u8>, AtomicUsize) = (AtomicPtr::new(std::ptr::null_mut()), AtomicUsize::new(0));

/// Remembers where the arguments are, for [`hide_arguments`]. The kernel has put them one behind the other.
pub(crate) fn remember_arguments(argv: &[*const c_char]) {
    let (Some(first), Some(last)) = (argv.first(), argv.last()) else { return };
    // SAFETY: the arguments are texts that end with a zero byte.
    let len = unsafe { libc::strlen(*last) };
    let end = last.addr() + len;
    ARGUMENTS.0.store(first.cast_mut().cast(), Ordering::Relaxed);
    ARGUMENTS.1.store(end.saturating_sub(first.addr()), Ordering::Relaxed);
}

/// As long as this lives, `/proc/PID/cmdline` shows nothing but the program's name, of a process that is cloned meanwhile
/// as well: whoever sees a process can read that file. A command line has paths of the host and what `--env` sets.
#[must_use = "they are shown again when this is dropped"]
#[derive(Debug)]
pub struct HiddenArguments(Vec<u8>);

/// Takes the arguments away from the sight of others.
pub fn hide_arguments() -> HiddenArguments {
    let (start, len) = (ARGUMENTS.0.load(Ordering::Relaxed), ARGUMENTS.1.load(Ordering::Relaxed));
    let mut shown = vec![0; len];
    if len > 0 {
        // SAFETY: `remember_arguments` was called with these bytes, which nobody writes to but the guard of this, and
        // that not now: there is one thread.
        unsafe { std::ptr::copy_nonoverlapping(start, shown.as_mut_ptr(), len) };
    }
    let saved = HiddenArguments(shown);
    let mut shown = vec![0; len];
    let path = saved.0.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    shown.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    show(&shown);
    saved
}

impl Drop for HiddenArguments {
    fn drop(&mut self) {
        show(&self.0);
    }
}

/// Writes what is shown as arguments; `text` is as long as these.
fn show(text: &[u8]) {
    let start = ARGUMENTS.0.load(Ordering::Relaxed);
    if !text.is_empty() {
        // SAFETY: the kernel has put these bytes on this process's own stack, where they can be written to. `start`
        // has made copies and nobody refers to them. There is one thread, and `text` is of the same length.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), start, text.len()) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::OFlags;
    use crate::file::{CWD, open_at};

    fn open_for_writing(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
        open_at(CWD, link(fd), OFlags::WRONLY, 0)
    }

    #[test]
    fn a_copy_in_memory_is_complete_and_can_not_be_written_to() {
        let own = open_own().unwrap();
        assert!(!is_sealed(own.as_fd()));
        assert_eq!(open_for_writing(own.as_fd()).unwrap_err().errno, Errno::TXTBSY);

        let copy = copy_to_memory(own.as_fd(), "test").unwrap();
        assert!(is_sealed(copy.as_fd()));
        let size = stat_fd(own.as_fd()).unwrap().st_size;
        assert_eq!(stat_fd(copy.as_fd()).unwrap().st_size, size);
        let limit = usize::try_from(size).unwrap() * 2;
        let content = |fd: &OwnedFd| crate::file::read_at(CWD, link(fd.as_fd()), limit).unwrap();
        assert!(content(&own) == content(&copy));

        let writer = open_for_writing(copy.as_fd()).unwrap();
        assert_eq!(rustix::io::write(&writer, b"x").unwrap_err(), Errno::PERM);
        assert_eq!(rustix::fs::ftruncate(&writer, 0).unwrap_err(), Errno::PERM);
    }
}
