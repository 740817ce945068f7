//! Mounts, by descriptor: `fsopen(2)`, `open_tree(2)`, `mount_setattr(2)`, `move_mount(2)`.
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::error::{Errno, Error, Named, Result, check};
use crate::file::{CWD, show};

/// Attributes of a mount, as `mount_setattr(2)` numbers them.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes can't be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs can't be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The bits that hold one of the three ways to update access times.
    pub const ATIME: u64 = 0x70;
    /// Access times are updated relative to modification times (the zero of [`ATIME`]).
    pub const RELATIME: u64 = 0x0;
    /// Access times are not updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not updated.
    pub const NODIRATIME: u64 = 0x80;
    /// Symlinks are not followed (Linux 5.14).
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// How mounts and unmounts propagate between peers; see mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// To and from nowhere.
    Private,
    /// Received but not sent.
    Slave,
    /// Sent and received.
    Shared,
    /// Private, and can't be bound elsewhere.
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// A file system that is being configured; see fsopen(2).
#[derive(Debug)]
pub struct NewFs {
    context: OwnedFd,
    kind: String,
}

impl NewFs {
    /// Begins a new instance of the file system `kind`.
    pub fn open(kind: &str) -> Result<NewFs> {
        let context =
            rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).named("fsopen", || kind.to_owned())?;
        Ok(NewFs { context, kind: kind.to_owned() })
    }

    /// Sets `key=value`.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        rustix::mount::fsconfig_set_string(&self.context, key, value)
            .map_err(|errno| self.explain(format!("{key}={value}"), errno))
    }

    /// Sets the flag `key`.
    pub fn flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.context, key)
            .map_err(|errno| self.explain(key.to_owned(), errno))
    }

    /// Makes the file system and a mount of it, with attributes of [`attr`], which is attached nowhere yet.
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.context)
            .map_err(|errno| self.explain("create".to_owned(), errno))?;
        let bits = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(u32::MAX));
        rustix::mount::fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, bits)
            .named("fsmount", || self.kind.clone())
    }

    /// The kernel's own words on the failure, if it left any in the context's log.
    fn explain(&self, args: String, errno: Errno) -> Error {
        let mut words = Vec::new();
        let mut line = [0u8; 512];
        while let Ok(n) = rustix::io::read(&self.context, &mut line) {
            let text = String::from_utf8_lossy(line.get(..n).unwrap_or(&[])).trim().to_owned();
            // Messages come as "e text", "w text" or "i text".
            words.push(text.get(2..).unwrap_or("").to_owned());
        }
        let said = if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) };
        Error { call: "fsconfig", args: format!("{} {args}{said}", self.kind), errno }
    }
}

/// The longest text that `fsconfig(2)` takes as a value or a source.
pub const LONGEST_VALUE: usize = 255;

/// Mounts a new instance of a file system on the directory `target` by the classic mount(2), which takes
/// all options as one text of up to a page: for what is too long for [`NewFs`].
///
/// `attributes` are of [`attr`], `flags` those of the file system as [`NewFs::flag`] names them. The
/// target is named through the host's procfs, so that no path is resolved.
pub fn mount_with_text(
    kind: &str,
    source: &str,
    (attributes, flags): (u64, &[&str]),
    text: &str,
    target: BorrowedFd<'_>,
) -> Result<()> {
    use rustix::mount::MountFlags;
    let mut bits = MountFlags::empty();
    for (attribute, bit) in [
        (attr::RDONLY, MountFlags::RDONLY),
        (attr::NOSUID, MountFlags::NOSUID),
        (attr::NODEV, MountFlags::NODEV),
        (attr::NOEXEC, MountFlags::NOEXEC),
        (attr::NOATIME, MountFlags::NOATIME),
        (attr::STRICTATIME, MountFlags::STRICTATIME),
        (attr::NODIRATIME, MountFlags::NODIRATIME),
        (attr::NOSYMFOLLOW, MountFlags::from_bits_retain(0x100)),
    ] {
        bits.set(bit, attributes & attribute != 0);
    }
    for flag in flags {
        bits |= match *flag {
            "sync" => MountFlags::SYNCHRONOUS,
            "dirsync" => MountFlags::DIRSYNC,
            "lazytime" => MountFlags::LAZYTIME,
            "mand" => MountFlags::PERMIT_MANDATORY_FILE_LOCKING,
            _ => MountFlags::empty(),
        };
    }
    let args = || format!("src={source}, type={kind}, flags={:#x}, data={text}", bits.bits());
    let place = format!("/proc/self/fd/{}", target.as_raw_fd());
    let data = CString::new(text).map_err(|_| Errno::INVAL).named("mount", args)?;
    rustix::mount::mount(source, &place, kind, bits, data.as_c_str()).named("mount", args)
}

/// A detached copy of the mount at `path` below `dir`; with `recursive` of the mounts below it too.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(dir, path, flags).named("open_tree", || show(path))
}

/// Attaches the detached mount `from` on the file or directory `to`.
pub fn attach(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(from, "", to, "", flags).call("move_mount")
}

