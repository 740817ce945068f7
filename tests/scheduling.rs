//! process.scheduler, process.ioPriority, linux.memoryPolicy and linux.personality: how the kernel runs the
//! container's process, with and without a user namespace.

use std::path::Path;
use std::process::Command;

use crate::harness::settings::{self, controller};
use crate::harness::{Lab, Outcome, Skip, Value, json, tests};
use crate::user_namespaces::mapped;

tests![
    policies_and_nice_values,
    deadlines,
    realtime_policies,
    utilization_clamps,
    io_priorities,
    memory_policies,
    personalities,
    wrong_settings_are_refused,
];

/// The output of a script in a container with a config, without a user namespace and with one.
#[track_caller]
fn twice(lab: &Lab, edit: impl Fn(&mut Value), script: &str) -> [String; 2] {
    let mut plain = lab.container(&["sh", "-c", script]);
    let mut mapped = mapped(lab, &["sh", "-c", script]);
    [&mut plain, &mut mapped].map(|c| c.edit(&edit).run(&[]).ok().trim_end().to_owned())
}

/// After the name: nice is the 17th field, the realtime priority the 38th, the policy the 39th.
const STAT: &str = "sed 's/.*) //' /proc/self/stat | cut -d' ' -f17,38,39";

fn policies_and_nice_values(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    for (value, shown) in [
        (json!({"policy": "SCHED_OTHER", "nice": 7}), "7 0 0"),
        (json!({"policy": "SCHED_BATCH", "nice": 5}), "5 0 3"),
        (json!({"policy": "SCHED_IDLE"}), "0 0 5"),
    ] {
        let edit = |v: &mut Value| v["process"]["scheduler"] = value.clone();
        assert_eq!(twice(lab, edit, STAT), [shown; 2], "{value}");
    }
    // More than others get is for the host's root to give, and it has gone into its namespace by then.
    let more = |v: &mut Value| v["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -5});
    assert_eq!(lab.inside(more, STAT), "-5 0 0");
    let mut c = mapped(lab, &["true"]);
    let run = c.edit(more).run(&[]);
    run.fails_with("error setting scheduler");
    run.fails_with("operation not permitted");
    Ok(())
}

fn deadlines(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let chrt = settings::program("chrt")?;
    let edit = |v: &mut Value| {
        v["process"]["scheduler"] = json!({
            "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 5_000_000, "period": 10_000_000,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        });
    };
    // A child has an ordinary policy by that flag; without it there could be no child.
    assert_eq!(
        lab.inside(edit, &format!("sed 's/.*) //' /proc/$$/stat | cut -d' ' -f39; {STAT}")),
        "6\n0 0 0"
    );
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(edit).up();
    let shown = Command::new(chrt).args(["-p", &c.pid().to_string()]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("SCHED_DEADLINE|SCHED_RESET_ON_FORK"), "{shown}");
    assert!(shown.contains("1000000/5000000/10000000"), "{shown}");
    let mut c = mapped(lab, &["true"]);
    c.edit(edit).run(&[]).fails_with("error setting scheduler");
    Ok(())
}

fn realtime_policies(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    // Where groups of processes have realtime of their own, a new one has none.
    let grouped = controller("cpu").is_ok_and(|dir| dir.join("cpu.rt_runtime_us").exists());
    for (policy, priority, shown) in [("SCHED_FIFO", 7, "0 7 1"), ("SCHED_RR", 99, "0 99 2")] {
        let edit = |v: &mut Value| {
            v["process"]["scheduler"] = json!({"policy": policy, "priority": priority});
            if grouped {
                v["linux"]["cgroupsPath"] = json!(format!("/{}-rt", lab.name));
                v["linux"]["resources"]["cpu"] =
                    json!({"realtimeRuntime": 1000, "realtimePeriod": 1_000_000});
            }
        };
        assert_eq!(lab.inside(edit, STAT), shown, "{policy}");
    }
    Ok(())
}

/// The specification has the flags, but no fields for the values: they are 0.
fn utilization_clamps(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let flags = ["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"];
    let edit = |v: &mut Value| {
        v["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 1, "flags": flags})
    };
    let run = lab.run(&["grep", "uclamp.m", "/proc/self/sched"], edit);
    if run.code != 0 && run.err.contains("operation not supported") {
        return Err(Skip("the kernel has no utilization clamps (CONFIG_UCLAMP_TASK)".into()));
    }
    assert!(run.ok().lines().all(|line| line.ends_with(" 0")), "{run:?}");
    Ok(())
}

fn io_priorities(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    for (class, priority, shown) in [
        ("IOPRIO_CLASS_BE", 4, "best-effort: prio 4"),
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let edit = |v: &mut Value| v["process"]["ioPriority"] = json!({"class": class, "priority": priority});
        assert_eq!(twice(lab, edit, "ionice -p $$"), [shown; 2], "{class} {priority}");
    }
    let edit =
        |v: &mut Value| v["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_RT", "priority": 3});
    assert_eq!(lab.inside(edit, "ionice -p $$"), "realtime: prio 3");
    mapped(lab, &["true"]).edit(edit).run(&[]).fails_with("failed to set io priority");
    Ok(())
}

fn memory_policies(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 4)?;
    if !Path::new("/proc/self/numa_maps").exists() {
        return Err(Skip("the kernel has no NUMA".into()));
    }
    for (mode, nodes, flags, shown) in [
        ("MPOL_DEFAULT", "", json!([]), "default"),
        ("MPOL_LOCAL", "", json!([]), "local"),
        ("MPOL_BIND", "0", json!([]), "bind:0"),
        ("MPOL_BIND", "0", json!(["MPOL_F_STATIC_NODES"]), "bind=static:0"),
        ("MPOL_PREFERRED", "0", json!([]), "prefer:0"),
        ("MPOL_INTERLEAVE", "0", json!(["MPOL_F_RELATIVE_NODES"]), "interleave=relative:0"),
    ] {
        let edit = |v: &mut Value| {
            v["linux"]["memoryPolicy"] = json!({"mode": mode, "nodes": nodes, "flags": flags})
        };
        let script = "cut -d' ' -f2 /proc/self/numa_maps | sort -u";
        assert_eq!(twice(lab, edit, script), [shown; 2], "{mode} {flags}");
    }
    Ok(())
}

fn personalities(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    for (domain, shown) in [("LINUX", "00000000"), ("LINUX32", "00000008")] {
        let edit = |v: &mut Value| v["linux"]["personality"] = json!({"domain": domain});
        // The file is for who may trace the process, which is so for all of the container's own.
        assert_eq!(twice(lab, edit, "cat /proc/self/personality"), [shown; 2], "{domain}");
    }
    let run = lab.run(&["true"], |v| v["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["X"]}));
    run.ok();
    assert!(run.messages("warning")[0].starts_with("ignoring unsupported personality flags: "), "{run:?}");
    // Which name a 32-bit machine has is the kernel's to say.
    let setarch =
        Command::new(settings::program("setarch")?).args(["linux32", "uname", "-m"]).output().unwrap();
    let name = String::from_utf8(setarch.stdout).unwrap();
    let edit = |v: &mut Value| v["linux"]["personality"] = json!({"domain": "LINUX32"});
    assert_eq!(lab.inside(edit, "uname -m"), name.trim());
    Ok(())
}

fn wrong_settings_are_refused(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 4)?;
    let deadline = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
    for (pointer, value, text) in [
        ("process/scheduler", json!({"policy": "SCHED_BOGUS"}), "invalid scheduler policy: SCHED_BOGUS"),
        ("process/scheduler", json!({"policy": "SCHED_FIFO", "deadline": 5}), deadline),
        (
            "process/scheduler",
            json!({"policy": "SCHED_OTHER", "priority": 5}),
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ),
        ("process/scheduler", json!({"policy": "SCHED_IDLE", "flags": ["X"]}), "invalid scheduler flag: X"),
        (
            "process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 9}),
            "invalid ioPriority.Priority: 9",
        ),
        ("linux/memoryPolicy", json!({"mode": "MPOL_BOGUS"}), "invalid memory policy mode \"MPOL_BOGUS\""),
        ("linux/personality", json!({"domain": "BOGUS"}), "invalid personality domain BOGUS"),
    ] {
        let (section, field) = pointer.split_once('/').unwrap();
        lab.run(&["true"], |v| v[section][field] = value).fails_with(text);
    }
    Ok(())
}
