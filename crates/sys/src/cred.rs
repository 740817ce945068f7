//! Who the process is: ids, groups, capabilities, securebits and the like.
use crate::error::{Errno, Named, Result, check};

/// Five sets of capabilities, bit n for capability number n; see capabilities(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The limit of what execve can give.
    pub bounding: u64,
    /// What counts in permission checks.
    pub effective: u64,
    /// What survives an execve of a program with file capabilities.
    pub inheritable: u64,
    /// What can be made effective.
    pub permitted: u64,
    /// What survives an execve of an ordinary program.
    pub ambient: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 bits a set.
const CAP_VERSION: u32 = 0x2008_0522;

/// The effective, permitted and inheritable sets of the caller; the other two are left empty.
pub fn capabilities() -> Result<Capabilities> {
    let mut header = CapHeader { version: CAP_VERSION, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: header and data are laid out as the kernel's structures of version 3 and live through the call.
    let ret = unsafe { libc::syscall(libc::SYS_capget, std::ptr::addr_of_mut!(header), data.as_mut_ptr()) };
    check(ret).call("capget")?;
    let join = |pick: fn(&CapData) -> u32| u64::from(pick(&data[0])) | (u64::from(pick(&data[1])) << 32);
    Ok(Capabilities {
        effective: join(|d| d.effective),
        permitted: join(|d| d.permitted),
        inheritable: join(|d| d.inheritable),
        ..Capabilities::default()
    })
}

/// Sets the effective, permitted and inheritable sets of the caller.
#[expect(clippy::cast_possible_truncation, reason = "the kernel takes a set as two words of 32 bits")]
pub fn set_capabilities(sets: &Capabilities) -> Result<()> {
    let header = CapHeader { version: CAP_VERSION, pid: 0 };
    let word = |shift: u32| CapData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: header and data are laid out as the kernel's structures of version 3 and live through the call.
    let ret = unsafe { libc::syscall(libc::SYS_capset, std::ptr::addr_of!(header), data.as_ptr()) };
    check(ret)
        .named("capset", || {
            format!("eff={:#x}, prm={:#x}, inh={:#x}", sets.effective, sets.permitted, sets.inheritable)
        })
        .map(drop)
}

fn prctl(option: i32, arg2: libc::c_ulong, arg3: libc::c_ulong) -> Result<libc::c_long, Errno> {
    let zero: libc::c_ulong = 0;
    // SAFETY: every option that this module passes takes integers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, arg2, arg3, zero, zero) })
}

/// Whether the bounding set of the caller has `capability`; `None` when the kernel knows no such number.
pub fn bounding_has(capability: u32) -> Option<bool> {
    prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability), 0).ok().map(|has| has == 1)
}

/// Takes `capability` out of the bounding set for ever.
pub fn drop_bounding(capability: u32) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0)
        .named("prctl PR_CAPBSET_DROP", || capability.to_string())
        .map(drop)
}

/// Makes the ambient set be exactly `set`; each bit must be permitted and inheritable.
pub fn set_ambient(set: u64) -> Result<()> {
    let clear_all = libc::c_ulong::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs());
    prctl(libc::PR_CAP_AMBIENT, clear_all, 0).call("prctl PR_CAP_AMBIENT_CLEAR_ALL")?;
    let raise = libc::c_ulong::from(libc::PR_CAP_AMBIENT_RAISE.unsigned_abs());
    for bit in (0..64u32).filter(|bit| set >> bit & 1 == 1) {
        prctl(libc::PR_CAP_AMBIENT, raise, libc::c_ulong::from(bit))
            .named("prctl PR_CAP_AMBIENT_RAISE", || bit.to_string())?;
    }
    Ok(())
}

/// Whether permitted capabilities survive a change of the user id.
pub fn set_keep_caps(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0).call("prctl PR_SET_KEEPCAPS").map(drop)
}

/// No execve gives more privileges from now on.
pub fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).call("prctl PR_SET_NO_NEW_PRIVS").map(drop)
}

/// Whether other processes of the user may look into this one (`/proc/PID`, ptrace).
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0).call("prctl PR_SET_DUMPABLE").map(drop)
}

/// The signal that the caller gets when its parent ends; 0 for none.
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal.unsigned_abs()), 0)
        .call("prctl PR_SET_PDEATHSIG")
        .map(drop)
}

