//! `linux.cgroupsPath` and `linux.resources`: the container's cgroup, its limits, and changes of these.
use std::path::Path;

use cgroup::{Cgroup, Denied};

use crate::error::On;
use crate::faults::Faults;
use crate::rooms::mounts::CgroupDir;
use crate::rooms::namespaces::Namespace;
use crate::{Error, Kind, Result};

/// What a caller can do who may not make cgroups.
pub const DELEGATE: &str = "an ordinary user has cgroups where they are delegated: with systemd and cgroup v2, `systemd-run \
    --user --scope` calls a command there, and --systemd-cgroup makes them there from everywhere";

/// Where the cgroup is and what is written to it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The directories of the container: those that the caller may make, unless the config names them.
    pub cgroup: Cgroup,
    /// What it means when the caller has no right to something else.
    pub denied: Denied,
    /// Whether the config names the place, so that nobody has looked yet whether the caller may use it.
    named: bool,
    /// What is written.
    pub limits: cgroup::Limits,
    /// The unit, where systemd makes the cgroup.
    pub unit: Option<crate::rooms::unit::Plan>,
    /// What `update` has to know of the limits.
    pub asked: cgroup::Asked,
}

/// What decides on the directories.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// `linux.cgroupsPath`; may be empty.
    pub path: &'a str,
    /// The container's name.
    pub id: &'a str,
    /// What it means when the caller may not make them.
    pub denied: Denied,
    /// Where systemd makes them, if that is to.
    pub systemd: Option<Cgroup>,
}

/// Decides place and limits. As in runc a caller without rights goes without a cgroup, but not when it was
/// asked for, by its path or by a limit. `permitted` tells which directories such a caller may make.
pub fn plan(
    host: &cgroup::Host,
    Place { path, id, denied, systemd }: Place<'_>,
    resources: Option<&oci::Resources>,
    devices: &[oci::Device],
    permitted: impl Fn(&Cgroup, &cgroup::Host) -> cgroup::Permitted,
    faults: &mut Faults,
) -> Result<Plan> {
    let path = Some(path).filter(|path| !path.is_empty());
    let limits = cgroup::plan(resources, devices, host.layout()).unwrap_or_else(|found| {
        for cgroup::Fault { at, text } in found {
            faults.add(at, text);
        }
        cgroup::Limits::default()
    });
    let asked = cgroup::Asked::of(resources, devices);
    if let Some(cgroup) = systemd {
        return Ok(Plan { cgroup, denied, named: false, limits, unit: None, asked });
    }
    let strict = path.is_some() || denied == Denied::Error;
    let cgroup = cgroup::place(host, path, id, if strict { Denied::Error } else { denied })?;
    if strict {
        return Ok(Plan { cgroup, denied, named: path.is_some(), limits, unit: None, asked });
    }
    let permitted = permitted(&cgroup, host);
    for cgroup::Fault { at, text } in permitted.faults(&limits) {
        faults.add(at, text);
        faults.hint(DELEGATE);
    }
    Ok(Plan { cgroup: permitted.cgroup, denied, named: false, limits, unit: None, asked })
}

/// What a mount of type `cgroup` shows: of version 1 the container's directory in each hierarchy; of
/// version 2 the container's directory, or the whole hierarchy when the cgroup namespace is shared.
///
/// Where it has no directory of its own it is in the caller's, which is shown then.
pub fn shown(cgroup: &Cgroup, host: &cgroup::Host, namespace: &Namespace) -> Vec<CgroupDir> {
    let v2 = cgroup.layout == cgroup::Layout::V2;
    let show = |hierarchy: &cgroup::Hierarchy| {
        let made = cgroup.directories.iter().find(|dir| dir.mount == hierarchy.mount);
        let own = || hierarchy.own.as_ref().map(|own| format!("{}{own}", hierarchy.mount));
        let source = match made {
            _ if v2 && !namespace.is_private() => hierarchy.mount.clone(),
            Some(dir) => dir.absolute(),
            None => own()?,
        };
        if v2 {
            return Some(CgroupDir { name: String::new(), source: source.into(), links: Vec::new() });
        }
        let name = Path::new(&hierarchy.mount).file_name()?.to_string_lossy().into_owned();
        let links =
            if name.contains(',') { name.split(',').map(str::to_owned).collect() } else { Vec::new() };
        Some(CgroupDir { name, source: source.into(), links })
    };
    host.hierarchies.iter().filter(|hierarchy| v2 || !hierarchy.is_unified()).filter_map(show).collect()
}

/// Plans a change of the limits of a container that lives, which was asked for `asked` so far.
///
/// Where rules for devices are not in effect, as the caller has no right to set them, other ones are not either.
pub fn plan_change(
    cgroup: &Cgroup,
    denied: Denied,
    asked: &cgroup::Asked,
    change: &oci::Resources,
) -> Result<(cgroup::Limits, cgroup::Asked)> {
    let mut faults = Faults::default();
    let mut change = change.clone();
    if denied == Denied::Ignored {
        change.devices.clear();
    }
    let (limits, after) = cgroup::changes(&change, asked, cgroup.layout).unwrap_or_else(|found| {
        for cgroup::Fault { at, text } in found {
            faults.add(at, text);
        }
        (cgroup::Limits::default(), asked.clone())
    });
    if denied == Denied::Ignored {
        for write in limits.writes.iter().filter(|write| !cgroup.limits(&write.controller)) {
            let controller = &write.controller;
            let text = format!("cannot set {controller} limit: container could not join or create cgroup");
            faults.add(write.at.clone(), text);
            faults.hint(DELEGATE);
        }
    }
    faults.into_result()?;
    Ok((limits, after))
}

/// Moves the caller into those hierarchies in which the clone has not put it.
pub fn init_join(live: &cgroup::Live) -> Result<()> {
    Ok(live.join()?)
}

/// Moves the caller into those hierarchies in which systemd has not put it.
pub fn init_join_late(plan: &Plan) -> Result<()> {
    match plan.cgroup.layout {
        cgroup::Layout::V2 => Ok(()),
        cgroup::Layout::V1 | cgroup::Layout::Hybrid => Ok(plan.cgroup.open()?.join()?),
    }
}

/// Makes the cgroup.
fn create(plan: &Plan) -> Result<cgroup::Live> {
    if plan.denied == Denied::Ignored && plan.named {
        // It may be possible to make it, but not to put a process into it.
        let permitted = cgroup::permitted(&plan.cgroup, &cgroup::Host::detect()?);
        if let Some((_, why)) = permitted.refused.into_iter().next() {
            return Err(Error::new(Kind::System, why).hint(DELEGATE));
        }
    }
    plan.cgroup.create().map_err(|e| match e.errno {
        Some(sys::Errno::ACCESS | sys::Errno::PERM) => Error::from(e).hint(DELEGATE),
        _ => e.into(),
    })
}

/// Makes the cgroup and sets the limits. What systemd has made of it is there already.
pub fn host_create(plan: &Plan) -> Result<cgroup::Live> {
    let live = create(plan).on(|| "unable to apply cgroup configuration".to_owned())?;
    live.apply(&plan.limits, plan.denied)?;
    Ok(live)
}
