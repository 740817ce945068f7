//! `--preserve-fds` and `LISTEN_FDS` of the caller: the descriptors that the program gets besides 0, 1 and 2.
use std::ffi::OsString;
use std::os::fd::BorrowedFd;

use crate::{Error, Kind, Result};
use sys::clone::InChild;

/// How many descriptors from 3 on are the program's.
pub type Plan = u32;

/// The sockets that the caller hands over to be listened at; see sd_listen_fds(3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// How many there are, from 3 on.
    pub count: u32,
    /// Their names, with colons between them.
    names: Option<String>,
}

/// Reads the caller's `variable`s, which count when they are meant for this process, whose number is `own`.
pub fn listen(variable: impl Fn(&str) -> Option<OsString>, own: i32) -> Listen {
    let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
    let number = |name| text(name).and_then(|value| value.parse::<i32>().ok());
    if number("LISTEN_PID") != Some(own) {
        return Listen::default();
    }
    match number("LISTEN_FDS").map(u32::try_from) {
        None | Some(Err(_) | Ok(0)) => Listen::default(),
        Some(Ok(count)) => Listen { count, names: text("LISTEN_FDNAMES") },
    }
}

impl Listen {
    /// The same for the container's program, which is number 1 of its PID namespace.
    pub fn variables(&self) -> Vec<String> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut list = vec![format!("LISTEN_FDS={}", self.count), "LISTEN_PID=1".to_owned()];
        list.extend(self.names.as_ref().map(|names| format!("LISTEN_FDNAMES={names}")));
        list
    }
}

/// Checks that the caller handed over as many as it says: those of `listen`, and `preserve` after them. Ours are
/// told by their close-on-exec flag.
pub fn plan(listen: u32, preserve: u32) -> Result<Plan> {
    let missing = |first: u32, count: u32| {
        let is_missing = |index: &u32| {
            let number = u64::from(first) + u64::from(*index);
            !i32::try_from(number).is_ok_and(sys::process::is_inherited)
        };
        (0..count).find(is_missing)
    };
    let refuse = |what: String| {
        Err(Error::new(Kind::Invalid, format!("unable to stat {what}: no such file or directory")))
    };
    if let Some(index) = missing(3, listen) {
        return refuse(format!("descriptor {index} (of {listen}) of LISTEN_FDS"));
    }
    if let Some(index) = missing(3 + listen, preserve) {
        return refuse(format!("preserved-fd {index} (of {preserve})"));
    }
    Ok(listen + preserve)
}

/// Closes all that is neither the program's nor in `keep`, for a process that will wait with the rest.
pub fn init_close_all_but(plan: Plan, keep: &[Option<BorrowedFd<'_>>], child: &InChild) -> Result<()> {
    Ok(child.close_all_but(3 + plan, keep)?)
}

/// Nothing else stays open in the program, whoever opened it (CVE-2024-21626). What is in `keep` closes by itself.
pub fn init_close_others(plan: Plan, keep: &[Option<BorrowedFd<'_>>], child: &InChild) -> Result<()> {
    match sys::process::close_on_exec_from(3 + plan) {
        // Before Linux 5.11 they can't be told to close, but closed.
        Err(e) if e.errno == sys::Errno::INVAL => init_close_all_but(plan, keep, child),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_hands_over() {
        for (caller, want) in [
            ("", ""),
            ("LISTEN_FDS=2", ""),
            ("LISTEN_PID=7 LISTEN_FDS=2", "LISTEN_FDS=2 LISTEN_PID=1"),
            ("LISTEN_PID=7 LISTEN_FDS=1 LISTEN_FDNAMES=a:b", "LISTEN_FDS=1 LISTEN_PID=1 LISTEN_FDNAMES=a:b"),
            ("LISTEN_PID=8 LISTEN_FDS=2 LISTEN_FDNAMES=a", ""),
            ("LISTEN_PID=7 LISTEN_FDS=0", ""),
            ("LISTEN_PID=7 LISTEN_FDS=-1", ""),
            ("LISTEN_PID=7 LISTEN_FDS=x", ""),
            ("LISTEN_PID=7 LISTEN_FDS=4294967295", ""),
        ] {
            let variable = |name: &str| {
                let pairs = caller.split(' ').filter_map(|pair| pair.split_once('='));
                pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            };
            assert_eq!(listen(variable, 7).variables().join(" "), want, "{caller}");
        }
    }
}
