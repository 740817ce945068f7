//! Which ids of the host an ordinary user may give to a container: their own, and the ranges that `/etc/subuid` and
//! `/etc/subgid` grant; see subuid(5). `newuidmap` and `newgidmap` (package uidmap) write the maps then, as root.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::faults::Faults;
use crate::{Error, Kind, Result, users};

/// One of the two kinds of ids, with all that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// How messages call one.
    pub name: &'static str,
    /// The field of the config.
    pub at: &'static str,
    /// Its last part, which mounts have as well.
    pub field: &'static str,
    /// The file of `/proc/PID`.
    pub map: &'static str,
    grants: &'static str,
    tool: &'static str,
    option: &'static str,
}

/// User ids.
pub const UIDS: Ids = Ids {
    name: "uid",
    at: "linux.uidMappings",
    field: "uidMappings",
    map: "uid_map",
    grants: "/etc/subuid",
    tool: "newuidmap",
    option: "--add-subuids",
};

/// Group ids.
pub const GIDS: Ids = Ids {
    name: "gid",
    at: "linux.gidMappings",
    field: "gidMappings",
    map: "gid_map",
    grants: "/etc/subgid",
    tool: "newgidmap",
    option: "--add-subgids",
};

/// What the host has for a user who wants more ids than their own.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// The user's number.
    pub uid: u32,
    /// The user's name, where the host's files have one.
    pub name: Option<String>,
    /// The text of `/etc/subuid` or `/etc/subgid`; `None` when other sources count, which only the tool knows.
    pub text: Option<String>,
    /// `newuidmap` or `newgidmap`.
    pub tool: Option<PathBuf>,
}

/// Reads what there is for user `uid`.
pub fn host_read(ids: Ids, uid: u32) -> Grants {
    let text = |path: &str| {
        sys::file::read(path).map(|data| String::from_utf8_lossy(&data).into_owned()).unwrap_or_default()
    };
    let other_sources = text("/etc/nsswitch.conf").lines().any(has_other_sources);
    let text = if other_sources { None } else { Some(text(ids.grants)) };
    Grants { uid, name: users::name(uid), text, tool: users::program(ids.tool) }
}

/// Whether a line of `/etc/nsswitch.conf` has the ranges come from elsewhere than the files.
fn has_other_sources(line: &str) -> bool {
    let source = line.trim().strip_prefix("subid:").map(str::trim);
    source.is_some_and(|source| source != "files")
}

/// Checks that the user may give all ids of `list`. `own` is the user's own id of this kind.
pub fn check(ids: Ids, list: &[oci::IdMapping], own: u32, grants: &Grants, faults: &mut Faults) {
    let Ids { name, at, tool, .. } = ids;
    if grants.tool.is_none() {
        faults.add(at, format!("more {name}s than the caller's own need {tool}, which is not in $PATH"));
        faults.hint(format!(
            "install {tool}: the package is uidmap on Debian and Ubuntu, shadow-utils elsewhere; or map the {name} {own} alone"
        ));
        return;
    }
    let Some(text) = &grants.text else { return };
    let ranges: Vec<_> = text.lines().filter_map(|line| range(line, grants)).collect();
    if grants.name.is_none() && ranges.is_empty() {
        // The tool may know a name for this user that the host's files don't have.
        return;
    }
    for (index, oci::IdMapping { container_id: _, host_id, size }) in list.iter().enumerate() {
        let (first, end) = (u64::from(*host_id), u64::from(*host_id) + u64::from(*size));
        if *size == 1 && *host_id == own || covers(&ranges, first, end) {
            continue;
        }
        let user = grants.name.clone().unwrap_or_else(|| grants.uid.to_string());
        let (last, file, option) = (end - 1, ids.grants, ids.option);
        let has = match &*ranges {
            [] => "has no line for this user".to_owned(),
            ranges => {
                let list: Vec<_> = ranges.iter().map(|(from, to)| format!("{from}-{}", to - 1)).collect();
                format!("grants {}", list.join(", "))
            }
        };
        faults.add(
            format!("{at}[{index}].hostID"),
            format!("user {user} may not use the {name}s {first}-{last} of the host: {file} {has}"),
        );
        faults.hint(format!(
            "{file} needs the line {user}:{first}:{size} (as root: usermod {option} {first}-{last} {user}), \
             or the config other ids"
        ));
    }
}

