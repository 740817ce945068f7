//! `process.scheduler` and `process.ioPriority`.
use crate::error::On;
use crate::faults::Faults;
use crate::{Error, Result};

/// What to set, if anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    scheduler: Option<sys::sched::Scheduler>,
    io_priority: Option<(u32, u32)>,
}

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", ROUND_ROBIN),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];

const FIFO: u32 = 1;
const ROUND_ROBIN: u32 = 2;
const DEADLINE: u32 = 6;

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// Decides both.
pub fn plan(scheduler: Option<&oci::Scheduler>, io: Option<&oci::IoPriority>, faults: &mut Faults) -> Plan {
    Plan {
        scheduler: scheduler.and_then(|s| plan_scheduler(s, faults)),
        io_priority: io.and_then(|io| plan_io(io, faults)),
    }
}

fn plan_scheduler(raw: &oci::Scheduler, faults: &mut Faults) -> Option<sys::sched::Scheduler> {
    let oci::Scheduler { policy, nice, priority, flags, runtime, deadline, period } = raw;
    let at = "process.scheduler";
    if policy.is_empty() {
        faults.add(format!("{at}.policy"), "scheduler policy is required");
        return None;
    }
    if matches!(policy.as_str(), "SCHED_OTHER" | "SCHED_BATCH") && !(-20..=19).contains(nice) {
        faults.add(
            format!("{at}.nice"),
            format!("invalid scheduler.nice: {nice} when scheduler.policy is {policy}"),
        );
    }
    if *priority != 0 && !matches!(policy.as_str(), "SCHED_FIFO" | "SCHED_RR") {
        let text = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        faults.add(format!("{at}.priority"), text);
    }
    if policy != "SCHED_DEADLINE" && (*runtime, *deadline, *period) != (0, 0, 0) {
        let text = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        faults.add(at, text);
    }
    let mut bits = 0;
    for flag in flags {
        match FLAGS.iter().find(|(name, _)| name == flag) {
            Some((_, bit)) => bits |= bit,
            None => faults.add(format!("{at}.flags"), format!("invalid scheduler flag: {flag}")),
        }
    }
    let Some(&(_, number)) = POLICIES.iter().find(|(name, _)| name == policy) else {
        faults.add(format!("{at}.policy"), format!("invalid scheduler policy: {policy}"));
        return None;
    };
    Some(sys::sched::Scheduler {
        policy: number,
        flags: bits,
        nice: *nice,
        priority: u32::try_from(*priority).unwrap_or(0),
        runtime: *runtime,
        deadline: *deadline,
        period: *period,
    })
}

fn plan_io(raw: &oci::IoPriority, faults: &mut Faults) -> Option<(u32, u32)> {
    let oci::IoPriority { class, priority } = raw;
    let at = "process.ioPriority";
    let level = match u32::try_from(*priority) {
        Ok(level @ 0..=7) => Some(level),
        _ => {
            faults.add(format!("{at}.priority"), format!("invalid ioPriority.Priority: {priority}"));
            None
        }
    };
    let number = match class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        _ => {
            faults.add(format!("{at}.class"), format!("invalid ioPriority.Class: {class:?}"));
            return None;
        }
    };
    Some((number, level?))
}

/// What a policy needs that the kernel may have missed.
fn needs(policy: u32) -> &'static str {
    match policy {
        DEADLINE => {
            "SCHED_DEADLINE needs all processors and the rights of the host: \
             neither linux.resources.cpu.cpus nor a user namespace can be used together with it"
        }
        FIFO | ROUND_ROBIN => {
            "SCHED_FIFO and SCHED_RR need the rights of the host, which root of a user namespace has not, \
             and on cgroup version 1 some linux.resources.cpu.realtimeRuntime"
        }
        _ => "a nice value below 0 needs the rights of the host, which root of a user namespace has not",
    }
}

/// Sets both for the caller.
pub fn init_apply(plan: &Plan) -> Result<()> {
    if let Some(scheduler) = &plan.scheduler {
        sys::sched::set_scheduler(scheduler).map_err(|e| {
            let refused = e.errno == sys::Errno::PERM;
            let error = Error::from(e).context("error setting scheduler");
            if refused { error.hint(needs(scheduler.policy)) } else { error }
        })?;
    }
    if let Some((class, level)) = plan.io_priority {
        sys::sched::set_io_priority(class, level).on(|| "failed to set io priority".to_owned())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_known_words() {
        let scheduler = |policy: &str| oci::Scheduler { policy: policy.into(), ..Default::default() };
        let io = |class: &str, priority| oci::IoPriority { class: class.into(), priority };
        let table: [(Option<oci::Scheduler>, Option<oci::IoPriority>, &[&str]); 6] = [
            (Some(scheduler("SCHED_BATCH")), None, &[]),
            (
                Some(scheduler("SCHED_BOGUS")),
                None,
                &["invalid scheduler policy: SCHED_BOGUS (process.scheduler.policy)"],
            ),
            (
                Some(oci::Scheduler { nice: 20, ..scheduler("SCHED_OTHER") }),
                None,
                &["invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER (process.scheduler.nice)"],
            ),
            (None, Some(io("IOPRIO_CLASS_BE", 4)), &[]),
            (
                None,
                Some(io("IOPRIO_CLASS_BE", 9)),
                &["invalid ioPriority.Priority: 9 (process.ioPriority.priority)"],
            ),
            (None, Some(io("X", 1)), &["invalid ioPriority.Class: \"X\" (process.ioPriority.class)"]),
        ];
        for (scheduler, io, want) in table {
            let mut faults = Faults::default();
            plan(scheduler.as_ref(), io.as_ref(), &mut faults);
            assert_eq!(faults.texts(), want);
        }
    }
}
