//! Where a container's cgroup lies in each hierarchy.
//!
//! Owns: `linux.cgroupsPath`.
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::error::{Denied, Error, Kind};
use crate::host::{Hierarchy, Host, Layout};

const FIELD: &str = "linux.cgroupsPath";

/// The cgroup of a container: one directory in each hierarchy.
///
/// It is decided before anything is made, so that it can be recorded first and removed from whatever
/// a killed process left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Which versions of cgroups the host had when the container was made.
    pub layout: Layout,
    /// The directories.
    pub directories: Vec<Directory>,
}

/// The container's directory in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The controllers of version 1 (`cpu`, `name=systemd`); none for the unified hierarchy.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount: String,
    /// The path below the mount point, which is clean, without a leading slash and never empty.
    pub path: String,
}

impl Directory {
    /// Whether this is in the unified hierarchy, cgroup v2.
    pub fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    /// The absolute path.
    pub fn absolute(&self) -> String {
        format!("{}/{}", self.mount, self.path)
    }

    /// The absolute paths of the directories between the mount point and this one, from the top.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = String> {
        let ends = self.path.match_indices('/').map(|(end, _)| end);
        ends.filter_map(|end| self.path.get(..end)).map(|path| format!("{}/{path}", self.mount))
    }

    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

impl Cgroup {
    /// The directory of a controller of version 1, if the host has that.
    pub fn v1(&self, controller: &str) -> Option<&Directory> {
        self.directories.iter().find(|d| d.has(controller))
    }

    /// Whether it has a directory whose files set limits of this controller.
    pub fn limits(&self, controller: &str) -> bool {
        match self.layout {
            Layout::V2 => self.unified().is_some(),
            Layout::V1 | Layout::Hybrid => self.v1(controller).is_some(),
        }
    }

    /// The directory in the unified hierarchy, if the host has one.
    pub fn unified(&self) -> Option<&Directory> {
        self.directories.iter().find(|d| d.is_unified())
    }
}

/// Decides where the container `id` lives, as runc does.
///
/// An absolute `cgroupsPath` is taken from the mount point of each hierarchy, a relative one from the
/// caller's own cgroup, and the container's id stands for an absent or empty one. `..` cannot leave
/// that base. On pure version 2 the base of a relative path is the parent of the caller's cgroup,
/// because a cgroup with processes of its own cannot hand controllers to children; in a hybrid host's
/// unified hierarchy it is the mount point.
///
/// With [`Denied::Ignored`] a host may lack hierarchies, and the caller's own cgroup may be out of sight.
pub fn place(host: &Host, cgroups_path: Option<&str>, id: &str, denied: Denied) -> Result<Cgroup, Error> {
    let given = cgroups_path.filter(|path| !path.is_empty()).unwrap_or(id);
    if given.contains(['\0', '\n']) {
        return Err(Error::new(Kind::Invalid, format!("{given:?} is no name for a cgroup")).at(FIELD));
    }
    let inner = clean(given);
    if inner.is_empty() {
        let text = format!("{given:?} leads to no cgroup of the container's own");
        return Err(Error::new(Kind::Invalid, text).at(FIELD));
    }
    if denied == Denied::Error {
        check_host(host)?;
    }
    let mut directories = Vec::with_capacity(host.hierarchies.len());
    for hierarchy in &host.hierarchies {
        let base = match base(hierarchy, host.layout) {
            _ if given.starts_with('/') => "",
            Err(_) if denied == Denied::Ignored => continue,
            base => base?,
        };
        let path = if base.is_empty() { inner.clone() } else { format!("{base}/{inner}") };
        let (controllers, mount) = (hierarchy.controllers.clone(), hierarchy.mount.clone());
        directories.push(Directory { controllers, mount, path });
    }
    Ok(Cgroup { layout: host.layout, directories })
}

/// Refuses a host on which a container would not be confined.
fn check_host(host: &Host) -> Result<(), Error> {
    if host.hierarchies.is_empty() {
        let text = "no cgroup hierarchy is mounted at /sys/fs/cgroup or elsewhere";
        return Err(Error::new(Kind::Unsupported, text));
    }
    if host.layout != Layout::V2
        && !host.hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == "devices"))
    {
        // Without it a container could reach every device of the host.
        return Err(Error::new(
            Kind::Unsupported,
            "mountpoint for devices not found among the cgroup hierarchies",
        ));
    }
    Ok(())
}

/// What a relative path is relative to, without a leading slash.
fn base(hierarchy: &Hierarchy, layout: Layout) -> Result<&str, Error> {
    if hierarchy.is_unified() && layout == Layout::Hybrid {
        return Ok("");
    }
    let Some(own) = hierarchy.own.as_deref() else {
        let text = format!("the caller's own cgroup is not below {}; use an absolute path", hierarchy.mount);
        return Err(Error::new(Kind::Invalid, text).at(FIELD));
    };
    let own = own.trim_matches('/');
    Ok(if hierarchy.is_unified() { own.rsplit_once('/').map_or("", |(parent, _)| parent) } else { own })
}

