//! `--systemd-cgroup` on a host that systemd has booted: what systemd knows of a container, what the kernel does, and
//! what is left when something goes wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::settings::unified;
use crate::harness::{Container, Lab, Outcome, Output, Skip, eventually, json, tests};

tests![
    a_scope_from_create_to_delete,
    limits_are_properties_and_in_the_files,
    a_reload_takes_nothing_away,
    an_update_changes_the_unit_too,
    the_unit_is_the_one_of_runc,
    names_of_units,
    annotations_are_properties,
    failures_leave_no_unit,
    the_unit_of_somebody_else,
    a_unit_that_has_failed_makes_room,
    a_runtime_that_is_killed,
    two_hundred_at_once,
];

/// Ignores the test where there is no systemd.
pub fn booted() -> Outcome {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Skip("systemd does not run here".into()));
    }
    if !unified() {
        return Err(Skip("systemd has cgroups of version 1 here".into()));
    }
    Ok(())
}

/// A container in a slice of the tests, with a name of its own there.
pub fn scope<'l>(lab: &'l Lab, args: &[&str]) -> Container<'l> {
    let mut c = lab.container(args);
    name(&mut c);
    c
}

/// The name of the scope begins with that of the test, so that what is left is noticed.
fn name(c: &mut Container) {
    let (prefix, name) = c.id.rsplit_once('-').unwrap();
    let path = format!("tare-test.slice:{prefix}:{name}");
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(path));
}

fn unit(c: &Container) -> String {
    format!("{}.scope", c.id)
}

pub fn dir(c: &Container) -> PathBuf {
    Path::new("/sys/fs/cgroup/tare.slice/tare-test.slice").join(unit(c))
}

/// `create` or `run` by systemd.
pub fn make(c: &Container, command: &str, flags: &[&str]) -> Output {
    c.lab.finish(&c.runtime, |call| {
        call.arg("--systemd-cgroup").arg(command).arg("--bundle").arg(&c.bundle).args(flags).arg(&c.id);
    })
}

