//! `process.user`, `process.capabilities`, `process.noNewPrivileges`: what the program may do.
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use crate::faults::Faults;
use crate::rooms::terminal;
use crate::spawn::Caller;
use crate::{Error, Kind, Result};
use sys::cred::{self, Capabilities};

/// Ids, groups, capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The user's number in the container.
    pub uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Mode bits that new files don't get.
    pub umask: u32,
    capabilities: Capabilities,
    last_capability: u32,
    /// Whether no execve may give more.
    pub no_new_privileges: bool,
}

/// Capabilities by name, without `CAP_`; the place in the list is the number. See capabilities(7).
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Decides user and capabilities. Unknown capabilities are warned of and left out, as runc does.
pub fn plan(
    user: &oci::User,
    capabilities: Option<&oci::Capabilities>,
    no_new_privileges: bool,
    last_capability: u32,
    faults: &mut Faults,
) -> Plan {
    let oci::User { uid, gid, umask, additional_gids } = user;
    let groups = (0..).zip(additional_gids).map(|(n, id): (u32, _)| (format!("additionalGids[{n}]"), *id));
    for (at, id) in [("uid".to_owned(), *uid), ("gid".to_owned(), *gid)].into_iter().chain(groups) {
        if id == u32::MAX {
            faults.add(format!("process.user.{at}"), "id 4294967295 stands for no id at all");
        }
    }
    Plan {
        uid: *uid,
        gid: *gid,
        groups: additional_gids.clone(),
        umask: umask.map_or(0o022, |mask| mask & 0o777),
        capabilities: capabilities.map(|c| plan_capabilities(c, last_capability)).unwrap_or_default(),
        last_capability,
        no_new_privileges,
    }
}

fn plan_capabilities(raw: &oci::Capabilities, last: u32) -> Capabilities {
    let oci::Capabilities { bounding, effective, inheritable, permitted, ambient } = raw;
    let mut unknown = BTreeSet::new();
    let mut set = |names: &[String]| {
        let mut bits = 0u64;
        for name in names {
            let known = name.strip_prefix("CAP_").and_then(|bare| {
                (0u32..).zip(CAPABILITIES).find(|(_, known)| *known == bare).map(|(number, _)| number)
            });
            match known {
                Some(number) if number <= last => bits |= 1 << number,
                _ => drop(unknown.insert(name.clone())),
            }
        }
        bits
    };
    let (permitted, inheritable, ambient) = (set(permitted), set(inheritable), set(ambient));
    let possible = permitted & inheritable;
    let sets = Capabilities {
        bounding: set(bounding),
        effective: set(effective),
        inheritable,
        permitted,
        ambient: ambient & possible,
    };
    let impossible =
        (0u32..).zip(CAPABILITIES).filter(|(number, _)| (ambient & !possible) >> number & 1 == 1);
    for (_, name) in impossible {
        // In the words of the kernel's refusal, as runc has them.
        log::warn!("can't raise ambient capability CAP_{name}: operation not permitted");
    }
    if !unknown.is_empty() {
        let names: Vec<_> = unknown.into_iter().collect();
        log::warn!("ignoring unknown or unavailable capabilities: [{}]", names.join(" "));
    }
    sets
}

/// Limits what any later execve can give, while the caller may still do so.
pub fn init_drop_bounding(plan: &Plan) -> Result<()> {
    for number in (0..=plan.last_capability).filter(|n| plan.capabilities.bounding >> n & 1 == 0) {
        cred::drop_bounding(number).map_err(|e| Error::from(e).context("unable to apply bounding set"))?;
    }
    Ok(())
}

