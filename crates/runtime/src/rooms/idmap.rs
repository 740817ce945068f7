//! `mounts[].uidMappings`, `mounts[].gidMappings` and the options `idmap` and `ridmap`: mounts that show files as
//! those of other users than the file system has.
//!
//! The kernel takes the ids from a user namespace. One with the maps of the config is made for it, and nothing ever
//! runs in there. It lets only somebody with privileges over the file system do this: init, or the runtime where
//! init is in a user namespace.
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::On;
use crate::faults::Faults;
use crate::rooms::mappings;
use crate::rooms::mount_options::Depth;
use crate::rooms::namespaces::{self, Namespace};
use crate::spawn::Caller;
use crate::{Error, Kind, Result};
use sys::clone::{Alone, InChild, Setting};

/// The id map of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    maps: Maps,
    /// Whether mounts below get it too.
    depth: Depth,
    /// The mount in the config.
    at: String,
}

/// Where the ids come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Maps {
    /// From the config.
    These(mappings::Plan),
    /// From the user namespace that the container joins.
    Joined,
}

/// What decides on ids besides the mount.
#[derive(Clone, Copy, Debug)]
pub struct Ids<'a> {
    /// The container's namespaces.
    pub namespaces: &'a namespaces::Plan,
    /// The maps of its user namespace.
    pub mappings: &'a mappings::Plan,
    /// Who calls.
    pub caller: Caller,
}

/// File systems whose new mounts show something of the namespaces of whoever makes them, which is not always
/// init. None of them has id maps up to Linux 6.18.
const OF_NAMESPACES: [&str; 5] = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// Decides on the id map of the mount `at`, whose options ask for one or don't.
pub fn plan(
    raw: &oci::Mount,
    asked: Option<Depth>,
    is_bind: bool,
    ids: Ids<'_>,
    at: &str,
    faults: &mut Faults,
) -> Option<IdMap> {
    let (uids, gids) = (&raw.uid_mappings, &raw.gid_mappings);
    let depth = asked.or_else(|| (!uids.is_empty() || !gids.is_empty()).then_some(Depth::One))?;
    if ids.caller == Caller::Ordinary {
        faults.add(at, "id-mapped mounts are not supported for rootless containers");
        return None;
    }
    if !is_bind && OF_NAMESPACES.contains(&raw.r#type.as_str()) {
        let text = format!("id-mapped mounts are not supported for file systems of type {}", raw.r#type);
        faults.add(format!("{at}.type"), text);
    }
    let namespaces::Plan { user, mount, .. } = ids.namespaces;
    if user.is_private() && matches!(mount, Namespace::Join(_)) {
        let text = "with a user namespace, id-mapped mounts are only supported in a new mount namespace";
        faults.add(at, text);
    }
    let maps = match (uids.is_empty(), gids.is_empty(), user) {
        (false, false, _) => Maps::These(mappings::plan_mount(uids, gids, at, faults)),
        (true, true, Namespace::New) => Maps::These(ids.mappings.clone()),
        (true, true, Namespace::Join(_)) => Maps::Joined,
        (no_uids, ..) => {
            let field = if no_uids { "uidMappings" } else { "gidMappings" };
            let text = "id-mapped mounts must have both uid and gid mappings specified";
            faults.add(format!("{at}.{field}"), text);
            return None;
        }
    };
    Some(IdMap { maps, depth, at: at.to_owned() })
}

/// User namespaces that stand for maps.
#[derive(Debug, Default)]
pub struct UserNamespaces(Vec<(Maps, OwnedFd)>);

/// Makes a user namespace for each of the different maps; `joined` is the one that the container joins.
pub fn host_open<'a>(
    list: impl Iterator<Item = &'a IdMap>,
    joined: Option<BorrowedFd<'_>>,
) -> Result<UserNamespaces> {
    let mut users = UserNamespaces::default();
    for IdMap { maps, depth: _, at } in list {
        if users.of(maps).is_some() {
            continue;
        }
        let fd = match (maps, joined) {
            (Maps::Joined, Some(fd)) => sys::file::duplicate(fd)?,
            (Maps::Joined, None) => continue,
            (Maps::These(maps), _) => make(maps, at).on(|| format!("{at}: no user namespace for its ids"))?,
        };
        users.0.push((maps.clone(), fd));
    }
    Ok(users)
}

