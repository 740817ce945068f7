//! `update`: what the kernel does afterwards, and what it does when runc was called in the same way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::harness::settings::{controller, keeps_reservations, unified};
use crate::harness::{Container, Lab, Outcome, Output, Runtime, Skip, Value, eventually, json, tests};

tests![
    limits_by_flags,
    limits_from_a_file_and_from_stdin,
    what_is_not_named_stays,
    a_lower_limit_of_processes_stops_forks,
    a_lower_limit_of_memory_kills,
    a_lower_quota_throttles,
    fewer_processors,
    quota_and_period_go_together,
    memory_and_swap_go_up_and_down,
    realtime_of_version_1,
    what_runs_in_the_foreground,
    every_file_as_with_runc,
    the_weight_of_block_devices,
    many_updates,
];

/// Calls `update` with these flags.
pub fn update(c: &Container, flags: &[&str]) -> Output {
    c.lab.finish(&c.runtime, |call| {
        call.arg("update").args(flags).arg(&c.id);
    })
}

/// Calls `update` with these resources on stdin, as go-runc does.
pub fn update_by(c: &Container, resources: &Value) -> Output {
    let file = c.lab.file("resources.json", &resources.to_string());
    c.lab.finish(&c.runtime, |call| {
        call.args(["update", "--resources=-"]).arg(&c.id).stdin(fs::File::open(&file).unwrap());
    })
}

/// A running container with these resources.
pub fn with<'l>(lab: &'l Lab, args: &[&str], resources: &Value) -> Container<'l> {
    with_of(lab, &lab.tare, args, resources)
}

fn with_of<'l>(lab: &'l Lab, runtime: &Runtime, args: &[&str], resources: &Value) -> Container<'l> {
    let mut c = lab.container_of(runtime, args);
    c.edit(|v| {
        v["root"]["readonly"] = json!(false);
        for (key, value) in resources.as_object().unwrap() {
            v["linux"]["resources"][key] = value.clone();
        }
    });
    c.up();
    c
}

/// The name of a setting on this host.
pub fn named<'n>(v1: &'n str, v2: &'n str) -> &'n str {
    if unified() { v2 } else { v1 }
}

#[track_caller]
fn check(c: &Container, of: &str, v1: (&str, &str), v2: (&str, &str)) -> Outcome {
    let (file, expected) = if unified() { v2 } else { v1 };
    assert_eq!(c.cgroup(of, file)?, expected, "{file}");
    Ok(())
}

/// Ignores the test when one of these controllers is missing.
pub fn controllers(names: &[&str]) -> Outcome {
    names.iter().try_for_each(|name| controller(name).map(drop))
}

/// All that can be read in the cgroup of a container and is set, not counted.
pub fn settings(c: &Container) -> BTreeMap<String, String> {
    let counted = [
        "usage",
        "stat",
        "events",
        "current",
        "peak",
        "procs",
        "tasks",
        "threads",
        "pressure",
        "failcnt",
        "io_service",
        "io_serviced",
        "slabinfo",
        "cgroup.",
        "freezer",
        "cpuacct",
        "effective",
        "notify",
        "numa",
        "prioidx",
    ];
    let mut all = BTreeMap::new();
    for dir in c.cgroups() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if counted.iter().any(|part| name.contains(part)) {
                continue;
            }
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            // The rules for devices may be in any order.
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            all.insert(name, lines.join("\n"));
        }
    }
    all
}

