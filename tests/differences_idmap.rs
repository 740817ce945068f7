//! The rows of the table in `differences.rs` that are about mounts with id maps.

use std::path::Path;

use crate::differences::{Difference, stderr_of};
use crate::harness::{Lab, Runtime};
use crate::idmap::mapped;

/// What `run` says with a mount that shows the files of user 0 as those of 1000.
fn with(lab: &Lab, runtime: &Runtime, kind: &str, source: &str, options: &[&str], maps: usize) -> String {
    let map = &[(0, 1000, 1)][..];
    let maps = if maps == 2 { [map, map] } else { [map, &[]] };
    stderr_of(lab, runtime, |c| {
        c.edit(|v| mapped(v, "/home/user", (kind, Path::new(source)), options, maps));
    })
}

pub const ROWS: &[Difference] = &[
    Difference {
        what: "Id maps of a mount that binds nothing",
        runc: "…id-mapped mounts are only supported for bind-mounts",
        tare: "",
        why: "A tmpfs, or a disk, can have them as well.",
        probe: |lab, runtime| with(lab, runtime, "tmpfs", "tmpfs", &[], 2),
    },
    Difference {
        what: "Faults of a mount",
        runc: "runc run failed: invalid mount &{Source:…}: id-mapped mounts must have both uid and gid mappings specified",
        tare: "tare run failed: id-mapped mounts must have both uid and gid mappings specified (mounts[7].gidMappings)",
        why: "The field is named. runc prints its memory.",
        probe: |lab, runtime| with(lab, runtime, "none", "/etc", &["bind"], 1),
    },
    Difference {
        what: "A file system without id maps",
        runc: "…failed to set MOUNT_ATTR_IDMAP on /proc/sys: invalid argument (maybe the filesystem used doesn't support idmap mounts on this kernel?)",
        tare: "…failed to set MOUNT_ATTR_IDMAP on /proc/sys: invalid argument: /proc is of type proc, and proc has no id maps in Linux … (mounts[7])",
        why: "The cause is looked for, in mounts below as well, and the version that is needed is told.",
        probe: |lab, runtime| with(lab, runtime, "none", "/proc/sys", &["bind"], 2),
    },
];
