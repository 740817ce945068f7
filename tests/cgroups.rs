//! linux.cgroupsPath and linux.resources: where the process is, and which values the kernel has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::harness::settings::{
    cgroup_paths, cgroup_roots, controller, keeps_reservations, program, unified,
};
use crate::harness::{Lab, Outcome, Skip, Value, eventually, json, tests};

tests![
    process_is_in_its_cgroup_everywhere,
    missing_path_is_named_after_the_id,
    relative_path,
    memory,
    memory_swap,
    memory_of_version_1,
    memory_in_use_is_looked_at,
    realtime_of_version_1,
    huge_pages,
    unified_files,
    cpu,
    cpuset,
    pids,
    pids_limit_holds,
    memory_limit_kills,
    too_small_a_memory_limit,
    unlimited_values,
    zero_leaves_a_limit_as_it_is,
    wrong_values_are_refused,
    an_existing_cgroup_is_taken,
    cpu_quota_holds,
    marks_on_packets,
    rdma_devices,
];

/// A container that sleeps with these resources.
fn with<'l>(lab: &'l Lab, resources: &Value) -> crate::harness::Container<'l> {
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| {
        for (key, value) in resources.as_object().unwrap() {
            v["linux"]["resources"][key] = value.clone();
        }
    });
    c.create(&[]).ok();
    c
}

/// `file` of v1 or of v2 has `value`.
#[track_caller]
fn check(c: &crate::harness::Container, of: &str, v1: (&str, &str), v2: (&str, &str)) -> Outcome {
    let (file, expected) = if unified() { v2 } else { v1 };
    let value = c.cgroup(of, file)?;
    assert_eq!(value, expected, "{file}");
    Ok(())
}

fn process_is_in_its_cgroup_everywhere(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    let paths = cgroup_paths(c.pid());
    for path in paths {
        assert_eq!(path, format!("/{}", c.place()));
    }
    assert_eq!(c.cgroups().len(), cgroup_roots().len());
    Ok(())
}

