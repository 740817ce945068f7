//! `linux.timeOffsets`: the clocks of a new time namespace.
use std::collections::BTreeMap;

use crate::Result;
use crate::error::On;
use crate::faults::Faults;
use crate::rooms::namespaces::Namespace;

/// A new time namespace with its offsets, in the form of `/proc/self/timens_offsets`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Whether there is a new time namespace.
    pub new: bool,
    /// One line a clock: name, seconds, nanoseconds.
    pub offsets: String,
}

/// Decides the offsets.
pub fn plan(namespace: &Namespace, offsets: &BTreeMap<String, oci::TimeOffset>, faults: &mut Faults) -> Plan {
    let at = "linux.timeOffsets";
    match namespace {
        Namespace::Inherit if !offsets.is_empty() => {
            faults.add(at, "time namespace offsets specified, but time namespace isn't enabled in the config");
        }
        Namespace::Join(_) if !offsets.is_empty() => faults.add(
            at,
            "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
        ),
        Namespace::Inherit | Namespace::Join(_) | Namespace::New => {}
    }
    let mut lines = String::new();
    for (clock, oci::TimeOffset { secs, nanosecs }) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            faults.add(format!("{at}.{clock}"), format!("unknown clock {clock:?}"));
        }
        lines.push_str(&format!("{clock} {secs} {nanosecs}\n"));
    }
    Plan { new: *namespace == Namespace::New, offsets: lines }
}

/// Makes the time namespace and enters it.
///
/// `unshare` only sets it for children; once the offsets are written, `setns` moves the caller in
/// too, so that no second process is needed.
pub fn init_apply(plan: &Plan) -> Result<()> {
    if !plan.new {
        return Ok(());
    }
    sys::ns::unshare(sys::ns::flag::TIME)?;
    if !plan.offsets.is_empty() {
        sys::file::write_at(sys::file::CWD, "/proc/self/timens_offsets", plan.offsets.as_bytes())
            .on(|| "linux.timeOffsets".to_owned())?;
    }
    let own = sys::file::open("/proc/self/ns/time_for_children")?;
    Ok(sys::ns::enter(std::os::fd::AsFd::as_fd(&own), sys::ns::flag::TIME)?)
}
