//! `process.oomScoreAdj`.
use crate::Result;
use crate::error::On;
use crate::faults::Faults;

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

/// Writes the value for the caller itself, through the host's procfs.
pub fn init_apply(plan: Plan) -> Result<()> {
    match plan {
        None => Ok(()),
        Some(value) => {
            sys::file::write_at(sys::file::CWD, "/proc/self/oom_score_adj", value.to_string().as_bytes())
                .on(|| format!("process.oomScoreAdj {value}"))
        }
    }
}