fn limits_by_flags(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let c = with(lab, &["sleep", "100"], &json!({}));
    let mut seen = 0;
    for (of, flags, v1, v2) in [
        ("pids", &["--pids-limit", "17"][..], ("pids.max", "17"), ("pids.max", "17")),
        ("pids", &["--pids-limit=-1"], ("pids.max", "max"), ("pids.max", "max")),
        ("cpu", &["--cpu-share", "512"], ("cpu.shares", "512"), ("cpu.weight", "59")),
        (
            "cpu",
            &["--cpu-quota", "5000", "--cpu-period", "20000"],
            ("cpu.cfs_quota_us", "5000"),
            ("cpu.max", "5000 20000"),
        ),
        ("cpu", &["--cpu-period=50000"], ("cpu.cfs_period_us", "50000"), ("cpu.max", "5000 50000")),
        ("cpu", &["--cpu-burst", "1000"], ("cpu.cfs_burst_us", "1000"), ("cpu.max.burst", "1000")),
        (
            "cpu",
            &["--cpu-burst", "0", "--cpu-quota", "-1"],
            ("cpu.cfs_quota_us", "-1"),
            ("cpu.max", "max 50000"),
        ),
        ("cpu", &["--cpu-idle", "1"], ("cpu.idle", "1"), ("cpu.idle", "1")),
        ("cpu", &["--cpu-idle", "0"], ("cpu.idle", "0"), ("cpu.idle", "0")),
        ("cpuset", &["--cpuset-cpus", "0", "--cpuset-mems", "0"], ("cpuset.cpus", "0"), ("cpuset.mems", "0")),
        ("memory", &["--memory", "64M"], ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")),
        (
            "memory",
            &["--memory-reservation", "1.5m"],
            ("memory.soft_limit_in_bytes", "1572864"),
            ("memory.low", "1572864"),
        ),
        (
            "memory",
            &["--memory", "-1"],
            ("memory.limit_in_bytes", "9223372036854771712"),
            ("memory.max", "max"),
        ),
    ] {
        if controller(of).is_ok() {
            let output = update(&c, flags);
            assert_eq!((output.ok(), output.err.as_str(), output.log.len()), ("", "", 0), "{flags:?}");
            if flags[0] != "--memory-reservation" || keeps_reservations() {
                check(&c, of, v1, v2)?;
            }
            seen += 1;
        }
    }
    // Flags may follow the id, as runc's own tests have them.
    if controller("pids").is_ok() {
        c.call("update", &["--pids-limit", "30"]).ok();
        assert_eq!(c.cgroup("pids", "pids.max")?, "30");
    }
    // Nothing is fine as well.
    update(&c, &[]).ok();
    if seen == 0 { Err(Skip("none of the controllers".into())) } else { Ok(()) }
}

fn limits_from_a_file_and_from_stdin(lab: &Lab) -> Outcome {
    controller("pids")?;
    let c = with(lab, &["sleep", "100"], &json!({}));
    update_by(&c, &json!({"pids": {"limit": 12}})).ok();
    assert_eq!(c.cgroup("pids", "pids.max")?, "12");
    let file = lab.file("r.json", "{\"pids\": {\"limit\": 13}, \"unknown\": 1} and more");
    update(&c, &["-r", &file]).ok();
    assert_eq!(c.cgroup("pids", "pids.max")?, "13");
    for nothing in ["{}", "null", "{\"pids\": {}, \"cpu\": {\"shares\": 0}}"] {
        update(&c, &["--resources", &lab.file("r.json", nothing)]).ok();
    }
    lab.not_runc("does not say which field, and panics at null")?;
    update_by(&c, &json!({"memory": null, "cpu": null, "pids": null, "blockIO": null})).ok();
    for (content, text) in [
        ("", "unexpected EOF"),
        ("{\"memory\":", "unexpected EOF"),
        (
            "{\"memory\":\n{\"limit\": \"big\"}}",
            "memory.limit: invalid type: string \"big\", expected i64 (line 2",
        ),
    ] {
        let path = lab.file("r.json", content);
        let output = update(&c, &["--resources", &path]);
        output.fails_with(&format!("--resources {path}: "));
        output.fails_with(text);
    }
    update(&c, &["--resources", "/nope"]).fails(1, "open /nope: no such file or directory");
    Ok(())
}

/// Also what somebody else has changed meanwhile: runc puts back all that it has written itself.
fn what_is_not_named_stays(lab: &Lab) -> Outcome {
    lab.not_runc("writes all limits again")?;
    // And so does systemd.
    lab.makes_groups()?;
    // systemd may write all that it knows whenever it is told of one.
    lab.makes_groups()?;
    controllers(&["pids", "memory"])?;
    let c = with(lab, &["sleep", "100"], &json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 10}}));
    let file = c.cgroup_dir(&controller("memory")?);
    let file = file.join(named("memory.limit_in_bytes", "memory.max"));
    fs::write(&file, "33554432").unwrap();
    update(&c, &["--pids-limit", "11"]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), "33554432\n");
    Ok(())
}