fn systemctl(args: &[&str]) -> String {
    let out = Command::new("systemctl").args(args).output().expect("systemctl");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Properties of a unit, each as `Name=value`, sorted.
fn show(unit: &str, names: &[&str]) -> Vec<String> {
    let shown = systemctl(&["show", unit, "-p", &names.join(",")]);
    let mut lines: Vec<String> = shown.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The units of a test that systemd has, whatever their state.
pub fn units(lab: &Lab) -> String {
    systemctl(&["list-units", "--all", "--plain", "--no-legend", &format!("{}*", lab.name)])
}

fn files(c: &Container, names: &[&str]) -> Vec<String> {
    let read = |name: &&str| fs::read_to_string(dir(c).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    names.iter().map(|name| format!("{name}={}", read(name).trim())).collect()
}

fn a_scope_from_create_to_delete(lab: &Lab) -> Outcome {
    booted()?;
    let c = scope(lab, &["sleep", "100"]);
    make(&c, "create", &[]).ok();
    let pid = c.pid().to_string();
    assert_eq!(fs::read_to_string(dir(&c).join("cgroup.procs")).unwrap().trim(), pid);
    assert_eq!(
        show(&unit(&c), &["ActiveState", "Slice", "Delegate", "Transient"]),
        ["ActiveState=active", "Delegate=yes", "Slice=tare-test.slice", "Transient=yes"]
    );
    c.start();
    assert_eq!(c.call("exec", &["cat", "/proc/self/cgroup"]).ok().trim(), cgroup_seen(&c));
    let ps = c.lab.finish(&c.runtime, |call| {
        call.args(["ps", "-f", "json", &c.id]);
    });
    assert_eq!(ps.ok().trim(), format!("[{pid}]"));
    c.stop();
    c.delete(&[]).ok();
    assert_eq!(units(lab), "");
    assert!(!dir(&c).exists());

    // A cgroup namespace begins at the scope.
    let mut c = scope(lab, &["sh", "-c", "cat /proc/self/cgroup; cat /sys/fs/cgroup/pids.max"]);
    c.edit(|v| {
        crate::harness::bundle::set_namespace(v, "cgroup", None);
        v["linux"]["resources"]["pids"] = json!({"limit": 30});
    });
    assert_eq!(make(&c, "run", &[]).ok(), "0::/\n30\n");
    assert_eq!(units(lab), "");
    Ok(())
}

/// What a process without a cgroup namespace of its own reads.
fn cgroup_seen(c: &Container) -> String {
    format!("0::/tare.slice/tare-test.slice/{}", unit(c))
}

const PROPERTIES: [&str; 13] = [
    "MemoryMax",
    "MemoryLow",
    "MemorySwapMax",
    "MemoryHigh",
    "CPUWeight",
    "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodUSec",
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "TasksMax",
    "IOWeight",
    "DevicePolicy",
    "OOMPolicy",
];

const FILES: [&str; 8] = [
    "memory.max",
    "memory.low",
    "memory.swap.max",
    "memory.high",
    "cpu.weight",
    "cpu.max",
    "pids.max",
    "memory.oom.group",
];

/// Gives a container a limit of everything.
fn limit(c: &mut Container) {
    c.edit(|v| {
        v["linux"]["resources"] = json!({
            "memory": {"limit": 33_554_432, "reservation": 16_777_216, "swap": 50_331_648},
            "cpu": {"shares": 512, "quota": 33_333, "period": 100_000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 50},
            "blockIO": {"weight": 200},
            "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}],
            "unified": {"memory.high": "31457280", "memory.oom.group": "1"},
        });
    });
}

/// Ignores the test where systemd has not all controllers that it is about.
fn controllers() -> Outcome {
    for name in ["memory", "cpu", "cpuset", "pids", "io"] {
        crate::harness::settings::controller(name)?;
    }
    Ok(())
}

fn limits_are_properties_and_in_the_files(lab: &Lab) -> Outcome {
    booted()?;
    controllers()?;
    let mut c = scope(lab, &["sleep", "100"]);
    limit(&mut c);
    make(&c, "run", &["--detach"]).ok();
    let properties = show(&unit(&c), &PROPERTIES);
    for want in [
        "MemoryMax=33554432",
        "MemoryLow=16777216",
        "MemorySwapMax=16777216",
        "MemoryHigh=31457280",
        "CPUWeight=59",
        // systemd knows whole percents.
        "CPUQuotaPerSecUSec=340ms",
        "CPUQuotaPeriodUSec=100ms",
        "AllowedCPUs=0",
        "AllowedMemoryNodes=0",
        "TasksMax=50",
        "DevicePolicy=strict",
        "OOMPolicy=kill",
    ] {
        assert!(properties.iter().any(|have| have == want), "{want}: {properties:?}");
    }
    let devices = show(&unit(&c), &["DeviceAllow"]);
    for want in ["/dev/char/1:11 r", "/dev/char/1:3 rwm", "char-136 rwm", "char-* m"] {
        assert!(devices.contains(&format!("DeviceAllow={want}")), "{want}: {devices:?}");
    }
    assert_eq!(
        files(&c, &FILES),
        [
            "memory.max=33554432",
            "memory.low=16777216",
            "memory.swap.max=16777216",
            "memory.high=31457280",
            "cpu.weight=59",
            "cpu.max=34000 100000",
            "pids.max=50",
            "memory.oom.group=1",
        ]
    );
    assert_eq!(files(&c, &["cpuset.cpus", "cpuset.mems"]), ["cpuset.cpus=0", "cpuset.mems=0"]);
    Ok(())
}

/// Limits and rules for devices hold after systemd has read everything again, which it says by writing files.
fn a_reload_takes_nothing_away(lab: &Lab) -> Outcome {
    booted()?;
    controllers()?;
    let look = "for d in allowed denied null; do (: </dev/$d) 2>/dev/null && echo $d; done; true";
    let mut c = scope(lab, &["sleep", "100"]);
    limit(&mut c);
    c.edit(|v| {
        let device = |path: &str, minor: u32| json!({"path": path, "type": "c", "major": 1, "minor": minor});
        // kmsg, and what nobody has allowed.
        v["linux"]["devices"] = json!([device("/dev/allowed", 11), device("/dev/denied", 1)]);
        let caps = json!(["CAP_SYSLOG", "CAP_SYS_RAWIO"]);
        for set in ["bounding", "effective", "permitted"] {
            v["process"]["capabilities"][set] = caps.clone();
        }
    });
    make(&c, "run", &["--detach"]).ok();
    let state = || (files(&c, &FILES), c.call("exec", &["sh", "-c", look]).ok().to_owned());
    let before = state();
    assert_eq!(before.1, "allowed\nnull\n");
    systemctl(&["daemon-reload"]);
    assert_eq!(state(), before);
    // Another unit in the slice makes systemd go over the whole slice once more.
    let other = scope(lab, &["true"]);
    make(&other, "run", &[]).ok();
    assert_eq!(state(), before);
    Ok(())
}

/// `update` changes files and properties together, or nothing of both.
fn an_update_changes_the_unit_too(lab: &Lab) -> Outcome {
    booted()?;
    controllers()?;
    let mut c = scope(lab, &["sleep", "100"]);
    limit(&mut c);
    make(&c, "run", &["--detach"]).ok();
    let state = || (files(&c, &FILES), show(&unit(&c), &PROPERTIES));
    let before = state();
    c.call(
        "update",
        &["--memory", "64M", "--memory-swap", "96M", "--pids-limit", "20", "--cpu-quota", "12345"],
    )
    .ok();
    let after = state();
    for want in ["memory.max=67108864", "memory.swap.max=33554432", "cpu.max=13000 100000", "pids.max=20"] {
        assert!(after.0.iter().any(|have| have == want), "{want}: {after:?}");
    }
    for want in ["MemoryMax=67108864", "MemorySwapMax=33554432", "CPUQuotaPerSecUSec=130ms", "TasksMax=20"] {
        assert!(after.1.iter().any(|have| have == want), "{want}: {after:?}");
    }
    // What was not asked for is as it was.
    let changed = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).count();
    assert_eq!((changed(&after.0, &before.0), changed(&after.1, &before.1)), (4, 4), "{before:?} {after:?}");
    systemctl(&["daemon-reload"]);
    assert_eq!(state(), after);

    // What the kernel refuses has changed nothing.
    lab.not_runc("has systemd changed before the kernel refuses")?;
    assert_ne!(c.call("update", &["--pids-limit", "10", "--cpuset-cpus", "4000"]).code, 0);
    assert_eq!(state(), after);
    Ok(())
}

/// The same config with runc: the same properties, and the same in every file of the cgroup.
fn the_unit_is_the_one_of_runc(lab: &Lab) -> Outcome {
    booted()?;
    let runc = lab.runc()?;
    let look = |runtime| {
        let mut c = lab.container_of(runtime, &["sleep", "100"]);
        name(&mut c);
        limit(&mut c);
        // Without one, runc takes options of the host's mount away.
        c.edit(|v| crate::harness::bundle::set_namespace(v, "cgroup", None));
        make(&c, "run", &["--detach"]).ok();
        let own = |line: &&str| {
            let varies = ["Timestamp", "NSec", "IORead", "IOWrite", "Memory", "InvocationID", "Tasks"];
            let (key, value) = line.split_once('=').unwrap_or_default();
            let counted = value.parse::<u64>().is_ok() && !key.ends_with("Max") && !key.ends_with("Low");
            // runc gives weights of block devices to the file alone, and has OOMPolicy since its version 1.5.
            let differs =
                ["Description", "DropInPaths", "ControlGroupId", "IOWeight", "OOMPolicy"].contains(&key);
            let varies = counted && varies.iter().any(|part| key.contains(part));
            !(differs || varies || key.contains("Timestamp") || key == "InvocationID")
        };
        let shown = systemctl(&["show", &unit(&c)]).replace(&c.id, "ID");
        // A scope has these in no order.
        let mut properties: Vec<String> = shown.lines().filter(own).map(str::to_owned).collect();
        properties.sort();
        let mut limits = Vec::new();
        for entry in fs::read_dir(dir(&c)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            // What counts, and what systemd writes besides for a weight that it is told of.
            let differs = ["current", "peak", "events", "stat", "procs", "threads", "pressure", "io.weight"];
            if !differs.iter().any(|part| name.contains(part)) {
                limits.push(format!("{name}={}", fs::read_to_string(entry.path()).unwrap_or_default()));
            }
        }
        limits.sort();
        c.delete(&["--force"]).ok();
        (properties, limits)
    };
    let (ours, theirs) = (look(&lab.tare), look(&runc));
    let only = |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>();
    assert_eq!((only(&ours.0, &theirs.0), only(&theirs.0, &ours.0)), (vec![], vec![]), "properties");
    assert_eq!((only(&ours.1, &theirs.1), only(&theirs.1, &ours.1)), (vec![], vec![]), "files");
    Ok(())
}

/// Where a config's `cgroupsPath` leads to.
fn names_of_units(lab: &Lab) -> Outcome {
    booted()?;
    let n = &lab.name;
    let default = format!("/system.slice/{}-{n}-0.scope", lab.tare.name());
    for (path, want) in [
        ("", &*default),
        (&format!(":{n}:a"), &format!("/system.slice/{n}-a.scope")),
        (&format!("-.slice:{n}:a"), &format!("/{n}-a.scope")),
        (
            &format!("tare-test-x.slice:{n}:a"),
            &format!("/tare.slice/tare-test.slice/tare-test-x.slice/{n}-a.scope"),
        ),
        (&format!("tare_test.slice:_{n}:a"), &format!("/tare_test.slice/__{n}-a.scope")),
    ] {
        let mut c = lab.container(&["cat", "/proc/self/cgroup"]);
        c.edit(|v| v["linux"]["cgroupsPath"] = json!(path));
        let id = format!("{n}-0");
        let out = lab.finish(&lab.tare, |call| {
            call.args(["--systemd-cgroup", "run", "--bundle"]).arg(&c.bundle).arg(&id);
        });
        assert_eq!(out.ok().trim(), format!("0::{want}"), "{path}");
    }
    for (path, text) in [
        (
            "a/b",
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"a/b\" instead",
        ),
        ("foo:a:b", "invalid slice name: foo"),
        ("a--b.slice:a:b", "invalid slice name: a--b.slice"),
    ] {
        let mut c = lab.container(&["true"]);
        c.edit(|v| v["linux"]["cgroupsPath"] = json!(path));
        make(&c, "run", &[]).fails(1, &format!("RT run failed: {text} (linux.cgroupsPath)"));
    }
    lab.not_runc("tries it, and systemd refuses")?;
    let mut c = lab.container(&["true"]);
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(":a:b.slice"));
    make(&c, "run", &[])
        .fails_with("b.slice is a slice, which has no processes of its own (linux.cgroupsPath)");
    Ok(())
}

fn annotations_are_properties(lab: &Lab) -> Outcome {
    booted()?;
    let mut c = scope(lab, &["sleep", "100"]);
    c.edit(|v| {
        v["annotations"] = json!({
            "org.systemd.property.TimeoutStopSec": "uint64 7",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.MemoryHigh": "uint64 1000000000",
            "org.systemd.property.Wants": "['tare-test-nothing.target']",
            // Limits of the config go over it.
            "org.systemd.property.TasksMax": "uint64 7",
            "org.systemd": "anything",
        });
        v["linux"]["resources"]["pids"] = json!({"limit": 33});
    });
    make(&c, "run", &["--detach"]).ok();
    assert_eq!(
        show(&unit(&c), &["TimeoutStopUSec", "CollectMode", "MemoryHigh", "TasksMax", "Wants"]),
        [
            "CollectMode=inactive-or-failed",
            "MemoryHigh=1000000000",
            "TasksMax=33",
            "TimeoutStopUSec=7s",
            "Wants=tare-test-nothing.target"
        ]
    );
    // Without systemd they mean nothing.
    if !lab.has_units() {
        let mut c = lab.container(&["true"]);
        c.edit(|v| v["annotations"] = json!({"org.systemd.property.X": "nonsense"}));
        c.run(&[]).ok();
    }
    for (key, value, text) in [
        (
            "TasksMax",
            "x y",
            "value \"x y\" parse error: unexpected \"x y\" (annotations.org.systemd.property.TasksMax)",
        ),
        (
            "A_B",
            "1",
            "name incorrect: contains non-alphabetic character (annotations.org.systemd.property.A_B)",
        ),
        ("NoSuchThing", "1", "Cannot set property NoSuchThing, or unknown property."),
        ("TasksMax", "'many'", "Unexpected message contents"),
    ] {
        let mut c = scope(lab, &["true"]);
        c.edit(|v| v["annotations"] = json!({format!("org.systemd.property.{key}"): value}));
        let out = make(&c, "run", &[]);
        if lab.tare.name() == "tare" {
            out.fails_with(text);
            assert_eq!(out.errors().len(), 1, "{out:?}");
        }
    }
    assert_eq!(units(lab).lines().count(), 1);
    Ok(())
}

/// Whatever goes wrong, and when: neither a unit nor a cgroup is left.
fn failures_leave_no_unit(lab: &Lab) -> Outcome {
    booted()?;
    let failing = |edit: &dyn Fn(&mut crate::harness::Value)| {
        let mut c = scope(lab, &["true"]);
        c.edit(edit);
        let out = make(&c, "run", &[]);
        assert_ne!(out.code, 0, "{out:?}");
        assert_eq!(units(lab), "", "{out:?}");
        assert!(!dir(&c).exists(), "{out:?}");
    };
    failing(&|v| v["process"]["args"] = json!(["/nope"]));
    failing(&|v| v["process"]["cwd"] = json!("/bin/busybox"));
    failing(&|v| v["linux"]["resources"]["unified"] = json!({"memory.nope": "1"}));
    failing(&|v| v["linux"]["resources"]["cpu"] = json!({"cpus": "4000"}));
    failing(&|v| v["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]}));
    failing(&|v| v["hooks"] = json!({"poststart": [{"path": "/bin/false"}]}));
    // Killed for lack of memory, which is a failure for systemd.
    let mut c = scope(lab, &["sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"]);
    c.edit(|v| v["linux"]["resources"]["memory"] = json!({"limit": 4 << 20, "swap": 4 << 20}));
    assert_eq!(make(&c, "run", &[]).code, 137);
    assert_eq!(units(lab), "");
    Ok(())
}

/// A scope of somebody else's that has the name is neither joined nor ended, wherever it is.
fn the_unit_of_somebody_else(lab: &Lab) -> Outcome {
    booted()?;
    let scope_of = |slice: &str, c: &Container| {
        let mut other = Command::new("systemd-run");
        other.args(["--quiet", "--scope", "--slice", slice, "--unit", &unit(c), "sleep", "1000"]);
        let other = other.env("TARE_TEST", &lab.name).stdout(Stdio::null()).spawn().unwrap();
        eventually("the other scope", || {
            (show(&unit(c), &["ActiveState"]) == ["ActiveState=active"]).then_some(())
        });
        other
    };
    for (slice, text) in [
        ("tare-test.slice", "container's cgroup is not empty: 1 process(es) found"),
        ("tare-test-other.slice", "unable to start unit"),
    ] {
        let c = scope(lab, &["true"]);
        let mut other = scope_of(slice, &c);
        let out = make(&c, "run", &[]);
        out.fails_with(text);
        assert_eq!(show(&unit(&c), &["ActiveState"]), ["ActiveState=active"], "{slice}");
        assert_eq!(other.try_wait().unwrap(), None);
        systemctl(&["kill", "--signal=KILL", &unit(&c)]);
        other.wait().unwrap();
        systemctl(&["stop", &unit(&c)]);
        systemctl(&["reset-failed", &unit(&c)]);
    }
    Ok(())
}

fn a_unit_that_has_failed_makes_room(lab: &Lab) -> Outcome {
    booted()?;
    let c = scope(lab, &["true"]);
    let mut failing = Command::new("systemd-run");
    failing.args(["--quiet", "--scope", "--unit", &unit(&c), "-p", "RuntimeMaxSec=1ms", "sleep", "1000"]);
    failing.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    eventually("the failure", || (show(&unit(&c), &["ActiveState"]) == ["ActiveState=failed"]).then_some(()));
    make(&c, "run", &[]).ok();
    assert_eq!(units(lab), "");
    Ok(())
}

/// Killed at any moment of `create`, it leaves what `delete --force` removes.
fn a_runtime_that_is_killed(lab: &Lab) -> Outcome {
    booted()?;
    let c = scope(lab, &["sleep", "100"]);
    for round in 0..60_u64 {
        let log = lab.next_file("log");
        let mut call = lab.command(&c.runtime, &log);
        call.args(["--systemd-cgroup", "create", "--bundle"]).arg(&c.bundle).arg(&c.id);
        let mut child = call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round * 1000));
        let _ = child.kill();
        child.wait().unwrap();
        c.delete(&["--force"]).ok();
        // A scope that systemd was still to make has no process, and so goes by itself.
        eventually("the unit to be gone", || units(lab).is_empty().then_some(()));
        eventually("the cgroup to be gone", || (!dir(&c).exists()).then_some(()));
    }
    Ok(())
}

/// Two hundred are made at the same time, and then deleted at the same time: each call succeeds, and systemd has no unit
/// of them any more.
fn two_hundred_at_once(lab: &Lab) -> Outcome {
    booted()?;
    let one = scope(lab, &["sleep", "1000"]);
    let bundles: Vec<PathBuf> = (0..200)
        .map(|n| {
            let bundle = lab.dir.join(format!("many{n}"));
            fs::create_dir(&bundle).unwrap();
            let mut config = one.config.clone();
            config["root"]["path"] = json!(one.rootfs(""));
            config["linux"]["cgroupsPath"] = json!(format!("tare-test.slice:{}:m{n}", lab.name));
            fs::write(bundle.join("config.json"), config.to_string()).unwrap();
            bundle
        })
        .collect();
    let id = |n: usize| format!("{}-m{n}", lab.name);
    let all = |args: &dyn Fn(usize) -> Vec<String>| {
        let calls: Vec<_> = (0..bundles.len())
            .map(|n| {
                let err = lab.next_file("err");
                let mut call = lab.command(&lab.tare, &lab.next_file("log"));
                call.args(args(n)).stdout(Stdio::null()).stderr(fs::File::create(&err).unwrap());
                (call.spawn().unwrap(), err)
            })
            .collect();
        for (mut child, err) in calls {
            let status = child.wait().unwrap();
            assert!(status.success(), "{}", fs::read_to_string(err).unwrap());
        }
    };
    let text = |text: &str| text.to_owned();
    all(&|n| {
        let bundle = bundles[n].to_str().unwrap();
        ["--systemd-cgroup", "create", "--bundle", bundle, &id(n)].map(text).into()
    });
    assert_eq!(units(lab).lines().filter(|line| line.contains("active running")).count(), bundles.len());
    all(&|n| ["start", &id(n)].map(text).into());
    all(&|n| ["delete", "--force", &id(n)].map(text).into());
    assert_eq!(units(lab), "");
    assert_eq!(lab.call(&["list", "-q"]).ok(), "");
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}