/// Moves the mount `from` over `/` of the mount namespace, for a root that can't be pivoted (initramfs).
pub fn attach_over_root(from: BorrowedFd<'_>) -> Result<()> {
    rustix::mount::move_mount(from, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .named("move_mount", || "/".to_owned())
}

/// What to change of a mount: attributes to set, attributes to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
}

impl Change {
    /// Whether nothing is to be changed.
    pub fn is_empty(self) -> bool {
        self == Change::default()
    }
}

/// Changes attributes and propagation of the mount `fd` is the root of; with `recursive` of those below it too.
pub fn set_attributes(
    fd: BorrowedFd<'_>,
    change: Change,
    propagation: Option<Propagation>,
    recursive: bool,
) -> Result<()> {
    setattr(fd, c"", attributes(change, propagation), recursive)
}

/// Shows the files of the detached mount `fd` is the root of, with `recursive` of those below it too, as those of
/// other users: ids on disk are ids of the user namespace `users`, and what these are outside of it is whose the
/// files are. Needs Linux 5.12, and a file system that knows how to.
pub fn set_id_map(fd: BorrowedFd<'_>, users: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        userns_fd: u64::from(users.as_raw_fd().unsigned_abs()),
        ..attributes(Change::default(), None)
    };
    setattr(fd, c"", attr, recursive)
}

/// Changes how the mount at the host path `path` and, with `recursive`, those below it propagate.
pub fn set_propagation(path: &Path, propagation: Propagation, recursive: bool) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let raw = CString::new(path.as_os_str().as_bytes()).map_err(|_| Error {
        call: "mount_setattr",
        args: show(path),
        errno: Errno::INVAL,
    })?;
    setattr(CWD, &raw, attributes(Change::default(), Some(propagation)), recursive)
}

fn attributes(change: Change, propagation: Option<Propagation>) -> libc::mount_attr {
    libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    }
}

fn setattr(fd: BorrowedFd<'_>, path: &std::ffi::CStr, attr: libc::mount_attr, recursive: bool) -> Result<()> {
    let mut flags = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: path ends with a NUL, attr lives through the call and has the size given, fd is open.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::addr_of!(attr),
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    check(ret)
        .named("mount_setattr", || {
            format!(
                "set={:#x}, clear={:#x}, propagation={:#x}",
                attr.attr_set, attr.attr_clr, attr.propagation
            )
        })
        .map(drop)
}

/// Makes `new` the root of the mount namespace and lets go of the old one.
///
/// `pivot_root(".", ".")` stacks the old root on the new one; nothing needs to be made for it. What is
/// unmounted must not be unmounted on the host as well: where the old mounts are not known to be
/// slaves or private, `propagation` makes them so first.
pub fn pivot(new: BorrowedFd<'_>, propagation: Option<Propagation>) -> Result<()> {
    let old = crate::file::open_dir("/")?;
    crate::file::fchdir(new)?;
    rustix::process::pivot_root(".", ".").call("pivot_root")?;
    if propagation.is_some() {
        set_attributes(old.as_fd(), Change::default(), propagation, true)?;
    }
    crate::file::fchdir(old.as_fd())?;
    detach(Path::new("."))?;
    rustix::process::chdir("/").named("chdir", || "/".to_owned())
}

/// Makes the current directory the process's root, in the mount namespace that it has.
pub fn chroot_to_current_dir() -> Result<()> {
    rustix::process::chroot(".").call("chroot")?;
    rustix::process::chdir("/").named("chdir", || "/".to_owned())
}

/// Unmounts what is mounted at `path` and below, now or when it is not used any more.
pub fn detach(path: &Path) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH).named("umount2", || show(path))
}

/// Covers the host path `path` with an empty file system of `kind`.
pub fn cover(path: &Path, kind: &str) -> Result<()> {
    let over = NewFs::open(kind)?.mount(0)?;
    let target = crate::file::open_at(CWD, path, rustix::fs::OFlags::PATH, 0)?;
    attach(over.as_fd(), target.as_fd())
}

/// Whether nothing can be written through the mount that `fd` was opened by.
pub fn is_read_only(fd: BorrowedFd<'_>) -> Result<bool> {
    let stat = rustix::fs::fstatvfs(fd).call("fstatfs")?;
    Ok(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// The magic number of the file system that `fd` is on; see statfs(2).
pub fn fs_magic(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(u64::from_ne_bytes(rustix::fs::fstatfs(fd).call("fstatfs")?.f_type.to_ne_bytes()))
}

/// [`fs_magic`] of procfs.
pub const PROC_MAGIC: u64 = 0x9fa0;

/// [`fs_magic`] of sysfs.
pub const SYSFS_MAGIC: u64 = 0x6265_6572;

/// [`fs_magic`] of selinuxfs.
pub const SELINUX_MAGIC: u64 = 0xf97c_ff8c;

/// [`fs_magic`] of devpts.
pub const DEVPTS_MAGIC: u64 = 0x1cd1;
