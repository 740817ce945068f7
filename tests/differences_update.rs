//! The rows of the table in `differences.rs` that are about `update`.

use std::fs;

use crate::differences::Difference;
use crate::harness::settings::{controller, unified};
use crate::harness::{Container, Lab, Output, Runtime, Skip, Value, json};

pub const ROWS: &[Difference] = &[
    Difference {
        what: "Limit of memory after an `update` of it that has failed at another limit",
        runc: "33554432",
        tare: "67108864",
        why: "All changes are made or none. runc writes again what was asked for last, which is what has failed.",
        probe: |lab, runtime| {
            with(lab, runtime, |c| {
                update(c, &json!({"memory": {"limit": 32 << 20}, "cpu": {"period": 5}}));
                limit(c)
            })
        },
    },
    Difference {
        what: "Limit of memory that somebody else has set, after an `update` of another limit",
        runc: "67108864",
        tare: "33554432",
        why: "Only what is asked for is written. systemd, where it makes the cgroup, may write more.",
        probe: |lab, runtime| {
            with(lab, runtime, |c| {
                lab.makes_groups()?;
                fs::write(memory(c)?, "33554432").unwrap();
                update(c, &json!({"pids": {"limit": 9}}));
                limit(c)
            })
        },
    },
    Difference {
        what: "A device that `update --resources` allows and the container's rules do not",
        runc: "denied",
        tare: "opens",
        why: "Rules that the container does not have take the place of all that it has. runc passes over them.",
        probe: |lab, runtime| {
            with(lab, runtime, |c| Ok(device(c, &json!([{"allow": true, "access": "rwm"}]))))
        },
    },
    Difference {
        what: "`update --resources` with some of the container's own rules for devices",
        runc: "",
        tare: "rules for devices are not changed: all of these were in force already, and those that are missing stay; \
               a rule that denies takes a device away",
        why: "Neither takes anything away: engines send the rules that they have made, which lack what a wrapper \
              around the runtime has added for graphics cards. Here it is said.",
        probe: |lab, runtime| {
            with(lab, runtime, |c| {
                let output = update(c, &json!({"devices": [{"allow": false, "access": "rwm"}]}));
                Ok(output.messages("warning").join("\n"))
            })
        },
    },
    Difference {
        what: "Flags of `update` beside `--resources`",
        runc: "",
        tare: "--resources is given: flags that are limits are not looked at",
        why: "Neither looks at them. Here it is said.",
        probe: |lab, runtime| {
            with(lab, runtime, |c| {
                let file = lab.file("resources", "{}");
                let call = ["update", "--resources", &file, "--pids-limit", "9", &c.id];
                Ok(lab.call_of(runtime, &call).messages("warning").join("\n"))
            })
        },
    },
    Difference {
        what: "Numbers of `update` that are none",
        runc: "invalid value for cpu-quota: strconv.ParseInt: parsing \"x\": invalid syntax",
        tare: "invalid value for cpu-quota: \"x\" is not a number that it can be",
        why: "They are words for users.",
        probe: |lab, runtime| {
            with(lab, runtime, |c| {
                Ok(lab.call_of(runtime, &["update", "--cpu-quota", "x", &c.id]).err.trim_end().to_owned())
            })
        },
    },
    Difference {
        what: "`hugepageLimits`, `network`, `rdma`, and of `memory` what only version 1 has, in `update --resources`",
        runc: "as before",
        tare: "set",
        why: "runc passes over them.",
        probe: |lab, runtime| with(lab, runtime, other_fields),
    },
];

/// Shows what `probe` gives for a running container with a limit of memory, or why that can't be made.
fn with(lab: &Lab, runtime: &Runtime, probe: impl FnOnce(&Container) -> Result<String, Skip>) -> String {
    let mut c = lab.container_of(runtime, &["sleep", "100"]);
    let fuse = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
    c.edit(|v| v["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}, fuse]));
    if controller("memory").is_ok() {
        c.edit(|v| v["linux"]["resources"]["memory"] = json!({"limit": 64 << 20}));
    }
    c.up();
    probe(&c).unwrap_or_else(|Skip(why)| why)
}

fn update(c: &Container, resources: &Value) -> Output {
    let file = c.lab.file("resources", &resources.to_string());
    c.lab.call_of(&c.runtime, &["update", "--resources", &file, &c.id])
}

fn memory(c: &Container) -> Result<std::path::PathBuf, Skip> {
    let file = if unified() { "memory.max" } else { "memory.limit_in_bytes" };
    Ok(c.cgroup_dir(&controller("memory")?).join(file))
}

fn limit(c: &Container) -> Result<String, Skip> {
    Ok(fs::read_to_string(memory(c)?).unwrap().trim_end().to_owned())
}

/// Whether the container can open a device after an `update` with these rules.
fn device(c: &Container, rules: &Value) -> String {
    update(c, &json!({"devices": rules})).ok();
    // Whether there is a driver behind it makes no difference.
    let script = "mknod /dev/n c 10 237 && (exec 3<>/dev/n) 2>&1 | grep -q 'not permitted' && echo denied || echo opens";
    c.lab
        .call_of(&c.runtime, &["exec", "--cap", "CAP_MKNOD", &c.id, "sh", "-c", script])
        .ok()
        .trim()
        .to_owned()
}

/// What of that this host has: swappiness on version 1, huge pages else.
fn other_fields(c: &Container) -> Result<String, Skip> {
    let (of, file, value, change) = if unified() {
        (
            "hugetlb",
            "hugetlb.2MB.max",
            "4194304",
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}),
        )
    } else {
        ("memory", "memory.swappiness", "7", json!({"memory": {"swappiness": 7}}))
    };
    update(c, &change);
    Ok(if c.cgroup(of, file)? == value { "set" } else { "as before" }.to_owned())
}
