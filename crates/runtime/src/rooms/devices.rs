//! `linux.devices` and the devices that every container has; the links of `/dev`.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::On;
use crate::faults::Faults;
use crate::{Error, Result};
use sys::root::{NodeKind, RootDir};

/// One device node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    path: PathBuf,
    kind: NodeKind,
    number: (u32, u32),
    mode: u32,
    owner: (u32, u32),
}

/// The nodes to make, or nothing when the caller brings its own `/dev`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    nodes: Vec<Node>,
    links: bool,
    way: Way,
}

/// How a device comes to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// It is made; the mounts are the host's, where a bind would stay.
    Made,
    /// It is made or, where that is not permitted, the host's own is bound.
    #[default]
    MadeOrBound,
    /// The host's own is bound: init is in a user namespace, where the kernel lets nobody make one.
    Bound,
}

/// Devices of every container, by name, with their minor and major numbers.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("random", 1, 8), ("full", 1, 7), ("tty", 5, 0), ("zero", 1, 5), ("urandom", 1, 9)];

/// Decides the nodes; one of the config takes the place of a default one with the same path.
pub fn plan(list: &[oci::Device], brings_dev: bool, way: Way, faults: &mut Faults) -> Plan {
    let own: Vec<Node> =
        list.iter().enumerate().filter_map(|(index, raw)| plan_node(index, raw, faults)).collect();
    if brings_dev {
        return Plan::default();
    }
    let default = DEFAULT.iter().map(|&(name, major, minor)| Node {
        path: Path::new("dev").join(name),
        kind: NodeKind::Char,
        number: (major, minor),
        mode: 0o666,
        owner: (0, 0),
    });
    let mut nodes: Vec<Node> = default.filter(|node| !own.iter().any(|o| o.path == node.path)).collect();
    // /dev/ptmx belongs to the container's devpts and is a link to it.
    nodes.extend(own.into_iter().filter(|node| node.path != Path::new("dev/ptmx")));
    Plan { nodes, links: true, way }
}

fn plan_node(index: usize, raw: &oci::Device, faults: &mut Faults) -> Option<Node> {
    let oci::Device { path, r#type, major, minor, file_mode, uid, gid } = raw;
    let at = format!("linux.devices[{index}]");
    let kind = match r#type.as_str() {
        "c" | "u" => NodeKind::Char,
        "b" => NodeKind::Block,
        "p" => NodeKind::Fifo,
        other => {
            faults.add(format!("{at}.type"), format!("invalid device type {other:?}"));
            return None;
        }
    };
    let number = match (kind, u32::try_from(*major), u32::try_from(*minor)) {
        (NodeKind::Fifo, ..) => (0, 0),
        (_, Ok(major), Ok(minor)) => (major, minor),
        _ => {
            faults.add(at, format!("device numbers {major}:{minor} of {path} are not valid"));
            return None;
        }
    };
    let clean = sys::root::clean(Path::new(path));
    if clean.as_os_str().is_empty() || path.contains('\0') {
        faults.add(format!("{at}.path"), format!("device path {path:?} is not valid"));
        return None;
    }
    for (field, id) in [("uid", uid), ("gid", gid)] {
        if *id == Some(u32::MAX) {
            faults.add(format!("{at}.{field}"), "id 4294967295 stands for no id at all");
        }
    }
    let mode = file_mode.unwrap_or(0o666) & 0o7777;
    Some(Node { path: clean, kind, number, mode, owner: (uid.unwrap_or(0), gid.unwrap_or(0)) })
}

/// Makes the nodes and links. The caller's umask must be 0.
pub fn init_make(plan: &Plan, root: &RootDir) -> Result<()> {
    if !plan.links {
        return Ok(());
    }
    let dev = open_dev(root).on(|| "error creating device nodes: /dev".to_owned())?;
    for node in &plan.nodes {
        make(node, plan.way, root, dev.as_fd())
            .map_err(|e| e.context(format!("error creating device nodes: /{}", node.path.display())))?;
    }
    make_links(dev.as_fd())
}

