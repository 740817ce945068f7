//! `linux.cgroupsPath` and `linux.resources`: the container's cgroup and its limits.
use std::path::{Path, PathBuf};

use crate::Result;
use crate::faults::Faults;
use crate::rooms::mounts::CgroupDir;
use crate::rooms::namespaces::Namespace;

/// Where the cgroup is and what is written to it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The directories of the container.
    pub cgroup: cgroup::Cgroup,
    limits: cgroup::Limits,
}

/// Decides place and limits.
pub fn plan(
    host: &cgroup::Host,
    id: &str,
    path: &str,
    resources: Option<&oci::Resources>,
    devices: &[oci::Device],
    faults: &mut Faults,
) -> Result<Plan> {
    let cgroup = cgroup::place(host, Some(path).filter(|path| !path.is_empty()), id)?;
    let limits = cgroup::plan(resources, devices, host.layout()).unwrap_or_else(|found| {
        for cgroup::Fault { at, text } in found {
            faults.add(at, text);
        }
        cgroup::Limits::default()
    });
    Ok(Plan { cgroup, limits })
}

/// What a mount of type `cgroup` shows: of version 1 the container's directory in each hierarchy; of
/// version 2 the container's directory, or the whole hierarchy when the cgroup namespace is shared.
pub fn shown(cgroup: &cgroup::Cgroup, namespace: &Namespace) -> Vec<CgroupDir> {
    if cgroup.layout == cgroup::Layout::V2 {
        let source = cgroup.unified().map_or_else(PathBuf::new, |dir| {
            PathBuf::from(if namespace.is_private() { dir.absolute() } else { dir.mount.clone() })
        });
        return vec![CgroupDir { name: String::new(), source, links: Vec::new() }];
    }
    let v1 = cgroup.directories.iter().filter(|dir| !dir.is_unified());
    v1.map(|dir| {
        let name =
            Path::new(&dir.mount).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let links =
            if name.contains(',') { name.split(',').map(str::to_owned).collect() } else { Vec::new() };
        CgroupDir { name, source: dir.absolute().into(), links }
    })
    .collect()
}

/// Moves the caller into those hierarchies in which the clone has not put it.
pub fn init_join(live: &cgroup::Live) -> Result<()> {
    Ok(live.join()?)
}

/// Makes the cgroup and sets the limits, before any process is in it.
pub fn host_create(plan: &Plan) -> Result<cgroup::Live> {
    let live = plan.cgroup.create()?;
    live.apply(&plan.limits)?;
    Ok(live)
}