/// Orphaned descendants become children of the caller.
pub fn set_child_subreaper(on: bool) -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, libc::c_ulong::from(on), 0)
        .call("prctl PR_SET_CHILD_SUBREAPER")
        .map(drop)
}

/// The supplementary groups of the caller.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    let list: Vec<_> = groups.iter().map(|&g| rustix::process::Gid::from_raw(g)).collect();
    rustix::thread::set_thread_groups(&list).named("setgroups", || format!("{groups:?}"))
}

/// All four group ids of the caller.
pub fn set_gid(gid: u32) -> Result<()> {
    let id = rustix::process::Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(id, id, id).named("setresgid", || gid.to_string())
}

/// All four user ids of the caller.
pub fn set_uid(uid: u32) -> Result<()> {
    let id = rustix::process::Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(id, id, id).named("setresuid", || uid.to_string())
}

/// The effective user id of the caller.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The effective group id of the caller.
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The mode bits that new files don't get; gives those of before.
pub fn set_umask(mask: u32) -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask)).as_raw_mode()
}

/// Gives an open file to `uid`; its group stays.
pub fn chown_fd(fd: std::os::fd::BorrowedFd<'_>, uid: u32) -> Result<()> {
    rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None).named("fchown", || uid.to_string())
}

/// Sets a limit of the caller; see setrlimit(2). `u64::MAX` is no limit.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: limit lives through the call; the old value is not asked for.
    let ret = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::addr_of!(limit), none) };
    check(ret).named("prlimit", || format!("resource={resource}, soft={soft}, hard={hard}")).map(drop)
}

/// Raises the hard limit of the process `pid` to `hard`, if it is lower. The soft one stays.
pub fn raise_rlimit(pid: i32, resource: u32, hard: u64) -> Result<()> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let named = || format!("pid={pid}, resource={resource}, hard={hard}");
    let none = std::ptr::null::<libc::rlimit64>();
    // SAFETY: limit lives through the call; no new value is given.
    let ret =
        unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, none, std::ptr::addr_of_mut!(limit)) };
    check(ret).named("prlimit", named)?;
    if limit.rlim_max >= hard {
        return Ok(());
    }
    limit.rlim_max = hard;
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: limit lives through the call; the old value is not asked for.
    let ret = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, std::ptr::addr_of!(limit), none) };
    check(ret).named("prlimit", named).map(drop)
}

/// Puts the caller in a new session keyring called `name`, which the owner (`searchable` rights) may search.
///
/// A kernel without keyrings (`ENOSYS`) is fine: there is nothing to be shared then.
pub fn join_session_keyring(name: &std::ffi::CStr, searchable: u32) -> Result<()> {
    let join = libc::c_long::from(libc::KEYCTL_JOIN_SESSION_KEYRING);
    // SAFETY: name ends with a NUL and lives through the call.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, join, name.as_ptr()) };
    let serial = match check(ret) {
        Err(Errno::NOSYS) => return Ok(()),
        other => other.named("keyctl JOIN_SESSION_KEYRING", || name.to_string_lossy().into_owned())?,
    };
    let described = describe_key(serial)?;
    let perm = key_permissions(&described).unwrap_or(0xffff_ffff) | searchable;
    let setperm = libc::c_long::from(libc::KEYCTL_SETPERM);
    // SAFETY: KEYCTL_SETPERM takes a serial number and a mask.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, setperm, serial, libc::c_ulong::from(perm)) };
    check(ret).named("keyctl SETPERM", || format!("{perm:#x}")).map(drop)
}

fn describe_key(serial: libc::c_long) -> Result<String> {
    let mut text = [0u8; 512];
    let describe = libc::c_long::from(libc::KEYCTL_DESCRIBE);
    // SAFETY: the buffer is writable for the length given.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, describe, serial, text.as_mut_ptr(), text.len()) };
    let len = usize::try_from(check(ret).call("keyctl DESCRIBE")?).unwrap_or(0).min(text.len());
    Ok(String::from_utf8_lossy(text.get(..len).unwrap_or(&[])).into_owned())
}

/// The permissions in `type;uid;gid;perm;description`, which are hexadecimal.
fn key_permissions(described: &str) -> Option<u32> {
    u32::from_str_radix(described.split(';').nth(3)?, 16).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn permissions_are_the_fourth_field() {
        assert_eq!(super::key_permissions("keyring;0;0;3f130000;_ses.a"), Some(0x3f13_0000));
        assert_eq!(super::key_permissions("keyring"), None);
    }
}