fn a_lower_limit_of_processes_stops_forks(lab: &Lab) -> Outcome {
    controller("pids")?;
    let c = with(lab, &["sleep", "100"], &json!({"pids": {"limit": 50}}));
    let fork = ["exec", &c.id, "sh", "-c", "sleep 3 & sleep 3 & sleep 3 & sleep 3 & echo all"];
    assert_eq!(lab.call(&fork).ok(), "all\n");
    update(&c, &["--pids-limit", "6"]).ok();
    let output = lab.call(&fork);
    assert!(output.err.contains("fork") && output.out.is_empty(), "{output:?}");
    Ok(())
}

fn a_lower_limit_of_memory_kills(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c = with(lab, &["sleep", "100"], &json!({}));
    let grow = ["exec", &c.id, "sh", "-c", "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ${#x}"];
    assert_eq!(lab.call(&grow).ok(), "40000000\n");
    update(&c, &["--memory", "16M", "--memory-swap", "16M"]).ok();
    let output = lab.call(&grow);
    assert_ne!(output.out, "40000000\n", "{output:?}");
    let (file, field) =
        if unified() { ("memory.events", "oom_kill ") } else { ("memory.oom_control", "oom_kill ") };
    let kills = c.cgroup("memory", file)?;
    assert!(kills.lines().any(|l| l.strip_prefix(field).is_some_and(|n| n != "0")), "{kills}");
    Ok(())
}

fn a_lower_quota_throttles(lab: &Lab) -> Outcome {
    controller("cpu")?;
    let c = with(lab, &["sh", "-c", "while :; do :; done"], &json!({}));
    let throttled = || {
        let stat = c.cgroup("cpu", "cpu.stat").unwrap_or_default();
        let line = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).map(str::to_owned);
        line.expect("cpu.stat counts").parse::<u64>().unwrap()
    };
    assert_eq!(throttled(), 0);
    update(&c, &["--cpu-quota", "2000", "--cpu-period", "20000"]).ok();
    eventually("the loop to be throttled", || (throttled() > 2).then_some(()));
    update(&c, &["--cpu-quota", "-1"]).ok();
    let before = throttled();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(throttled() <= before + 1, "it is free again");
    Ok(())
}

fn fewer_processors(lab: &Lab) -> Outcome {
    controller("cpuset")?;
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return Err(Skip("the host has one processor".into()));
    }
    let c = with(lab, &["sleep", "100"], &json!({}));
    for cpus in ["1", "0", "0-1"] {
        update(&c, &["--cpuset-cpus", cpus]).ok();
        let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
        assert!(status.contains(&format!("Cpus_allowed_list:\t{cpus}\n")), "{status}");
    }
    Ok(())
}

