//! Where a caller without privileges may make a container's cgroup, and what follows from where not.
use rustix::fs::{Access, AtFlags, CWD, accessat};
use sys::{Errno, errno_text};

use crate::error::Fault;
use crate::host::{Host, Layout};
use crate::limits::Limits;
use crate::place::{Cgroup, Directory};

/// What is left of a cgroup for such a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permitted {
    /// The directories that the caller may make and put processes into.
    pub cgroup: Cgroup,
    /// The others, and why the caller may not.
    pub refused: Vec<(Directory, String)>,
}

/// Leaves out the directories that the caller may not make, or may not use if they exist. Nothing is made.
pub fn permitted(cgroup: &Cgroup, host: &Host) -> Permitted {
    let (mut directories, mut refused) = (Vec::new(), Vec::new());
    for directory in cgroup.directories.iter().cloned() {
        match check(&directory, host) {
            Ok(()) => directories.push(directory),
            Err(why) => refused.push((directory, why)),
        }
    }
    Permitted { cgroup: Cgroup { layout: cgroup.layout, directories }, refused }
}

/// Asks for the rights that making and joining the directory will take.
fn check(directory: &Directory, host: &Host) -> Result<(), String> {
    let path = directory.absolute();
    let joins = format!("{path}/{}", if directory.is_unified() { "cgroup.procs" } else { "tasks" });
    match may(&joins, Access::WRITE_OK) {
        Err(Errno::NOENT) => may_be_made(directory, &path)?,
        done => done.map_err(|errno| format!("open {joins}: {}", errno_text(errno)))?,
    }
    if !directory.is_unified() {
        return Ok(());
    }
    // To move a process takes the same right at the lowest cgroup above both its old and its new one.
    let own = host.hierarchies.iter().find(|h| h.mount == directory.mount).and_then(|h| h.own.as_deref());
    let above = common(own.unwrap_or_default(), &directory.path);
    let slash = if above.is_empty() { "" } else { "/" };
    let meet = format!("{}{slash}{above}/cgroup.procs", directory.mount);
    may(&meet, Access::WRITE_OK).map_err(|errno| format!("open {meet}: {}", errno_text(errno)))
}

/// Whether the nearest directory above that exists may be written to.
fn may_be_made(directory: &Directory, path: &str) -> Result<(), String> {
    let mut above: Vec<String> = directory.ancestors().collect();
    above.insert(0, directory.mount.clone());
    let refused = |errno| Err(format!("mkdir {path}: {}", errno_text(errno)));
    for parent in above.iter().rev() {
        match may(parent, Access::WRITE_OK | Access::EXEC_OK) {
            Err(Errno::NOENT) => {}
            Err(errno) => return refused(errno),
            Ok(()) => return Ok(()),
        }
    }
    refused(Errno::NOENT)
}

fn may(path: &str, access: Access) -> Result<(), Errno> {
    accessat(CWD, path, access, AtFlags::EACCESS)
}

/// The path that two paths begin with.
fn common<'a>(own: &str, path: &'a str) -> &'a str {
    let own = own.trim_matches('/');
    let same = own.split('/').zip(path.split('/')).take_while(|(a, b)| a == b);
    let length: usize = same.map(|(part, _)| part.len() + 1).sum();
    path.get(..length.saturating_sub(1)).unwrap_or(path)
}

impl Permitted {
    /// The limits that cannot be set, in words that runc has for it.
    pub fn faults(&self, limits: &Limits) -> Vec<Fault> {
        let why = |controller: &str| {
            let sets = |directory: &Directory| match self.cgroup.layout {
                Layout::V2 => directory.is_unified(),
                Layout::V1 | Layout::Hybrid => directory.has(controller),
            };
            self.refused.iter().find(|(directory, _)| sets(directory)).map(|(_, why)| why)
        };
        let mut faults: Vec<Fault> = Vec::new();
        for write in &limits.writes {
            let Some(why) = why(&write.controller) else { continue };
            let spared = write.controller == "devices" || write.refusal.may_be_missing();
            if spared || faults.iter().any(|fault| fault.at == write.at) {
                continue;
            }
            let text = match self.cgroup.layout {
                Layout::V2 => {
                    "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
                        .to_owned()
                }
                Layout::V1 | Layout::Hybrid => {
                    let controller = &write.controller;
                    format!("cannot set {controller} limit: container could not join or create cgroup")
                }
            };
            faults.push(Fault::new(write.at.clone(), format!("{text}: {why}")));
            if self.cgroup.layout == Layout::V2 {
                // The others could say nothing else.
                break;
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_meet() {
        for (own, path, want) in [
            ("/", "a", ""),
            ("/a/b", "a/c", "a"),
            ("/a/b/", "a/b/c", "a/b"),
            ("/a", "ab", ""),
            ("/x", "a/b", ""),
            ("", "a/b", ""),
            ("/a/b", "a/b", "a/b"),
        ] {
            assert_eq!(common(own, path), want, "{own} {path}");
        }
    }

    #[test]
    fn limits_without_a_cgroup() {
        let resources = oci::Resources {
            pids: Some(oci::Pids { limit: Some(5) }),
            devices: vec![oci::DeviceRule { allow: false, access: "rwm".to_owned(), ..Default::default() }],
            ..Default::default()
        };
        for (layout, text) in [
            (Layout::V1, "cannot set pids limit: container could not join or create cgroup: no"),
            (
                Layout::V2,
                "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: no",
            ),
        ] {
            let refused = [vec!["cpu"], vec!["pids"], vec!["devices"], vec![]].map(|controllers| {
                let controllers = controllers.into_iter().map(str::to_owned).collect();
                let mount = "/m".to_owned();
                (Directory { controllers, mount, path: "c".to_owned() }, "no".to_owned())
            });
            let cgroup = Cgroup { layout, directories: Vec::new() };
            let permitted = Permitted { cgroup, refused: refused.into() };

            let faults = |resources| permitted.faults(&crate::plan(Some(resources), &[], layout).unwrap());
            let fault = Fault::new("linux.resources.pids.limit", text);
            assert_eq!(faults(&resources), [fault]);
            assert_eq!(faults(&oci::Resources { pids: None, ..resources.clone() }), []);
        }
    }
}