fn missing_path_is_named_after_the_id(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| drop(v["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    c.up();
    let paths = cgroup_paths(c.pid());
    let end = if lab.has_units() {
        format!("/system.slice/{}-{}.scope", lab.tare.name(), c.id)
    } else {
        format!("/{}", c.id)
    };
    assert!(!paths.is_empty() && paths.iter().all(|p| p.ends_with(&end)), "{paths:?}");
    c.delete(&["-f"]).ok();
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn relative_path(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sleep", "100"]);
    let name = format!("{}-rel", lab.name);
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(name));
    if lab.has_units() {
        // Names of units are no paths.
        c.run(&[]).fails_with("slice:prefix:name");
        return Ok(());
    }
    c.up();
    let paths = cgroup_paths(c.pid());
    assert!(paths.iter().all(|p| p.ends_with(&format!("/{name}"))), "{paths:?}");
    c.delete(&["-f"]).ok();
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn memory(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c = with(lab, &json!({"memory": {"limit": 33_554_432, "reservation": 16_777_216}}));
    check(&c, "memory", ("memory.limit_in_bytes", "33554432"), ("memory.max", "33554432"))?;
    if !keeps_reservations() {
        return Ok(());
    }
    check(&c, "memory", ("memory.soft_limit_in_bytes", "16777216"), ("memory.low", "16777216"))
}

/// `swap` of the specification is memory and swap together.
fn memory_swap(lab: &Lab) -> Outcome {
    let root = controller("memory")?;
    let file = if unified() { "tare-test-probe/memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
    if !unified() && !root.join(file).exists() {
        return Err(Skip("the kernel does not account swap".into()));
    }
    let c = with(lab, &json!({"memory": {"limit": 33_554_432, "swap": 67_108_864}}));
    check(&c, "memory", ("memory.memsw.limit_in_bytes", "67108864"), ("memory.swap.max", "33554432"))
}

fn cpu(lab: &Lab) -> Outcome {
    controller("cpu")?;
    let c = with(lab, &json!({"cpu": {"shares": 512, "quota": 40000, "period": 80000}}));
    check(&c, "cpu", ("cpu.shares", "512"), ("cpu.weight", "59"))?;
    check(&c, "cpu", ("cpu.cfs_quota_us", "40000"), ("cpu.max", "40000 80000"))?;
    check(&c, "cpu", ("cpu.cfs_period_us", "80000"), ("cpu.max", "40000 80000"))?;
    lab.newer_than_runc(1, 2)?;
    let c = with(lab, &json!({"cpu": {"quota": 40000, "period": 80000, "burst": 20000}}));
    check(&c, "cpu", ("cpu.cfs_burst_us", "20000"), ("cpu.max.burst", "20000"))?;
    let c = with(lab, &json!({"cpu": {"idle": 1}}));
    check(&c, "cpu", ("cpu.idle", "1"), ("cpu.idle", "1"))
}

fn cpuset(lab: &Lab) -> Outcome {
    controller("cpuset")?;
    let c = with(lab, &json!({"cpu": {"cpus": "0", "mems": "0"}}));
    for file in ["cpuset.cpus", "cpuset.mems"] {
        assert_eq!(c.cgroup("cpuset", file)?, "0", "{file}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    // Without a wish it is what the parent has: an empty cpuset takes no process.
    let free = with(lab, &json!({}));
    if !unified() {
        assert_eq!(
            free.cgroup("cpuset", "cpuset.cpus")?,
            fs::read_to_string("/sys/devices/system/cpu/online").unwrap().trim()
        );
    }
    Ok(())
}

/// What version 2 does not have. What limited the kernel's memory alone is taken and does nothing, as in runc.
fn memory_of_version_1(lab: &Lab) -> Outcome {
    controller("memory")?;
    if unified() {
        return Err(Skip("the host has cgroup version 2 alone".into()));
    }
    let memory = json!({"swappiness": 7, "disableOOMKiller": true, "useHierarchy": true,
        "limit": 33_554_432, "kernel": 16_777_216, "kernelTCP": 16_777_216});
    let c = with(lab, &json!({"memory": memory}));
    assert_eq!(c.cgroup("memory", "memory.swappiness")?, "7");
    assert!(c.cgroup("memory", "memory.oom_control")?.starts_with("oom_kill_disable 1"));
    assert_eq!(c.cgroup("memory", "memory.use_hierarchy")?, "1");
    assert_ne!(c.cgroup("memory", "memory.kmem.tcp.limit_in_bytes")?, "16777216");
    Ok(())
}

/// Version 1 refuses a limit below what is in use by itself, for processes that are there: here nobody is.
fn memory_in_use_is_looked_at(lab: &Lab) -> Outcome {
    controller("memory")?;
    let memory = json!({"limit": 33_554_432, "checkBeforeUpdate": true});
    let c = with(lab, &json!({"memory": memory}));
    check(&c, "memory", ("memory.limit_in_bytes", "33554432"), ("memory.max", "33554432"))
}

fn realtime_of_version_1(lab: &Lab) -> Outcome {
    let dir = controller("cpu")?;
    if !dir.join("cpu.rt_runtime_us").exists() {
        return Err(Skip(
            "the kernel has no realtime of groups (CONFIG_RT_GROUP_SCHED), or cgroup version 2".into(),
        ));
    }
    let mut c = lab.container(&["sleep", "100"]);
    // Only a group whose parent has some can have any.
    c.edit(|v| v["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 1000}));
    if lab.not_runc("says less").is_ok() {
        c.run(&[]).fails_with(
            "cpu.rt_runtime_us: invalid argument: all cgroups in its parent can have 0 together \
             (linux.resources.cpu.realtimeRuntime)",
        );
    }
    let name = format!("{}-rt", lab.name);
    c.edit(|v| {
        v["linux"]["cgroupsPath"] = json!(format!("/{name}"));
        v["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 1000, "realtimePeriod": 500_000});
    });
    c.up();
    for (file, value) in [("cpu.rt_runtime_us", "1000\n"), ("cpu.rt_period_us", "500000\n")] {
        assert_eq!(fs::read_to_string(dir.join(&name).join(file)).unwrap(), value, "{file}");
    }
    Ok(())
}

fn huge_pages(lab: &Lab) -> Outcome {
    controller("hugetlb")?;
    let c = with(lab, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}));
    check(&c, "hugetlb", ("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.max", "4194304"))?;
    check(&c, "hugetlb", ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304"))
}

/// Files of version 2 by their names.
fn unified_files(lab: &Lab) -> Outcome {
    let set = |name: &str, value: &str| {
        let mut c = lab.container(&["sleep", "100"]);
        c.edit(|v| v["linux"]["resources"]["unified"] = json!({name: value}));
        c
    };
    if !unified() {
        set("memory.high", "5").run(&[]).fails_with("cannot use unified on cgroup v1");
        return Ok(());
    }
    set("nope.max", "1")
        .run(&[])
        .fails_with("unified resource \"nope.max\" can't be set: controller \"nope\" not available");
    let mut seen = 0;
    for (of, file, value) in [
        ("hugetlb", "hugetlb.2MB.max", "2097152"),
        ("memory", "memory.high", "1048576"),
        ("pids", "pids.max", "9"),
    ] {
        if controller(of).is_ok() {
            let c = set(file, value);
            c.up();
            assert_eq!(c.cgroup(of, file)?, value);
            seen += 1;
        }
    }
    if seen == 0 { Err(Skip("none of the controllers hugetlb, memory and pids".into())) } else { Ok(()) }
}

fn pids(lab: &Lab) -> Outcome {
    controller("pids")?;
    let c = with(lab, &json!({"pids": {"limit": 12}}));
    check(&c, "pids", ("pids.max", "12"), ("pids.max", "12"))
}

fn pids_limit_holds(lab: &Lab) -> Outcome {
    controller("pids")?;
    let run = lab.run(&["sh", "-c", "sleep 1 & sleep 1 & sleep 1 & sleep 1 & echo unreached"], |v| {
        v["linux"]["resources"]["pids"] = json!({"limit": 3});
    });
    assert!(run.err.contains("fork") && !run.out.contains("unreached"), "{run:?}");
    // One process is enough for one process: the runtime itself needs none in there.
    lab.run(&["true"], |v| v["linux"]["resources"]["pids"] = json!({"limit": 1})).ok();
    Ok(())
}

fn memory_limit_kills(lab: &Lab) -> Outcome {
    controller("memory")?;
    let mut c = lab.container(&["sh", "-c", "dd if=/dev/zero of=/tmp/big bs=1M count=64"]);
    c.edit(|v| {
        crate::harness::bundle::mount(v, "/tmp", "tmpfs", "x", &[]);
        v["linux"]["resources"]["memory"] = json!({"limit": 16_777_216, "swap": 16_777_216});
    });
    let run = c.run(&[]);
    assert_eq!(run.code, 137, "{run:?}");
    Ok(())
}

/// Init can't tell itself that it was killed. systemd, where it has made the control group, removes at the same
/// moment what has counted it.
fn too_small_a_memory_limit(lab: &Lab) -> Outcome {
    controller("memory")?;
    if lab.has_units() {
        lab.not_runc("sees no more than that the control group is gone")?;
    }
    let mut c = lab.container(&["true"]);
    c.edit(|v| v["linux"]["resources"]["memory"] = json!({"limit": 1000}));
    for command in ["create", "run", "create", "run"] {
        let text = format!(
            "RT {command} failed: unable to start container process: container init was OOM-killed (memory limit too low?)"
        );
        c.with_bundle(command, &[]).fails(1, &text);
        assert_eq!(lab.leaks(), [""; 0]);
    }
    Ok(())
}

fn unlimited_values(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c =
        with(lab, &json!({"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}));
    let value = c.cgroup("memory", if unified() { "memory.max" } else { "memory.limit_in_bytes" })?;
    assert!(value == "max" || value == "9223372036854771712", "{value}");
    check(&c, "pids", ("pids.max", "max"), ("pids.max", "max"))?;
    check(&c, "cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000"))
}

/// Engines send zeros for what they do not mean.
fn zero_leaves_a_limit_as_it_is(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c = with(
        lab,
        &json!({"memory": {"limit": 0, "swap": 0, "reservation": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}}),
    );
    let value = c.cgroup("memory", if unified() { "memory.max" } else { "memory.limit_in_bytes" })?;
    assert!(value == "max" || value == "9223372036854771712", "{value}");
    check(&c, "cpu", ("cpu.shares", "1024"), ("cpu.weight", "100"))
}

fn wrong_values_are_refused(lab: &Lab) -> Outcome {
    for (of, resources) in [
        ("cpuset", json!({"cpu": {"cpus": "999"}})),
        ("cpuset", json!({"cpu": {"cpus": "bogus"}})),
        ("cpu", json!({"cpu": {"quota": 5}})),
    ] {
        controller(of)?;
        // systemd knows whole percents: there it becomes the least that there may be.
        if of == "cpu" && lab.has_units() {
            check(&with(lab, &resources), of, ("cpu.cfs_quota_us", "1000"), ("cpu.max", "1000 100000"))?;
            lab.tidy();
            continue;
        }
        let run = lab.run(&["true"], |v| v["linux"]["resources"]["cpu"] = resources["cpu"].clone());
        assert_eq!((run.code, run.errors().len()), (1, 1), "{resources}: {run:?}");
        assert_eq!(lab.leaks(), [""; 0]);
    }
    Ok(())
}

/// An engine may make the cgroup first; one with processes in it belongs to somebody else.
fn an_existing_cgroup_is_taken(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    let root = controller("pids").or_else(|_| controller("memory"))?;
    let dir = if lab.has_units() {
        c.cgroup_dir(&root)
    } else {
        let name = format!("{}-made", lab.name);
        c.edit(|v| v["linux"]["cgroupsPath"] = json!(format!("/{name}")));
        root.join(name)
    };
    fs::create_dir_all(&dir).unwrap();
    c.run(&[]).ok();
    assert!(!dir.exists(), "and it is removed with the container");
    Ok(())
}

/// A busy loop with a small part of a CPU is held back, and has not had much more than that. It is less than a busy
/// host would leave it anyway.
fn cpu_quota_holds(lab: &Lab) -> Outcome {
    controller("cpu")?;
    let mut c = lab.container(&["sh", "-c", "while :; do :; done"]);
    c.edit(|v| v["linux"]["resources"]["cpu"] = json!({"quota": 3000, "period": 100_000}));
    c.up();
    let (periods, usage) = eventually("ten periods in which it is held back", || {
        let stat = c.cgroup("cpu", "cpu.stat").ok()?;
        let number = |key: &str| {
            stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse::<u64>().ok())
        };
        number("nr_throttled").filter(|n| *n >= 10)?;
        // Version 1 counts the time in another place, in nanoseconds.
        let usage = match number("usage_usec") {
            Some(usage) => usage,
            None => c.cgroup("cpuacct", "cpuacct.usage").ok()?.parse::<u64>().ok()? / 1000,
        };
        Some((number("nr_periods")?, usage))
    });
    // The clock tick that notices makes it a little more than the quota; the first periods may be two.
    let allowed = (periods + 2) * 3000;
    assert!(usage < allowed * 2, "{usage} us in {periods} periods of 3000 us each");
    Ok(())
}

/// The controllers for them are mounted nowhere on most hosts: here they are, for this one call.
fn marks_on_packets(lab: &Lab) -> Outcome {
    let network = json!({"classID": 1_048_577, "priorities": [{"name": "lo", "priority": 6}]});
    let script = "cd /sys/fs/cgroup && cat net_cls/net_cls.classid && grep lo net_prio/net_prio.ifpriomap";
    let mut c = lab.container(&["sh", "-c", script]);
    // A parent that stays would keep the hierarchies.
    let path = format!("/{}", c.id);
    c.edit(|v| v["linux"]["resources"]["network"] = network);
    if unified() {
        lab.not_runc("ignores them on version 2")?;
        c.run(&[]).fails_with(
            "cgroup v2 has no marks on packets (linux.resources.network.classID); \
             cgroup v2 has no marks on packets (linux.resources.network.priorities)",
        );
        return Err(Skip("cgroup version 2 has none".into()));
    }
    lab.makes_groups()?;
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(path));
    program("unshare")?;
    let kernel = fs::read_to_string("/proc/cgroups").unwrap();
    if ["net_cls", "net_prio"].iter().any(|name| !kernel.lines().any(|line| line.starts_with(name))) {
        return Err(Skip("the kernel has not both net_cls and net_prio".into()));
    }
    if controller("net_cls").is_ok() && controller("net_prio").is_ok() {
        assert_eq!(c.run(&[]).ok(), "1048577\nlo 6\n");
        return Ok(());
    }
    let environment = lab.file("cgroup-env", include_str!("../bench/cgroup-env"));
    let log = lab.next_file("log");
    let runtime = lab.command(&lab.tare, &log);
    let mut command = lab.clean(Command::new("sh"));
    fs::set_permissions(&environment, fs::Permissions::from_mode(0o755)).unwrap();
    command.args([&environment, "v1-all"]).arg(runtime.get_program()).args(runtime.get_args());
    command.args(["run", "--bundle"]).arg(&c.bundle).arg(&c.id);
    let run = lab.collect(&lab.tare, command, &log);
    assert_eq!(run.ok(), "1048577\nlo 6\n");
    if controller("net_cls").is_err() {
        c.run(&[]).fails_with("net_cls");
        // The kernel ends a hierarchy some time after its last mount, unless the container's cgroups were still on
        // their way out by then.
        let is_gone = || {
            let list = fs::read_to_string("/proc/cgroups").unwrap();
            ["net_cls\t0\t", "net_prio\t0\t"].iter().all(|line| list.contains(line))
        };
        eventually("the hierarchies to be gone", || {
            lab.clean(Command::new(&environment)).args(["v1-all", "true"]).status().unwrap();
            sleep(Duration::from_millis(200));
            is_gone().then_some(())
        });
    }
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

/// No host of the suite has such a device, but the kernel can say so.
fn rdma_devices(lab: &Lab) -> Outcome {
    lab.not_runc("says less")?;
    let run = lab.run(&["true"], |v| {
        v["linux"]["resources"]["rdma"] = json!({"mlx5_9": {"hcaHandles": 3, "hcaObjects": 2000}})
    });
    assert_eq!(run.code, 1);
    match controller("rdma") {
        Ok(_) => {
            run.fails_with("write \"mlx5_9 hca_handle=3 hca_object=2000\" to ");
            run.fails_with("/rdma.max: no such device (linux.resources.rdma.mlx5_9)");
        }
        Err(_) if unified() => run.fails_with("controller \"rdma\" not available in "),
        Err(_) => run.fails_with(
            "cannot set rdma limit: container could not join or create cgroup: no hierarchy with the controller rdma is \
             mounted (linux.resources.rdma.mlx5_9)",
        ),
    }
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}
