//! Mounts by mount(2) alone, where the kernel or a sandbox has none of the calls that [`crate::mount`] is made of.
//!
//! There a mount can't be without a place. So it begins in one where nobody else looks: a tmpfs that covers a
//! directory of procfs which nothing here needs, among the mounts of the container. From there it is moved to where
//! it belongs, by descriptor on both sides, so that everybody else does what they do with a mount that is attached
//! nowhere. The place goes with the old root.
//!
//! mount(2) takes paths, which here are those of descriptors in a procfs that was just seen to be one; and what was
//! done is looked at afterwards: the attributes of a mount, and which mount it is attached to.
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, StatxFlags};
use rustix::mount::{MountFlags, MoveMountFlags};

use crate::error::{Errno, Error, Named, Result};
use crate::file::{CWD, open_at, show};
use crate::mount::{Change, Propagation, attr, fs_magic, set_propagation};
use crate::{procfs, root};

/// The directory of procfs that is covered. Every procfs has it, and init needs nothing of it.
const COVERED: &str = "fs";

/// The mode of the tmpfs, which no other has that could be there. The runtime uses it, and root of a user namespace.
const MODE: u32 = 0o1733;

/// statfs(2)'s number of tmpfs.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// As [`crate::mount::clone_tree`].
pub(crate) fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let opened = match path.as_os_str().is_empty() {
        true => None,
        false => Some(open_at(dir, path, OFlags::PATH, 0)?),
    };
    let source = opened.as_ref().map_or(dir, |fd| fd.as_fd());
    let place = Place::make(crate::file::is_dir(&crate::file::stat_fd(source)?))?;
    let (from, to) = (name(source)?, name(place.point.as_fd())?);
    match recursive {
        true => rustix::mount::mount_bind_recursive(from, to),
        false => rustix::mount::mount_bind(from, to),
    }
    .named("mount", || format!("MS_BIND {}", show(path)))?;
    place.open()
}

/// As [`crate::mount::attach`].
pub(crate) fn attach(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let (mount, onto) = (mount_id(from)?, mount_id(to)?);
    rustix::mount::mount_move(name(from)?, name(to)?).named("mount", || "MS_MOVE".to_owned())?;
    match attached_to(mount)? == Some(onto) {
        true => Ok(()),
        false => Err(unlike(format!("MS_MOVE: mount {mount} is not on mount {onto}"))),
    }
}

/// As [`crate::mount::attach_over_root`]. There may be no procfs any more: the current directory names the mount, and
/// is that afterwards.
pub(crate) fn attach_over_root(from: BorrowedFd<'_>) -> Result<()> {
    crate::file::fchdir(from)?;
    rustix::mount::mount_move(".", "/").named("mount", || "MS_MOVE /".to_owned())?;
    // What is above the root is what covers it.
    match mount_id(open_at(CWD, "/..", OFlags::PATH, 0)?.as_fd())? == mount_id(from)? {
        true => Ok(()),
        false => Err(unlike("MS_MOVE /: another mount is there".to_owned())),
    }
}

/// As [`crate::mount::set_attributes`], of one mount; only propagation can be that of mounts below as well.
pub(crate) fn set_attributes(
    fd: BorrowedFd<'_>,
    change: Change,
    propagation: Option<Propagation>,
    recursive: bool,
) -> Result<()> {
    if attached_to(mount_id(fd)?)?.is_none() {
        // Linux 5.2 to 5.11 have mounts that are attached nowhere, and nothing to change them with.
        let place = Place::make(crate::file::is_dir(&crate::file::stat_fd(fd)?))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(fd, "", &place.point, "", flags).call("move_mount")?;
    }
    if let Some(propagation) = propagation {
        set_propagation(Path::new(&name(fd)?), propagation, recursive)?;
    }
    if change.is_empty() {
        return Ok(());
    }
    let wanted = attributes(fd)? & !change.clear | change.set;
    let named = || format!("MS_REMOUNT|MS_BIND set={:#x}, clear={:#x}", change.set, change.clear);
    rustix::mount::mount_remount(name(fd)?, MountFlags::BIND | flags(wanted), c"").named("mount", named)?;
    // Old kernels say nothing of a flag that they don't know. A file system that is read-only itself stays that.
    let is = attributes(fd)?;
    match wanted & !is == 0 && is & !wanted & !attr::RDONLY == 0 {
        true => Ok(()),
        false => Err(unlike(format!("{}: the mount has {is:#x}", named()))),
    }
}

/// What a new file system is made of: its source, the flags that are not the file system's own, and its options.
#[derive(Debug)]
pub(crate) struct Text {
    source: Option<String>,
    flags: MountFlags,
    options: Vec<String>,
}

