//! `root`, `linux.rootfsPropagation`, `--no-pivot`: the container's `/`.
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::On;
use crate::faults::Faults;
use crate::rooms::namespaces::Namespace;
use crate::{Error, Kind, Result};
use sys::mount::{Change, Propagation, attr};
use sys::root::RootDir;

/// Where the root file system is and how it becomes `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its absolute path on the host, without symlinks.
    pub path: PathBuf,
    readonly: bool,
    propagation: Option<(Propagation, bool)>,
    jail: Jail,
}

/// How init leaves the host's root behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Jail {
    /// `pivot_root`: nothing of the old root stays in the mount namespace.
    #[default]
    Pivot,
    /// Moved over `/`, for a host whose root can't be pivoted (initramfs).
    Move,
    /// `chroot` alone: there is no mount namespace of its own.
    Chroot,
}

/// Where the root file system is on the host, by `root.path`.
pub fn place(path: &str, bundle: &Path) -> PathBuf {
    tidy(&bundle.join(path))
}

/// Decides on the root file system. `is_plain` tells whether a host path is there without symlinks.
pub fn plan(
    root: Option<&oci::Root>,
    propagation: &str,
    bundle: &Path,
    no_pivot: bool,
    mount: &Namespace,
    is_plain: impl Fn(&Path) -> Result<bool, sys::Error>,
    faults: &mut Faults,
) -> Plan {
    let Some(oci::Root { path, readonly }) = root else {
        faults.add("root", "root must be specified");
        return Plan::default();
    };
    let path = place(path, bundle);
    match is_plain(&path) {
        Ok(true) => {}
        Ok(false) => faults.add("root.path", "invalid rootfs: not an absolute path, or a symlink"),
        Err(e) if e.errno == sys::Errno::NOSYS => faults.add("root.path", e.to_string()),
        Err(e) => {
            let text = format!("invalid rootfs: stat {}: {}", path.display(), sys::errno_text(e.errno));
            faults.add("root.path", text);
            closed_door(&path, e.errno).into_iter().for_each(|hint| faults.hint(hint));
        }
    }
    let propagation = plan_propagation(propagation, no_pivot, faults);
    let jail = match (mount, no_pivot) {
        (Namespace::Inherit, _) => Jail::Chroot,
        (_, true) => Jail::Move,
        (_, false) => Jail::Pivot,
    };
    if jail == Jail::Chroot && *readonly {
        faults.add("root.readonly", "unable to make the root read-only without a private MNT namespace");
    }
    Plan { path, readonly: *readonly, propagation, jail }
}

fn plan_propagation(text: &str, no_pivot: bool, faults: &mut Faults) -> Option<(Propagation, bool)> {
    if text.is_empty() {
        return None;
    }
    let Some(propagation) = propagation_of(text) else {
        faults.add("linux.rootfsPropagation", format!("rootfsPropagation={text} is not supported"));
        return None;
    };
    if no_pivot && propagation.0 == Propagation::Private {
        let text = "rootfsPropagation of [r]private is not safe without pivot_root";
        faults.add("linux.rootfsPropagation", text);
    }
    Some(propagation)
}

/// A propagation and whether it is recursive, by the name it has in options.
pub fn propagation_of(name: &str) -> Option<(Propagation, bool)> {
    Some(match name {
        "private" => (Propagation::Private, false),
        "rprivate" => (Propagation::Private, true),
        "slave" => (Propagation::Slave, false),
        "rslave" => (Propagation::Slave, true),
        "shared" => (Propagation::Shared, false),
        "rshared" => (Propagation::Shared, true),
        "unbindable" => (Propagation::Unbindable, false),
        "runbindable" => (Propagation::Unbindable, true),
        _ => return None,
    })
}

/// The directory that keeps the process from `path`, if that is what `errno` is about.
fn closed_door(path: &Path, errno: sys::Errno) -> Option<String> {
    if errno != sys::Errno::ACCESS {
        return None;
    }
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    let door = above.into_iter().find(|dir| !sys::file::may_search(dir))?;
    let stat = sys::file::stat(door).ok()?;
    let (mode, owner) = (stat.st_mode & 0o7777, stat.st_uid);
    Some(format!(
        "root of the container may not look into {} (mode {mode:04o}, of user {owner}): `chmod o+x` lets it, or the \
         root file system elsewhere",
        door.display()
    ))
}

/// `path` without `.`, `..` and double slashes, symlinks left alone.
fn tidy(path: &Path) -> PathBuf {
    Path::new("/").join(sys::root::clean(path))
}

