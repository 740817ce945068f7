//! The cgroup hierarchies of the host: which there are, where they are mounted, where the caller is.
use std::path::{Component, Path};

use rustix::fs::{CWD, Dir, FileType, statfs};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::file;

/// Where every distribution mounts cgroups.
const ROOT: &str = "/sys/fs/cgroup";
/// Where hybrid hosts mount the unified hierarchy.
const HYBRID: &str = "/sys/fs/cgroup/unified";
/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const V1_MAGIC: u64 = 0x0027_e0eb;
const V2_MAGIC: u64 = 0x6367_7270;

/// Which versions of cgroups a host uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Hierarchies of version 1, with the controllers distributed over them.
    V1,
    /// The same, and a unified hierarchy beside them that sets no limits.
    Hybrid,
    /// The unified hierarchy alone.
    V2,
}

/// The cgroup hierarchies that this host has and this caller sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Which versions there are.
    pub layout: Layout,
    /// The hierarchies in which containers get cgroups.
    pub hierarchies: Vec<Hierarchy>,
}

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The controllers of version 1 (`cpu`, `name=systemd`); none for the unified hierarchy.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: String,
    /// The caller's cgroup as a path below the mount point; `/` is the mount point itself. `None`
    /// when it is outside of what is mounted.
    pub own: Option<String>,
}

impl Hierarchy {
    /// Whether this is the unified hierarchy, cgroup v2.
    pub fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }
}

impl Host {
    /// Asks the kernel.
    ///
    /// The list of mounts is read only when a hierarchy is not at its usual place below
    /// `/sys/fs/cgroup`, since it can be long.
    pub fn detect() -> Result<Host, Error> {
        let path = "/proc/self/cgroup";
        let text = file::read_absolute(path).map_err(|errno| Error::call(format!("read {path}"), errno))?;
        // The kernel names a unified hierarchy even where none is mounted.
        let unified = [(ROOT, Layout::V2), (HYBRID, Layout::Hybrid)];
        let unified = unified.into_iter().find(|(path, _)| magic(path) == Some(V2_MAGIC));
        let layout = unified.map_or(Layout::V1, |(_, layout)| layout);
        let mut found = Vec::new();
        for (controllers, own) in text.lines().filter_map(entry) {
            let place = match (controllers.is_empty(), layout) {
                (true, Layout::V1) | (false, Layout::V2) => continue,
                (true, _) => unified.map(|(path, _)| path.to_owned()),
                (false, _) => usual_place(&controllers),
            };
            found.push(Found { controllers, own, place });
        }
        let mut mounts = Mounts::default();
        if may_be_elsewhere(&found) {
            for lost in found.iter_mut().filter(|found| found.place.is_none()) {
                lost.place = mounts.find(|m| m.has(&lost.controllers))?.map(|m| m.point.clone());
            }
        }
        let mut hierarchies = Vec::with_capacity(found.len());
        for Found { controllers, own, place } in found {
            let Some(mount) = place else { continue };
            let own = own_below(&mount, own, &mut mounts)?;
            hierarchies.push(Hierarchy { controllers, mount, own });
        }
        Ok(Host { layout, hierarchies })
    }

    /// Which versions of cgroups there are.
    pub fn layout(&self) -> Layout {
        self.layout
    }
}

/// A hierarchy that the kernel speaks of, while it is looked for.
struct Found<'a> {
    controllers: Vec<String>,
    /// The caller's cgroup as the kernel names it.
    own: &'a str,
    /// Where the hierarchy is mounted.
    place: Option<String>,
}

/// The controllers and the path of a line of `/proc/self/cgroup`; `None` for a hierarchy that
/// containers have no part in, which is one with a name other than systemd's.
pub(crate) fn entry(line: &str) -> Option<(Vec<String>, &str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    if controllers.starts_with("name=") && controllers != "name=systemd" {
        return None;
    }
    let controllers = controllers.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
    Some((controllers, path))
}

/// The type of the file system at `path`, if there is anything.
fn magic(path: &str) -> Option<u64> {
    statfs(path).ok().and_then(|s| u64::try_from(s.f_type).ok())
}

/// The usual mount point of the hierarchy of version 1 with these controllers, if it is there.
fn usual_place(controllers: &[String]) -> Option<String> {
    let joined = controllers.join(",");
    let mut names = std::iter::once(&joined).chain(controllers);
    names.find_map(|name| {
        let path = format!("{ROOT}/{}", name.strip_prefix("name=").unwrap_or(name));
        (magic(&path) == Some(V1_MAGIC)).then_some(path)
    })
}

