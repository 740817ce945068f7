//! Limits of a container that systemd has made: as properties of its unit and in the files of its cgroup, of version 2
//! and of version 1, now and after systemd has gone over them again.

use std::fs;

use crate::harness::settings::{keeps_reservations, unified};
use crate::harness::{Container, Lab, Outcome, Skip, json, tests};
use crate::systemd::{booted, dirs, files, make, name, scope, show, systemctl, unit};

tests![
    limits_are_properties_and_in_the_files,
    a_reload_takes_nothing_away,
    an_update_changes_the_unit_too,
    the_unit_is_the_one_of_runc,
];

const PROPERTIES: [&str; 15] = [
    "MemoryMax",
    "MemoryLow",
    "MemoryLimit",
    "MemorySwapMax",
    "MemoryHigh",
    "CPUWeight",
    "CPUShares",
    "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodUSec",
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "TasksMax",
    "IOWeight",
    "DevicePolicy",
    "OOMPolicy",
];

/// What `limit` makes of a container: properties, then files. systemd knows whole percents, hence the quota.
const VERSION_2: (&[&str], &[&str]) = (
    &[
        "MemoryMax=33554432",
        "MemoryLow=16777216",
        "MemorySwapMax=16777216",
        "MemoryHigh=31457280",
        "CPUWeight=59",
        "CPUQuotaPerSecUSec=340ms",
        "CPUQuotaPeriodUSec=100ms",
        "AllowedCPUs=0",
        "AllowedMemoryNodes=0",
        "TasksMax=50",
        "DevicePolicy=strict",
        "OOMPolicy=kill",
    ],
    &[
        "memory.max=33554432",
        "memory.low=16777216",
        "memory.swap.max=16777216",
        "memory.high=31457280",
        "cpu.weight=59",
        "cpu.max=34000 100000",
        "pids.max=50",
        "memory.oom.group=1",
        "cpuset.cpus=0",
        "cpuset.mems=0",
    ],
);
const VERSION_1: (&[&str], &[&str]) = (
    &[
        "MemoryLimit=33554432",
        "CPUShares=512",
        "CPUQuotaPerSecUSec=340ms",
        "CPUQuotaPeriodUSec=100ms",
        "AllowedCPUs=0",
        "AllowedMemoryNodes=0",
        "TasksMax=50",
        "DevicePolicy=strict",
    ],
    &[
        "memory.limit_in_bytes=33554432",
        "memory.soft_limit_in_bytes=16777216",
        "memory.memsw.limit_in_bytes=50331648",
        "cpu.shares=512",
        "cpu.cfs_quota_us=34000",
        "cpu.cfs_period_us=100000",
        "pids.max=50",
        "cpuset.cpus=0",
        "cpuset.mems=0",
    ],
);

fn limited() -> (&'static [&'static str], &'static [&'static str]) {
    if unified() { VERSION_2 } else { VERSION_1 }
}

/// The files of `limited`, as they are now, and on version 1 the rules for devices.
fn limits(c: &Container) -> Vec<String> {
    let names: Vec<&str> = limited().1.iter().map(|line| line.split_once('=').unwrap().0).collect();
    let mut files = files(c, &names);
    if !unified() {
        let list = self::files(c, &["devices.list"]).remove(0);
        let mut rules: Vec<String> =
            list.trim_start_matches("devices.list=").lines().map(str::to_owned).collect();
        rules.sort();
        files.extend(rules);
    }
    files
}

/// Gives a container a limit of everything.
fn limit(c: &mut Container) {
    c.edit(|v| {
        v["linux"]["resources"] = json!({
            "memory": {"limit": 33_554_432, "reservation": 16_777_216, "swap": 50_331_648},
            "cpu": {"shares": 512, "quota": 33_333, "period": 100_000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 50},
            "blockIO": {"weight": 200},
            "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}],
        });
        if unified() {
            v["linux"]["resources"]["unified"] = json!({"memory.high": "31457280", "memory.oom.group": "1"});
        }
    });
}

/// Ignores the test where systemd has not all controllers that it is about.
fn controllers() -> Outcome {
    for name in ["memory", "cpu", "cpuset", "pids", if unified() { "io" } else { "blkio" }] {
        crate::harness::settings::controller(name)?;
    }
    Ok(())
}

