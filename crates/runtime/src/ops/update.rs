//! `update`: other limits for a container that lives.
use cgroup::{Comparison, Denied, Limits};

use super::kill::not_running;
use crate::rooms::{cgroup as cgroup_room, rdt, unit};
use crate::status::{self, Status};
use crate::store::{self, Purpose, State};
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
/// Only what is asked for is written, so that what others have changed in the container's cgroup stays. Rules for
/// devices that the container has already change nothing: engines send theirs with every update, and what programs
/// for graphics cards have added to the container is not among them.
pub fn update(ctx: &Context, id: &str, options: &UpdateOptions) -> Result<()> {
    let UpdateOptions { resources, l3_cache_schema, mem_bw_schema } = options;
    let entry = store::open(&ctx.root, id, Purpose::Change)?;
    let lock = entry.lock()?;
    let mut state = entry.load()?;
    let (l3, bandwidth) = (l3_cache_schema.as_deref(), mem_bw_schema.as_deref());
    let schemata = rdt::plan_change(state.rdt.as_ref(), l3, bandwidth, rdt::host_find)?;
    let status = match status::of(&state, &entry)? {
        status @ (Status::Created | Status::Running | Status::Paused) => status,
        Status::Creating | Status::Stopped => return Err(not_running()),
    };
    warn(resources, &state);
    let (limits, after) = cgroup_room::plan_change(&state.cgroup, state.denied(), &state.asked, resources)?;
    if limits.is_empty() {
        return rdt::host_change(state.rdt.as_ref(), &schemata, || Ok(()));
    }
    let before = state.asked.clone();
    // Before the change: if it can't be written down, it is not made.
    state.asked = if after.rules == before.rules { after.clone() } else { after.between() };
    if state.asked != before {
        entry.save(&state, &lock)?;
    }
    let changed = rdt::host_change(state.rdt.as_ref(), &schemata, || change(&state, limits, status));
    let holds = if changed.is_ok() { after } else { before };
    if state.asked != holds {
        state.asked = holds;
        // What counts is how the change went. Rules that are not recorded are made again by the next update.
        let _ = entry.save(&state, &lock);
    }
    changed
}

/// Makes the change in the files and with systemd, where that makes the cgroup.
fn change(state: &State, mut limits: Limits, status: Status) -> Result<()> {
    let unit = state.unit.as_ref();
    let change =
        unit.map(|unit| unit::host_plan_change(unit, &mut limits, state.cgroup.layout)).transpose()?;
    let live = state.cgroup.open()?;
    let halt = status != Status::Paused && live.must_halt(&limits, unit.is_some())?;
    if halt {
        state.cgroup.freeze()?;
    }
    let tell = |change: unit::Change| live.detach_of_systemd(&limits).and_then(|()| change.host_make());
    let changed = match change {
        None => live.change(&limits, || Ok(())),
        // systemd writes some of it in its own way.
        Some(change) => live
            .change(&limits, || tell(change))
            .and_then(|()| live.change(&limits.clone().again(), || Ok(()))),
    };
    if halt {
        state.cgroup.thaw()?;
    }
    Ok(changed?)
}

/// Says what is not changed, though it is asked for.
fn warn(resources: &oci::Resources, state: &State) {
    let memory = resources.memory.as_ref();
    if memory.is_some_and(|memory| memory.kernel.is_some() || memory.kernel_tcp.is_some()) {
        log::warn!("Kernel memory settings are ignored and will be removed");
    }
    match (state.asked.devices(resources), state.denied()) {
        (Comparison::Others, Denied::Ignored) => {
            log::warn!("rules for devices are not changed, as none are in effect: only root may set them");
        }
        (Comparison::Fewer, _) => log::warn!(
            "rules for devices are not changed: all of these were in force already, and those that are missing stay; \
             a rule that denies takes a device away"
        ),
        (Comparison::Same | Comparison::Others, _) => {}
    }
}
