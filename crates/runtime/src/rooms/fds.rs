//! `--preserve-fds`: the descriptors that the program gets besides 0, 1 and 2.
use crate::{Error, Kind, Result};

/// How many descriptors from 3 on are the program's.
pub type Plan = u32;

/// Checks that the caller handed over as many as it says; ours are told by their close-on-exec flag.
pub fn plan(preserve: u32) -> Result<Plan> {
    for index in 0..preserve {
        let number = i32::try_from(3 + u64::from(index)).unwrap_or(i32::MAX);
        if !sys::process::is_inherited(number) {
            let text =
                format!("unable to stat preserved-fd {index} (of {preserve}): no such file or directory");
            return Err(Error::new(Kind::Invalid, text));
        }
    }
    Ok(preserve)
}

/// Nothing else stays open in the program, whoever opened it (CVE-2024-21626).
pub fn init_close_others(plan: Plan) -> Result<()> {
    Ok(sys::process::close_on_exec_from(3 + plan)?)
}
