//! The rows of the table in `differences.rs` that depend on which security modules the host has.

use crate::differences::{Difference, stderr_of};
use crate::harness::{Skip, json};
use crate::lsm::{apparmor, exec_without_a_profile, no_apparmor, no_selinux};

pub const ROWS: &[Difference] = &[
    Difference {
        what: "`process.apparmorProfile` on a host without AppArmor",
        runc: "…unable to apply apparmor profile: apparmor failed to apply profile: write …attr/exec: invalid argument",
        tare: "tare run failed: apparmor profile is specified in config, but apparmor is disabled or not supported \
               (process.apparmorProfile)",
        why: "It is found before anything is made.",
        probe: |lab, runtime| match no_apparmor() {
            Ok(()) => stderr_of(lab, runtime, |c| {
                c.edit(|v| v["process"]["apparmorProfile"] = json!("any"));
            }),
            Err(Skip(why)) => why,
        },
    },
    Difference {
        what: "A profile that is not loaded",
        runc: "…unable to apply apparmor profile: apparmor failed to apply profile: write …: no such file or directory",
        tare: "…unable to apply apparmor profile: write /proc/thread-self/attr/apparmor/exec \"exec none\": no such \
               file or directory",
        why: "The profile is named, and a hint says how to load one.",
        probe: |lab, runtime| match apparmor() {
            Ok(()) => stderr_of(lab, runtime, |c| {
                c.edit(|v| v["process"]["apparmorProfile"] = json!("none"));
            }),
            Err(Skip(why)) => why,
        },
    },
    Difference {
        what: "`exec --process FILE` without a profile, in a container that has one",
        runc: "unconfined",
        tare: "the container's",
        why: "Who says nothing does not mean less protection. `unconfined` is a name that can be given.",
        probe: |lab, runtime| exec_without_a_profile(lab, runtime).unwrap_or_else(|Skip(why)| why),
    },
    Difference {
        what: "`linux.mountLabel` on a host without SELinux",
        runc: "…error mounting \"tmpfs\" to rootfs at \"/dev\": …context=\"a:b:c:d\": invalid argument",
        tare: "tare run failed: selinux label is specified in config, but selinux is disabled or not supported \
               (linux.mountLabel)",
        why: "It is found before anything is made, also when no mount would have failed.",
        probe: |lab, runtime| match no_selinux() {
            Ok(()) => stderr_of(lab, runtime, |c| {
                c.edit(|v| v["linux"]["mountLabel"] = json!("a:b:c:d"));
            }),
            Err(Skip(why)) => why,
        },
    },
];
