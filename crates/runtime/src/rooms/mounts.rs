//! `mounts`: what is mounted in the container, in the order of the config.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::On;
use crate::faults::Faults;
use crate::rooms::idmap::{self, IdMap, Ids, Of, UserNamespaces};
use crate::rooms::mask::Kernels;
use crate::rooms::mount_options::{self, Depth, Options};
use crate::rooms::over_proc;
use crate::{Error, Kind, Result};
use sys::mount::{Change, Propagation, attr};
use sys::root::RootDir;

/// One mount, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its path in the container, as the config has it.
    destination: String,
    /// The same, relative to the root and without `.` and `..`.
    path: PathBuf,
    source: String,
    what: What,
    options: Options,
    id_map: Option<IdMap>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A file or directory of the host.
    Bind(PathBuf, Depth),
    /// A new instance of a file system.
    New(String),
    /// The container's cgroups.
    Cgroup(Vec<CgroupDir>),
}

/// One hierarchy in a `cgroup` mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupDir {
    /// Its directory below the mount; empty for v2, which is the mount itself.
    pub name: String,
    /// The container's directory in it, on the host.
    pub source: PathBuf,
    /// Names that lead to the same hierarchy (`cpu` and `cpuacct` for `cpu,cpuacct`).
    pub links: Vec<String>,
}

/// All mounts, in order.
pub type Plan = Vec<Mount>;

/// What decides besides the list.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The directory of config.json.
    pub bundle: &'a Path,
    /// Where the root file system is on the host.
    pub root: &'a Path,
    /// What a mount of type `cgroup` shows.
    pub cgroups: &'a [CgroupDir],
    /// Namespaces, and whose ids are meant.
    pub ids: Ids<'a>,
    /// The SELinux label of files.
    pub label: Option<&'a str>,
}

/// Decides the mounts.
pub fn plan(list: &[oci::Mount], around: &Around<'_>, faults: &mut Faults) -> Plan {
    if !around.ids.namespaces.mount.is_private() && !list.is_empty() {
        faults.add("mounts", "unable to mount anything without a private MNT namespace");
    }
    let mut plan = Plan::new();
    for (index, mount) in list.iter().enumerate() {
        let at = format!("mounts[{index}]");
        if let Some(mount) = plan_one(mount, &at, around, faults) {
            plan.push(mount);
        }
    }
    plan
}

