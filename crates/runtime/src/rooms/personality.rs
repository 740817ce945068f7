//! `linux.personality`: the execution domain.
use crate::Result;
use crate::faults::Faults;

/// The domain to set, if any.
pub type Plan = Option<u64>;

/// `PER_LINUX32`: `uname` says that the machine is a 32-bit one.
const LINUX32: u64 = 0x0008;

/// Decides the domain. Flags have no known values, so they are warned of and left out, as runc does.
pub fn plan(personality: Option<&oci::Personality>, faults: &mut Faults) -> Plan {
    let oci::Personality { domain, flags } = personality?;
    if !flags.is_empty() {
        log::warn!("ignoring unsupported personality flags: {flags:?}");
    }
    match domain.as_str() {
        "LINUX" => Some(0),
        "LINUX32" => Some(LINUX32),
        _ => {
            faults.add("linux.personality.domain", format!("invalid personality domain {domain}"));
            None
        }
    }
}

/// Sets the domain.
pub fn init_apply(plan: Plan) -> Result<()> {
    match plan {
        Some(domain) => Ok(sys::process::set_personality(domain)?),
        None => Ok(()),
    }
}
