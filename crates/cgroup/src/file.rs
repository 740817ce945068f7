//! Files of cgroupfs, relative to directory descriptors, with the bare errno.
//!
//! cgroupfs has no symbolic links, so a path below a hierarchy's mount point
//! cannot be led elsewhere.
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::path::Arg;
use sys::Errno;

/// A directory as a base for other calls.
pub(crate) fn open_dir(dir: impl AsFd, path: impl Arg) -> Result<OwnedFd, Errno> {
    open(dir, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// A directory whose entries can be read, and which `clone3` and `bpf` take as a cgroup.
pub(crate) fn open_readable_dir(dir: impl AsFd, path: impl Arg) -> Result<OwnedFd, Errno> {
    open(dir, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// A file to write to.
pub(crate) fn open_writable(dir: impl AsFd, path: impl Arg) -> Result<OwnedFd, Errno> {
    open(dir, path, OFlags::WRONLY)
}

/// A file to read from again and again.
pub(crate) fn open_readable(dir: impl AsFd, path: impl Arg) -> Result<OwnedFd, Errno> {
    open(dir, path, OFlags::RDONLY)
}

fn open(dir: impl AsFd, path: impl Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// Writes `value` in the one call that the kernel takes as one setting.
pub(crate) fn put(file: impl AsFd, value: &str) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes())).map(drop)
}

/// Writes `value` to the file `path`.
pub(crate) fn write(dir: impl AsFd, path: impl Arg, value: &str) -> Result<(), Errno> {
    put(open_writable(dir, path)?, value)
}

/// All of the file `path`.
pub(crate) fn read(dir: impl AsFd, path: impl Arg) -> Result<String, Errno> {
    let file = open_readable(dir, path)?;
    let mut bytes = vec![0; 512];
    let mut have = 0;
    loop {
        let free = bytes.get_mut(have..).unwrap_or(&mut []);
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *free))? {
            0 => break,
            got => have += got,
        }
        if have == bytes.len() {
            bytes.resize(have * 2, 0);
        }
    }
    bytes.truncate(have);
    String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)
}

/// Whether there is a file `path`.
pub(crate) fn exists(dir: impl AsFd, path: impl Arg) -> bool {
    rustix::fs::accessat(dir, path, Access::EXISTS, AtFlags::empty()).is_ok()
}

/// All of the file with the absolute `path`.
pub(crate) fn read_absolute(path: &str) -> Result<String, Errno> {
    read(CWD, path)
}

/// Writes `value` to the file with the absolute `path`.
pub(crate) fn write_absolute(path: &str, value: &str) -> Result<(), Errno> {
    write(CWD, path, value)
}

/// Makes the directory with the absolute `path`; says whether it was not there before.
pub(crate) fn make_dir(path: &str) -> Result<bool, Errno> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}
