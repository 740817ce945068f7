//! `update`: other limits for a container that lives.
use super::kill::not_running;
use crate::rooms::{cgroup as cgroup_room, rdt, unit};
use crate::status::{self, Status};
use crate::store::{self, Purpose};
use crate::{Context, Result};

/// What `update` changes.
#[derive(Clone, Debug, Default)]
pub struct UpdateOptions {
    /// The limits. What is absent, and a number of 0, stays as it is.
    pub resources: oci::Resources,
    /// `--l3-cache-schema`.
    pub l3_cache_schema: Option<String>,
    /// `--mem-bw-schema`.
    pub mem_bw_schema: Option<String>,
}

/// `update`: makes all changes or none.
///
/// Only what is asked for is written, so that what others have changed in the container's cgroup stays. Rules
/// for devices stay as they are: engines send those that they know of with every update, and what programs
/// for graphics cards have added to the container is not among them.
pub fn update(ctx: &Context, id: &str, options: &UpdateOptions) -> Result<()> {
    let UpdateOptions { resources, l3_cache_schema, mem_bw_schema } = options;
    let entry = store::open(&ctx.root, id, Purpose::Change)?;
    let lock = entry.lock()?;
    let mut state = entry.load()?;
    let (l3, bandwidth) = (l3_cache_schema.as_deref(), mem_bw_schema.as_deref());
    let schemata = rdt::plan_change(state.rdt.as_ref(), l3, bandwidth, rdt::host_find)?;
    match status::of(&state, &entry)? {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Creating | Status::Stopped => return Err(not_running()),
    }
    warn(resources, &state.asked);
    let (mut limits, after) =
        cgroup_room::plan_change(&state.cgroup, state.denied(), state.asked, resources)?;
    if limits.writes.is_empty() {
        return rdt::host_change(state.rdt.as_ref(), &schemata, || Ok(()));
    }
    let layout = state.cgroup.layout;
    let change = state.unit.as_ref().map(|unit| unit::host_plan_change(unit, &mut limits, layout));
    let change = change.transpose()?;
    let before = std::mem::replace(&mut state.asked, after);
    // Before the change: if it can't be written down, it is not made.
    if after != before {
        entry.save(&state, &lock)?;
    }
    let changed = rdt::host_change(state.rdt.as_ref(), &schemata, || {
        let live = state.cgroup.open()?;
        let Some(change) = change else { return Ok(live.change(&limits, || Ok(()))?) };
        live.change(&limits, || change.host_make())?;
        // systemd has written some of it in its own way.
        limits.check_usage = None;
        Ok(live.change(&limits, || Ok(()))?)
    });
    if changed.is_err() && after != before {
        state.asked = before;
        // The failure of the change is what counts.
        let _ = entry.save(&state, &lock);
    }
    changed
}

/// Says what is not changed, though it is asked for.
fn warn(resources: &oci::Resources, asked: &cgroup::Asked) {
    let memory = resources.memory.as_ref();
    if memory.is_some_and(|memory| memory.kernel.is_some() || memory.kernel_tcp.is_some()) {
        log::warn!("Kernel memory settings are ignored and will be removed");
    }
    if asked.differs_in_devices(&resources.devices) {
        log::warn!("rules for devices are not changed by update");
    }
}
