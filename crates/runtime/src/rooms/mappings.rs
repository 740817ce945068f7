//! `linux.uidMappings`, `linux.gidMappings`: which ids of the host are those of the container.
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::error::On;
use crate::faults::Faults;
use crate::rooms::namespaces::Namespace;
use crate::rooms::subids::{self, Grants, Ids};
use crate::spawn::Caller;
use crate::{Error, Kind, Result};

/// The id maps of a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// User ids.
    uids: Map,
    /// Group ids.
    gids: Map,
    /// Whether the kernel demands that the process gives up `setgroups(2)` before its groups are mapped.
    deny_setgroups: bool,
}

/// One map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Map {
    /// In the form of `/proc/PID/uid_map`; empty when there is nothing to map.
    lines: String,
    /// The program that writes it for a caller who may not.
    tool: Option<PathBuf>,
}

/// Who asks for the maps.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// With which rights.
    pub caller: Caller,
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
}

/// The kernel takes no more lines (`UID_GID_MAP_MAX_EXTENTS`).
const MOST_LINES: usize = 340;

/// Decides the maps. `grants` are asked for when an ordinary user wants more than their own ids.
pub fn plan(
    uids: &[oci::IdMapping],
    gids: &[oci::IdMapping],
    user: &Namespace,
    asker: Asker,
    grants: impl Fn(Ids, u32) -> Grants,
    faults: &mut Faults,
) -> Plan {
    let Asker { caller, uid, gid } = asker;
    let given = !uids.is_empty() || !gids.is_empty();
    match user {
        Namespace::Inherit => {
            if caller == Caller::Ordinary {
                faults.add("linux.namespaces", "rootless container requires user namespaces");
            }
            if given {
                let text =
                    "user namespace mappings specified, but user namespace isn't enabled in the config";
                let at = if uids.is_empty() { "linux.gidMappings" } else { "linux.uidMappings" };
                faults.add(at, text);
            }
            return Plan::default();
        }
        // They are checked against those of the namespace once it is joined.
        Namespace::Join(_) if !given => return Plan::default(),
        Namespace::New | Namespace::Join(_) => {}
    }
    let mut map = |ids: Ids, list: &[oci::IdMapping], own: u32| {
        let before = faults.count();
        if list.is_empty() {
            faults.add(ids.at, format!("user namespaces enabled, but no {} mappings found", ids.name));
        } else {
            check(ids.at, list, faults);
            if !covers(list, 0) {
                let text = format!("user namespaces enabled, but no mapping found for {} 0", ids.name);
                faults.add(ids.at, text);
            }
        }
        // The kernel lets anybody map one id, which is their own.
        let alone = matches!(list, [line] if line.size == 1 && line.host_id == own);
        let mut tool = None;
        if caller == Caller::Ordinary && *user == Namespace::New && faults.count() == before && !alone {
            let grants = grants(ids, uid);
            subids::check(ids, list, own, &grants, faults);
            tool = grants.tool;
        }
        Map { lines: table(list), tool }
    };
    let (uids, gids) = (map(subids::UIDS, uids, uid), map(subids::GIDS, gids, gid));
    let deny_setgroups = caller == Caller::Ordinary && gids.tool.is_none();
    Plan { uids, gids, deny_setgroups }
}

/// Decides the maps of the mount `at`, of which there is at least one line each.
pub fn plan_mount(uids: &[oci::IdMapping], gids: &[oci::IdMapping], at: &str, faults: &mut Faults) -> Plan {
    check(&format!("{at}.uidMappings"), uids, faults);
    check(&format!("{at}.gidMappings"), gids, faults);
    let map = |list| Map { lines: table(list), tool: None };
    Plan { uids: map(uids), gids: map(gids), deny_setgroups: false }
}

/// What the kernel would answer with `EINVAL`.
fn check(at: &str, list: &[oci::IdMapping], faults: &mut Faults) {
    if list.len() > MOST_LINES {
        faults.add(at, format!("{} lines are more than the {MOST_LINES} that the kernel takes", list.len()));
    }
    for (index, line) in list.iter().enumerate() {
        let at = format!("{at}[{index}]");
        if line.size == 0 {
            faults.add(format!("{at}.size"), "a mapping of no ids");
        }
        for (side, id) in [("containerID", line.container_id), ("hostID", line.host_id)] {
            if u64::from(id) + u64::from(line.size) > u64::from(u32::MAX) {
                faults.add(format!("{at}.{side}"), format!("{id} and {} more are not all ids", line.size));
            }
        }
        for (before, other) in list.iter().enumerate().take(index) {
            let overlap = |a: u32, b: u32| {
                let (a, b) = (u64::from(a), u64::from(b));
                a < b + u64::from(other.size) && b < a + u64::from(line.size)
            };
            if overlap(line.container_id, other.container_id) {
                faults.add(format!("{at}.containerID"), format!("ids of line {before} are mapped once more"));
            }
            if overlap(line.host_id, other.host_id) {
                faults.add(format!("{at}.hostID"), format!("ids of line {before} are mapped once more"));
            }
        }
    }
}

