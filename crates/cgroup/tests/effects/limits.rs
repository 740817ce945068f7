//! Limits and device filters.
use super::*;

pub const TESTS: &[(&str, Test)] = &[
    ("limits::limits_are_set", limits_are_set),
    ("limits::limits_that_the_host_cannot_set_are_named", limits_that_the_host_cannot_set_are_named),
    ("limits::a_limit_below_the_usage_is_explained", a_limit_below_the_usage_is_explained),
    ("limits::memory_limits_can_be_raised_and_lowered", memory_limits_can_be_raised_and_lowered),
    ("limits::oom_kills_are_counted", oom_kills_are_counted),
    ("limits::devices_are_filtered", devices_are_filtered),
    ("limits::a_device_program_is_replaced", a_device_program_is_replaced),
];

fn limits_are_set(lab: &Lab) -> Outcome {
    let cgroup = lab.cgroup();
    let live = cgroup.create().unwrap();
    let v2 = lab.is_v2();
    let table = [
        ("pids", r#"{"pids":{"limit":7}}"#, ["pids.max", "7"], ["pids.max", "7"]),
        (
            "memory",
            r#"{"memory":{"limit":1048576,"reservation":524288}}"#,
            ["memory.limit_in_bytes", "1048576"],
            ["memory.max", "1048576"],
        ),
        (
            "memory",
            r#"{"memory":{"limit":1048576,"reservation":524288}}"#,
            ["memory.soft_limit_in_bytes", "524288"],
            ["memory.low", "524288"],
        ),
        (
            "memory",
            r#"{"memory":{"limit":-1}}"#,
            ["memory.soft_limit_in_bytes", "524288"],
            ["memory.max", "max"],
        ),
        ("cpu", r#"{"cpu":{"shares":512}}"#, ["cpu.shares", "512"], ["cpu.weight", "59"]),
        (
            "cpu",
            r#"{"cpu":{"quota":5000,"period":20000,"burst":1000}}"#,
            ["cpu.cfs_quota_us", "5000"],
            ["cpu.max", "5000 20000"],
        ),
        (
            "cpu",
            r#"{"cpu":{"quota":5000,"period":20000,"burst":1000}}"#,
            ["cpu.cfs_burst_us", "1000"],
            ["cpu.max.burst", "1000"],
        ),
        ("cpu", r#"{"cpu":{"idle":1}}"#, ["cpu.idle", "1"], ["cpu.idle", "1"]),
        ("cpuset", r#"{"cpu":{"cpus":"0","mems":"0"}}"#, ["cpuset.cpus", "0"], ["cpuset.cpus", "0"]),
    ];
    let mut without = Vec::new();
    for (controller, json, v1_file, v2_file) in table {
        let [file, value] = if v2 { v2_file } else { v1_file };
        if lab.has(controller) {
            live.apply(&lab.plan(json), Denied::Error).unwrap();
            assert_eq!(content(&cgroup, controller, file), value, "{json}");
        } else {
            without.push(controller);
        }
    }
    if v2 && lab.has("memory") {
        live.apply(
            &lab.plan(r#"{"unified":{"memory.high":"2097152","cgroup.max.depth":"3"}}"#),
            Denied::Error,
        )
        .unwrap();
        assert_eq!(content(&cgroup, "memory", "memory.high"), "2097152");
        assert_eq!(content(&cgroup, "", "cgroup.max.depth"), "3");
    }
    println!("not checked, as the host has no such controller: {without:?}");
    Ok(())
}

fn limits_that_the_host_cannot_set_are_named(lab: &Lab) -> Outcome {
    let live = lab.cgroup().create().unwrap();
    let table = [
        ("pids", r#"{"pids":{"limit":7}}"#, "linux.resources.pids.limit"),
        ("memory", r#"{"memory":{"limit":1048576}}"#, "linux.resources.memory.limit"),
        ("cpu", r#"{"cpu":{"shares":512}}"#, "linux.resources.cpu.shares"),
        ("hugetlb", r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#, "linux.resources.hugepageLimits"),
    ];
    for (controller, json, field) in table {
        let result = live.apply(&lab.plan(json), Denied::Error);
        if lab.has(controller) {
            result.unwrap();
            continue;
        }
        let text = result.unwrap_err().to_string();
        assert!(text.contains(controller) && text.contains("controller") && text.contains(field), "{text}");
    }
    let error =
        live.apply(&lab.plan(r#"{"cpu":{"cpus":"0-99999"}}"#), Denied::Error).unwrap_err().to_string();
    assert!(error.contains("linux.resources.cpu.cpus") && error.contains("cpuset"), "{error}");
    Ok(())
}

/// Touches some memory and keeps it.
fn hold() -> i32 {
    let memory = vec![1u8; 8 << 20];
    sleep(Duration::from_secs(100));
    i32::from(memory[4096])
}

fn a_limit_below_the_usage_is_explained(lab: &Lab) -> Outcome {
    if !lab.has("memory") {
        return Err("the host has no memory controller");
    }
    let cgroup = lab.cgroup();
    let live = cgroup.create().unwrap();
    start(&live, hold);
    let until = Instant::now() + Duration::from_secs(5);
    let file = if lab.is_v2() { "memory.current" } else { "memory.usage_in_bytes" };
    while content(&cgroup, "memory", file).parse::<u64>().unwrap() < 8 << 20 && Instant::now() < until {
        sleep(Duration::from_millis(1));
    }
    let error = live
        .apply(&lab.plan(r#"{"memory":{"limit":4096,"checkBeforeUpdate":true}}"#), Denied::Error)
        .unwrap_err();
    let text = error.to_string();
    if lab.is_v2() {
        assert!(text.starts_with("rejecting memory limit 4096 <= usage "), "{text}");
    } else {
        assert!(text.starts_with("unable to set memory limit to 4096 (current usage: "), "{text}");
    }
    assert!(text.ends_with(" (linux.resources.memory.limit)"), "{text}");
    Ok(())
}

fn memory_limits_can_be_raised_and_lowered(lab: &Lab) -> Outcome {
    if !lab.has("memory") {
        return Err("the host has no memory controller");
    }
    let cgroup = lab.cgroup();
    let live = cgroup.create().unwrap();
    let directory = cgroup.v1("memory").or_else(|| cgroup.unified()).unwrap().absolute();
    let (file, swap_file) = if lab.is_v2() {
        ("memory.max", "memory.swap.max")
    } else {
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    };
    if !Path::new(&format!("{directory}/{swap_file}")).exists() {
        return Err("the host does not account swap");
    }
    for megabytes in [8, 64, 16, 128] {
        let (limit, swap) = (megabytes << 20, megabytes << 21);
        live.apply(&lab.plan(&format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#)), Denied::Error)
            .unwrap();
        assert_eq!(content(&cgroup, "memory", file), limit.to_string());
        let swap = if lab.is_v2() { swap - limit } else { swap };
        assert_eq!(content(&cgroup, "memory", swap_file), swap.to_string());
    }
    live.apply(&lab.plan(r#"{"memory":{"limit":-1}}"#), Denied::Error).unwrap();
    live.apply(&lab.plan(r#"{"memory":{"limit":8388608,"swap":-1}}"#), Denied::Error).unwrap();
    assert_eq!(content(&cgroup, "memory", file), "8388608");
    Ok(())
}

fn oom_kills_are_counted(lab: &Lab) -> Outcome {
    if !lab.has("memory") {
        return Err("the host has no memory controller");
    }
    let cgroup = lab.cgroup();
    assert_eq!(cgroup.oom_kills(), None, "absent");
    let live = cgroup.create().unwrap();
    assert_eq!(cgroup.oom_kills(), Some(0));
    live.apply(&lab.plan(r#"{"memory":{"limit":1048576,"swap":1048576}}"#), Denied::Error).unwrap();
    let child = start(&live, hold);
    assert_eq!(ended(&child), Ended::Killed(KILL));
    assert_eq!(cgroup.oom_kills(), Some(1));
    Ok(())
}

/// Opens and makes devices; each bit says that one of them went wrong.
fn try_devices() -> i32 {
    let directory = std::env::temp_dir().join(format!("tare-test-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let make = |name: &str, kind, major, minor| {
        let path = directory.join(name);
        let made =
            rustix::fs::mknodat(CWD, &path, kind, Mode::RUSR | Mode::WUSR, rustix::fs::makedev(major, minor));
        (path, made.is_ok())
    };
    let open = |path: &Path, flags| rustix::fs::openat(CWD, path, flags, Mode::empty()).is_ok();
    let character = rustix::fs::FileType::CharacterDevice;
    let (null, null_made) = make("null", character, 1, 3);
    let (log, log_made) = make("kmsg", character, 1, 11);
    let (fuse, fuse_made) = make("fuse", character, 10, 229);
    let results = [
        null_made && log_made && fuse_made,
        open(&null, OFlags::RDWR),
        open(&log, OFlags::RDONLY),
        open(&log, OFlags::RDWR),
        open(&fuse, OFlags::RDONLY),
    ];
    fs::remove_dir_all(&directory).unwrap();
    results.iter().enumerate().map(|(bit, good)| i32::from(!good) << bit).sum()
}

fn devices_are_filtered(lab: &Lab) -> Outcome {
    if try_devices() != 0 {
        return Err("nodes in the temporary directory cannot be made and opened");
    }
    let deny = r#"{"devices":[{"allow":false,"access":"rwm"}]}"#;
    let allow = r#"{"devices":[{"allow":true,"access":"rwm"}]}"#;
    let log = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    let no_log = r#"{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":11,"access":"w"}]}"#;
    for (json, expected) in [("{}", 0b11100), (deny, 0b11100), (log, 0b11000), (allow, 0), (no_log, 0b01000)]
    {
        let cgroup = lab.cgroup();
        let live = cgroup.create().unwrap();
        live.apply(&lab.plan(json), Denied::Error).unwrap();
        assert_eq!(ended(&start(&live, try_devices)), Ended::Exited(expected), "{json}");
        cgroup.remove().unwrap();
    }
    Ok(())
}

/// How many device programs a cgroup has, over and over: the exit status is what it was other than one.
fn count_programs() -> i32 {
    let host = Host::detect().unwrap();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let live = place(&host, Some(path), "id", Denied::Error).unwrap().open().unwrap();
    for _ in 0..20_000 {
        match sys::bpf::attached_device_programs(live.into_cgroup().unwrap()).unwrap().len() {
            1 => {}
            other => return i32::try_from(other).unwrap() + 10,
        }
    }
    0
}

fn a_device_program_is_replaced(lab: &Lab) -> Outcome {
    if !lab.is_v2() {
        return Err("only version 2 has device programs");
    }
    let cgroup = lab.cgroup();
    let attached =
        |live: &Live| sys::bpf::attached_device_programs(live.into_cgroup().unwrap()).unwrap().len();
    let live = cgroup.create().unwrap();
    live.apply(&lab.plan("{}"), Denied::Error).unwrap();
    assert_eq!(attached(&live), 1);
    // Another container in the cgroup of one that was not cleaned up.
    let live = cgroup.create().unwrap();
    live.apply(&lab.plan("{}"), Denied::Error).unwrap();
    assert_eq!(attached(&live), 1);
    // Somebody else's, such as systemd's, makes way as well.
    let program = lab.plan("{}").program.unwrap();
    let other = sys::bpf::load_device_program(&program).unwrap();
    sys::bpf::attach_device_program(live.into_cgroup().unwrap(), other.as_fd()).unwrap();
    assert_eq!(attached(&live), 2);
    live.apply(&lab.plan("{}"), Denied::Error).unwrap();
    assert_eq!(attached(&live), 1);
    // A process in there sees one program and then another, but never none or both.
    let child = start(&live, count_programs);
    let rule = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    let ended = loop {
        for json in ["{}", rule] {
            live.apply(&lab.plan(json), Denied::Error).unwrap();
        }
        if let Some((_, ended)) = sys::process::reap(Some(child.pid), false).unwrap() {
            break ended;
        }
    };
    assert_eq!(ended, Ended::Exited(0));
    live.apply(&lab.plan(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#), Denied::Error).unwrap();
    assert_eq!(attached(&live), 0);
    Ok(())
}