impl Text {
    /// Nothing is said of it yet.
    pub(crate) fn new() -> Text {
        Text { source: None, flags: MountFlags::empty(), options: Vec::new() }
    }

    /// As [`crate::mount::NewFs::set`].
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        match key {
            "source" => self.source = Some(value.to_owned()),
            // A label may have commas.
            key if crate::mount::LABELS.contains(&key) => self.options.push(format!("{key}=\"{value}\"")),
            _ => self.options.push(format!("{key}={value}")),
        }
    }

    /// As [`crate::mount::NewFs::flag`].
    pub(crate) fn flag(&mut self, key: &str) {
        self.flags |= match key {
            "ro" => MountFlags::RDONLY,
            "sync" => MountFlags::SYNCHRONOUS,
            "dirsync" => MountFlags::DIRSYNC,
            "lazytime" => MountFlags::LAZYTIME,
            "mand" => MountFlags::PERMIT_MANDATORY_FILE_LOCKING,
            _ => {
                self.options.push(key.to_owned());
                MountFlags::empty()
            }
        };
    }

    /// As [`crate::mount::NewFs::mount`].
    pub(crate) fn mount(self, kind: &str, attributes: u64) -> Result<OwnedFd> {
        let (source, text) = (self.source.as_deref().unwrap_or("none"), self.options.join(","));
        let bits = self.flags | flags(attributes);
        let args = || format!("src={source}, type={kind}, flags={:#x}, data={text}", bits.bits());
        let data = CString::new(text.as_str()).map_err(|_| Errno::INVAL).named("mount", args)?;
        let place = Place::make(true)?;
        rustix::mount::mount(source, name(place.point.as_fd())?, kind, bits, data.as_c_str())
            .named("mount", args)?;
        place.open()
    }
}

/// Where one mount begins.
struct Place {
    dir: OwnedFd,
    name: String,
    /// What it is mounted on.
    point: OwnedFd,
}

impl Place {
    /// A new directory, or a new file.
    fn make(is_dir: bool) -> Result<Place> {
        let dir = places()?;
        let (mode, mut number) = (Mode::from_raw_mode(0o700), 0u32);
        loop {
            let name = number.to_string();
            let made = match is_dir {
                true => rustix::fs::mkdirat(&dir, &name, mode),
                false => rustix::fs::mknodat(&dir, &name, FileType::RegularFile, mode, 0),
            };
            match made {
                Err(Errno::EXIST) => number += 1,
                Err(errno) => return Err(errno).named("mkdir", || format!("/proc/{COVERED}/{name}")),
                Ok(()) => {
                    let point = root::open_child(dir.as_fd(), Path::new(&name))?;
                    return Ok(Place { dir, name, point });
                }
            }
        }
    }

    /// What is mounted there now.
    fn open(&self) -> Result<OwnedFd> {
        let mount = root::open_child(self.dir.as_fd(), Path::new(&self.name))?;
        match mount_id(mount.as_fd())? == mount_id(self.point.as_fd())? {
            false => Ok(mount),
            true => Err(unlike(format!("nothing is mounted on /proc/{COVERED}/{}", self.name))),
        }
    }
}

/// The directory of all places, which is mounted by the first call.
fn places() -> Result<OwnedFd> {
    let open = || -> Result<OwnedFd> {
        let proc = procfs::open()?;
        open_at(proc.as_fd(), COVERED, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0)
    };
    let is_ours = |dir: &OwnedFd| -> Result<bool> {
        let mode = crate::file::stat_fd(dir.as_fd())?.st_mode & 0o7777;
        Ok(fs_magic(dir.as_fd())? == TMPFS_MAGIC && mode == MODE)
    };
    let covered = open()?;
    if is_ours(&covered)? {
        return Ok(covered);
    }
    // Nothing of it is to come to the host.
    let proc = procfs::open()?;
    set_propagation(Path::new(&name(proc.as_fd())?), Propagation::Slave, false)?;
    let data = CString::new(format!("mode={MODE:o}")).map_err(|_| Errno::INVAL).call("mount")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", name(covered.as_fd())?, "tmpfs", flags, data.as_c_str())
        .named("mount", || format!("type=tmpfs on /proc/{COVERED}"))?;
    let dir = open()?;
    match is_ours(&dir)? {
        true => Ok(dir),
        false => Err(unlike(format!("/proc/{COVERED} is not what was mounted there"))),
    }
}

/// The path of an open file for mount(2), which goes exactly there.
fn name(fd: BorrowedFd<'_>) -> Result<String> {
    // It can be another PID namespace's, in a mount namespace that is joined.
    rustix::fs::readlinkat(procfs::open()?, "self", Vec::new())
        .named("mount", || "by descriptor, as /proc shows other processes than this one".to_owned())?;
    Ok(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The number of the mount that `fd` was opened by.
fn mount_id(fd: BorrowedFd<'_>) -> Result<u64> {
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).call("statx")?;
    match StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        true => Ok(found.stx_mnt_id),
        false => Err(Error { call: "statx", args: "STATX_MNT_ID".to_owned(), errno: Errno::NOSYS }),
    }
}

