//! Copying directory entries between open directories, symlinks never followed.
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};

use crate::error::{Errno, Named, Result};
use crate::file::{retry, show};

/// One entry of a directory with what `lstat(2)` says of it.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub stat: Stat,
}

/// What is in the directory that the handle `dir` refers to.
pub fn entries(dir: BorrowedFd<'_>) -> Result<Vec<Entry>> {
    let readable = open(dir, Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::new(readable).call("getdents")? {
        let entry = entry.call("getdents")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .named("fstatat", || name.to_string_lossy().into_owned())?;
        found.push(Entry { name: OsString::from_vec(name.to_bytes().to_vec()), stat });
    }
    Ok(found)
}

/// Makes a directory in `to` like the one in `from`; returns handles to both.
pub fn make_dir_like(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &Path,
    stat: &Stat,
) -> Result<(OwnedFd, OwnedFd)> {
    rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700)).named("mkdir", || show(name))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let (source, made) = (open(from, name, flags)?, open(to, name, flags)?);
    finish(made.as_fd(), name, stat)?;
    Ok((source, made))
}

/// Copies an ordinary file with its contents, owner, mode and times.
pub fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &Path, stat: &Stat) -> Result<()> {
    let source = open(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
    let made = open(to, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW)?;
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let got = retry(|| rustix::io::read(&source, &mut buffer)).named("read", || show(name))?;
        if got == 0 {
            break;
        }
        crate::file::write_fd(made.as_fd(), buffer.get(..got).unwrap_or(&[]))
            .named("write", || show(name))?;
    }
    finish(made.as_fd(), name, stat)
}

/// Copies a symlink, device, fifo or socket.
pub fn copy_other(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &Path, stat: &Stat) -> Result<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Symlink {
        let target = rustix::fs::readlinkat(from, name, Vec::new()).named("readlink", || show(name))?;
        rustix::fs::symlinkat(&target, to, name).named("symlink", || show(name))?;
    } else {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev).named("mknod", || show(name))?;
    }
    crate::root::chown_at(to, name, stat.st_uid, stat.st_gid)
}

/// Owner first: changing it takes set-user-ID bits away, which the mode then gives back.
fn finish(fd: BorrowedFd<'_>, name: &Path, stat: &Stat) -> Result<()> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .named("fchown", || show(name))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777)).named("fchmod", || show(name))?;
    let nanos = |n: u64| i64::try_from(n).map_err(|_| Errno::OVERFLOW).named("futimens", || show(name));
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanos(stat.st_atime_nsec)? },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos(stat.st_mtime_nsec)? },
    };
    rustix::fs::futimens(fd, &times).named("futimens", || show(name))
}

fn open(dir: BorrowedFd<'_>, name: &Path, flags: OFlags) -> Result<OwnedFd> {
    let mode = Mode::from_raw_mode(0o600);
    retry(|| rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, mode)).named("open", || show(name))
}
