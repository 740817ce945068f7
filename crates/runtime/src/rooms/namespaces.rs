//! `linux.namespaces`: which are new, which are joined, which stay the caller's.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::Result;
use crate::error::On;
use crate::faults::Faults;
use crate::spawn::Caller;
use sys::ns::flag;

/// What happens to one namespace of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// It is the caller's.
    #[default]
    Inherit,
    /// It is made for the container.
    New,
    /// It is the one that this file refers to.
    Join(PathBuf),
}

impl Namespace {
    /// Whether the container does not share the caller's.
    pub fn is_private(&self) -> bool {
        *self != Namespace::Inherit
    }
}

/// All namespaces of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// `user`.
    pub user: Namespace,
    /// `pid`.
    pub pid: Namespace,
    /// `network`.
    pub network: Namespace,
    /// `mount`.
    pub mount: Namespace,
    /// `ipc`.
    pub ipc: Namespace,
    /// `uts`.
    pub uts: Namespace,
    /// `cgroup`.
    pub cgroup: Namespace,
    /// `time`.
    pub time: Namespace,
}

/// Decides the namespaces from the list of the config.
pub fn plan(list: &[oci::Namespace], faults: &mut Faults) -> Plan {
    let mut plan = Plan::default();
    for (index, namespace) in list.iter().enumerate() {
        let oci::Namespace { r#type, path } = namespace;
        let at = format!("linux.namespaces[{index}]");
        let place = match r#type.as_str() {
            "pid" => &mut plan.pid,
            "network" => &mut plan.network,
            "mount" => &mut plan.mount,
            "ipc" => &mut plan.ipc,
            "uts" => &mut plan.uts,
            "cgroup" => &mut plan.cgroup,
            "time" => &mut plan.time,
            "user" => &mut plan.user,
            _ => {
                faults.add(at, format!("namespace {{{:?} {path:?}}} does not exist", r#type));
                continue;
            }
        };
        if place.is_private() {
            faults.add(at, format!("malformed spec file: duplicated ns {{{:?} {path:?}}}", r#type));
            continue;
        }
        *place = if path.is_empty() { Namespace::New } else { Namespace::Join(PathBuf::from(path)) };
    }
    plan
}

/// The namespaces to join, opened by the host process before anything else can move their files.
#[derive(Debug)]
pub enum Joins {
    /// Those of `linux.namespaces`, by their files.
    Files {
        /// The mount namespace.
        mount: Option<OwnedFd>,
        /// The others with their flags.
        others: Vec<(u64, OwnedFd)>,
    },
    /// Those of a container's first process.
    Process(OwnedFd),
}

/// Opens the namespaces that are joined by path.
pub fn host_open(plan: &Plan) -> Result<Joins> {
    let open = |namespace: &Namespace| match namespace {
        Namespace::Join(path) => sys::file::open(path).on(joining).map(Some),
        Namespace::Inherit | Namespace::New => Ok(None),
    };
    let mut others = Vec::new();
    for (kind, namespace) in [
        (flag::NET, &plan.network),
        (flag::IPC, &plan.ipc),
        (flag::UTS, &plan.uts),
        (flag::TIME, &plan.time),
        (flag::CGROUP, &plan.cgroup),
        (flag::PID, &plan.pid),
        (flag::USER, &plan.user),
    ] {
        if let Some(fd) = open(namespace)? {
            others.push((kind, fd));
        }
    }
    Ok(Joins::Files { mount: open(&plan.mount)?, others })
}

fn joining() -> String {
    "joining a namespace of linux.namespaces".to_owned()
}

impl Joins {
    /// The user namespace, if one is joined by its file.
    pub fn user(&self) -> Option<BorrowedFd<'_>> {
        let Joins::Files { others, .. } = self else { return None };
        others.iter().find(|(kind, _)| *kind == flag::USER).map(|(_, fd)| fd.as_fd())
    }

    /// Joins those of `kinds`, but for mount namespaces by path, which come later.
    ///
    /// Root of the host has its rights until it is in another user namespace; anybody else has them from
    /// then on.
    pub fn enter(&self, kinds: u64, caller: Caller) -> Result<()> {
        let join = |(kind, fd): &(u64, OwnedFd)| sys::ns::enter(fd.as_fd(), *kind).on(joining);
        match (self, caller) {
            _ if kinds == 0 => Ok(()),
            // The kernel knows the order.
            (Joins::Process(pidfd), _) => Ok(sys::ns::enter(pidfd.as_fd(), kinds)?),
            (Joins::Files { others, .. }, Caller::Root | Caller::Guest) => {
                others.iter().filter(|(kind, _)| kinds & kind != 0).try_for_each(join)
            }
            (Joins::Files { others, .. }, Caller::Ordinary) => {
                others.iter().rev().filter(|(kind, _)| kinds & kind != 0).try_for_each(join)
            }
        }
    }
}

/// Enters namespaces with the runtime itself, and is to be undone by [`Visit::leave`].
#[derive(Debug)]
#[must_use = "the runtime stays there"]
pub struct Visit {
    mounts: Option<Place>,
    others: Vec<(u64, OwnedFd)>,
}

/// Enters those of `kinds` with the runtime itself, for what it clones there.
pub fn host_visit(joins: &Joins, kinds: u64, caller: Caller) -> Result<Visit> {
    let mounts = if kinds & flag::MOUNT != 0 { Some(Place::own()?) } else { None };
    let mut others = Vec::new();
    for (kind, name) in [
        (flag::NET, "net"),
        (flag::IPC, "ipc"),
        (flag::UTS, "uts"),
        (flag::TIME, "time"),
        (flag::CGROUP, "cgroup"),
        (flag::PID, "pid"),
    ] {
        if kinds & kind != 0 {
            others.push((kind, sys::file::open(format!("/proc/self/ns/{name}"))?));
        }
    }
    joins.enter(kinds, caller)?;
    Ok(Visit { mounts, others })
}

impl Visit {
    /// Goes back.
    pub fn leave(self) -> Result<()> {
        if let Some(place) = self.mounts {
            place.go()?;
        }
        self.others.iter().try_for_each(|(kind, fd)| Ok(sys::ns::enter(fd.as_fd(), *kind)?))
    }
}

/// A place among mounts: the kernel puts who enters a mount namespace to the root of that, and not to where they were.
#[derive(Debug)]
struct Place {
    mounts: OwnedFd,
    root: OwnedFd,
    /// It may be a directory that root can't open: a FUSE mount of somebody else.
    here: Option<OwnedFd>,
}

impl Place {
    fn own() -> Result<Self> {
        Ok(Place {
            mounts: sys::file::open("/proc/self/ns/mnt")?,
            root: sys::file::open_dir("/")?,
            here: sys::file::open_dir(".").ok(),
        })
    }

    fn go(self) -> Result<()> {
        sys::ns::enter(self.mounts.as_fd(), flag::MOUNT)?;
        change_root(self.root.as_fd())?;
        self.here.map_or(Ok(()), |here| Ok(sys::file::fchdir(here.as_fd())?))
    }
}

fn change_root(root: BorrowedFd<'_>) -> Result<()> {
    sys::file::fchdir(root)?;
    Ok(sys::mount::chroot_to_current_dir()?)
}

/// Does something in the mount namespace of the process `init`, with its root directory `root`, by the runtime
/// itself, and comes back.
pub fn host_among_mounts<T>(
    init: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let own = Place::own()?;
    sys::ns::enter(init, flag::MOUNT)?;
    let done = change_root(root).and_then(|()| act());
    own.go()?;
    done
}

/// Joins the mount namespace. From here on every path is one of its mounts, procfs included, and these
/// belong to whoever made it.
pub fn init_join_mount(joins: &Joins) -> Result<()> {
    match joins {
        Joins::Files { mount: Some(fd), .. } => sys::ns::enter(fd.as_fd(), flag::MOUNT).on(joining),
        Joins::Files { mount: None, .. } | Joins::Process(_) => Ok(()),
    }
}

/// Makes the new cgroup namespace: its root is the cgroup that init is in by now.
pub fn init_new_cgroup(plan: &Plan) -> Result<()> {
    if plan.cgroup == Namespace::New {
        sys::ns::unshare(flag::CGROUP)?;
    }
    Ok(())
}

/// Brings the loopback device of a new network namespace up.
pub fn init_loopback(plan: &Plan) -> Result<()> {
    if plan.network == Namespace::New {
        sys::sock::loopback_up()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(kind: &str, path: &str) -> oci::Namespace {
        oci::Namespace { r#type: kind.into(), path: path.into() }
    }

    #[test]
    fn new_joined_and_inherited() {
        let mut faults = Faults::default();
        let plan = plan(&[namespace("pid", ""), namespace("network", "/proc/1/ns/net")], &mut faults);
        assert_eq!(plan.pid, Namespace::New);
        assert_eq!(plan.network, Namespace::Join("/proc/1/ns/net".into()));
        assert_eq!(plan.mount, Namespace::Inherit);
        assert!(faults.into_result().is_ok());
    }

    #[test]
    fn faults_have_the_known_words() {
        let mut faults = Faults::default();
        plan(&[namespace("bogus", ""), namespace("pid", ""), namespace("pid", "")], &mut faults);
        assert_eq!(
            faults.to_string(),
            "namespace {\"bogus\" \"\"} does not exist (linux.namespaces[0]); \
             malformed spec file: duplicated ns {\"pid\" \"\"} (linux.namespaces[2])"
        );
    }
}
