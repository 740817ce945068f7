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
        if *nanosecs >= 1_000_000_000 {
            faults.add(
                format!("{at}.{clock}.nanosecs"),
                format!("{nanosecs} nanoseconds are more than a second"),
            );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_a_new_namespace() {
        let offset = |secs, nanosecs| oci::TimeOffset { secs, nanosecs };
        let join = Namespace::Join("/ns".into());
        for (namespace, clock, offset, want) in [
            (&Namespace::New, "boottime", offset(-5, 7), Ok("boottime -5 7\n")),
            (
                &Namespace::New,
                "realtime",
                offset(1, 0),
                Err("unknown clock \"realtime\" (linux.timeOffsets.realtime)"),
            ),
            (
                &Namespace::New,
                "monotonic",
                offset(0, 1_000_000_000),
                Err("1000000000 nanoseconds are more than a second (linux.timeOffsets.monotonic.nanosecs)"),
            ),
            (
                &Namespace::Inherit,
                "monotonic",
                offset(1, 0),
                Err(
                    "time namespace offsets specified, but time namespace isn't enabled in the config (linux.timeOffsets)",
                ),
            ),
            (
                &join,
                "monotonic",
                offset(1, 0),
                Err(
                    "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one (linux.timeOffsets)",
                ),
            ),
        ] {
            let mut faults = Faults::default();
            let plan = plan(namespace, &BTreeMap::from([(clock.to_owned(), offset)]), &mut faults);
            match want {
                Ok(lines) => assert_eq!((plan.new, plan.offsets.as_str()), (true, lines)),
                Err(text) => assert_eq!(faults.texts(), [text]),
            }
        }
    }
}