/// Pairs of which one value alone would be refused, on the way up and on the way down.
fn quota_and_period_go_together(lab: &Lab) -> Outcome {
    controller("cpu")?;
    let c = with(lab, &["sleep", "100"], &json!({"cpu": {"quota": 50_000, "period": 100_000}}));
    let burst = !lab.tare.is_runc_before(1, 2);
    for (quota, period, burst_us) in [
        ("500000", "1000000", "400000"),
        ("2000", "5000", "0"),
        ("900000", "1000000", "900000"),
        ("1000", "1000", "1000"),
    ] {
        let mut flags = vec!["--cpu-quota", quota, "--cpu-period", period];
        if burst {
            flags.extend(["--cpu-burst", burst_us]);
        }
        update(&c, &flags).ok();
        check(&c, "cpu", ("cpu.cfs_quota_us", quota), ("cpu.max", &format!("{quota} {period}")))?;
        check(&c, "cpu", ("cpu.cfs_period_us", period), ("cpu.max", &format!("{quota} {period}")))?;
        if burst {
            check(&c, "cpu", ("cpu.cfs_burst_us", burst_us), ("cpu.max.burst", burst_us))?;
        }
    }
    // One of them alone goes with the other, also after an update that was about neither.
    update(&c, &["--cpu-quota", "70000", "--cpu-period", "100000"]).ok();
    update(&c, &["--cpu-share", "300"]).ok();
    update(&c, &["--cpu-period", "200000"]).ok();
    if lab.tare.name() == "tare" {
        check(&c, "cpu", ("cpu.cfs_quota_us", "70000"), ("cpu.max", "70000 200000"))?;
    }
    Ok(())
}

fn memory_and_swap_go_up_and_down(lab: &Lab) -> Outcome {
    let root = controller("memory")?;
    if !unified() && !root.join("memory.memsw.limit_in_bytes").exists() {
        return Err(Skip("the kernel does not account swap".into()));
    }
    let c = with(lab, &["sleep", "100"], &json!({"memory": {"limit": 64 << 20, "swap": 96 << 20}}));
    let swap = |c: &Container| c.cgroup("memory", named("memory.memsw.limit_in_bytes", "memory.swap.max"));
    if swap(&c).is_err() {
        return Err(Skip("the kernel does not account swap".into()));
    }
    for (memory, with_swap) in [(30u64, 50u64), (60, 80), (100, 200), (20, 20), (40, 90)] {
        update(&c, &["--memory", &format!("{memory}M"), "--memory-swap", &format!("{with_swap}M")]).ok();
        let limit = (memory << 20).to_string();
        check(&c, "memory", ("memory.limit_in_bytes", &limit), ("memory.max", &limit))?;
        let expected = if unified() { with_swap - memory } else { with_swap } << 20;
        assert_eq!(swap(&c)?, expected.to_string());
    }
    // One of them alone: the specification's swap is the sum of both.
    update(&c, &["--memory", "50M"]).ok();
    assert_eq!(swap(&c)?, (if unified() { 40u64 << 20 } else { 90 << 20 }).to_string());
    update(&c, &["--memory-swap", "70M"]).ok();
    assert_eq!(swap(&c)?, (if unified() { 20u64 << 20 } else { 70 << 20 }).to_string());
    let before = settings(&c);
    assert_eq!(update(&c, &["--memory", "80M"]).code, 1, "more than both together");
    assert_eq!(settings(&c), before);
    update(&c, &["--memory-swap", "-1"]).ok();
    assert!(["max", "9223372036854771712"].contains(&swap(&c)?.as_str()));
    Ok(())
}

fn realtime_of_version_1(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let root = controller("cpu")?;
    if !root.join("cpu.rt_runtime_us").exists() {
        return Err(Skip(
            "the kernel has no realtime of groups (CONFIG_RT_GROUP_SCHED), or cgroup version 2".into(),
        ));
    }
    let mut c = lab.container(&["sleep", "100"]);
    // Only a group whose parent has some can have any.
    let name = format!("{}-rt", lab.name);
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(format!("/{name}")));
    c.up();
    let value = |file: &str| fs::read_to_string(root.join(&name).join(file)).unwrap().trim().to_owned();
    // Of the latter two the period alone would be too short for the time, and then too long for its share.
    for (period, runtime) in [("500000", "5000"), ("1000", "500"), ("1000000", "20000")] {
        update(&c, &["--cpu-rt-period", period, "--cpu-rt-runtime", runtime]).ok();
        assert_eq!(
            (value("cpu.rt_period_us").as_str(), value("cpu.rt_runtime_us").as_str()),
            (period, runtime)
        );
    }
    let wrong = update(&c, &["--cpu-rt-period", "900000", "--cpu-rt-runtime", "950000"]);
    assert_eq!((wrong.code, value("cpu.rt_runtime_us").as_str()), (1, "20000"), "{wrong:?}");
    assert!(lab.tare.name() == "runc" || value("cpu.rt_period_us") == "1000000", "taken back");
    Ok(())
}