fn plan_one(raw: &oci::Mount, at: &str, around: &Around<'_>, faults: &mut Faults) -> Option<Mount> {
    let Around { bundle, root, cgroups, ids, label } = *around;
    let oci::Mount { destination, r#type, source, options, uid_mappings: _, gid_mappings: _ } = raw;
    let mut options = mount_options::parse(options);
    let id_map = idmap::plan(raw, options.idmap, options.bind.is_some(), ids, at, faults);
    if [destination, r#type, source].iter().any(|text| text.contains('\0')) {
        faults.add(at, "mount field contains null byte");
    }
    if !destination.starts_with('/') {
        // runc's words: it is what those look for who depend on it.
        log::warn!(
            "mount destination {destination} is not absolute. \
             Support for non-absolute mount destinations will be removed in a future release."
        );
    }
    let path = inside_root(destination, root);
    if path.as_os_str().is_empty() {
        faults
            .add(format!("{at}.destination"), format!("mountpoint {destination:?} is on the top of rootfs"));
    }
    let what = match (options.bind, r#type.as_str()) {
        (Some(depth), _) => {
            if !options.data.is_empty() || !options.superblock.is_empty() {
                let text = "bind mounts cannot have any filesystem-specific options applied";
                faults.add(format!("{at}.options"), text);
            }
            What::Bind(bundle.join(source), depth)
        }
        (None, "bind") => {
            faults.add(format!("{at}.options"), "a mount of type bind needs the option bind or rbind");
            return None;
        }
        (None, "cgroup") => What::Cgroup(cgroups.to_vec()),
        (None, "") => {
            faults.add(format!("{at}.type"), "a mount without the option bind needs a type");
            return None;
        }
        (None, kind) => What::New(kind.to_owned()),
    };
    if options.copy_up && !matches!(&what, What::New(kind) if kind == "tmpfs") {
        faults.add(format!("{at}.options"), "tmpcopyup is for mounts of type tmpfs");
    }
    options.set_label(r#type, label);
    let mount =
        Mount { destination: destination.clone(), path, source: source.clone(), what, options, id_map };
    if mount.id_map.is_some() && is_long(&mount) {
        let most = sys::mount::LONGEST_VALUE;
        faults.add(at, format!("an id-mapped mount can't have an option of more than {most} bytes"));
    }
    Some(mount)
}

/// A destination as a path in the container. Some give it as the host's path, through the root file system.
fn inside_root(destination: &str, root: &Path) -> PathBuf {
    let path = sys::root::clean(Path::new(destination));
    path.strip_prefix(sys::root::clean(root)).map(Path::to_path_buf).unwrap_or(path)
}

/// Whether `/dev` is the caller's own: then nothing is made in it.
pub fn brings_dev(plan: &Plan) -> bool {
    plan.iter().any(|m| matches!(m.what, What::Bind(..)) && m.path == Path::new("dev"))
}

/// What of the kernel's own is at `/proc` and `/sys` when all is mounted.
pub fn kernels(plan: &Plan) -> Vec<Kernels> {
    let is_there = |dir: &str, type_name| match plan.iter().rfind(|m| m.path == Path::new(dir))?.what {
        What::New(ref kind) => (kind == type_name).then_some(()),
        What::Bind(ref source, _) => (source == &Path::new("/").join(dir)).then_some(()),
        What::Cgroup(_) => None,
    };
    let proc = is_there("proc", "proc").map(|()| ("proc", sys::mount::PROC_MAGIC));
    proc.into_iter().chain(is_there("sys", "sysfs").map(|()| ("sys", sys::mount::SYSFS_MAGIC))).collect()
}

/// The id maps of all that have one.
pub fn id_maps(plan: &Plan) -> impl Iterator<Item = &IdMap> {
    plan.iter().filter_map(|mount| mount.id_map.as_ref())
}

/// Whether only the runtime can open or make it for an init in a user namespace: what its user may not look for by
/// its path, or show with an id map. A source in the container's own `rootfs` may be a mount that is made before it.
pub fn is_for_host(mount: &Mount, rootfs: &Path) -> bool {
    match &mount.what {
        What::Bind(source, _) => mount.id_map.is_some() || !source.starts_with(rootfs),
        What::New(_) => mount.id_map.is_some(),
        What::Cgroup(_) => false,
    }
}

/// Opens what only the runtime can. It is attached nowhere, and gets nothing but what the host mounts below it.
pub fn host_open(plan: &Plan, rootfs: &Path, users: &UserNamespaces) -> Result<Vec<Option<OwnedFd>>> {
    let open = |mount: &Mount| match &mount.what {
        _ if !is_for_host(mount, rootfs) => Ok(None),
        What::Bind(source, depth) => {
            let tree = open_source(mount, source, *depth, users)?;
            sys::mount::set_attributes(tree.as_fd(), Change::default(), Some(Propagation::Slave), true)?;
            Ok(Some(tree))
        }
        What::New(kind) => make(mount, kind, None, users).map(Some),
        What::Cgroup(_) => Ok(None),
    };
    plan.iter().map(|mount| open(mount).map_err(|e| failed(mount, e))).collect()
}

/// Mounts everything below `root`, from the `trees` that [`host_open`] has opened, where it has.
pub fn init_mount(
    plan: &Plan,
    root: &RootDir,
    trees: Vec<Option<OwnedFd>>,
    users: &UserNamespaces,
) -> Result<()> {
    let trees = trees.into_iter().chain(std::iter::repeat_with(|| None));
    for (mount, opened) in plan.iter().zip(trees) {
        let done = match &mount.what {
            What::Bind(source, depth) => opened
                .map_or_else(|| open_source(mount, source, *depth, users), Ok)
                .and_then(|tree| bind(mount, &tree, root)),
            What::New(kind) => new_filesystem(mount, kind, opened, users, root),
            What::Cgroup(dirs) => cgroup(mount, dirs, root),
        };
        done.map_err(|e| failed(mount, e))?;
    }
    Ok(())
}

fn failed(mount: &Mount, error: Error) -> Error {
    error.context(format!("error mounting {:?} to rootfs at {:?}", mount.source, mount.destination))
}

/// Makes those mounts read-only that had to be written until now: each tmpfs, and `/dev`.
pub fn init_seal(plan: &Plan, root: &RootDir) -> Result<()> {
    for mount in plan.iter().filter(|m| is_sealed_late(m)) {
        let fd =
            root.open_path(&mount.path).on(|| format!("remounting {:?} read-only", mount.destination))?;
        let change = Change { set: attr::RDONLY, clear: 0 };
        sys::mount::set_attributes(fd.as_fd(), change, None, false)
            .on(|| format!("remounting {:?} read-only", mount.destination))?;
    }
    Ok(())
}

/// Read-only, but filled by others first: devices, mount points of later mounts.
fn is_sealed_late(mount: &Mount) -> bool {
    let readonly = mount.options.change.set & attr::RDONLY != 0;
    let filled = matches!(&mount.what, What::New(kind) if kind == "tmpfs" || mount.path == Path::new("dev"));
    readonly && filled
}

fn open_source(mount: &Mount, source: &Path, depth: Depth, users: &UserNamespaces) -> Result<OwnedFd> {
    let opened = sys::mount::clone_tree(sys::file::CWD, source, depth == Depth::All);
    let tree = opened.map_err(|e| match e.errno {
        sys::Errno::NOENT | sys::Errno::NOTDIR => {
            let text = format!("open {}: {}", source.display(), sys::errno_text(e.errno));
            Error::new(Kind::Invalid, format!("failed to fulfil mount request: {text}"))
        }
        sys::Errno::INVAL if depth == Depth::One => {
            Error::from(e).hint("`rbind` takes mounts below it along")
        }
        _ => e.into(),
    })?;
    if let Some(map) = &mount.id_map {
        idmap::apply(map, tree.as_fd(), users, Of::Path(source))?;
    }
    Ok(tree)
}

fn bind(mount: &Mount, tree: &OwnedFd, root: &RootDir) -> Result<()> {
    let is_dir = sys::file::is_dir(&sys::file::stat_fd(tree.as_fd())?);
    let target = open_target(mount, root, !is_dir, Some(tree.as_fd()))?;
    change_bind(tree.as_fd(), &mount.options)?;
    finish(mount, tree.as_fd(), target.as_fd(), is_dir)
}

/// The attributes asked for are the only ones the mount has afterwards, as with `mount -o bind,…`. A
/// mount that came with attributes which may not be cleared keeps them: then the rest is added to them.
fn change_bind(tree: BorrowedFd<'_>, options: &Options) -> Result<()> {
    if options.change.is_empty() {
        return Ok(());
    }
    let all = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;
    let Change { set, clear } = options.change;
    match sys::mount::set_attributes(tree, Change { set, clear: clear | all & !set }, None, false) {
        Err(e) if e.errno == sys::Errno::PERM => {
            sys::mount::set_attributes(tree, options.change, None, false)
                .on(|| "failed to set user-requested vfs flags on bind-mount".to_owned())
        }
        other => Ok(other?),
    }
}

/// Mounts a new file system, or the one that the runtime has made.
fn new_filesystem(
    mount: &Mount,
    kind: &str,
    made: Option<OwnedFd>,
    users: &UserNamespaces,
    root: &RootDir,
) -> Result<()> {
    let mode = if kind == "tmpfs" { covered_mode(mount, root)? } else { None };
    let target = match kind {
        "proc" | "sysfs" => open_plain_dir(mount, kind, root)?,
        _ => open_target(mount, root, false, None)?,
    };
    let tree = match (made, mode) {
        (Some(tree), Some(mode)) => {
            sys::file::set_dir_mode(tree.as_fd(), mode).map_err(|e| {
                Error::from(e)
                    .hint("the option mode=… would be its mode whoever the id map says it belongs to")
            })?;
            tree
        }
        (Some(tree), None) => tree,
        (None, mode) => make(mount, kind, mode, users)?,
    };
    if mount.options.copy_up {
        crate::rooms::copyup::init_copy(target.as_fd(), tree.as_fd())?;
    }
    finish(mount, tree.as_fd(), target.as_fd(), true)
}

/// The attributes of a mount of a new file system from its beginning.
fn first_attributes(mount: &Mount) -> u64 {
    let all = mount.options.change.set;
    if is_sealed_late(mount) { all & !attr::RDONLY } else { all }
}

/// Makes a new file system with its id map, attached nowhere.
fn make(mount: &Mount, kind: &str, mode: Option<u32>, users: &UserNamespaces) -> Result<OwnedFd> {
    let attributes = first_attributes(mount);
    let unknown = |e| wrap_unknown_type(kind, e);
    let mut filesystem = match is_long(mount) {
        true => sys::mount::NewFs::of_text(kind),
        false => sys::mount::NewFs::open(kind).map_err(unknown)?,
    };
    if !mount.source.is_empty() {
        filesystem.set("source", &mount.source)?;
    }
    if attributes & attr::RDONLY != 0 {
        // With the mount alone read-only, a disk would be opened, and its journal replayed, for writing.
        filesystem.flag("ro")?;
    }
    for flag in &mount.options.superblock {
        filesystem.flag(flag)?;
    }
    if let Some(mode) = mode {
        filesystem.set("mode", &format!("{mode:04o}"))?;
    }
    for (name, value) in &mount.options.data {
        match value {
            Some(value) => filesystem.set(name, value)?,
            None => filesystem.flag(name)?,
        }
    }
    let tree = filesystem.mount(attributes).map_err(unknown)?;
    let label = mount.options.label.as_ref();
    label.map_or(Ok(()), |label| sys::file::set_selinux_label(tree.as_fd(), label))?;
    if let Some(map) = &mount.id_map {
        idmap::apply(map, tree.as_fd(), users, Of::Type(kind))?;
    }
    Ok(tree)
}

/// Whether a text is in it that the new mount calls don't take: an overlay of many layers has one.
fn is_long(mount: &Mount) -> bool {
    [mount.source.len(), mount.options.longest()].iter().any(|&length| length > sys::mount::LONGEST_VALUE)
}

/// The mode of the directory that a tmpfs covers: the image has chosen it, and the tmpfs takes it over,
/// unless the config gives it another.
fn covered_mode(mount: &Mount, root: &RootDir) -> Result<Option<u32>> {
    if mount.options.data.iter().any(|(name, _)| name == "mode") {
        return Ok(None);
    }
    match root.open_path(&mount.path) {
        Ok(fd) => Ok(Some(sys::file::stat_fd(fd.as_fd())?.st_mode & 0o7777)),
        Err(e) if e.errno == sys::Errno::NOENT => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn wrap_unknown_type(kind: &str, e: sys::Error) -> Error {
    let error = Error::from(e.clone());
    if e.errno == sys::Errno::NODEV {
        return error.hint(format!("this kernel has no file system of type {kind:?}"));
    }
    error
}

/// Shows the container its own cgroups. They are bound, not mounted anew: a new mount of cgroup2 from
/// another cgroup namespace takes milliseconds, and a bind shows the same.
fn cgroup(mount: &Mount, dirs: &[CgroupDir], root: &RootDir) -> Result<()> {
    let target = open_target(mount, root, false, None)?;
    if let [CgroupDir { name, source, links: _ }] = dirs
        && name.is_empty()
    {
        let tree = sys::mount::clone_tree(sys::file::CWD, source, false)?;
        sys::mount::set_attributes(tree.as_fd(), mount.options.change, None, false)?;
        return finish(mount, tree.as_fd(), target.as_fd(), true);
    }
    let mut filesystem = sys::mount::NewFs::open("tmpfs")?;
    filesystem.set("source", "tmpfs")?;
    filesystem.set("mode", "755")?;
    mount.options.label.as_ref().map_or(Ok(()), |label| filesystem.set("context", label))?;
    let tree = filesystem.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC)?;
    for dir in dirs {
        sys::file::mkdir_at(tree.as_fd(), &dir.name, 0o755)?;
        for link in &dir.links {
            sys::root::symlink_at(&dir.name, tree.as_fd(), Path::new(link))?;
        }
    }
    finish(mount, tree.as_fd(), target.as_fd(), true)?;
    for dir in dirs {
        // The tmpfs is new, and nobody but us can have changed it.
        let place = sys::root::open_child(tree.as_fd(), Path::new(&dir.name))?;
        let bound = sys::mount::clone_tree(sys::file::CWD, &dir.source, false)?;
        sys::mount::set_attributes(bound.as_fd(), mount.options.change, None, false)?;
        sys::mount::attach(bound.as_fd(), place.as_fd())?;
    }
    Ok(sys::mount::set_attributes(tree.as_fd(), mount.options.change, None, false)?)
}

/// Attaches the mount to its place, and gives it what it can only get there.
fn finish(mount: &Mount, tree: BorrowedFd<'_>, target: BorrowedFd<'_>, is_dir: bool) -> Result<()> {
    if is_dir != target_is_dir(target) {
        // The kernel would say EINVAL.
        let (from, to) = if is_dir { ("a directory", "a file") } else { ("a file", "a directory") };
        let text = format!("move_mount: not a directory (the source is {from}, the destination {to})");
        return Err(Error::new(Kind::Invalid, text));
    }
    sys::mount::attach(tree, target)?;
    for (propagation, recursive) in &mount.options.propagation {
        sys::mount::set_attributes(tree, Change::default(), Some(*propagation), *recursive)?;
    }
    if !mount.options.recursive.is_empty() {
        sys::mount::set_attributes(tree, mount.options.recursive, None, true)
            .on(|| "recursive options (such as rro)".to_owned())?;
    }
    Ok(())
}

fn target_is_dir(target: BorrowedFd<'_>) -> bool {
    sys::file::stat_fd(target).is_ok_and(|stat| sys::file::is_dir(&stat))
}

/// Opens the place to mount on, made if it is missing.
fn open_target(
    mount: &Mount,
    root: &RootDir,
    is_file: bool,
    source: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd> {
    let make = || match is_file {
        true => root.create_file_at_end(&mount.path, 0o644),
        false => root.mkdir_all(&mount.path, 0o755),
    };
    let made = || format!("create mountpoint for {} mount", mount.destination);
    let mut plain = root.open_plain(&mount.path);
    if plain.as_ref().is_err_and(|e| e.errno == sys::Errno::NOENT) {
        drop(make().on(made)?);
        plain = root.open_plain(&mount.path);
    }
    let (target, inside) = match plain {
        Ok(fd) => (fd, mount.path.clone()),
        // Where no symlink was on the way, the path is what it says. Else the kernel knows where it led.
        Err(e) if e.errno == sys::Errno::LOOP => {
            let fd = match root.open_path(&mount.path) {
                Err(e) if e.errno == sys::Errno::NOENT => make(),
                other => other,
            };
            let fd = fd.on(made)?;
            let inside = inside(root, &fd)?;
            (fd, inside)
        }
        Err(e) => return Err(e).on(made),
    };
    if inside.as_os_str().is_empty() {
        let text = format!("mountpoint {:?} is on the top of rootfs", mount.destination);
        return Err(Error::new(Kind::Invalid, text));
    }
    over_proc::check(&mount.destination, &inside, source)?;
    Ok(target)
}

/// The real path of `target`, relative to the root.
fn inside(root: &RootDir, target: &OwnedFd) -> Result<PathBuf> {
    let (top, real) = (sys::file::path_of(root.as_fd())?, sys::file::path_of(target.as_fd())?);
    real.strip_prefix(&top).map(Path::to_path_buf).map_err(|_| {
        let text = format!("mountpoint {:?} is outside of rootfs {:?}", real.display(), top.display());
        Error::new(Kind::System, text)
    })
}

/// Opens the place for procfs or sysfs, which must be what it seems: a symlink on the way would put
/// the real one elsewhere and leave the image's own in its place (CVE-2023-27561).
fn open_plain_dir(mount: &Mount, kind: &str, root: &RootDir) -> Result<OwnedFd> {
    let plain = |e: &sys::Error| matches!(e.errno, sys::Errno::LOOP | sys::Errno::NOTDIR);
    let odd =
        || Error::new(Kind::Invalid, format!("filesystem {kind:?} must be mounted on ordinary directory"));
    let made = match root.open_plain(&mount.path) {
        Err(e) if e.errno == sys::Errno::NOENT => {
            root.mkdir_all(&mount.path, 0o755).and_then(|_| root.open_plain(&mount.path))
        }
        other => other,
    };
    let target = made.map_err(|e| if plain(&e) { odd() } else { e.into() })?;
    over_proc::check(&mount.destination, &mount.path, None)
        .or_else(|e| if kind == "proc" { Ok(()) } else { Err(e) })?;
    if target_is_dir(target.as_fd()) { Ok(target) } else { Err(odd()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::namespaces::{self, Namespace};
    use crate::spawn::Caller;

    fn planned(mount: oci::Mount) -> (Plan, Vec<String>) {
        let mut faults = Faults::default();
        let namespaces = namespaces::Plan { mount: Namespace::New, ..Default::default() };
        let mappings = Default::default();
        let ids = Ids { namespaces: &namespaces, mappings: &mappings, caller: Caller::Root };
        let around =
            Around { bundle: Path::new("/b"), root: Path::new("/b/rootfs"), cgroups: &[], ids, label: None };
        let plan = plan(&[mount], &around, &mut faults);
        (plan, faults.texts())
    }

    fn texts(mount: oci::Mount) -> Vec<String> {
        planned(mount).1
    }

    fn mount(destination: &str, kind: &str, options: &[&str]) -> oci::Mount {
        oci::Mount {
            destination: destination.into(),
            r#type: kind.into(),
            source: "s".into(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn faults_name_the_mount() {
        let none: [&str; 0] = [];
        assert_eq!(texts(mount("/x", "tmpfs", &["ro", "size=1k"])), none);
        assert_eq!(
            texts(mount("/x", "none", &["bind", "size=1k"])),
            ["bind mounts cannot have any filesystem-specific options applied (mounts[0].options)"]
        );
        assert_eq!(
            texts(mount("/", "tmpfs", &[])),
            ["mountpoint \"/\" is on the top of rootfs (mounts[0].destination)"]
        );
        assert_eq!(
            texts(mount("/x", "tmpfs", &["idmap"])),
            ["id-mapped mounts must have both uid and gid mappings specified (mounts[0].uidMappings)"]
        );
        assert_eq!(texts(mount("/x", "", &[])).len(), 1);
    }

    #[test]
    fn sources_are_relative_to_the_bundle() {
        let (plan, _) = planned(mount("rel/../x", "none", &["rbind"]));
        assert_eq!(plan[0].what, What::Bind("/b/s".into(), Depth::All));
        assert_eq!(plan[0].path, Path::new("x"));
    }
}
