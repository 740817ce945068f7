//! Files of the host, read and written with few calls and without `std::fs`.
//!
//! Paths in a container's root file system do not belong here: see [`crate::root`].
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::error::{Errno, Error, Named, Result};

pub use rustix::fs::{CWD, Stat};

/// Opens `path` relative to `dir`, close-on-exec.
pub fn open_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let path = path.as_ref();
    let mode = Mode::from_raw_mode(mode);
    retry(|| rustix::fs::openat(dir, path, flags | OFlags::CLOEXEC, mode)).named("open", || show(path))
}

/// The number that the caller's next descriptor will have.
pub fn next_descriptor(any: BorrowedFd<'_>) -> Result<i32> {
    Ok(rustix::io::fcntl_dupfd_cloexec(any, 0).call("fcntl F_DUPFD_CLOEXEC")?.as_raw_fd())
}

/// Opens `path` for reading.
pub fn open(path: impl AsRef<Path>) -> Result<OwnedFd> {
    open_at(CWD, path, OFlags::RDONLY, 0)
}

/// Opens the directory `path` as a base for other calls (`O_PATH`).
pub fn open_dir(path: impl AsRef<Path>) -> Result<OwnedFd> {
    open_at(CWD, path, OFlags::PATH | OFlags::DIRECTORY, 0)
}

/// The same of a path relative to `dir`.
pub fn open_dir_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>) -> Result<OwnedFd> {
    open_at(dir, path, OFlags::PATH | OFlags::DIRECTORY, 0)
}

/// The same of a path whose last part must not be a symlink.
pub fn open_dir_nofollow(path: impl AsRef<Path>) -> Result<OwnedFd> {
    open_at(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0)
}

/// Whether the process may look for files in the directory `path`.
pub fn may_search(path: &Path) -> bool {
    rustix::fs::accessat(CWD, path, rustix::fs::Access::EXEC_OK, rustix::fs::AtFlags::EACCESS).is_ok()
}

/// All of the file `path` relative to `dir`, which may have at most `limit` bytes.
pub fn read_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>, limit: usize) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let fd = open_at(dir, path, OFlags::RDONLY, 0)?;
    read_fd(fd.as_fd(), limit).named("read", || show(path))
}

/// All of the host's file `path`, at most 64 MiB.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    read_at(CWD, path, 64 << 20)
}

/// Opens for reading what may be anything that somebody else has put there: a fifo is not waited for, a
/// terminal does not become the process's own, and no magic link of procfs is followed.
pub fn open_untrusted(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = rustix::fs::ResolveFlags::NO_MAGICLINKS;
    retry(|| rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)).named("openat2", || show(path))
}

/// At most `limit` bytes of `fd` from `offset` on, fewer at its end. The place where `fd` stands stays.
pub fn read_from(fd: BorrowedFd<'_>, offset: u64, limit: usize) -> Result<Vec<u8>> {
    let mut data = vec![0; limit];
    let mut filled = 0;
    while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(filled as u64);
        match retry(|| rustix::io::pread(fd, &mut *rest, at)).call("pread")? {
            0 => break,
            got => filled += got,
        }
    }
    data.truncate(filled);
    Ok(data)
}

/// What is left in `fd`, or `EFBIG` when that is more than `limit` bytes.
pub fn read_fd(fd: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut data = Vec::with_capacity(4096);
    loop {
        if data.len() == data.capacity() {
            data.reserve(data.len().max(4096));
        }
        let got = retry(|| rustix::io::read(fd, rustix::buffer::spare_capacity(&mut data)))?;
        if got == 0 {
            return Ok(data);
        }
        if data.len() > limit {
            return Err(Errno::FBIG);
        }
    }
}

/// Reads once, at most `limit` bytes, to the end of `into`.
pub fn read_some(fd: BorrowedFd<'_>, into: &mut Vec<u8>, limit: usize) -> Result<usize, Errno> {
    into.reserve(limit);
    rustix::io::read(fd, rustix::buffer::spare_capacity(into))
}

/// Writes once as much of `data` as there is room for.
pub fn write_some(fd: BorrowedFd<'_>, data: &[u8]) -> Result<usize, Errno> {
    rustix::io::write(fd, data)
}

/// Reads and writes of `fd` wait from now on.
pub fn set_blocking(fd: BorrowedFd<'_>) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd).call("fcntl F_GETFL")?;
    rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK).call("fcntl F_SETFL")
}

/// Reads and writes of `fd` return at once from now on.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd).call("fcntl F_GETFL")?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).call("fcntl F_SETFL")
}