impl UserNamespaces {
    fn of(&self, maps: &Maps) -> Option<BorrowedFd<'_>> {
        self.0.iter().find(|(known, _)| known == maps).map(|(_, fd)| fd.as_fd())
    }
}

/// Makes a user namespace with these maps. It has to have a process for that time.
fn make(maps: &mappings::Plan, at: &str) -> Result<OwnedFd> {
    let (ours, mut theirs) = sys::sock::pair()?;
    let setting = Setting { namespaces: sys::ns::flag::USER, cgroup: None, parent_only: &[ours.as_fd()] };
    let child = sys::clone::clone_process(Alone::check()?, setting, &mut theirs, wait)?;
    let made = mappings::host_write(maps, at, child.pid)
        .and_then(|()| Ok(sys::file::open(format!("/proc/{}/ns/user", child.pid))?));
    drop(ours);
    sys::process::wait(child.pid)?;
    made
}

/// Waits for the end of the other side, which comes with the end of the runtime if not before.
fn wait(other_side: &mut OwnedFd, _: InChild) -> Infallible {
    // Whatever it was, there is nothing left to do here.
    sys::file::read_byte(other_side.as_fd()).ok();
    sys::process::exit(0)
}

/// What is mounted, for what is to be said of it.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// What is at this path of the host.
    Path(&'a Path),
    /// A new file system of this type.
    Type(&'a str),
}

/// Gives the detached mount `tree` its ids.
pub fn apply(map: &IdMap, tree: BorrowedFd<'_>, users: &UserNamespaces, of: Of<'_>) -> Result<()> {
    let Some(fd) = users.of(&map.maps) else {
        return Err(Error::new(Kind::System, format!("{}: no user namespace for its ids", map.at)));
    };
    sys::mount::set_id_map(tree, fd, map.depth == Depth::All).map_err(|e| explain(map, of, e.errno))
}

/// Says which file system of which mount is the cause, and what it would need.
fn explain(map: &IdMap, of: Of<'_>, errno: sys::Errno) -> Error {
    let source = match of {
        Of::Path(path) => path.display().to_string(),
        Of::Type(kind) => kind.to_owned(),
    };
    let release = sys::file::read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = String::from_utf8_lossy(&release).trim().to_owned();
    let mounted = match of {
        Of::Path(path) => mounted(path, map.depth).unwrap_or_default(),
        Of::Type(kind) => vec![Mounted { path: PathBuf::new(), kind: kind.to_owned(), id_mapped: false }],
    };
    let why = why(errno, &mounted, &release).map_or_else(String::new, |why| format!(": {why}"));
    let reason = sys::errno_text(errno);
    let text = format!("failed to set MOUNT_ATTR_IDMAP on {source}: {reason}{why} ({})", map.at);
    Error::new(Kind::Unsupported, text)
}

/// A mount of the host.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    path: PathBuf,
    /// Its type of file system.
    kind: String,
    id_mapped: bool,
}

/// The file systems that can be id-mapped, by the version of Linux from which on; see mount_setattr(2).
const SINCE: [(&str, (u32, u32)); 14] = [
    ("ext4", (5, 12)),
    ("vfat", (5, 12)),
    ("xfs", (5, 12)),
    ("btrfs", (5, 15)),
    ("ntfs3", (5, 15)),
    ("f2fs", (5, 18)),
    ("erofs", (5, 19)),
    ("squashfs", (6, 2)),
    ("tmpfs", (6, 3)),
    ("ceph", (6, 7)),
    ("hugetlbfs", (6, 9)),
    ("bcachefs", (6, 11)),
    ("fuse", (6, 12)),
    ("virtiofs", (6, 12)),
];

