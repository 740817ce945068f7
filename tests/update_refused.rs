//! `update` that changes nothing: what it refuses, in which states, and what is as before then.

use std::path::Path;

use crate::harness::settings::{controller, unified};
use crate::harness::user::{ALICE, User, possible};
use crate::harness::{Lab, Outcome, Skip, eventually, json, tests};
use crate::update::{controllers, named, settings, update, update_by, with};

tests![
    all_or_nothing,
    all_or_nothing_in_memory,
    a_failure_leaves_the_weight,
    a_limit_of_memory_below_the_usage,
    wrong_values,
    without_a_cgroup,
    schemata_need_a_processor_that_has_them,
    states,
    flags_beside_a_file,
    kernel_memory_is_ignored,
];

/// A write that fails in the middle: what came before it is taken back.
fn all_or_nothing(lab: &Lab) -> Outcome {
    controllers(&["pids", "memory"])?;
    let c = with(
        lab,
        &["sleep", "100"],
        &json!({"pids": {"limit": 20}, "memory": {"limit": 64 << 20, "reservation": 32 << 20}}),
    );
    let before = settings(&c);
    let (field, bad, file) = if unified() {
        ("linux.resources.unified.pids.max", json!({"unified": {"pids.max": "many"}}), "pids.max")
    } else {
        controller("cpuset")?;
        ("linux.resources.cpu.cpus", json!({"cpu": {"cpus": "999"}}), "cpuset.cpus")
    };
    let mut change = json!({"pids": {"limit": 5}, "memory": {"limit": 32 << 20, "reservation": 16 << 20}});
    change.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
    let output = update_by(&c, &change);
    assert_eq!((output.code, output.errors().len()), (1, 1), "{output:?}");
    assert_eq!(settings(&c), before);
    if lab.tare.name() == "tare" {
        for part in [field, file, if unified() { "\"many\"" } else { "\"999\"" }, "(linux.resources."] {
            output.fails_with(part);
        }
    }
    // Nothing of it is remembered either.
    update(&c, &["--memory", "48M"]).ok();
    assert_eq!(c.cgroup("pids", "pids.max")?, "20");
    Ok(())
}

/// One of two that belong together, after the first of which the second is refused.
fn all_or_nothing_in_memory(lab: &Lab) -> Outcome {
    lab.not_runc("leaves some of it, or has another order")?;
    let root = controller("memory")?;
    if unified() || !root.join("memory.memsw.limit_in_bytes").exists() {
        return Err(Skip("only version 1 has limits that depend on each other".into()));
    }
    let c = with(lab, &["sleep", "100"], &json!({"memory": {"limit": 64 << 20, "swap": 96 << 20}}));
    let before = settings(&c);
    // The limit can be lowered, but that with swap not below it.
    let change = json!({"memory": {"limit": 32 << 20, "swap": 16 << 20, "reservation": 8 << 20}, "pids": {"limit": 7}});
    update_by(&c, &change)
        .fails_with("memory.memsw.limit_in_bytes: invalid argument (linux.resources.memory.swap)");
    assert_eq!(settings(&c), before);
    Ok(())
}

/// The kernel gives a cgroup that was idle the weight of a new one.
fn a_failure_leaves_the_weight(lab: &Lab) -> Outcome {
    lab.not_runc("does not")?;
    controller("cpu")?;
    let c = with(lab, &["sleep", "100"], &json!({"cpu": {"shares": 512}}));
    let weight = || c.cgroup("cpu", named("cpu.shares", "cpu.weight"));
    let before = weight()?;
    // A period of less than a millisecond is refused.
    update(&c, &["--cpu-idle", "1", "--cpu-period", "5"])
        .fails_with("invalid argument (linux.resources.cpu.period)");
    assert_eq!(c.cgroup("cpu", "cpu.idle")?, "0");
    assert_eq!(weight()?, before);
    Ok(())
}

fn a_limit_of_memory_below_the_usage(lab: &Lab) -> Outcome {
    controllers(&["memory", "pids"])?;
    let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); touch /tmp/grown; while :; do sleep 1; done";
    let c = with(lab, &["sh", "-c", script], &json!({"pids": {"limit": 20}}));
    eventually("it to grow", || c.rootfs("tmp/grown").exists().then_some(()));
    let before = settings(&c);
    let change = json!({"memory": {"limit": 1 << 20, "swap": 1 << 20, "checkBeforeUpdate": true}, "pids": {"limit": 5}});
    let output = update_by(&c, &change);
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(output.errors().len(), 1);
    let begin = if unified() {
        "rejecting memory+swap limit 1048576 <= usage "
    } else {
        "unable to set memory limit to 1048576 (current usage: "
    };
    assert!(output.err.starts_with(begin), "{output:?}");
    assert!(unified() || output.err.contains(", peak usage: "), "{output:?}");
    // runc lets pages be thrown out as far as it went, but no limit is another one.
    assert_eq!(settings(&c), before);
    assert_eq!(c.status(), "running");
    Ok(())
}