/// Waits for one byte of `fd`; false at its end.
pub fn read_byte(fd: BorrowedFd<'_>) -> Result<bool> {
    let mut byte = [0u8; 1];
    retry(|| rustix::io::read(fd, &mut byte)).call("read").map(|got| got == 1)
}

/// Writes all of `data` to `fd`.
pub fn write_fd(fd: BorrowedFd<'_>, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        let done = retry(|| rustix::io::write(fd, data))?;
        data = data.get(done..).unwrap_or(&[]);
    }
    Ok(())
}

/// Writes `data` to the existing file `path` relative to `dir` in one call, as kernel files want it.
pub fn write_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>, data: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let fd = open_at(dir, path, OFlags::WRONLY, 0)?;
    write_fd(fd.as_fd(), data).named("write", || show(path))
}

/// Makes the file `path` relative to `dir` with `data`, replacing what may be there only when it is
/// complete: it is written as `.path` first, then renamed.
pub fn replace_at(dir: BorrowedFd<'_>, path: &Path, data: &[u8], mode: u32) -> Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let temporary = path.with_file_name(name);
    // A new file, and not one that somebody else has put there to own it, or to have another overwritten.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let fd = match open_at(dir, &temporary, flags, mode) {
        Err(Error { errno: Errno::EXIST, .. }) => {
            unlink_at(dir, &temporary)?;
            open_at(dir, &temporary, flags, mode)
        }
        other => other,
    }?;
    let written = write_fd(fd.as_fd(), data).named("write", || show(&temporary)).and_then(|()| {
        rustix::fs::renameat(dir, &temporary, dir, path)
            .named("rename", || format!("{} to {}", show(&temporary), show(path)))
    });
    if written.is_err() {
        // The first error is the one that counts.
        unlink_at(dir, &temporary).ok();
    }
    written
}

/// Makes a new file and writes `data` to it.
pub fn create_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>, data: &[u8], mode: u32) -> Result<()> {
    let path = path.as_ref();
    let fd = open_at(dir, path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
    write_fd(fd.as_fd(), data).named("write", || show(path))
}

/// Makes the directory `path` relative to `dir`.
pub fn mkdir_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    rustix::fs::mkdirat(dir, path, Mode::from_raw_mode(mode)).named("mkdir", || show(path))
}

/// Makes the host's directory `path` and what is missing above it.
pub fn mkdir_all(path: &Path, mode: u32) -> Result<()> {
    match mkdir_at(CWD, path, mode) {
        Err(Error { errno: Errno::NOENT, .. }) if path.parent().is_some_and(|up| up != path) => {
            mkdir_all(path.parent().unwrap_or(path), mode)?;
            match mkdir_at(CWD, path, mode) {
                Err(Error { errno: Errno::EXIST, .. }) => Ok(()),
                other => other,
            }
        }
        Err(Error { errno: Errno::EXIST, .. }) => Ok(()),
        other => other,
    }
}

/// Makes a fifo; see `mkfifo(3)`.
pub fn mkfifo_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    rustix::fs::mknodat(dir, path, FileType::Fifo, Mode::from_raw_mode(mode), 0)
        .named("mkfifo", || show(path))
}

/// A pipe: the end to read from, and the end to write to.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).call("pipe2")
}

/// Removes a file; one that is not there is fine.
pub fn unlink_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match rustix::fs::unlinkat(dir, path, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other.named("unlink", || show(path)),
    }
}

/// Removes an empty directory; one that is not there is fine.
pub fn rmdir_at(dir: BorrowedFd<'_>, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match rustix::fs::unlinkat(dir, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other.named("rmdir", || show(path)),
    }
}

/// Removes a file, or a directory with all that is in it; nothing outside, wherever symlinks lead.
pub fn remove_at(dir: BorrowedFd<'_>, name: &str) -> Result<()> {
    match unlink_at(dir, name) {
        Err(e) if e.errno == Errno::ISDIR => {}
        other => return other,
    }
    let inner = open_at(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0)?;
    for name in names(inner.as_fd())? {
        remove_at(inner.as_fd(), &name)?;
    }
    rmdir_at(dir, name)
}

/// The names in a directory, sorted, without `.` and `..`.
pub fn names(dir: BorrowedFd<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).call("getdents")? {
        let entry = entry.call("getdents")?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Another descriptor for what `fd` refers to.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0).call("fcntl F_DUPFD_CLOEXEC")
}

/// What `stat(2)` says of `path`, symlinks followed.
pub fn stat(path: impl AsRef<Path>) -> Result<Stat> {
    let path = path.as_ref();
    rustix::fs::stat(path).named("stat", || show(path))
}