/// The cause of `errno`, of those that are known.
fn why(errno: sys::Errno, mounted: &[Mounted], release: &str) -> Option<String> {
    match errno {
        sys::Errno::NOSYS => Some(format!("that needs Linux 5.12, and this is {release}")),
        sys::Errno::PERM => Some(match mounted.iter().find(|mount| mount.id_mapped) {
            Some(mount) => format!("{} is an id-mapped mount already", mount.path.display()),
            None if mounted.is_empty() => "it may be an id-mapped mount already".to_owned(),
            None => "that needs CAP_SYS_ADMIN in the user namespace of the file system".to_owned(),
        }),
        sys::Errno::INVAL if mounted.is_empty() => {
            Some(format!("its file system may have no id maps in Linux {release}"))
        }
        sys::Errno::INVAL => {
            let since = |mount: &Mounted| SINCE.iter().find(|(kind, _)| *kind == mount.kind);
            let can =
                |mount: &Mounted| since(mount).is_some_and(|(_, first)| version(release) >= Some(*first));
            let Mounted { path, kind, .. } = mounted.iter().find(|mount| !can(mount))?;
            let place = match path.as_os_str().is_empty() {
                true => String::new(),
                false => format!("{} is of type {kind}, and ", path.display()),
            };
            Some(match SINCE.iter().find(|(known, _)| known == kind) {
                Some((_, (major, minor))) => {
                    format!("{place}{kind} has id maps since Linux {major}.{minor}, and this is {release}")
                }
                None => format!("{place}{kind} has no id maps in Linux {release}"),
            })
        }
        _ => None,
    }
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The mount that `source` is on and, if asked for, those below `source`; nothing where that can't be found out.
fn mounted(source: &Path, depth: Depth) -> Option<Vec<Mounted>> {
    let fd = sys::file::open_at(sys::file::CWD, source, sys::OFlags::PATH, 0).ok()?;
    let real = sys::file::path_of(fd.as_fd()).ok()?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&fd);
    let info = sys::file::read(format!("/proc/self/fdinfo/{number}")).ok()?;
    let info = String::from_utf8_lossy(&info).into_owned();
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let table = sys::file::read("/proc/self/mountinfo").ok()?;
    Some(select(&String::from_utf8_lossy(&table), id, &real, depth))
}