/// Whether `id` of the container is mapped.
fn covers(list: &[oci::IdMapping], id: u32) -> bool {
    list.iter().any(|line| id >= line.container_id && id - line.container_id < line.size)
}

/// The lines of a map file.
fn table(list: &[oci::IdMapping]) -> String {
    let mut text = String::new();
    for oci::IdMapping { container_id, host_id, size } in list {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{container_id} {host_id} {size}");
    }
    text
}

/// Refuses ids of the process that no id of the host stands for.
pub fn check_user(
    user: &oci::User,
    uids: &[oci::IdMapping],
    gids: &[oci::IdMapping],
    namespace: &Namespace,
    faults: &mut Faults,
) {
    if *namespace != Namespace::New || uids.is_empty() || gids.is_empty() {
        return;
    }
    let oci::User { uid, gid, umask: _, additional_gids } = user;
    if !covers(uids, *uid) {
        faults.add("process.user.uid", format!("cannot setuid to unmapped uid {uid} in user namespace"));
    }
    if !covers(gids, *gid) {
        faults.add("process.user.gid", format!("cannot setgid to unmapped gid {gid} in user namespace"));
    }
    for (index, gid) in additional_gids.iter().enumerate().filter(|(_, gid)| !covers(gids, **gid)) {
        let at = format!("process.user.additionalGids[{index}]");
        faults.add(at, format!("cannot setgid to unmapped gid {gid} in user namespace"));
    }
}

/// Writes the maps of the field `at` for the process `pid` in its new user namespace.
pub fn host_write(plan: &Plan, at: &str, pid: i32) -> Result<()> {
    let write = |file: &str, text: &str| {
        sys::file::write_at(sys::file::CWD, format!("/proc/{pid}/{file}"), text.as_bytes())
    };
    if plan.deny_setgroups {
        write("setgroups", "deny").on(|| format!("{at}.gidMappings"))?;
    }
    for (ids, map) in [(subids::UIDS, &plan.uids), (subids::GIDS, &plan.gids)] {
        match &map.tool {
            Some(tool) => subids::host_map(ids, tool, pid, &map.lines)?,
            None => write(ids.map, &map.lines).on(|| format!("{at}.{}", ids.field))?,
        }
    }
    Ok(())
}

/// Checks the maps of the user namespace that was joined: a config that has other ones would not describe
/// the container. Some engines give both.
pub fn init_check(plan: &Plan, user: &Namespace) -> Result<()> {
    if !matches!(user, Namespace::Join(_)) || plan.uids.lines.is_empty() {
        return Ok(());
    }
    for (file, want) in [("uid_map", &plan.uids.lines), ("gid_map", &plan.gids.lines)] {
        let have = sys::file::read(format!("/proc/self/{file}"))?;
        if numbers(&String::from_utf8_lossy(&have)) != numbers(want) {
            let text = "user namespaces enabled, but both namespace path and non-matching mapping specified \
                        -- you may only provide one";
            return Err(Error::new(Kind::Invalid, text));
        }
    }
    Ok(())
}

/// The lines of a map file, in an order that does not matter.
fn numbers(text: &str) -> Vec<Vec<&str>> {
    let mut lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    lines.sort();
    lines
}