/// Opens the tree of the root file system for an init whose user may not look for it by its path. It is
/// attached nowhere, and its ties to the host's mounts are what they are of all mounts of a new user namespace.
pub fn host_open(plan: &Plan) -> Result<OwnedFd> {
    let failed = || "error preparing rootfs".to_owned();
    let tree = sys::mount::clone_tree(sys::file::CWD, &plan.path, true).on(failed)?;
    sys::mount::set_attributes(tree.as_fd(), Change::default(), Some(Propagation::Slave), true).on(failed)?;
    // The others come when it is the root: a shared one could not be pivoted to.
    if let (kind @ (Propagation::Private | Propagation::Slave), recursive) = own_propagation(plan) {
        sys::mount::set_attributes(tree.as_fd(), Change::default(), Some(kind), recursive).on(failed)?;
    }
    Ok(tree)
}

/// Cuts the ties to the host's mounts and makes the root file system a mount of its own, of the tree that
/// the runtime has opened or the one at its path.
///
/// Without a mount namespace nothing is mounted: what was would stay on the host.
pub fn init_prepare(plan: &Plan, tree: Option<OwnedFd>) -> Result<RootDir> {
    if plan.jail == Jail::Chroot {
        return Ok(RootDir::new(sys::file::open_dir(&plan.path)?));
    }
    let failed = || "error preparing rootfs".to_owned();
    let (propagation, recursive) = match plan.propagation {
        None => (Propagation::Slave, true),
        // The container's mounts are to be so, and not the host's, which are bound into it.
        Some((Propagation::Unbindable, recursive)) => (Propagation::Private, recursive),
        // What the runtime has opened becomes shared when it is the root; until then it may be on another mount, which
        // must not be.
        Some((Propagation::Shared, _)) if tree.is_some() => (Propagation::Slave, true),
        Some(other) => other,
    };
    sys::mount::set_propagation(Path::new("/"), propagation, recursive).on(failed)?;
    if plan.propagation.is_some_and(|(kind, recursive)| kind != Propagation::Slave || !recursive) {
        // A shared parent would carry the mount below to the host, and pivot_root refuses it.
        quiet_parent(&plan.path, propagation).on(failed)?;
    }
    let tree = match tree {
        Some(tree) => tree,
        None => {
            let tree = sys::mount::clone_tree(sys::file::CWD, &plan.path, true).map_err(|e| {
                let hint = closed_door(&plan.path, e.errno);
                hint.into_iter().fold(Error::from(e).context(failed()), Error::hint)
            })?;
            if plan.propagation.is_none() {
                let (kind, recursive) = own_propagation(plan);
                sys::mount::set_attributes(tree.as_fd(), Change::default(), Some(kind), recursive)
                    .on(failed)?;
            }
            tree
        }
    };
    match sys::file::open_dir(&plan.path) {
        Ok(place) => sys::mount::attach(tree.as_fd(), place.as_fd()).on(failed)?,
        // Any place will do to pivot from, and this one can be reached by every user.
        Err(e) if e.errno == sys::Errno::ACCESS => {
            sys::mount::set_propagation(Path::new("/"), Propagation::Slave, false).on(failed)?;
            sys::mount::attach_over_root(tree.as_fd()).on(failed)?;
        }
        Err(e) => return Err(e).on(failed),
    }
    Ok(RootDir::new(tree))
}

/// What becomes of the root file system itself. Without a word of the config mounts in it go on to receive those
/// of the host, but it does not.
fn own_propagation(plan: &Plan) -> (Propagation, bool) {
    plan.propagation.unwrap_or((Propagation::Private, false))
}

/// Makes the mount that `path` is on receive only (or neither way).
fn quiet_parent(path: &Path, propagation: Propagation) -> Result<(), sys::Error> {
    let kind = if propagation == Propagation::Slave { Propagation::Slave } else { Propagation::Private };
    let mut last = Ok(());
    for path in path.ancestors() {
        last = sys::mount::set_propagation(path, kind, false);
        match &last {
            // Not a mount point, or out of reach: one further up is.
            Err(e) if matches!(e.errno, sys::Errno::INVAL | sys::Errno::ACCESS) => {}
            _ => break,
        }
    }
    last
}

/// Makes `root` read-only, if it shall be: only this mount, not those in it.
pub fn init_seal(plan: &Plan, root: &RootDir) -> Result<()> {
    if plan.readonly {
        let change = Change { set: attr::RDONLY, clear: 0 };
        sys::mount::set_attributes(root.as_fd(), change, None, false)
            .on(|| "error setting rootfs as readonly".to_owned())?;
    }
    Ok(())
}

/// Makes `root` the root of the process and, where it has one, of its mount namespace.
pub fn init_enter(plan: &Plan, root: &RootDir) -> Result<()> {
    enter(plan, root).map_err(|e| e.context("error jailing process inside rootfs"))?;
    match plan.propagation {
        // The others are what init_prepare has made of all mounts already.
        Some((kind @ (Propagation::Shared | Propagation::Unbindable), recursive)) => {
            sys::mount::set_propagation(Path::new("/"), kind, recursive)
                .on(|| "unable to apply root propagation flags".to_owned())
        }
        _ => Ok(()),
    }
}

