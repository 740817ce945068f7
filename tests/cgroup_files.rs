//! The same config under tare and under runc leaves the same values in every file of the control groups.
//!
//! Where that is not so by design, `differences_resources.rs` has a row for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::block_io::Disk;
use crate::harness::bundle::without_mount;
use crate::harness::settings::{cgroup_roots, controller, unified};
use crate::harness::{Lab, Outcome, Runtime, Skip, Value, json, tests};

tests![values_are_those_of_runc];

/// Resources, and what they take: controllers of version 1 and of version 2, where `-` is for what a version does
/// not have, and a version of runc.
type Setting = (&'static str, &'static str, &'static str, (u32, u32), Value);

fn settings(disk: &Disk) -> Vec<Setting> {
    let rate = |rate| disk.rate(rate);
    vec![
        ("nothing", "", "", (1, 1), json!({})),
        (
            "memory",
            "memory",
            "memory",
            (1, 1),
            json!({"memory": {"limit": 33_554_432, "reservation": 16_777_216, "swap": 67_108_864}}),
        ),
        (
            "memory without swap",
            "memory",
            "memory",
            (1, 1),
            json!({"memory": {"limit": 33_554_432, "swap": 33_554_432, "checkBeforeUpdate": true}}),
        ),
        (
            "memory with all swap",
            "memory",
            "memory",
            (1, 1),
            json!({"memory": {"limit": 33_554_433, "swap": -1, "reservation": -1}}),
        ),
        ("memory without a limit", "memory", "memory", (1, 1), json!({"memory": {"limit": -1}})),
        (
            "memory of version 1",
            "memory",
            "-",
            (1, 1),
            json!({"memory": {"swappiness": 7, "disableOOMKiller": true, "useHierarchy": true, "limit": 33_554_432,
                "kernel": 16_777_216, "kernelTCP": 16_777_216}}),
        ),
        (
            // As engines in Go have it.
            "swappiness of -1",
            "memory",
            "memory",
            (1, 1),
            json!({"memory": {"swappiness": u64::MAX, "disableOOMKiller": false, "useHierarchy": true}}),
        ),
        // How shares become a weight has changed in runc 1.3.2.
        ("cpu", "cpu", "cpu", (1, 3), json!({"cpu": {"shares": 512, "quota": 40_000, "period": 80_000}})),
        ("burst", "cpu", "cpu", (1, 2), json!({"cpu": {"quota": 40_000, "period": 80_000, "burst": 20_000}})),
        ("no quota", "cpu", "cpu", (1, 1), json!({"cpu": {"quota": -1, "period": 50_000}})),
        (
            "realtime",
            "cpu",
            "-",
            (1, 1),
            json!({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}}),
        ),
        ("idle", "cpu", "cpu", (1, 2), json!({"cpu": {"idle": 1}})),
        ("cpuset", "cpuset", "cpuset", (1, 1), json!({"cpu": {"cpus": "0", "mems": "0"}})),
        ("pids", "pids", "pids", (1, 1), json!({"pids": {"limit": 7}})),
        ("pids without a limit", "pids", "pids", (1, 1), json!({"pids": {"limit": -1}})),
        ("no pids", "pids", "pids", (1, 4), json!({"pids": {"limit": 0}})),
        (
            "huge pages",
            "hugetlb",
            "hugetlb",
            (1, 2),
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}),
        ),
        ("weight", "blkio", "io", (1, 1), json!({"blockIO": {"weight": 300}})),
        ("weight of a device", "blkio", "io", (1, 1), json!({"blockIO": {"weightDevice": disk.weight(500)}})),
        (
            "rates",
            "blkio",
            "io",
            (1, 1),
            json!({"blockIO": {"throttleReadBpsDevice": rate(1 << 20), "throttleWriteBpsDevice": rate(1 << 21),
                "throttleReadIOPSDevice": rate(1000), "throttleWriteIOPSDevice": rate(2000)}}),
        ),
        (
            // With `bench/cgroup-env v1-all`.
            "marks on packets",
            "net_cls net_prio",
            "-",
            (1, 1),
            json!({"network": {"classID": 1_048_577, "priorities": [{"name": "lo", "priority": 6}]}}),
        ),
        (
            "files of version 2",
            "-",
            "memory pids",
            (1, 1),
            // More than the init of runc takes, which the kernel would hold up for minutes.
            json!({"unified": {"memory.high": "67108864", "memory.min": "4096", "pids.max": "max"}}),
        ),
        (
            "files of huge pages",
            "-",
            "hugetlb",
            (1, 1),
            json!({"unified": {"hugetlb.2MB.max": "2097152", "cgroup.max.depth": "3"}}),
        ),
        (
            "much",
            "memory cpu cpuset pids",
            "memory cpu pids",
            (1, 3),
            json!({"memory": {"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432},
                "cpu": {"shares": 2048, "quota": 150_000, "period": 100_000}, "pids": {"limit": 100}}),
        ),
        (
            "allowed devices",
            "",
            "",
            (1, 1),
            json!({"devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": true, "type": "b", "major": 8, "access": "r"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
            ]}),
        ),
        (
            "denied devices",
            "",
            "",
            (1, 1),
            json!({"devices": [
                {"allow": true, "access": "rwm"},
                {"allow": false, "type": "b", "major": 8, "minor": 0, "access": "w"},
            ]}),
        ),
    ]
}