/// Becomes root of the user namespace: so far the process is nobody there, with all capabilities.
pub fn init_become_root() -> Result<()> {
    let unmapped = |e: sys::Error, what: &str| {
        let error = Error::from(e.clone());
        if e.errno == sys::Errno::INVAL {
            error.context(format!("the user namespace has no {what} 0"))
        } else {
            error
        }
    };
    sys::cred::set_gid(0).map_err(|e| unmapped(e, "gid"))?;
    sys::cred::set_uid(0).map_err(|e| unmapped(e, "uid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(list: &[(u32, u32, u32)]) -> Vec<oci::IdMapping> {
        list.iter()
            .map(|&(container_id, host_id, size)| oci::IdMapping { container_id, host_id, size })
            .collect()
    }

    fn faults_of(
        uids: &[(u32, u32, u32)],
        gids: &[(u32, u32, u32)],
        user: &Namespace,
        caller: Caller,
    ) -> Vec<String> {
        let mut faults = Faults::default();
        let asker = Asker { caller, uid: 1000, gid: 1000 };
        let grants = |_, uid| Grants { uid, name: Some("u".into()), text: Some(String::new()), tool: None };
        plan(&lines(uids), &lines(gids), user, asker, grants, &mut faults);
        faults.texts()
    }

    #[test]
    fn faults_are_told_before_anything_starts() {
        let good = &[(0, 1000, 1)][..];
        let new = &Namespace::New;
        for (uids, gids, user, caller, want) in [
            (good, good, new, Caller::Root, &[][..]),
            (&[], &[], &Namespace::Inherit, Caller::Root, &[]),
            (
                &[],
                &[],
                &Namespace::Inherit,
                Caller::Ordinary,
                &["rootless container requires user namespaces (linux.namespaces)"],
            ),
            (
                good,
                &[],
                &Namespace::Inherit,
                Caller::Root,
                &[
                    "user namespace mappings specified, but user namespace isn't enabled in the config (linux.uidMappings)",
                ],
            ),
            (
                &[],
                &[],
                new,
                Caller::Root,
                &[
                    "user namespaces enabled, but no uid mappings found (linux.uidMappings)",
                    "user namespaces enabled, but no gid mappings found (linux.gidMappings)",
                ],
            ),
            (
                good,
                &[],
                new,
                Caller::Root,
                &["user namespaces enabled, but no gid mappings found (linux.gidMappings)"],
            ),
            (
                &[(1, 1000, 5)],
                good,
                new,
                Caller::Root,
                &["user namespaces enabled, but no mapping found for uid 0 (linux.uidMappings)"],
            ),
            (
                &[(0, 1000, 10), (9, 5000, 1)],
                good,
                new,
                Caller::Root,
                &["ids of line 0 are mapped once more (linux.uidMappings[1].containerID)"],
            ),
            (
                &[(0, 1000, 10), (10, 1009, 5)],
                good,
                new,
                Caller::Root,
                &["ids of line 0 are mapped once more (linux.uidMappings[1].hostID)"],
            ),
            (&[(0, 1000, 10), (10, 1010, 5)], good, new, Caller::Root, &[]),
            (
                good,
                &[(0, 0, 1), (1, 1, 0)],
                new,
                Caller::Root,
                &["a mapping of no ids (linux.gidMappings[1].size)"],
            ),
            (
                good,
                &[(0, u32::MAX, 1)],
                new,
                Caller::Root,
                &["4294967295 and 1 more are not all ids (linux.gidMappings[0].hostID)"],
            ),
            (&[], &[], &Namespace::Join("/ns".into()), Caller::Root, &[]),
            (good, good, new, Caller::Ordinary, &[]),
            (
                good,
                &[(0, 1001, 1)],
                new,
                Caller::Ordinary,
                &[
                    "more gids than the caller's own need newgidmap, which is not in $PATH (linux.gidMappings)",
                ],
            ),
            (good, &[(0, 1001, 1)], &Namespace::Join("/ns".into()), Caller::Ordinary, &[]),
        ] {
            assert_eq!(faults_of(uids, gids, user, caller), want, "{uids:?} {gids:?} {user:?} {caller:?}");
        }
    }

    #[test]
    fn too_many_lines() {
        let many: Vec<_> = (0..341).map(|n| (n, n + 1000, 1)).collect();
        assert_eq!(faults_of(&many, &[(0, 0, 1)], &Namespace::New, Caller::Root).len(), 1);
        assert_eq!(faults_of(&many[..340], &[(0, 0, 1)], &Namespace::New, Caller::Root).len(), 0);
    }

    #[test]
    fn users_must_be_mapped() {
        let mut faults = Faults::default();
        let user = oci::User { uid: 10, gid: 9, additional_gids: vec![3, 10], ..Default::default() };
        let map = lines(&[(0, 1000, 10)]);
        check_user(&user, &map, &map, &Namespace::New, &mut faults);
        assert_eq!(
            faults.texts(),
            [
                "cannot setuid to unmapped uid 10 in user namespace (process.user.uid)",
                "cannot setgid to unmapped gid 10 in user namespace (process.user.additionalGids[1])",
            ]
        );
    }

    #[test]
    fn maps_are_the_same_in_any_order_and_with_any_blanks() {
        assert_eq!(numbers("0 1000 1\n1 5 6\n"), numbers("         1          5          6\n 0 1000 1\n"));
        assert_ne!(numbers("0 1000 1\n"), numbers("0 1000 2\n"));
    }
}