fn enter(plan: &Plan, root: &RootDir) -> Result<()> {
    match plan.jail {
        Jail::Pivot => {
            // Without a word of the config, init_prepare has made slaves of all.
            let old = plan.propagation.map(|_| Propagation::Slave);
            Ok(sys::mount::pivot(root.as_fd(), old)?)
        }
        Jail::Move => {
            hide_pseudo_filesystems(&plan.path)?;
            sys::mount::attach_over_root(root.as_fd())?;
            sys::file::fchdir(root.as_fd())?;
            Ok(sys::mount::chroot_to_current_dir()?)
        }
        Jail::Chroot => {
            sys::file::fchdir(root.as_fd())?;
            Ok(sys::mount::chroot_to_current_dir()?)
        }
    }
}

/// Without pivot_root the host's mounts stay in the namespace, and a full procfs or sysfs among them
/// would let the container mount another, unmasked one. They are unmounted, or covered if they can't be.
fn hide_pseudo_filesystems(rootfs: &Path) -> Result<()> {
    let table = sys::file::read("/proc/self/mountinfo")?;
    for path in pseudo_filesystems(&String::from_utf8_lossy(&table), rootfs) {
        match sys::mount::set_propagation(&path, Propagation::Slave, true) {
            // It was below one that is gone by now.
            Err(e) if e.errno == sys::Errno::NOENT => continue,
            other => other?,
        }
        match sys::mount::detach(&path) {
            Err(e) if matches!(e.errno, sys::Errno::INVAL | sys::Errno::PERM) => {
                sys::mount::cover(&path, "tmpfs")?
            }
            other => other?,
        }
    }
    Ok(())
}

/// The mount points outside of `rootfs` of whole procfs and sysfs instances, from a mountinfo table.
fn pseudo_filesystems(table: &str, rootfs: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let mut fields = mount.split(' ').skip(3);
        let (Some("/"), Some(point)) = (fields.next(), fields.next()) else { continue };
        let path = PathBuf::from(point.replace("\\040", " "));
        if matches!(filesystem.split(' ').next(), Some("proc" | "sysfs")) && !path.starts_with(rootfs) {
            found.push(path);
        }
    }
    found
}

/// Opens `/dev/null` of the container for each standard stream that is the host's, so that the
/// container has no file of the host's `/dev`.
pub fn init_reopen_null() -> Result<()> {
    let mut own = None;
    for (number, fd) in (0u32..).zip(sys::process::stdio()) {
        if !sys::file::is_char_device(&sys::file::stat_fd(fd)?, 1, 3) {
            continue;
        }
        if own.is_none() {
            let opened =
                sys::file::open_at(sys::file::CWD, "/dev/null", sys::OFlags::RDWR | sys::OFlags::NONBLOCK, 0)
                    .on(|| "error reopening /dev/null inside container".to_owned())?;
            if !sys::file::is_char_device(&sys::file::stat_fd(opened.as_fd())?, 1, 3) {
                let text = "can't reopen /dev/null: container's /dev/null is invalid";
                return Err(Error::new(Kind::Invalid, text));
            }
            sys::file::set_blocking(opened.as_fd())?;
            own = Some(opened);
        }
        if let Some(own) = &own {
            sys::tty::replace_stdio(number, own.as_fd())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(path: &str, propagation: &str, no_pivot: bool) -> Vec<String> {
        let mut faults = Faults::default();
        let root = oci::Root { path: path.into(), readonly: false };
        let is_plain = |p: &Path| match p.to_str() {
            Some("/b/none") => {
                Err(sys::Error { call: "stat", args: String::new(), errno: sys::Errno::NOENT })
            }
            other => Ok(other != Some("/b/link")),
        };
        plan(Some(&root), propagation, Path::new("/b"), no_pivot, &Namespace::New, is_plain, &mut faults);
        faults.texts()
    }

    #[test]
    fn faults_have_the_known_words() {
        let none: [&str; 0] = [];
        assert_eq!(faults_of("rootfs", "rslave", false), none);
        assert_eq!(
            faults_of("none", "", false),
            ["invalid rootfs: stat /b/none: no such file or directory (root.path)"]
        );
        assert_eq!(
            faults_of("link", "", false),
            ["invalid rootfs: not an absolute path, or a symlink (root.path)"]
        );
        assert_eq!(
            faults_of("rootfs", "bogus", false),
            ["rootfsPropagation=bogus is not supported (linux.rootfsPropagation)"]
        );
        assert_eq!(faults_of("rootfs", "rprivate", true).len(), 1);
    }

    #[test]
    fn whole_pseudo_filesystems_outside_of_the_root() {
        let table = "1 2 0:1 / /proc rw - proc proc rw\n3 2 0:1 /sys /x rw - proc proc rw\n\
                     4 2 0:2 / /sys\\040dir rw shared:1 - sysfs s rw\n5 2 0:1 / /r/proc rw - proc p rw\n";
        assert_eq!(pseudo_filesystems(table, Path::new("/r")), [Path::new("/proc"), Path::new("/sys dir")]);
    }
}