/// The same from a mountinfo table.
fn select(table: &str, id: &str, real: &Path, depth: Depth) -> Vec<Mounted> {
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = mount.split(' ').collect();
        let [number, _, _, _, point, options, ..] = fields.as_slice() else { continue };
        let path = PathBuf::from(point.replace("\\040", " "));
        let below = depth == Depth::All && path != real && path.starts_with(real);
        if *number == id || below {
            let kind = filesystem.split(' ').next().unwrap_or_default().to_owned();
            found.push(Mounted { path, kind, id_mapped: options.split(',').any(|o| o == "idmapped") });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u32) -> Vec<oci::IdMapping> {
        vec![oci::IdMapping { container_id: 0, host_id: id, size: 10 }]
    }

    fn planned(
        raw: &oci::Mount,
        asked: Option<Depth>,
        user: Namespace,
        caller: Caller,
    ) -> (Option<IdMap>, Vec<String>) {
        let mut faults = Faults::default();
        let namespaces = namespaces::Plan { user, mount: Namespace::New, ..Default::default() };
        let root = mappings::Asker { caller: Caller::Root, uid: 0, gid: 0 };
        let grants = |_, _| crate::rooms::subids::Grants::default();
        let mappings = mappings::plan(&line(5), &line(5), &Namespace::New, root, grants, &mut faults);
        let ids = Ids { namespaces: &namespaces, mappings: &mappings, caller };
        let map = plan(raw, asked, raw.r#type == "bind", ids, "mounts[3]", &mut faults);
        (map, faults.texts())
    }

    fn raw(kind: &str, uids: Vec<oci::IdMapping>, gids: Vec<oci::IdMapping>) -> oci::Mount {
        oci::Mount { r#type: kind.into(), uid_mappings: uids, gid_mappings: gids, ..Default::default() }
    }

    #[test]
    fn whose_ids() {
        let joined = || Namespace::Join("/ns".into());
        let these =
            |id: u32| Maps::These(mappings::plan_mount(&line(id), &line(id), "x", &mut Faults::default()));
        for (given, asked, user, want) in [
            (false, None, Namespace::New, None),
            (true, None, Namespace::Inherit, Some((these(1), Depth::One))),
            (true, None, joined(), Some((these(1), Depth::One))),
            (true, Some(Depth::All), Namespace::New, Some((these(1), Depth::All))),
            (false, Some(Depth::One), Namespace::New, Some((these(5), Depth::One))),
            (false, Some(Depth::All), joined(), Some((Maps::Joined, Depth::All))),
        ] {
            let raw = if given { raw("bind", line(1), line(1)) } else { raw("bind", vec![], vec![]) };
            let (map, faults) = planned(&raw, asked, user, Caller::Root);
            assert_eq!(map.map(|map| (map.maps, map.depth)), want);
            assert_eq!(faults, [""; 0]);
        }
    }

    #[test]
    fn faults_name_the_field() {
        let both = "id-mapped mounts must have both uid and gid mappings specified";
        let (root, nobody) = (Caller::Root, Caller::Ordinary);
        for (mount, asked, caller, want) in [
            (raw("bind", line(1), vec![]), None, root, format!("{both} (mounts[3].gidMappings)")),
            (raw("bind", vec![], line(1)), None, root, format!("{both} (mounts[3].uidMappings)")),
            (raw("bind", vec![], vec![]), Some(Depth::All), root, format!("{both} (mounts[3].uidMappings)")),
            (
                raw("bind", line(1), line(u32::MAX)),
                None,
                root,
                "4294967295 and 10 more are not all ids (mounts[3].gidMappings[0].hostID)".into(),
            ),
            (
                raw("bind", line(1), line(1)),
                None,
                nobody,
                "id-mapped mounts are not supported for rootless containers (mounts[3])".into(),
            ),
            (
                raw("proc", line(1), line(1)),
                None,
                root,
                "id-mapped mounts are not supported for file systems of type proc (mounts[3].type)".into(),
            ),
        ] {
            assert_eq!(planned(&mount, asked, Namespace::Inherit, caller).1, [want]);
        }
    }

    #[test]
    fn the_cause_is_named() {
        let mount =
            |path: &str, kind: &str, id_mapped| Mounted { path: path.into(), kind: kind.into(), id_mapped };
        let told = |errno, mounted: &[Mounted], release| why(errno, mounted, release).unwrap_or_default();
        let (inval, perm) = (sys::Errno::INVAL, sys::Errno::PERM);
        let tree = [mount("/a", "ext4", false), mount("/a/b", "tmpfs", true)];
        assert_eq!(
            told(inval, &tree, "6.1.0-9-amd64"),
            "/a/b is of type tmpfs, and tmpfs has id maps since Linux 6.3, and this is 6.1.0-9-amd64"
        );
        assert_eq!(told(inval, &tree, "6.3.0"), "");
        assert_eq!(
            told(inval, &[mount("", "overlay", false)], "6.18.4"),
            "overlay has no id maps in Linux 6.18.4"
        );
        assert_eq!(told(perm, &tree, "6.3.0"), "/a/b is an id-mapped mount already");
        assert!(told(perm, &tree[..1], "6.3.0").contains("CAP_SYS_ADMIN"));
        assert_eq!(told(perm, &[], "6.3.0"), "it may be an id-mapped mount already");
        assert_eq!(version("5.12-rc1"), Some((5, 12)));
    }

    #[test]
    fn mounts_below_count_if_they_are_mapped() {
        let table = "1 0 8:1 / / rw shared:1 - ext4 /dev/vda rw\n2 1 0:5 / /a\\040b/c rw,idmapped - tmpfs t rw\n\
                     3 1 0:6 / /x rw - proc proc rw\n";
        let kinds = |depth| -> Vec<_> {
            select(table, "1", Path::new("/a b"), depth).into_iter().map(|m| (m.kind, m.id_mapped)).collect()
        };
        assert_eq!(kinds(Depth::One), [("ext4".to_owned(), false)]);
        assert_eq!(kinds(Depth::All), [("ext4".to_owned(), false), ("tmpfs".to_owned(), true)]);
    }
}
