//! `process.oomScoreAdj`.
use crate::Result;
use crate::error::On;
use crate::faults::Faults;
use crate::spawn::Caller;

/// The value to write, from -1000 to 1000; `None` leaves the caller's.
pub type Plan = Option<i64>;

/// Checks the range.
pub fn plan(value: Option<i64>, faults: &mut Faults) -> Plan {
    if value.is_some_and(|v| !(-1000..=1000).contains(&v)) {
        faults.add(
            "process.oomScoreAdj",
            format!("oom_score_adj {} is not in -1000..1000", value.unwrap_or(0)),
        );
    }
    value
}

/// Writes the value for the process `pid`, which may itself have no right to do so any more.
///
/// An ordinary user may not touch a process that hides from the container: the runtime takes the value on
/// before it makes one, by [`host_inherit`].
pub fn host_apply(plan: Plan, pid: i32, caller: Caller) -> Result<()> {
    match caller {
        Caller::Root | Caller::Guest => write(plan, &format!("/proc/{pid}/oom_score_adj")),
        Caller::Ordinary => Ok(()),
    }
}

/// Writes the value for the runtime itself, where its child is to inherit it.
pub fn host_inherit(plan: Plan, caller: Caller) -> Result<()> {
    match caller {
        Caller::Root | Caller::Guest => Ok(()),
        Caller::Ordinary => write(plan, "/proc/self/oom_score_adj"),
    }
}

fn write(plan: Plan, path: &str) -> Result<()> {
    let Some(value) = plan else { return Ok(()) };
    sys::file::write_at(sys::file::CWD, path, value.to_string().as_bytes())
        .on(|| format!("process.oomScoreAdj {value}"))
}