/// Gives the standard streams to the program's user, so that it can open them again by path.
///
/// What can't be given (another user namespace's file, a read-only file system) stays as it is, and so
/// does `/dev/null`, which everybody shares, and what the caller has only lent.
pub fn init_own_stdio(plan: &Plan, terminal: &terminal::Plan) -> Result<()> {
    for fd in sys::process::stdio() {
        let stat = sys::file::stat_fd(fd)?;
        if stat.st_uid == plan.uid || sys::file::is_char_device(&stat, 1, 3) {
            continue;
        }
        if *terminal == terminal::Plan::Lent && stays_the_callers(fd, &stat)? {
            continue;
        }
        match cred::chown_fd(fd, plan.uid) {
            Ok(()) => {}
            // The last is a user that is not mapped, which is told later.
            Err(e) if matches!(e.errno, sys::Errno::PERM | sys::Errno::ROFS | sys::Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// In the foreground, where runc has pipes of its own: pipes are given, and files to write to, which many
/// programs open again as `/dev/stdout`. The caller's terminal and its other files are none of the program's.
fn stays_the_callers(fd: BorrowedFd<'_>, stat: &sys::file::Stat) -> Result<bool> {
    let written = sys::file::is_regular(stat) && sys::file::is_for_writing(fd)?;
    Ok(!written && !sys::file::is_pipe(stat))
}

/// Becomes the program's user; permitted capabilities survive until [`init_set_capabilities`].
///
/// In a user namespace without setgroups(2) the groups stay what they are. That is an error for an ordinary user who
/// has asked for others, and none for root of a user namespace, whose configs are an engine's: as in runc.
pub fn init_become_user(plan: &Plan, caller: Caller) -> Result<()> {
    cred::set_keep_caps(true)?;
    match cred::set_groups(&plan.groups) {
        Err(e) if e.errno == sys::Errno::PERM && may_change_groups()? => {
            if caller == Caller::Ordinary && !plan.groups.is_empty() {
                let text = "cannot set any additional groups in a rootless container";
                return Err(Error::new(Kind::Invalid, text)
                    .hint("with more than one group id in linux.gidMappings, by newgidmap, it can"));
            }
        }
        other => other.map_err(|e| Error::from(e).context("unable to setup user"))?,
    }
    cred::set_gid(plan.gid).map_err(|e| unmapped(e, "gid", plan.gid))?;
    cred::set_uid(plan.uid).map_err(|e| unmapped(e, "uid", plan.uid))?;
    // With the sysctl fs.suid_dumpable at 1 the kernel now lets others of that user look into this process.
    // It still has files of the host open. What protects it until here, and no longer, is that it has
    // capabilities which nobody in the container has.
    cred::set_dumpable(false)?;
    cred::set_keep_caps(false)?;
    Ok(())
}

/// The user namespace has ids that no id of the host stands for.
fn unmapped(e: sys::Error, what: &str, id: u32) -> Error {
    let error = match e.errno {
        sys::Errno::INVAL => {
            let text = format!("cannot set{what} to unmapped {what} {id} in user namespace");
            Error::new(Kind::Invalid, text)
        }
        _ => e.into(),
    };
    error.context("unable to setup user")
}

/// Whether the caller has the right that setgroups(2) asks for. If it is refused all the same, the user namespace
/// has given it up for the right of an ordinary user to map groups; see user_namespaces(7).
fn may_change_groups() -> Result<bool> {
    const SETGID: u32 = 6;
    Ok(cred::capabilities()?.effective >> SETGID & 1 == 1)
}

/// Sets the capabilities the program begins with, and that no execve may add more.
pub fn init_set_capabilities(plan: &Plan) -> Result<()> {
    let unable = |e: sys::Error| Error::from(e).context("unable to apply caps");
    cred::set_capabilities(&plan.capabilities).map_err(unable)?;
    cred::set_ambient(plan.capabilities.ambient).map_err(unable)?;
    if plan.no_new_privileges {
        cred::set_no_new_privs()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits() {
        let raw = oci::Capabilities {
            bounding: vec!["CAP_CHOWN".into(), "CAP_KILL".into(), "CAP_BOGUS".into(), "KILL".into()],
            permitted: vec!["CAP_CHECKPOINT_RESTORE".into()],
            ..Default::default()
        };
        assert_eq!(plan_capabilities(&raw, 40).bounding, 1 | 1 << 5);
        assert_eq!(plan_capabilities(&raw, 40).permitted, 1 << 40);
        assert_eq!(plan_capabilities(&raw, 39).permitted, 0, "a kernel that has not the capability");
        let (some, one) = (vec!["CAP_CHOWN".to_owned(), "CAP_KILL".to_owned()], vec!["CAP_KILL".to_owned()]);
        let raw = oci::Capabilities { ambient: some.clone(), permitted: some, inheritable: one, ..raw };
        assert_eq!(plan_capabilities(&raw, 40).ambient, 1 << 5, "permitted and inheritable");
    }
}
