//! The unified hierarchy of version 2: handing controllers down to a container.
use std::os::fd::OwnedFd;

use crate::error::Error;
use crate::file;
use crate::place::Directory;

/// Makes every controller of the host available in a container's cgroup.
///
/// To write what is so already is not free: the kernel may wait for cgroups that are being removed.
/// So each level is asked first, and usually the container's own is all that is.
///
/// A controller that cannot be enabled is no failure here. It is one when a limit needs it.
pub(crate) fn enable_controllers(directory: &Directory, leaf: &OwnedFd) -> Result<(), Error> {
    let mount = &directory.mount;
    let wanted = read(mount, "cgroup.controllers")?;
    let path = directory.absolute();
    let have = file::read(leaf, "cgroup.controllers")
        .map_err(|errno| Error::call(format!("read {path}/cgroup.controllers"), errno))?;
    if missing(&wanted, &have).is_empty() {
        return Ok(());
    }
    enable(mount)?;
    for parent in directory.ancestors() {
        become_threaded(&parent)?;
        enable(&parent)?;
    }
    become_threaded(&path)
}

/// Enables all controllers that the cgroup at `path` has for its children.
fn enable(path: &str) -> Result<(), Error> {
    let available = read(path, "cgroup.controllers")?;
    let enabled = read(path, "cgroup.subtree_control")?;
    let missing = missing(&available, &enabled);
    let file = format!("{path}/cgroup.subtree_control");
    let all: Vec<String> = missing.iter().map(|controller| format!("+{controller}")).collect();
    if all.is_empty() || file::write_absolute(&file, &all.join(" ")).is_ok() {
        return Ok(());
    }
    // One that is refused must not keep the others from being enabled.
    for controller in all {
        let _ = file::write_absolute(&file, &controller);
    }
    Ok(())
}

/// Lets processes into a cgroup below a threaded one, where it is of no use as it was made.
fn become_threaded(path: &str) -> Result<(), Error> {
    if read(path, "cgroup.type")?.trim_end() != "domain invalid" {
        return Ok(());
    }
    let file = format!("{path}/cgroup.type");
    file::write_absolute(&file, "threaded")
        .map_err(|errno| Error::call(format!("write threaded to {file}"), errno))
}

fn read(path: &str, name: &str) -> Result<String, Error> {
    let file = format!("{path}/{name}");
    file::read_absolute(&file).map_err(|errno| Error::call(format!("read {file}"), errno))
}

/// The words of `wanted` that are not in `have`.
pub(crate) fn missing<'a>(wanted: &'a str, have: &str) -> Vec<&'a str> {
    wanted.split_whitespace().filter(|name| !have.split_whitespace().any(|other| other == *name)).collect()
}

/// Why a file of version 2 is not in a container's cgroup, if the reason is its controller.
pub(crate) fn why_absent(dir: &OwnedFd, path: &str, controller: &str) -> Option<String> {
    if controller == "cgroup" {
        return None;
    }
    let have = file::read(dir, "cgroup.controllers").ok()?;
    if missing(controller, &have).is_empty() {
        return None;
    }
    let kind = file::read(dir, "cgroup.type").unwrap_or_default();
    let kind = kind.trim_end();
    Some(if kind == "domain" || kind.is_empty() {
        format!("controller {controller:?} not available in {path} (it has: {})", have.trim_end())
    } else {
        format!("cannot enter cgroupv2 {path:?} with domain controllers -- it is in {kind} mode")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_are_missing() {
        assert_eq!(missing("cpu io memory\n", "memory cpu\n"), ["io"]);
        assert_eq!(missing("cpu\n", "cpuset\n"), ["cpu"]);
        assert!(missing("\n", "").is_empty());
    }
}
