//! The rows of the table in `differences.rs` that are about `linux.resources`.

use std::fs;
use std::path::Path;

use crate::block_io::Disk;
use crate::differences::{Difference, stderr_of};
use crate::harness::bundle::{capabilities, push};
use crate::harness::settings::unified;
use crate::harness::{Lab, Runtime, Value, json};

/// What `run` says of these resources.
fn said(lab: &Lab, runtime: &Runtime, name: &'static str, value: &Value) -> String {
    stderr_of(lab, runtime, |c| {
        c.edit(|v| v["linux"]["resources"][name] = value.clone());
    })
}

/// Whether `/dev/kmsg` can be opened so, under these rules.
fn opens(lab: &Lab, runtime: &Runtime, how: &str, rules: Value) -> String {
    let mut c = lab.container_of(runtime, &["sh", "-c", &format!("exec {how} /dev/probe")]);
    c.edit(|v| {
        v["linux"]["resources"]["devices"] = rules;
        let node = json!({"path": "/dev/probe", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
        push(&mut v["linux"]["devices"], node);
        capabilities(v, &["CAP_SYSLOG", "CAP_SYS_ADMIN"]);
    });
    if c.run(&[]).code == 0 { "opens" } else { "denied" }.to_owned()
}

pub const ROWS: &[Difference] = &[
    Difference {
        what: "Limits that only cgroup version 1 has, on version 2",
        runc: "",
        tare: "tare run failed: cgroup v2 has no swappiness (linux.resources.memory.swappiness)",
        why: "A limit is met or refused, never passed over: `memory.swappiness`, `memory.disableOOMKiller`, \
              `memory.useHierarchy` that is false, `cpu.realtimeRuntime` and `cpu.realtimePeriod`, `network`, \
              and `leafWeight` of `blockIO`.",
        probe: |lab, runtime| match (unified(), runtime.name()) {
            (true, _) => said(lab, runtime, "memory", &json!({"swappiness": 60})),
            (false, "runc") => String::new(),
            (false, _) => {
                "tare run failed: cgroup v2 has no swappiness (linux.resources.memory.swappiness)".to_owned()
            }
        },
    },
    Difference {
        what: "A weight of block devices outside of the specification's range",
        runc: "",
        tare: "tare run failed: invalid weight 5 (valid range is 10-1000) (linux.resources.blockIO.weight)",
        why: "Some schedulers would take it; on version 2 runc makes a number of it that means the most.",
        probe: |lab, runtime| said(lab, runtime, "blockIO", &json!({"weight": 5})),
    },
    Difference {
        what: "`io.weight` with a `blockIO.weight` of 300, where systemd makes the control group and the kernel has BFQ",
        runc: "default 100",
        tare: "default 2300",
        why: "runc does not tell systemd of the weight, which a reload may then take away. systemd's own property for \
              it is both this file, for the other scheduler of the kernel, and `io.bfq.weight`.",
        probe: |lab, runtime| {
            let mut c = lab.container_of(runtime, &["sleep", "100"]);
            c.edit(|v| v["linux"]["resources"]["blockIO"] = json!({"weight": 300}));
            let dir = c.cgroup_dir(Path::new("/sys/fs/cgroup"));
            let file = |name| lab.has_units().then(|| fs::read_to_string(dir.join(name)).ok()).flatten();
            c.up();
            match (file("io.bfq.weight"), file("io.weight"), runtime.name()) {
                (Some(_), Some(weight), _) => weight.trim().to_owned(),
                (_, _, "runc") => "default 100".to_owned(),
                _ => "default 2300".to_owned(),
            }
        },
    },
    Difference {
        what: "A rate of 0 for a block device, on cgroup version 2",
        runc: "…numerical result out of range",
        tare: "",
        why: "It is no limit, as on version 1.",
        probe: |lab, runtime| match (unified(), runtime.name(), Disk::new(lab)) {
            (true, _, Ok(disk)) => {
                said(lab, runtime, "blockIO", &json!({"throttleReadBpsDevice": disk.rate(0)}))
            }
            (_, "runc", _) => "numerical result out of range".to_owned(),
            _ => String::new(),
        },
    },
    Difference {
        what: "Unknown letter in the access of a device rule",
        runc: "",
        tare: "tare run failed: invalid device access \"rx\" (linux.resources.devices[1])",
        why: "A typing error is told.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                c.edit(|v| {
                    let rule = json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rx"});
                    push(&mut v["linux"]["resources"]["devices"], rule);
                });
            })
        },
    },
    Difference {
        what: "A device rule of type `a` with numbers",
        runc: "opens",
        tare: "denied",
        why: "`a 10:229 rw` is about the two devices with these numbers. runc takes the type for a rule about all \
              devices, whatever the numbers are.",
        probe: |lab, runtime| {
            let rule = json!({"allow": true, "type": "a", "major": 10, "minor": 229, "access": "rw"});
            opens(lab, runtime, "0<", json!([rule]))
        },
    },
    Difference {
        what: "Opening for reading and writing what must not be written to, on cgroup version 2",
        runc: "opens",
        tare: "denied",
        why: "As on version 1: all that is asked for has to be allowed.",
        probe: |lab, runtime| {
            if !unified() {
                return if runtime.name() == "runc" { "opens" } else { "denied" }.to_owned();
            }
            let rules = json!([{"allow": true, "access": "rwm"},
                {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}]);
            opens(lab, runtime, "0<>", rules)
        },
    },
    Difference {
        what: "A device rule that the default rules undo",
        runc: "…not supported by devices cgroupv1 (cannot punch hole in existing wildcard rule […])",
        tare: "",
        why: "Every container may make any node, so that nothing is left of the rule.",
        probe: |lab, runtime| {
            let rules = json!([{"allow": true, "access": "rwm"},
                {"allow": false, "type": "c", "major": 10, "access": "m"}]);
            said(lab, runtime, "devices", &rules)
        },
    },
];