/// `path` without empty parts, `.` and `..`, none of which can lead above its start.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.extend(name.to_str()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn hierarchy(controllers: &str, mount: &str, own: &str) -> Hierarchy {
        let controllers = controllers.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
        Hierarchy { controllers, mount: mount.to_owned(), own: Some(own.to_owned()) }
    }

    fn host(layout: Layout) -> Host {
        let v1 = [("devices", "/"), ("cpu,cpuacct", "/user"), ("name=systemd", "/a/b")];
        let mut hierarchies = Vec::new();
        if layout != Layout::V2 {
            let named = |c: &str| c.trim_start_matches("name=").to_owned();
            hierarchies.extend(v1.map(|(c, own)| hierarchy(c, &format!("/sys/fs/cgroup/{}", named(c)), own)));
        }
        match layout {
            Layout::V1 => {}
            Layout::Hybrid => hierarchies.push(hierarchy("", "/sys/fs/cgroup/unified", "/a/b")),
            Layout::V2 => hierarchies.push(hierarchy("", "/sys/fs/cgroup", "/user.slice/session.scope")),
        }
        Host { layout, hierarchies }
    }

    fn paths(layout: Layout, path: Option<&str>) -> Vec<String> {
        let cgroup = place(&host(layout), path, "id", Denied::Error).unwrap();
        cgroup.directories.iter().map(|d| d.absolute().replace("/sys/fs/cgroup", "")).collect()
    }

    #[test]
    fn absolute_paths_start_at_the_mount_points() {
        for path in ["/x/y", "//x/./y/", "/../x/z/../y"] {
            let v1 = ["/devices/x/y", "/cpu,cpuacct/x/y", "/systemd/x/y"];
            assert_eq!(paths(Layout::V1, Some(path)), v1);
            assert_eq!(paths(Layout::Hybrid, Some(path)), [&v1[..], &["/unified/x/y"]].concat());
            assert_eq!(paths(Layout::V2, Some(path)), ["/x/y"]);
        }
    }

    #[test]
    fn relative_paths_start_at_the_caller() {
        for path in ["x/y", "../../x/y", "./x//y"] {
            let v1 = ["/devices/x/y", "/cpu,cpuacct/user/x/y", "/systemd/a/b/x/y"];
            assert_eq!(paths(Layout::V1, Some(path)), v1);
            assert_eq!(paths(Layout::Hybrid, Some(path)), [&v1[..], &["/unified/x/y"]].concat());
            assert_eq!(paths(Layout::V2, Some(path)), ["/user.slice/x/y"]);
        }
    }

    #[test]
    fn without_a_path_the_id_is_the_name() {
        for path in [None, Some("")] {
            assert_eq!(paths(Layout::V1, path), ["/devices/id", "/cpu,cpuacct/user/id", "/systemd/a/b/id"]);
            assert_eq!(paths(Layout::V2, path), ["/user.slice/id"]);
        }
    }

    #[test]
    fn a_path_to_somebody_else_s_cgroup_is_refused() {
        for path in ["/", "..", ".", "/x/..", "x/../..", "a\nb", "a\0"] {
            assert!(place(&host(Layout::Hybrid), Some(path), "id", Denied::Ignored).is_err(), "{path:?}");
        }
    }

    #[test]
    fn what_the_host_lacks() {
        let mut outside = host(Layout::V2);
        outside.hierarchies[0].own = None;
        let placed = |host: &Host, path: &str, denied| place(host, Some(path), "id", denied);
        assert!(placed(&outside, "x", Denied::Error).is_err());
        assert!(placed(&outside, "/x", Denied::Error).is_ok());
        assert_eq!(placed(&outside, "x", Denied::Ignored).unwrap().directories, []);
        let mut no_devices = host(Layout::V1);
        no_devices.hierarchies.remove(0);
        assert_eq!(placed(&no_devices, "x", Denied::Error).unwrap_err().kind, Kind::Unsupported);
        assert_eq!(placed(&no_devices, "x", Denied::Ignored).unwrap().directories.len(), 2);
        no_devices.hierarchies.clear();
        assert_eq!(placed(&no_devices, "x", Denied::Error).unwrap_err().kind, Kind::Unsupported);
    }

    #[test]
    fn survives_the_state_file() {
        let cgroup = place(&host(Layout::Hybrid), Some("/x"), "id", Denied::Error).unwrap();
        let json = serde_json::to_string(&cgroup).unwrap();
        assert_eq!(serde_json::from_str::<Cgroup>(&json).unwrap(), cgroup);
        assert_eq!(cgroup.v1("cpuacct").unwrap().absolute(), "/sys/fs/cgroup/cpu,cpuacct/x");
        assert_eq!(cgroup.unified().unwrap().absolute(), "/sys/fs/cgroup/unified/x");
        assert!(cgroup.v1("memory").is_none());
    }
}