/// Its runtime is alive, and must not be in the way.
fn what_runs_in_the_foreground(lab: &Lab) -> Outcome {
    controller("pids")?;
    let c = lab.container(&["sleep", "100"]);
    let mut call = lab.command(&c.runtime, &lab.next_file("log"));
    call.args(["run", "--bundle"]).arg(&c.bundle).arg(&c.id);
    let run = call.spawn().unwrap();
    eventually("it to run", || lab.call(&["state", &c.id]).out.contains("\"running\"").then_some(()));
    update(&c, &["--pids-limit", "33"]).ok();
    let limit = c.cgroup("pids", "pids.max");
    if unified() || controller("freezer").is_ok() {
        c.call("pause", &[]).ok();
        c.call("resume", &[]).ok();
    }
    c.kill("KILL").ok();
    assert_eq!(crate::harness::runtime::wait(run), 137);
    assert_eq!(limit?, "33");
    Ok(())
}

/// The same calls to both, and then every file of the cgroups.
fn every_file_as_with_runc(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    lab.not_runc("would be compared with itself")?;
    let made_with =
        available(&json!({"pids": {"limit": 20}, "memory": {"limit": 64 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000}}))
        .ok_or_else(|| Skip("none of the controllers pids, memory and cpu".into()))?;
    let ours = with(lab, &["sleep", "100"], &made_with);
    let theirs = with_of(lab, &runc, &["sleep", "100"], &made_with);
    let mut seen = 0;
    for change in [
        json!({"memory": {"limit": 100 << 20}}),
        json!({"memory": {"limit": 100 << 20, "swap": 150 << 20}}),
        json!({"memory": {"limit": 40 << 20, "swap": 60 << 20}}),
        json!({"memory": {"limit": 50 << 20}}),
        json!({"memory": {"limit": 55 << 20}}),
        json!({"memory": {"swap": 90 << 20}}),
        json!({"memory": {"swap": -1}}),
        json!({"memory": {"reservation": 16 << 20}}),
        json!({"memory": {"limit": -1}}),
        json!({"memory": {"limit": 64 << 20}}),
        json!({"pids": {"limit": 30}}),
        json!({"pids": {"limit": -1}}),
        json!({"cpu": {"shares": 2000}}),
        json!({"cpu": {"quota": 60_000, "period": 100_000}}),
        json!({"cpu": {"quota": 70_000}}),
        json!({"cpu": {"period": 200_000}}),
        json!({"cpu": {"quota": -1}}),
        json!({"cpu": {"quota": 10_000, "period": 20_000, "shares": 100}}),
        json!({"cpu": {"cpus": "0"}}),
        json!({"cpu": {"cpus": "0-1", "mems": "0"}}),
    ] {
        if available(&change).as_ref() != Some(&change) {
            continue;
        }
        seen += 1;
        update_by(&theirs, &change).ok();
        update_by(&ours, &change).ok();
        let (a, b) = (settings(&ours), settings(&theirs));
        // Old ones make nothing in the hierarchy of `misc`.
        let known = |name: &str| !name.starts_with("misc.") || !runc.is_runc_before(1, 2);
        let a: BTreeMap<_, _> = a.into_iter().filter(|(name, _)| known(name)).collect();
        let differ: Vec<_> = a.iter().filter(|(name, value)| b.get(*name) != Some(value)).collect();
        assert!(differ.is_empty() && a.len() == b.len(), "after {change}: {differ:?}");
    }
    assert!(seen > 0);
    // What both refuse; runc does not put everything back, so this comes last.
    for change in [
        json!({"cpu": {"shares": 1}}),
        json!({"cpu": {"period": 5}}),
        json!({"cpu": {"cpus": "999"}}),
        json!({"memory": {"limit": 64 << 20, "swap": 32 << 20}}),
    ] {
        // A weight of version 2 stands for several numbers of shares.
        let is_weight = unified() && change["cpu"]["shares"].is_number();
        if available(&change).as_ref() == Some(&change) && !is_weight {
            let before = settings(&ours);
            assert_eq!(
                (update_by(&ours, &change).code, update_by(&theirs, &change).code),
                (1, 1),
                "{change}"
            );
            assert_eq!(settings(&ours), before);
        }
    }
    Ok(())
}