/// What the kernel says in every file of the container's control groups that can be set, and of its devices.
fn values(lab: &Lab, runtime: &Runtime, resources: &Value) -> BTreeMap<String, String> {
    let mut c = lab.container_of(runtime, &["sleep", "100"]);
    let place = if lab.has_units() { c.place() } else { c.id.clone() };
    c.edit(|v| {
        v["linux"]["resources"] = resources.clone();
        if !lab.has_units() {
            // Where there is realtime to be had, unlike below a parent that has none.
            v["linux"]["cgroupsPath"] = json!(format!("/{place}"));
        }
        // runc mounts version 2 anew, and takes the host's own options from it when it does.
        without_mount(v, "/sys/fs/cgroup");
    });
    c.create(&[]).ok();
    let mut values = BTreeMap::new();
    // Old runc makes nothing in the hierarchy of `misc`, in which no config can set anything on version 1.
    let roots = cgroup_roots().into_iter().filter(|root| !root.ends_with("misc"));
    for (root, dir) in roots.map(|root| (root.clone(), root.join(&place))) {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let file = entry.file_name().into_string().unwrap();
            let settable = entry.metadata().unwrap().mode() & 0o600 == 0o600;
            if !(settable || file == "devices.list") || is_a_count(&file) {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap_or_else(|error| error.to_string());
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            values.insert(root.join(&file).to_str().unwrap().to_owned(), lines.join("\n"));
        }
    }
    c.delete(&["--force"]).ok();
    values
}

/// Whether the file says what happens rather than what is set.
fn is_a_count(file: &str) -> bool {
    matches!(file, "cgroup.procs" | "cgroup.threads" | "tasks" | "cpuacct.usage")
        || ["failcnt", "max_usage_in_bytes", "pressure", "peak"].iter().any(|end| file.ends_with(end))
}

fn values_are_those_of_runc(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    let mut disk = Disk::new(lab)?;
    let has_weights = disk.schedule_by_bfq();
    let has_realtime = fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap();
    let (mut compared, mut left_out, mut wrong) = (0, Vec::new(), Vec::new());
    for (name, v1, v2, (major, minor), resources) in settings(&disk) {
        let mut controllers = if unified() { v2 } else { v1 }.split_whitespace();
        if name == "weight of a device" && !has_weights
            || runc.is_runc_before(major, minor)
            || controllers.any(|name| controller(name).is_err())
            || name == "realtime" && !has_realtime
        {
            left_out.push(name);
            continue;
        }
        let (ours, theirs) = (values(lab, &lab.tare, &resources), values(lab, &runc, &resources));
        assert!(ours.len() > 3, "{ours:?}");
        for file in ours.keys().chain(theirs.keys()) {
            let (our, their) = (ours.get(file), theirs.get(file));
            let by_design = lab.has_units() && name == "weight" && file.ends_with("/io.weight");
            if our != their && !by_design {
                wrong.push(format!("{name}: {file}: we have {our:?}, runc has {their:?}"));
            }
        }
        compared += 1;
    }
    wrong.dedup();
    assert_eq!(wrong, [""; 0], "not compared: {left_out:?}");
    if compared < left_out.len() {
        return Err(Skip(format!(
            "for lack of controllers, or a newer runc, of all but {compared} settings"
        )));
    }
    Ok(())
}
