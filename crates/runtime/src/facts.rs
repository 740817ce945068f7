//! What this host and caller are like: read once, handed to every `plan`.
use crate::spawn::Caller;
use crate::{Error, Result, Rootless};

/// The facts that decisions depend on. Tests make their own.
#[derive(Debug)]
pub struct HostFacts {
    /// Who calls.
    pub caller: Caller,
    /// Whether that is in a user namespace already.
    pub in_user_namespace: bool,
    /// The effective user and group id of the caller.
    pub ids: (u32, u32),
    /// The highest capability number that the kernel knows.
    pub last_capability: u32,
    /// The cgroup hierarchies of the host.
    pub cgroups: cgroup::Host,
    /// The systemd that is to make the container's cgroup, if one is.
    pub systemd: Option<cgroup::systemd::Facts>,
    /// What it means when the caller may not make a cgroup.
    pub denied: cgroup::Denied,
    /// The network namespace of the caller, as device and inode.
    pub network_namespace: Option<(u64, u64)>,
}

impl HostFacts {
    /// Whether the container is one of somebody without rights over the host, or is to be made as such.
    pub fn rootless(&self) -> bool {
        self.caller == Caller::Ordinary || self.denied == cgroup::Denied::Ignored
    }
}

/// Reads the facts of this host, for a caller who has said whether it has rights to cgroups, and who makes them.
pub fn read(rootless: Rootless, systemd: Option<cgroup::systemd::Facts>) -> Result<HostFacts> {
    Ok(HostFacts {
        caller: caller(),
        in_user_namespace: crate::in_user_namespace(),
        ids: (sys::cred::effective_uid(), sys::cred::effective_gid()),
        last_capability: last_capability(),
        cgroups: cgroup::Host::detect().map_err(Error::from)?,
        systemd,
        denied: rootless.denied(),
        network_namespace: sys::file::stat("/proc/self/ns/net").ok().map(|s| (s.st_dev, s.st_ino)),
    })
}

/// Who calls.
pub fn caller() -> Caller {
    if sys::cred::effective_uid() != 0 {
        return Caller::Ordinary;
    }
    // Those that a container may join.
    let is_own = |name: &&str| sys::ns::is_own(name).unwrap_or(false);
    let guest = crate::in_user_namespace() && !["pid", "net", "ipc", "uts", "cgroup"].iter().all(is_own);
    if guest { Caller::Guest } else { Caller::Root }
}

/// The highest capability number that the kernel knows.
pub fn last_capability() -> u32 {
    // 37 (CAP_AUDIT_READ) is in every kernel that is new enough for the other calls.
    (37..64).take_while(|&n| sys::cred::bounding_has(n).is_some()).last().unwrap_or(37)
}
