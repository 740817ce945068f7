//! A container's root file system, reached through a descriptor only.
//!
//! The image is hostile, and another container may change it at this moment.
//! All paths are resolved by the kernel with `openat2(2)` and
//! `RESOLVE_IN_ROOT`, so that neither symlinks nor `..` lead out, and magic
//! links of procfs are refused.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use crate::error::{Errno, Error, Named, Result};
use crate::file::show;

/// The directory that will be `/` in the container.
#[derive(Debug)]
pub struct RootDir(OwnedFd);

/// How many dangling symlinks are followed on one way; the kernel follows the others.
const LINKS: u32 = 8;

/// How often a look-up is tried again that lost a race against a rename (`EAGAIN`).
const RACES: u32 = 128;

impl RootDir {
    /// Takes an open directory as a root.
    pub fn new(fd: OwnedFd) -> Self {
        RootDir(fd)
    }

    /// Opens what `path` leads to, symlinks followed inside the root.
    pub fn open(&self, path: &Path, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        self.resolve(path, flags, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// Opens `path` as a handle; `ELOOP` when there is a symlink on the way.
    pub fn open_plain(&self, path: &Path) -> Result<OwnedFd> {
        self.resolve(path, OFlags::PATH, 0, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: u32, resolve: ResolveFlags) -> Result<OwnedFd> {
        let mut races = 0;
        loop {
            match rustix::fs::openat2(
                &self.0,
                path,
                flags | OFlags::CLOEXEC,
                Mode::from_raw_mode(mode),
                resolve,
            ) {
                Err(Errno::AGAIN | Errno::INTR) if races < RACES => races += 1,
                other => return other.named("openat2", || show(path)),
            }
        }
    }

    /// Opens `path` as a handle only (`O_PATH`).
    pub fn open_path(&self, path: &Path) -> Result<OwnedFd> {
        self.open(path, OFlags::PATH, 0)
    }

    /// Like [`RootDir::open_path`], but the last component is not followed when it is a symlink.
    pub fn open_nofollow(&self, path: &Path) -> Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::NOFOLLOW, 0)
    }

    /// Opens the directory `path`, making what is missing of it with `mode`. What a dangling symlink on
    /// the way leads to is made inside the root: images have such links, `/var/run` among them.
    pub fn mkdir_all(&self, path: &Path, mode: u32) -> Result<OwnedFd> {
        self.make_dirs(&clean(path), mode, LINKS)
    }

    fn make_dirs(&self, path: &Path, mode: u32, links: u32) -> Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.open(Path::new("."), OFlags::PATH | OFlags::DIRECTORY, 0);
        }
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY, 0) {
            Err(Error { errno: Errno::NOENT, .. }) => {}
            other => return other,
        }
        let (dir, name) = self.parent_of(path, mode, links)?;
        match (make_dir(dir.as_fd(), name, mode), links.checked_sub(1)) {
            (Err(error), Some(left)) if error.errno == Errno::NOTDIR => {
                self.make_dirs(&beyond(dir.as_fd(), path, name).ok_or(error)?, mode, left)
            }
            (other, _) => other,
        }
    }

    /// The directory above `path`, made if missing, and the last name in it.
    pub fn parent<'a>(&self, path: &'a Path, mode: u32) -> Result<(OwnedFd, &'a Path)> {
        self.parent_of(path, mode, LINKS)
    }

    fn parent_of<'a>(&self, path: &'a Path, mode: u32, links: u32) -> Result<(OwnedFd, &'a Path)> {
        let name = path.file_name().ok_or_else(|| Error {
            call: "openat2",
            args: format!("{}: it has no last name", show(path)),
            errno: Errno::INVAL,
        })?;
        let dir = self.make_dirs(path.parent().unwrap_or(Path::new("/")), mode, links)?;
        Ok((dir, Path::new(name)))
    }

    /// Makes an empty file at `path`, which must not exist, and returns a handle to it.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<OwnedFd> {
        let (dir, name) = self.parent(path, 0o755)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let made =
            rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(mode)).named("open", || show(path))?;
        drop(made);
        open_child(dir.as_fd(), name)
    }

    /// Like [`RootDir::create_file`], but where `path` is a dangling symlink the file is made where that
    /// leads to, inside the root.
    pub fn create_file_at_end(&self, path: &Path, mode: u32) -> Result<OwnedFd> {
        let mut path = path.to_owned();
        let mut links = LINKS;
        loop {
            match self.create_file(&path, mode) {
                Err(error) if error.errno == Errno::EXIST && links > 0 => {
                    let (dir, name) = self.parent(&path, 0o755)?;
                    path = beyond(dir.as_fd(), &path, name).ok_or(error)?;
                    links -= 1;
                }
                other => return other,
            }
        }
    }
}