fn wrong_values(lab: &Lab) -> Outcome {
    lab.not_runc("has other words")?;
    let c = with(lab, &["sleep", "100"], &json!({}));
    let before = settings(&c);
    for (flags, text) in [
        (&["--memory", "10X"][..], "invalid value for memory: invalid suffix: 'x'"),
        (&["--memory-swap", "lots"], "invalid value for memory-swap: invalid size: 'lots'"),
        (&["--cpu-quota", "x"], "invalid value for cpu-quota: \"x\" is not a number that it can be"),
        (&["--cpu-period", "-1"], "invalid value for cpu-period: \"-1\" is not a number that it can be"),
        (&["--cpu-idle", "yes"], "invalid value for cpu-idle: \"yes\" is not a number that it can be"),
    ] {
        update(&c, flags).fails(1, text);
    }
    for flags in [&["--pids-limit", "x"][..], &["--blkio-weight", "70000"], &["--bogus", "1"], &["x"]] {
        assert_eq!(update(&c, flags).code, 1, "{flags:?}");
    }
    let weight = update(&c, &["--cpu-share", "1"]);
    assert!(unified() || weight.err.contains("the minimum allowed cpu-shares is 2"), "{weight:?}");
    if !unified() {
        update_by(&c, &json!({"unified": {"pids.max": "5"}})).fails_with("cannot use unified on cgroup v1");
        assert_eq!(settings(&c), before);
    }
    Ok(())
}

fn without_a_cgroup(lab: &Lab) -> Outcome {
    possible(lab)?;
    lab.not_runc("says on version 2 that it cannot open a file")?;
    let alice = User::of_few_rights(lab, ALICE);
    let id = alice.up("c", &["sleep", "100"], |_| {});
    let output = alice.call(&["update", "--pids-limit", "9", &id]);
    output.fails(
        1,
        "cannot set pids limit: container could not join or create cgroup (linux.resources.pids.limit)",
    );
    assert!(output.err.contains("\nhint: "), "{output:?}");
    alice.call(&["update", &id]).ok();
    Ok(())
}

fn schemata_need_a_processor_that_has_them(lab: &Lab) -> Outcome {
    if Path::new("/sys/fs/resctrl/info").exists() {
        return Err(Skip("this host has them".into()));
    }
    let c = with(lab, &["sleep", "100"], &json!({}));
    update(&c, &["--l3-cache-schema", "L3:0=f"]).fails(1, "Intel RDT/CAT: l3 cache schema is not enabled");
    update(&c, &["--mem-bw-schema", "MB:0=20"])
        .fails(1, "Intel RDT/MBA: memory bandwidth schema is not enabled");
    Ok(())
}

fn states(lab: &Lab) -> Outcome {
    controller("pids")?;
    lab.call(&["update", "--pids-limit", "9", "nope"]).fails(1, "container does not exist");
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    update(&c, &["--pids-limit", "9"]).ok();
    assert_eq!(c.cgroup("pids", "pids.max")?, "9", "one that waits for its start");
    c.start();
    assert_eq!(c.cgroup("pids", "pids.max")?, "9");
    if unified() || controller("freezer").is_ok() {
        c.call("pause", &[]).ok();
        update(&c, &["--pids-limit", "8"]).ok();
        assert_eq!((c.cgroup("pids", "pids.max")?.as_str(), c.status().as_str()), ("8", "paused"));
        c.call("resume", &[]).ok();
    }
    c.stop();
    update(&c, &["--pids-limit", "7"]).fails(1, "container not running");
    // systemd removes it with the last process.
    if lab.makes_groups().is_ok() {
        let freezes = unified() || controller("freezer").is_ok();
        assert_eq!(c.cgroup("pids", "pids.max")?, if freezes { "8" } else { "9" });
    }
    Ok(())
}

/// What is asked for elsewhere is not forgotten without a word.
fn flags_beside_a_file(lab: &Lab) -> Outcome {
    controller("pids")?;
    let c = with(lab, &["sleep", "100"], &json!({"pids": {"limit": 20}}));
    let file = lab.file("r.json", "{}");
    let output = update(&c, &["--resources", &file, "--pids-limit", "9"]);
    output.ok();
    assert_eq!(c.cgroup("pids", "pids.max")?, "20");
    assert!(lab.tare.name() == "runc" || output.messages("warning").len() == 1, "{output:?}");
    Ok(())
}

fn kernel_memory_is_ignored(lab: &Lab) -> Outcome {
    let c = with(lab, &["sleep", "100"], &json!({}));
    let before = settings(&c);
    let output = update(&c, &["--kernel-memory", "10M", "--kernel-memory-tcp", "10M"]);
    output.ok();
    assert!(output.messages("warning").iter().any(|w| w.starts_with("Kernel memory settings are ignored")));
    assert_eq!(settings(&c), before);
    assert!(!lab.call(&["update", "--help"]).out.contains("--kernel-memory"));
    Ok(())
}