/// The number of the mount that `mount` is attached to, if it is to one.
fn attached_to(mount: u64) -> Result<Option<u64>> {
    let table = crate::file::read_fd(
        procfs::open_own(procfs::open()?.as_fd(), "mountinfo", OFlags::RDONLY)?.as_fd(),
        64 << 20,
    )
    .named("read", || "mountinfo".to_owned())?;
    Ok(parent(&String::from_utf8_lossy(&table), mount))
}

/// The same from a mountinfo table.
fn parent(table: &str, mount: u64) -> Option<u64> {
    let numbers = |line: &str| {
        let mut fields = line.split(' ').map_while(|field| field.parse::<u64>().ok());
        Some((fields.next()?, fields.next()?))
    };
    table.lines().filter_map(numbers).find(|(id, _)| *id == mount).map(|(_, parent)| parent)
}

/// What was asked for was done otherwise.
fn unlike(args: String) -> Error {
    Error { call: "mount", args, errno: Errno::NOTSUP }
}

/// The attributes of the mount that `fd` was opened by, as far as statfs(2) tells them.
fn attributes(fd: BorrowedFd<'_>) -> Result<u64> {
    let is = rustix::fs::fstatvfs(fd).call("fstatfs")?.f_flag.bits();
    let relative = is & StatVfsMountFlags::RELATIME.bits() != 0;
    let access_times = if relative || is & NOATIME != 0 { 0 } else { attr::STRICTATIME };
    let set = FLAGS.iter().filter(|(_, _, told)| is & told != 0);
    Ok(set.fold(access_times, |all, (attribute, ..)| all | attribute))
}

/// The flags of mount(2) for attributes. All are named: what is not would be preserved, or be a default.
fn flags(attributes: u64) -> MountFlags {
    let access_times = match attributes & attr::ATIME {
        attr::RELATIME => MountFlags::RELATIME,
        attr::STRICTATIME => MountFlags::STRICTATIME,
        _ => MountFlags::empty(),
    };
    let set = FLAGS.iter().filter(|(attribute, ..)| attributes & attribute != 0);
    set.fold(access_times, |all, (_, flag, _)| all | *flag)
}

/// statfs(2)'s flag of mounts that don't update access times.
const NOATIME: u64 = 0x400;

/// Attributes, the flags of mount(2) for them, and those of statfs(2).
const FLAGS: [(u64, MountFlags, u64); 7] = [
    (attr::RDONLY, MountFlags::RDONLY, 0x1),
    (attr::NOSUID, MountFlags::NOSUID, 0x2),
    (attr::NODEV, MountFlags::NODEV, 0x4),
    (attr::NOEXEC, MountFlags::NOEXEC, 0x8),
    (attr::NOATIME, MountFlags::NOATIME, NOATIME),
    (attr::NODIRATIME, MountFlags::NODIRATIME, 0x800),
    (attr::NOSYMFOLLOW, MountFlags::from_bits_retain(0x100), 0x2000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_flags() {
        for (attributes, want) in [
            (0, MountFlags::RELATIME),
            (attr::RDONLY | attr::NOATIME, MountFlags::RDONLY | MountFlags::NOATIME),
            (attr::STRICTATIME | attr::NODIRATIME, MountFlags::STRICTATIME | MountFlags::NODIRATIME),
        ] {
            assert_eq!(flags(attributes), want, "{attributes:#x}");
        }
        let proc = procfs::open().expect("a procfs");
        assert_eq!(attributes(proc.as_fd()).expect("its attributes") & attr::NOSYMFOLLOW, 0);
    }

    #[test]
    fn options_are_one_text() {
        let mut text = Text::new();
        text.set("source", "s");
        text.flag("ro");
        text.flag("newinstance");
        text.set("size", "64k");
        text.set("context", "a:c1,c2");
        assert_eq!((text.source.as_deref(), text.flags), (Some("s"), MountFlags::RDONLY));
        assert_eq!(text.options.join(","), "newinstance,size=64k,context=\"a:c1,c2\"");
    }

    #[test]
    fn which_mount_is_on_which() {
        let table = "21 1 8:1 / / rw shared:1 - ext4 /dev/vda rw\n30 21 0:5 / /proc rw - proc proc rw\n";
        assert_eq!((parent(table, 30), parent(table, 31), parent("", 1)), (Some(21), None, None));
        let own = mount_id(crate::file::open_dir("/proc").expect("a procfs").as_fd()).expect("its number");
        assert!(attached_to(own).expect("a table").is_some());
    }
}