/// The ids from the first to before the second number that a line `user:first:count` grants.
fn range(line: &str, grants: &Grants) -> Option<(u64, u64)> {
    let mut fields = line.trim().split(':');
    let owner = fields.next()?;
    if grants.name.as_deref() != Some(owner) && owner.parse() != Ok(grants.uid) {
        return None;
    }
    let (first, count): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (count > 0).then(|| (first, first.saturating_add(count)))
}

/// Whether all ids from `first` to before `end` are in one of the ranges or in several that meet.
fn covers(ranges: &[(u64, u64)], first: u64, end: u64) -> bool {
    let mut at = first;
    while at < end {
        match ranges.iter().filter(|(from, to)| *from <= at && at < *to).map(|(_, to)| *to).max() {
            Some(to) => at = to,
            None => return false,
        }
    }
    true
}

/// Has the tool write the map of process `pid`, which is `lines` in the form of `/proc/PID/uid_map`.
pub fn host_map(ids: Ids, tool: &Path, pid: i32, lines: &str) -> Result<()> {
    let mut command = Command::new(tool);
    command.arg(pid.to_string()).args(lines.split_whitespace());
    let failed = |how: String| {
        let text = format!("{} {pid}: {how}", tool.display());
        Error::new(Kind::System, text).context(ids.at).hint(format!(
            "{} works with its set-user-ID bit or its file capability, which a mount with nosuid and the caller's \
             no_new_privs take away; see also {}",
            ids.tool, ids.grants
        ))
    };
    let done = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(sys::errno_text(sys::Errno::from_io_error(&e).unwrap_or(sys::Errno::IO))))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().replace('\n', "; ");
    Err(failed(if said.is_empty() { done.status.to_string() } else { said }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> Grants {
        let (name, tool) = (Some("alice".to_owned()), Some("/bin/newuidmap".into()));
        Grants { uid: 1000, name, text: Some(text.to_owned()), tool }
    }

    fn faults_of(list: &[(u32, u32, u32)], grants: &Grants) -> Vec<String> {
        let lines: Vec<_> = list
            .iter()
            .map(|&(container_id, host_id, size)| oci::IdMapping { container_id, host_id, size })
            .collect();
        let mut faults = Faults::default();
        check(UIDS, &lines, 1000, grants, &mut faults);
        faults.texts()
    }

    #[test]
    fn ranges_by_name_and_by_number() {
        let none: [&str; 0] = [];
        let both = &[(0, 1000, 1), (1, 100_000, 65536)][..];
        for text in [
            "alice:100000:65536\n",
            "1000:100000:65536",
            "bob:1:5\nalice:100000:60000\n1000:160000:5536\n",
            "nonsense\nalice::\nalice:1\nalice:90000:100000",
        ] {
            assert_eq!(faults_of(both, &grants(text)), none, "{text}");
        }
        assert_eq!(
            faults_of(both, &grants("bob:100000:65536\n")),
            [
                "user alice may not use the uids 100000-165535 of the host: /etc/subuid has no line for this user \
                 (linux.uidMappings[1].hostID)"
            ]
        );
        assert_eq!(
            faults_of(both, &grants("alice:100000:65535\nalice:7:1")),
            [
                "user alice may not use the uids 100000-165535 of the host: /etc/subuid grants 100000-165534, 7-7 \
                 (linux.uidMappings[1].hostID)"
            ]
        );
        assert_eq!(faults_of(&[(0, 1001, 1)], &grants("")).len(), 1);
        assert_eq!(faults_of(&[(0, 1000, 2)], &grants("")).len(), 1);
    }

    #[test]
    fn what_only_the_tool_knows_is_left_to_it() {
        let both = &[(0, 1000, 1), (1, 100_000, 65536)][..];
        let none: [&str; 0] = [];
        assert_eq!(faults_of(both, &Grants { text: None, ..grants("") }), none);
        assert_eq!(faults_of(both, &Grants { name: None, ..grants("alice:1:1") }), none);
        assert_eq!(
            faults_of(both, &Grants { tool: None, ..grants("") }),
            ["more uids than the caller's own need newuidmap, which is not in $PATH (linux.uidMappings)"]
        );
        for (line, other) in [
            ("subid: sss", true),
            ("subid: files", false),
            ("passwd: files sss", false),
            ("#subid: x", false),
        ] {
            assert_eq!(has_other_sources(line), other, "{line}");
        }
    }
}
