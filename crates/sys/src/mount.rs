//! Mounts, by descriptor: `fsopen(2)`, `open_tree(2)`, `mount_setattr(2)`, `move_mount(2)`. Where the kernel says that
//! it has not got one of these (`ENOSYS`), `classic` does the same by older means.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::classic;
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
    fn flags(self) -> MountPropagationFlags {
        match self {
            Propagation::Private => MountPropagationFlags::PRIVATE,
            Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
            Propagation::Shared => MountPropagationFlags::SHARED,
            Propagation::Unbindable => MountPropagationFlags::UNBINDABLE,
        }
    }
}

/// Options of a file system whose values are SELinux labels. As these may have commas, mount(2) takes them in quotes.
pub const LABELS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// A file system that is being configured; see fsopen(2).
#[derive(Debug)]
pub struct NewFs {
    kind: String,
    way: Way,
}

/// How it is made.
#[derive(Debug)]
enum Way {
    /// By `fsmount(2)`, from this context.
    Context(OwnedFd),
    /// By `mount(2)`.
    Text(classic::Text),
}

impl NewFs {
    /// Begins a new instance of the file system `kind`.
    pub fn open(kind: &str) -> Result<NewFs> {
        match rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
            Err(Errno::NOSYS) => Ok(NewFs::of_text(kind)),
            other => {
                let way = Way::Context(other.named("fsopen", || kind.to_owned())?);
                Ok(NewFs { kind: kind.to_owned(), way })
            }
        }
    }

    /// The same by mount(2), which takes all options as one text of up to a page: for what is longer than
    /// [`LONGEST_VALUE`].
    pub fn of_text(kind: &str) -> NewFs {
        NewFs { kind: kind.to_owned(), way: Way::Text(classic::Text::new()) }
    }

    /// Sets `key=value`.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match &mut self.way {
            Way::Context(context) => rustix::mount::fsconfig_set_string(context.as_fd(), key, value)
                .map_err(|errno| explain(context, &self.kind, &format!("{key}={value}"), errno)),
            Way::Text(text) => {
                text.set(key, value);
                Ok(())
            }
        }
    }

    /// Sets the flag `key`.
    pub fn flag(&mut self, key: &str) -> Result<()> {
        match &mut self.way {
            Way::Context(context) => rustix::mount::fsconfig_set_flag(context.as_fd(), key)
                .map_err(|errno| explain(context, &self.kind, key, errno)),
            Way::Text(text) => {
                text.flag(key);
                Ok(())
            }
        }
    }

    /// Makes the file system and a mount of it, with attributes of [`attr`], which is attached nowhere yet.
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        let context = match self.way {
            Way::Context(context) => context,
            Way::Text(text) => return text.mount(&self.kind, attributes),
        };
        rustix::mount::fsconfig_create(context.as_fd())
            .map_err(|errno| explain(&context, &self.kind, "create", errno))?;
        let mount = |attributes: u64| {
            let bits = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(u32::MAX));
            rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, bits)
        };
        match mount(attributes) {
            // Before Linux 5.14 only mount(2) knew it.
            Err(Errno::INVAL) if attributes & attr::NOSYMFOLLOW != 0 => {
                let tree = mount(attributes & !attr::NOSYMFOLLOW).named("fsmount", || self.kind)?;
                let change = Change { set: attr::NOSYMFOLLOW, clear: 0 };
                set_attributes(tree.as_fd(), change, None, false)?;
                Ok(tree)
            }
            other => other.named("fsmount", || self.kind),
        }
    }
}

/// The kernel's own words on the failure, if it left any in the context's log.
fn explain(context: &OwnedFd, kind: &str, args: &str, errno: Errno) -> Error {
    let mut words = Vec::new();
    let mut line = [0u8; 512];
    while let Ok(n) = rustix::io::read(context, &mut line) {
        let text = String::from_utf8_lossy(line.get(..n).unwrap_or(&[])).trim().to_owned();
        // Messages come as "e text", "w text" or "i text".
        words.push(text.get(2..).unwrap_or("").to_owned());
    }
    let said = if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) };
    Error { call: "fsconfig", args: format!("{kind} {args}{said}"), errno }
}

/// The longest text that `fsconfig(2)` takes as a value or a source.
pub const LONGEST_VALUE: usize = 255;

/// A detached copy of the mount at `path` below `dir`; with `recursive` of the mounts below it too.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    match rustix::mount::open_tree(dir, path, flags) {
        Err(Errno::NOSYS) => classic::clone_tree(dir, path, recursive),
        other => other.named("open_tree", || show(path)),
    }
}

/// Attaches the detached mount `from` on the file or directory `to`.
pub fn attach(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match rustix::mount::move_mount(from, "", to, "", flags) {
        Err(Errno::NOSYS) => classic::attach(from, to),
        other => other.call("move_mount"),
    }
}

/// Moves the mount `from` over `/` of the mount namespace, for a root that can't be pivoted (initramfs).
pub fn attach_over_root(from: BorrowedFd<'_>) -> Result<()> {
    match rustix::mount::move_mount(from, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH) {
        Err(Errno::NOSYS) => classic::attach_over_root(from),
        other => other.named("move_mount", || "/".to_owned()),
    }
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
    // Linux 5.12 and 5.13 have the call, but not this attribute.
    let is_new = (change.set | change.clear) & attr::NOSYMFOLLOW != 0;
    match setattr(fd, attributes(change, propagation), recursive) {
        // The attributes of a whole tree can't be changed at once otherwise.
        Err(e)
            if (change.is_empty() || !recursive)
                && (e.errno == Errno::NOSYS || is_new && e.errno == Errno::INVAL) =>
        {
            classic::set_attributes(fd, change, propagation, recursive)
        }
        other => other,
    }
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
    setattr(fd, attr, recursive)
}

/// Changes how the mount at the host path `path` and, with `recursive`, those below it propagate.
pub fn set_propagation(path: &Path, propagation: Propagation, recursive: bool) -> Result<()> {
    let mut flags = propagation.flags();
    flags.set(MountPropagationFlags::REC, recursive);
    rustix::mount::mount_change(path, flags)
        .named("mount", || format!("{}, flags={:#x}", show(path), flags.bits()))
}

fn attributes(change: Change, propagation: Option<Propagation>) -> libc::mount_attr {
    libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: propagation.map_or(0, |propagation| u64::from(propagation.flags().bits())),
        userns_fd: 0,
    }
}

fn setattr(fd: BorrowedFd<'_>, attr: libc::mount_attr, recursive: bool) -> Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path ends with a NUL, attr lives through the call and has the size given, fd is open.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
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
    crate::file::fchdir(old.as_fd())?;
    if let Some(propagation) = propagation {
        set_propagation(Path::new("."), propagation, true)?;
    }
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
    rustix::mount::mount(kind, path, kind, MountFlags::empty(), None).named("mount", || show(path))
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