/// What of these resources this host has controllers for.
fn available(resources: &Value) -> Option<Value> {
    let of = |section: &str, field: &str| match (section, field) {
        ("cpu", "cpus" | "mems") => "cpuset",
        ("memory", _) => "memory",
        ("cpu", _) => "cpu",
        _ => "pids",
    };
    let swap = |field: &str| {
        let root = if unified() {
            "/sys/fs/cgroup/init.scope/memory.swap.max"
        } else {
            "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
        };
        field != "swap" || Path::new(root).exists()
    };
    let mut found = serde_json::Map::new();
    for (section, fields) in resources.as_object().unwrap() {
        let mut fields = fields.as_object().unwrap().clone();
        fields.retain(|field, _| controller(of(section, field)).is_ok() && swap(field));
        if !fields.is_empty() {
            found.insert(section.clone(), Value::Object(fields));
        }
    }
    Some(Value::Object(found)).filter(|found| !found.as_object().unwrap().is_empty())
}

fn the_weight_of_block_devices(lab: &Lab) -> Outcome {
    let root = controller(if unified() { "io" } else { "blkio" })?;
    let c = with(lab, &["sleep", "100"], &json!({}));
    let dir = c.cgroup_dir(&root);
    // Which there are depends on the kernel's schedulers.
    let names = if unified() { ["io.bfq.weight", "io.weight"] } else { ["blkio.weight", "blkio.bfq.weight"] };
    let Some(file) = names.iter().map(|name| dir.join(name)).find(|path| path.exists()) else {
        update(&c, &["--blkio-weight", "200"]).fails_with("weight");
        return Ok(());
    };
    let value = || fs::read_to_string(&file).unwrap().trim().trim_start_matches("default ").to_owned();
    let before = value();
    update(&c, &["--blkio-weight", "200"]).ok();
    assert_ne!(value(), before);
    update(&c, &["--blkio-weight", "0"]).ok();
    assert_ne!(value(), before, "0 leaves it");
    if lab.tare.name() == "tare" {
        let set = value();
        let weight =
            json!({"weight": 500, "weightDevice": [{"major": 259, "minor": 1_048_575, "weight": 500}]});
        update_by(&c, &json!({"blockIO": weight}))
            .fails_with("(linux.resources.blockIO.weightDevice[0].weight)");
        assert_eq!(value(), set, "there is no such device");
        update(&c, &["--blkio-weight", "5"]).fails_with("(linux.resources.blockIO.weight)");
    }
    Ok(())
}

/// At the same time: one waits for the other.
fn many_updates(lab: &Lab) -> Outcome {
    lab.not_runc("does not wait")?;
    controller("pids")?;
    let c = with(lab, &["sleep", "100"], &json!({}));
    let limits: Vec<String> = (20..40).map(|n| n.to_string()).collect();
    let calls: Vec<_> = limits
        .iter()
        .map(|limit| {
            let mut call = lab.command(&c.runtime, &lab.next_file("log"));
            call.args(["update", "--cpu-share", limit, "--pids-limit", limit, &c.id]);
            call.spawn().unwrap()
        })
        .collect();
    for call in calls {
        assert_eq!(crate::harness::runtime::wait(call), 0);
    }
    // Whoever came last: both of its values are there, as they take turns.
    let limit = c.cgroup("pids", "pids.max")?;
    assert!(limits.contains(&limit));
    if !unified() {
        controller("cpu")?;
        assert_eq!(c.cgroup("cpu", "cpu.shares")?, limit);
    }
    Ok(())
}