/// Where the symlink `name` in `dir`, which is at `path`, leads to: a path for the kernel to resolve in
/// the root, `..` included, since what is before it may be a symlink too. `None` if it is no symlink.
fn beyond(dir: BorrowedFd<'_>, path: &Path, name: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let target = rustix::fs::readlinkat(dir, name, Vec::new()).ok()?;
    let target = PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes()));
    Some(path.parent().unwrap_or(Path::new("/")).join(target))
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A handle to the entry `name` of `dir`, itself when it is a symlink.
pub fn open_child(dir: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).named("open", || show(name))
}

/// Writes `data` in one call to the existing file `path` below `dir`: no symlink, no `..`, no other
/// file system on the way.
pub fn write_beneath(dir: BorrowedFd<'_>, path: &str, data: &[u8]) -> Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve).named("openat2", || path.to_owned())?;
    crate::file::write_fd(fd.as_fd(), data).named("write", || path.to_owned())
}

fn make_dir(dir: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode)) {
        // Somebody was faster: what is there now must be a real directory all the same.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).named("mkdir", || show(name)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).named("open", || show(name))
}

/// `path` relative and without `.` and `..`, which stop at the root.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => drop(out.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Makes a symlink at `name` in `dir`; `EEXIST` is left to the caller.
pub fn symlink_at(target: &str, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    rustix::fs::symlinkat(target, dir, name).named("symlink", || show(name))
}

/// Which kind of node [`mknod_at`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
}

/// Makes a device node or fifo with its exact mode and owner, whatever the umask is.
pub fn mknod_at(
    dir: BorrowedFd<'_>,
    name: &Path,
    kind: NodeKind,
    mode: u32,
    (major, minor): (u32, u32),
) -> Result<()> {
    let file_type = match kind {
        NodeKind::Char => FileType::CharacterDevice,
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Fifo => FileType::Fifo,
    };
    rustix::fs::mknodat(dir, name, file_type, Mode::from_raw_mode(mode), rustix::fs::makedev(major, minor))
        .named("mknod", || format!("{} {major}:{minor}", show(name)))
}

/// Gives the entry `name` of `dir`, itself when it is a symlink, to a user and group.
pub fn chown_at(dir: BorrowedFd<'_>, name: &Path, uid: u32, gid: u32) -> Result<()> {
    let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(dir, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
        .named("fchownat", || format!("{} {uid}:{gid}", show(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_paths_stay_inside() {
        for (path, want) in
            [("/a/b", "a/b"), ("../../a", "a"), ("/a/./../b/", "b"), ("/", ""), ("a/../..", "")]
        {
            assert_eq!(clean(Path::new(path)), Path::new(want), "{path}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test looks at what happened from outside")]
    fn links_and_dots_do_not_lead_out() {
        let base = std::env::temp_dir().join(format!("tare-root-{}", std::process::id()));
        let root_path = base.join("root");
        std::fs::create_dir_all(&root_path).expect("a directory in the temporary directory");
        std::os::unix::fs::symlink("../../../../outside", root_path.join("out")).expect("a symlink");
        let root = RootDir::new(crate::file::open_dir(&root_path).expect("the directory just made"));
        assert_eq!(root.open_path(Path::new("out")).map(drop).map_err(|e| e.errno), Err(Errno::NOENT));
        drop(root.mkdir_all(Path::new("/../x/../y/z"), 0o755).expect("made inside"));
        assert!(root_path.join("y/z").is_dir() && !base.join("y").exists());
        drop(root.mkdir_all(Path::new("out/deep"), 0o755).expect("made where the link leads in the root"));
        assert!(root_path.join("outside/deep").is_dir() && !base.join("outside").exists());
        std::os::unix::fs::symlink("../out/./file", root_path.join("y/link")).expect("a symlink");
        drop(root.create_file_at_end(Path::new("y/link"), 0o644).expect("made where the link leads"));
        assert!(root_path.join("outside/file").is_file());
        std::os::unix::fs::symlink("loop", root_path.join("loop")).expect("a symlink");
        assert!(root.mkdir_all(Path::new("loop/x"), 0o755).is_err());
        assert!(root.create_file_at_end(Path::new("loop"), 0o644).is_err());
        std::fs::remove_dir_all(&base).expect("removal of what the test made");
    }
}