/// A running container with all of them.
fn limited_scope<'l>(lab: &'l Lab) -> Result<Container<'l>, Skip> {
    booted()?;
    controllers()?;
    let mut c = scope(lab, &["sleep", "100"]);
    limit(&mut c);
    make(&c, "run", &["--detach"]).ok();
    Ok(c)
}

fn limits_are_properties_and_in_the_files(lab: &Lab) -> Outcome {
    let c = limited_scope(lab)?;
    let properties = show(&unit(&c), &PROPERTIES);
    for want in limited().0 {
        assert!(properties.iter().any(|have| have == want), "{want}: {properties:?}");
    }
    let devices = show(&unit(&c), &["DeviceAllow"]);
    for want in ["/dev/char/1:11 r", "/dev/char/1:3 rwm", "char-136 rwm", "char-* m"] {
        assert!(devices.contains(&format!("DeviceAllow={want}")), "{want}: {devices:?}");
    }
    let have = limits(&c);
    let kept = |line: &&&str| !line.contains("soft_limit") || keeps_reservations();
    for want in limited().1.iter().filter(kept) {
        assert!(have.iter().any(|have| have == want), "{want}: {have:?}");
    }
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
    let state = || (limits(&c), c.call("exec", &["sh", "-c", look]).ok().to_owned());
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
    let c = limited_scope(lab)?;
    let state = || (limits(&c), show(&unit(&c), &PROPERTIES));
    let before = state();
    c.call(
        "update",
        &["--memory", "64M", "--memory-swap", "96M", "--pids-limit", "20", "--cpu-quota", "12345"],
    )
    .ok();
    let after = state();
    let (files, properties): ([&str; 4], &[&str]) = if unified() {
        (
            ["memory.max=67108864", "memory.swap.max=33554432", "cpu.max=13000 100000", "pids.max=20"],
            &["MemoryMax=67108864", "MemorySwapMax=33554432", "CPUQuotaPerSecUSec=130ms", "TasksMax=20"],
        )
    } else {
        (
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=100663296",
                "cpu.cfs_quota_us=13000",
                "pids.max=20",
            ],
            &["MemoryLimit=67108864", "CPUQuotaPerSecUSec=130ms", "TasksMax=20"],
        )
    };
    for want in files {
        assert!(after.0.iter().any(|have| have == want), "{want}: {after:?}");
    }
    for want in properties {
        assert!(after.1.iter().any(|have| have == want), "{want}: {after:?}");
    }
    // What was not asked for is as it was.
    let changed = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).count();
    assert_eq!(
        (changed(&after.0, &before.0), changed(&after.1, &before.1)),
        (files.len(), properties.len()),
        "{before:?} {after:?}"
    );
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
            // Before 1.2 it named terminals by the kernel's word for them, which stands for the same number.
            let differs =
                ["Description", "DropInPaths", "NeedDaemonReload", "ControlGroupId", "IOWeight", "OOMPolicy"]
                    .contains(&key);
            let varies = counted && varies.iter().any(|part| key.contains(part));
            !(differs || varies || key.contains("Timestamp") || key == "InvocationID")
        };
        let shown = systemctl(&["show", &unit(&c)]).replace(&c.id, "ID").replace("char-pts", "char-136");
        // A scope has these in no order.
        let mut properties: Vec<String> = shown.lines().filter(own).map(str::to_owned).collect();
        properties.sort();
        let mut limits = Vec::new();
        for entry in dirs(&c).iter().flat_map(|dir| fs::read_dir(dir).unwrap().flatten()) {
            let name = entry.file_name().into_string().unwrap();
            // What counts, and what systemd writes besides for a weight that it is told of. On version 1 runc has another
            // quota there than the unit has, and old ones nothing for `misc`.
            let differs = [
                "current",
                "peak",
                "events",
                "stat",
                "procs",
                "threads",
                "pressure",
                "io.weight",
                "usage",
                "tasks",
                "prioidx",
                "cfs_quota",
                "misc.",
            ];
            if !differs.iter().any(|part| name.contains(part)) {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                // Rules for devices are in the order in which they came.
                limits.extend(text.lines().map(|line| format!("{name}={line}")));
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