/// Whether hierarchies that were not found may be mounted at other places than the usual ones.
///
/// When all hierarchies below `/sys/fs/cgroup` are known, the others are not there for this caller,
/// and one need not look far. Only the devices hierarchy is worth it.
fn may_be_elsewhere(found: &[Found<'_>]) -> bool {
    let mut lost = found.iter().filter(|found| found.place.is_none()).peekable();
    if lost.peek().is_none() {
        return false;
    }
    if lost.any(|lost| lost.controllers.iter().any(|name| name == "devices")) {
        return true;
    }
    let Ok(list) = file::open_readable_dir(CWD, ROOT).and_then(Dir::new) else { return true };
    list.filter_map(Result::ok).filter(|entry| entry.file_type() == FileType::Directory).any(|entry| {
        let path = format!("{ROOT}/{}", entry.file_name().to_string_lossy());
        let known = found.iter().any(|found| found.place.as_ref() == Some(&path));
        !known && magic(&path) == Some(V1_MAGIC)
    })
}

/// The path below `mount` of the caller's cgroup, which the kernel names `own`.
fn own_below(mount: &str, own: &str, mounts: &mut Mounts) -> Result<Option<String>, Error> {
    if own == "/" || rustix::fs::stat(format!("{mount}{own}")).is_ok() {
        return Ok(Some(own.to_owned()));
    }
    // In a container without a cgroup namespace the kernel names paths from the hierarchy's root,
    // while only a part of the hierarchy is mounted.
    Ok(mounts.find(|m| m.point == mount)?.and_then(|m| below(&m.root, own)))
}

/// The mounted cgroup hierarchies, which are read when they are asked for.
#[derive(Default)]
struct Mounts(Option<Vec<Mount>>);

impl Mounts {
    fn find(&mut self, wanted: impl Fn(&Mount) -> bool) -> Result<Option<&Mount>, Error> {
        if self.0.is_none() {
            let path = "/proc/self/mountinfo";
            let text =
                file::read_absolute(path).map_err(|errno| Error::call(format!("read {path}"), errno))?;
            self.0 = Some(text.lines().filter_map(mount).collect());
        }
        Ok(self.0.iter().flatten().find(|mount| wanted(mount)))
    }
}

/// `own` as seen from the directory `root` of the same hierarchy.
pub(crate) fn below(root: &str, own: &str) -> Option<String> {
    let rest = Path::new(own).strip_prefix(root).ok()?;
    let clean = rest.components().all(|c| matches!(c, Component::Normal(_)));
    clean.then(|| format!("/{}", rest.display()))
}

/// A mounted cgroup hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    root: String,
    point: String,
    unified: bool,
    options: String,
}

impl Mount {
    fn has(&self, controllers: &[String]) -> bool {
        !self.unified && controllers.iter().all(|name| self.options.split(',').any(|option| option == name))
    }
}

/// Reads a line of `/proc/self/mountinfo`; `None` for what is no cgroup hierarchy.
pub(crate) fn mount(line: &str) -> Option<Mount> {
    let (mount, super_block) = line.split_once(" - ")?;
    let mut super_block = super_block.split(' ');
    let unified = match super_block.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let mut mount = mount.split(' ').skip(3);
    let (root, point) = (unescape(mount.next()?), unescape(mount.next()?));
    Some(Mount { root, point, unified, options: super_block.nth(1)?.to_owned() })
}

/// Undoes the kernel's escaping of white space and backslashes (`\040`).
fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_cgroup() {
        let controllers = |line| entry(line).map(|(c, path)| (c.join(","), path));
        assert_eq!(controllers("5:devices:/a/b"), Some(("devices".to_owned(), "/a/b")));
        assert_eq!(controllers("4:cpu,cpuacct:/"), Some(("cpu,cpuacct".to_owned(), "/")));
        assert_eq!(controllers("1:name=systemd:/x"), Some(("name=systemd".to_owned(), "/x")));
        assert_eq!(controllers("1:name=elogind:/x"), None);
        assert_eq!(controllers("0::/with:colon"), Some((String::new(), "/with:colon")));
        assert_eq!(controllers("nonsense"), None);
    }

    #[test]
    fn lines_of_mountinfo() {
        let line =
            "32 31 0:29 /docker/x /sys/fs/cgroup/a\\040b rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct";
        let expected = Mount {
            root: "/docker/x".to_owned(),
            point: "/sys/fs/cgroup/a b".to_owned(),
            unified: false,
            options: "rw,cpu,cpuacct".to_owned(),
        };
        assert_eq!(mount(line), Some(expected));
        assert!(mount(line).is_some_and(|m| m.has(&["cpuacct".to_owned()]) && !m.has(&["cpuse".to_owned()])));
        assert!(mount("41 31 0:38 / /x rw - cgroup2 cgroup2 rw,nsdelegate").is_some_and(|m| m.unified));
        assert_eq!(mount("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755"), None);
    }

    #[test]
    fn own_cgroup_where_only_a_part_is_mounted() {
        for (root, own, expected) in [
            ("/", "/a/b", Some("/a/b")),
            ("/docker/x", "/docker/x/y", Some("/y")),
            ("/docker/x", "/docker/x", Some("/")),
            ("/docker/x", "/docker/xy", None),
            ("/docker/x", "/", None),
            ("/", "/../z", None),
        ] {
            assert_eq!(below(root, own).as_deref(), expected, "{root} {own}");
        }
    }

    #[test]
    fn this_host_has_cgroups() {
        let host = Host::detect().unwrap();
        assert_eq!(host.layout() == Layout::V2, magic(ROOT) == Some(V2_MAGIC));
        assert!(host.hierarchies.iter().all(|h| h.is_unified() == (magic(&h.mount) == Some(V2_MAGIC))));
    }
}
