//! `process.rlimits`.
use crate::Result;
use crate::error::On;
use crate::faults::Faults;

/// One limit: the kernel's number of the resource, soft and hard value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    resource: u32,
    soft: u64,
    hard: u64,
    name: String,
}

/// All limits, in the order of the config.
pub type Plan = Vec<Limit>;

/// Names with the numbers of `include/uapi/asm-generic/resource.h`, which x86, arm, riscv, s390 and
/// powerpc share.
const RESOURCES: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// Decides the limits.
pub fn plan(list: &[oci::Rlimit], faults: &mut Faults) -> Plan {
    let mut plan = Plan::new();
    for (index, oci::Rlimit { r#type, hard, soft }) in list.iter().enumerate() {
        match (0u32..).zip(RESOURCES).find(|(_, name)| name == r#type) {
            Some((resource, name)) => {
                plan.push(Limit { resource, soft: *soft, hard: *hard, name: name.to_owned() });
            }
            None => faults
                .add(format!("process.rlimits[{index}].type"), format!("wrong rlimit value: {}", r#type)),
        }
    }
    plan
}

/// Raises hard limits for the process `pid`, which has no right to do so in another user namespace.
/// What it can do itself is left to [`init_apply`]: it opens files until then.
pub fn host_allow(plan: &Plan, pid: i32) -> Result<()> {
    for limit in plan {
        sys::cred::raise_rlimit(pid, limit.resource, limit.hard).on(|| failed(limit))?;
    }
    Ok(())
}

fn failed(limit: &Limit) -> String {
    format!("error setting rlimit type {}", limit.name)
}

/// Sets the limits of the caller.
pub fn init_apply(plan: &Plan) -> Result<()> {
    for limit in plan {
        sys::cred::set_rlimit(limit.resource, limit.soft, limit.hard).on(|| failed(limit))?;
    }
    Ok(())
}