/// What `fstat(2)` says of an open file.
pub fn stat_fd(fd: BorrowedFd<'_>) -> Result<Stat> {
    rustix::fs::fstat(fd).call("fstat")
}

/// Sets the mode of the directory `dir`, which may be a handle (`O_PATH`).
pub fn set_dir_mode(dir: BorrowedFd<'_>, mode: u32) -> Result<()> {
    let readable = open_at(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    rustix::fs::fchmod(&readable, Mode::from_raw_mode(mode)).named("fchmod", || format!("{mode:04o}"))
}

/// Gives the directory `dir`, which may be a handle (`O_PATH`), an SELinux label.
pub fn set_selinux_label(dir: BorrowedFd<'_>, label: &str) -> Result<()> {
    let readable = open_at(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    rustix::fs::fsetxattr(&readable, "security.selinux", label.as_bytes(), rustix::fs::XattrFlags::empty())
        .named("fsetxattr", || format!("security.selinux={label}"))
}

/// Whether `stat` is of a directory.
pub fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether `stat` is of an ordinary file.
pub fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether `stat` is of a pipe or a socket.
pub fn is_pipe(stat: &Stat) -> bool {
    matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket)
}

/// Whether `fd` was opened for writing.
pub fn is_for_writing(fd: BorrowedFd<'_>) -> Result<bool> {
    let flags = rustix::fs::fcntl_getfl(fd).call("fcntl F_GETFL")?;
    Ok(flags.intersects(OFlags::WRONLY | OFlags::RDWR))
}

/// Whether the caller, with its effective ids, may execute `path`. Where a filter of system calls keeps that from
/// being asked, whether anybody may.
pub fn may_execute(path: &Path) -> bool {
    match rustix::fs::accessat(CWD, path, rustix::fs::Access::EXEC_OK, AtFlags::EACCESS) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::stat(path).is_ok_and(|stat| stat.st_mode & 0o111 != 0),
        answer => answer.is_ok(),
    }
}

/// Whether `path` is a symlink.
pub fn is_symlink(path: &Path) -> bool {
    let stat = rustix::fs::lstat(path);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Whether `path` lies on a mount from which nothing is executed (`noexec`).
pub fn is_on_noexec(path: &Path) -> bool {
    let mount = rustix::fs::statvfs(path);
    mount.is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

/// The type of the file system at `path`: a number of linux/magic.h.
pub fn file_system(path: &Path) -> Result<u64> {
    let found = rustix::fs::statfs(path).named("statfs", || show(path))?;
    Ok(u64::try_from(found.f_type).unwrap_or(0))
}

/// Opens for use what `fd` is a handle to (`O_PATH`). `own_fds` is the directory `/proc/self/fd` of a
/// procfs that is one: no container can have put something else there.
pub fn reopen(own_fds: BorrowedFd<'_>, fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
    open_at(own_fds, std::os::fd::AsRawFd::as_raw_fd(&fd).to_string(), flags, 0)
}

/// Where the open file `fd` is now, as the host's procfs tells it.
pub fn path_of(fd: BorrowedFd<'_>) -> Result<std::path::PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let target = rustix::fs::readlink(&link, Vec::new()).named("readlink", || link.clone())?;
    Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
}

/// Whether `stat` is of the character device `major:minor`.
pub fn is_char_device(stat: &Stat, major: u32, minor: u32) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(major, minor)
}

/// Whether the host path `path` is there without any symlink on the way.
pub fn is_plain(path: &Path) -> Result<bool> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), rustix::fs::ResolveFlags::NO_SYMLINKS) {
        Ok(_) => Ok(true),
        Err(Errno::LOOP) => stat(path).map(|_| false),
        Err(errno) => Err(errno).named("openat2", || show(path)),
    }
}

/// Takes the lock of an open file or directory (flock(2)) if nobody has it; false when somebody does.
pub fn try_lock(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::flock(fd, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// The directory that the process is in, from the kernel.
pub fn current_dir() -> Result<std::path::PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let path = rustix::process::getcwd(Vec::new()).call("getcwd")?;
    Ok(std::ffi::OsString::from_vec(path.into_bytes()).into())
}

/// Changes the current directory to a host path.
pub fn chdir(path: &Path) -> Result<()> {
    rustix::process::chdir(path).named("chdir", || show(path))
}

/// Changes the current directory to an open one.
pub fn fchdir(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(fd).call("fchdir")
}

/// Calls again for as long as a signal interrupts the call.
pub(crate) fn retry<T>(mut f: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match f() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

pub(crate) fn show(path: &Path) -> String {
    path.display().to_string()
}
