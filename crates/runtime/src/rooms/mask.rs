//! `linux.maskedPaths` and `linux.readonlyPaths`: what of procfs and sysfs the container must not see or write.
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::On;
use crate::faults::Faults;
use crate::rooms::namespaces::Namespace;
use crate::{Error, Kind, Result};
use sys::mount::{Change, attr};
use sys::root::RootDir;

/// Paths relative to the root, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    masked: Vec<PathBuf>,
    readonly: Vec<PathBuf>,
    kernels: Vec<Kernels>,
    /// The SELinux label of what covers directories.
    label: Option<String>,
}

/// A file system of the kernel that the config mounts, by its directory below the root and its magic number.
pub type Kernels = (&'static str, u64);

/// Decides the paths. `kernels` are those file systems in which they are that must be there.
pub fn plan(
    masked: &[String],
    readonly: &[String],
    mount: &Namespace,
    kernels: Vec<Kernels>,
    label: Option<&str>,
    faults: &mut Faults,
) -> Plan {
    let wanted = !masked.is_empty() || !readonly.is_empty();
    if wanted && !mount.is_private() {
        let at = if masked.is_empty() { "linux.readonlyPaths" } else { "linux.maskedPaths" };
        faults.add(at, "unable to restrict sys entries without a private MNT namespace");
    }
    let unique = |list: &[String]| {
        let mut seen = BTreeSet::new();
        let paths = list.iter().map(|path| sys::root::clean(Path::new(path)));
        paths.filter(|path| !path.as_os_str().is_empty() && seen.insert(path.clone())).collect()
    };
    let label = label.map(str::to_owned);
    Plan { masked: unique(masked), readonly: unique(readonly), kernels, label }
}

/// Where the paths begin.
struct Tops<'a> {
    root: &'a RootDir,
    kernels: Vec<(&'static str, RootDir)>,
}

/// Makes the read-only paths read-only, then covers the masked ones.
pub fn init_apply(plan: &Plan, root: &RootDir) -> Result<()> {
    let all = || plan.readonly.iter().chain(&plan.masked);
    let wanted = plan.kernels.iter().filter(|(dir, _)| all().any(|path| path.starts_with(dir)));
    let kernels = wanted.map(|kernel| Ok((kernel.0, open_kernels(*kernel, root)?))).collect::<Result<_>>()?;
    let tops = Tops { root, kernels };
    init_readonly(plan, &tops)?;
    init_mask(plan, &tops)
}

/// Opens the kernel's own directory. A neighbour that has the same root file system could have put a symlink in the
/// place of the one that it is mounted on: there would be nothing to mask then (CVE-2019-19921).
fn open_kernels((dir, magic): Kernels, root: &RootDir) -> Result<RootDir> {
    let failed = || format!("can't mask paths in /{dir}");
    let top = root.open_plain(Path::new(dir)).on(failed)?;
    if sys::mount::fs_magic(top.as_fd()).on(failed)? != magic {
        return Err(Error::new(Kind::Invalid, "it is not what was mounted there").context(failed()));
    }
    Ok(RootDir::new(top))
}

/// Makes each path read-only by a bind of itself.
fn init_readonly(plan: &Plan, tops: &Tops<'_>) -> Result<()> {
    for path in &plan.readonly {
        let failed = || format!("can't make {:?} read-only", Path::new("/").join(path));
        let Some(target) = existing(tops, path).on(failed)? else { continue };
        let tree = sys::mount::clone_tree(target.as_fd(), Path::new(""), true).on(failed)?;
        let change = Change { set: attr::RDONLY, clear: 0 };
        sys::mount::set_attributes(tree.as_fd(), change, None, false).on(failed)?;
        sys::mount::attach(tree.as_fd(), target.as_fd()).on(failed)?;
    }
    Ok(())
}

/// Covers directories by an empty one, everything else by the null device.
fn init_mask(plan: &Plan, tops: &Tops<'_>) -> Result<()> {
    let (mut null, mut empty) = (None, None);
    for path in &plan.masked {
        let failed = || format!("can't mask path {:?}", Path::new("/").join(path));
        let Some(target) = existing(tops, path).on(failed)? else { continue };
        if sys::file::is_dir(&sys::file::stat_fd(target.as_fd()).on(failed)?) {
            empty = Some(cover_directory(&target, plan.label.as_deref(), empty).on(failed)?);
            continue;
        }
        let device = match null {
            Some(device) => device,
            None => null_device(tops.root).map_err(|e| e.context("can't mask paths"))?,
        };
        let tree = sys::mount::clone_tree(device.as_fd(), Path::new(""), false).on(failed)?;
        sys::mount::attach(tree.as_fd(), target.as_fd()).on(failed)?;
        null = Some(device);
    }
    Ok(())
}

/// Covers a directory, and returns a mount of which the next ones are copies: one file system for all,
/// since each has its cost in the kernel.
fn cover_directory(
    target: &OwnedFd,
    label: Option<&str>,
    first: Option<OwnedFd>,
) -> Result<OwnedFd, sys::Error> {
    let tree = match &first {
        Some(first) => sys::mount::clone_tree(first.as_fd(), Path::new(""), false)?,
        None => {
            let mut filesystem = sys::mount::NewFs::open("tmpfs")?;
            filesystem.set("source", "tmpfs")?;
            filesystem.set("mode", "755")?;
            // Enough for its root and nothing else.
            filesystem.set("nr_inodes", "2")?;
            filesystem.set("nr_blocks", "1")?;
            label.map_or(Ok(()), |label| filesystem.set("context", label))?;
            filesystem.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)?
        }
    };
    sys::mount::attach(tree.as_fd(), target.as_fd())?;
    Ok(first.unwrap_or(tree))
}

/// The container's `/dev/null`, which must be the null device and not what an image has put in its
/// place (CVE-2025-31133). The host's is not used: the container could change its mode.
fn null_device(root: &RootDir) -> Result<OwnedFd> {
    let null = root.open_nofollow(Path::new("dev/null"))?;
    if sys::file::is_char_device(&sys::file::stat_fd(null.as_fd())?, 1, 3) {
        return Ok(null);
    }
    Err(Error::new(Kind::Invalid, "container's /dev/null is invalid"))
}

/// A handle to what is at `path` now; a path that this kernel or image has not is passed over.
fn existing(tops: &Tops<'_>, path: &Path) -> Result<Option<OwnedFd>, sys::Error> {
    let below = |(dir, top)| Some((top, path.strip_prefix(dir).ok()?));
    let within = tops.kernels.iter().map(|(dir, top)| (dir, top)).find_map(below);
    let opened = match within.filter(|(_, below)| !below.as_os_str().is_empty()) {
        Some((top, below)) => top.open_path(below),
        None => tops.root.open_path(path),
    };
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.errno, sys::Errno::NOENT | sys::Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_clean_and_unique() {
        let list = ["/proc/kcore", "/proc//kcore/", "/", "/proc/../sys"].map(String::from);
        let plan = plan(&list, &[], &Namespace::New, Vec::new(), None, &mut Faults::default());
        assert_eq!(plan.masked, [Path::new("proc/kcore"), Path::new("sys")]);
    }
}
