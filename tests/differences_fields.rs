//! The rows of the table in `differences.rs` that are about single fields of config.json.

use std::fs;
use std::path::Path;

use crate::differences::Difference;
use crate::harness::bundle::mount;
use crate::harness::{Lab, Runtime, Skip, json};
use crate::net_devices::{after_a_failure, ipv6_inside, named_by_template};

pub const ROWS: &[Difference] = &[
    Difference {
        what: "A class of `linux.intelRdt` that is there already, with other schemata",
        runc: "",
        tare: "…the class \"…\" is there already, and has not \"…\"",
        why: "The specification wants an error: other containers are in the class, and runc changes it for them.",
        probe: class_with_other_schemata,
    },
    Difference {
        what: "A bind mount beside `linux.rootfsPropagation` `runbindable`",
        runc: "…invalid argument",
        tare: "",
        why: "The container's mounts shall be so, and not the host's.",
        probe: |lab, runtime| {
            let mut c = lab.container_of(runtime, &["true"]);
            c.edit(|v| {
                v["linux"]["rootfsPropagation"] = json!("runbindable");
                mount(v, "/tmp", "bind", "/etc", &["bind"]);
            });
            c.run(&[]).err.trim_end().to_owned()
        },
    },
    Difference {
        what: "Addresses of IPv6 of a network device that is up (`linux.netDevices`)",
        runc: "",
        tare: "fd00:1::5/64",
        why: "The specification asks for all of them. The kernel takes them away when the device goes down, which \
              runc makes it do before it looks. Peer addresses and metrics are kept as well.",
        probe: |lab, runtime| ipv6_inside(lab, runtime).unwrap_or_else(|Skip(why)| why),
    },
    Difference {
        what: "Network devices of a container that a hook has prevented",
        runc: "gone",
        tare: "as before",
        why: "They are given back, with names and addresses. runc leaves them to the kernel, which removes virtual ones.",
        probe: |lab, runtime| match after_a_failure(lab, runtime) {
            Ok((before, after)) if before == after => "as before".to_owned(),
            Ok((_, after)) if after.contains("can't find device") => "gone".to_owned(),
            Ok((_, after)) => after,
            Err(Skip(why)) => why,
        },
    },
    Difference {
        what: "A network device named `eth%d`",
        runc: "…link not found for interface eth%d on namespace …",
        tare: "eth0 lo",
        why: "The specification has it: the lowest number that is free.",
        probe: |lab, runtime| named_by_template(lab, runtime).unwrap_or_else(|Skip(why)| why),
    },
];

fn class_with_other_schemata(lab: &Lab, runtime: &Runtime) -> String {
    let dir = Path::new("/sys/fs/resctrl").join(&lab.name);
    if fs::create_dir(&dir).is_err() {
        // Nothing can be tried where there is no resctrl.
        return if runtime.name() == "runc" {
            ""
        } else {
            "…the class \"…\" is there already, and has not \"…\""
        }
        .into();
    }
    let line = fs::read_to_string(dir.join("schemata")).unwrap().lines().next().unwrap().trim().to_owned();
    let (head, share) = line.rsplit_once('=').unwrap();
    // One bit less of a mask, or half of a percentage.
    let other = format!("{head}={}", if line.starts_with("MB") { "50" } else { &share[1..] });
    let mut c = lab.container_of(runtime, &["true"]);
    c.edit(|v| v["linux"]["intelRdt"] = json!({"closID": lab.name, "schemata": [other]}));
    let said = c.run(&[]).err.lines().next().unwrap_or_default().to_owned();
    fs::remove_dir(&dir).unwrap();
    said
}