/// The directory `/dev` itself: a symlink of the image could lead to a volume of the host, in which the
/// nodes would stay (CVE-2026-41579).
fn open_dev(root: &RootDir) -> Result<OwnedFd, sys::Error> {
    match root.open_plain(Path::new("dev")) {
        Err(e) if e.errno == sys::Errno::NOENT => root.mkdir_all(Path::new("dev"), 0o755),
        other => other,
    }
}

fn make(node: &Node, way: Way, root: &RootDir, dev: BorrowedFd<'_>) -> Result<()> {
    let name = node.path.file_name().map(Path::new).unwrap_or(&node.path);
    if node.path.parent() == Some(Path::new("dev")) {
        return make_in(node, way, dev, name);
    }
    let (dir, name) = root.parent(&node.path, 0o755)?;
    make_in(node, way, dir.as_fd(), name)
}

fn make_in(node: &Node, way: Way, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    if way == Way::Bound && node.kind != NodeKind::Fifo {
        return bind(node, dir, name);
    }
    match mknod(node, dir, name) {
        Err(e) if e.call == "mknod" && e.errno == sys::Errno::PERM && way == Way::MadeOrBound => {
            bind(node, dir, name)
        }
        other => Ok(other?),
    }
}

fn mknod(node: &Node, dir: BorrowedFd<'_>, name: &Path) -> Result<(), sys::Error> {
    match sys::root::mknod_at(dir, name, node.kind, node.mode, node.number) {
        Ok(()) if node.owner == (0, 0) => Ok(()),
        Ok(()) => sys::root::chown_at(dir, name, node.owner.0, node.owner.1),
        // A file of the image, or a device that was mounted there.
        Err(e) if e.errno == sys::Errno::EXIST => Ok(()),
        Err(e) => Err(e),
    }
}

/// Where devices may not be made, the host's own is bound: on a new file, or on what is there, such as the file
/// that was made for this the last time.
fn bind(node: &Node, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let source = Path::new("/").join(&node.path);
    let tree = sys::mount::clone_tree(sys::file::CWD, &source, false)?;
    match sys::file::create_at(dir, name, b"", 0o600) {
        Err(e) if e.errno != sys::Errno::EXIST => return Err(e.into()),
        _ => {}
    }
    let place = sys::root::open_child(dir, name)?;
    Ok(sys::mount::attach(tree.as_fd(), place.as_fd())?)
}

fn make_links(dev: BorrowedFd<'_>) -> Result<()> {
    let failed = |name: &str, e: sys::Error| Error::from(e).context(format!("error setting up /dev/{name}"));
    sys::file::unlink_at(dev, "ptmx").map_err(|e| failed("ptmx", e))?;
    let core = sys::file::stat("/proc/kcore").is_ok();
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
    ] {
        if name == "core" && !core {
            continue;
        }
        match sys::root::symlink_at(target, dev, Path::new(name)) {
            Err(e) if e.errno != sys::Errno::EXIST => return Err(failed(name, e)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_devices_replace_default_ones() {
        let mut faults = Faults::default();
        let device = |path: &str, kind: &str| oci::Device {
            path: path.into(),
            r#type: kind.into(),
            major: 1,
            minor: 3,
            file_mode: Some(0o100_600),
            uid: Some(7),
            gid: None,
        };
        let plan = plan(
            &[device("/dev/null", "c"), device("/dev/ptmx", "c"), device("/x", "z")],
            false,
            Way::Made,
            &mut faults,
        );
        assert_eq!(plan.nodes.len(), 6);
        let null =
            plan.nodes.iter().find(|n| n.path == Path::new("dev/null")).expect("the node of the config");
        assert_eq!((null.mode, null.owner), (0o600, (7, 0)));
        assert_eq!(faults.texts(), ["invalid device type \"z\" (linux.devices[2].type)"]);
    }
}
