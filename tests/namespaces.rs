//! linux.namespaces: each kind new, inherited and joined; and what belongs to it: hostname, loopback, offsets.

use std::fs;

use crate::harness::bundle::{capabilities, set_namespace, without_namespace};
use crate::harness::{Container, Lab, Outcome, json, tests};

tests![
    new_ones_differ_from_the_host,
    missing_ones_are_inherited,
    each_can_be_joined,
    a_pod_shares_all_but_the_mounts,
    joined_network_by_a_bind_mounted_file,
    loopback_is_up,
    hostname_and_domainname,
    clock_offsets,
    cgroup_namespace_shows_its_own_root,
    pid_1_is_the_process,
    wrong_paths_are_refused,
];

/// Name in the config, name below /proc/PID/ns.
const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn of_process(pid: impl std::fmt::Display, file: &str) -> String {
    let link = format!("/proc/{pid}/ns/{file}");
    fs::read_link(&link).unwrap_or_else(|e| panic!("{link}: {e}")).to_str().unwrap().to_owned()
}

/// The kinds this runtime under test can make.
fn kinds(lab: &Lab) -> impl Iterator<Item = (&'static str, &'static str)> {
    let old = lab.tare.is_runc_before(1, 2);
    KINDS.into_iter().filter(move |(kind, _)| *kind != "time" || !old)
}

fn new_ones_differ_from_the_host(lab: &Lab) -> Outcome {
    for (kind, file) in kinds(lab) {
        let mut c = lab.container(&["sleep", "100"]);
        c.edit(|v| set_namespace(v, kind, None)).up();
        assert_ne!(of_process(c.pid(), file), of_process("self", file), "{kind}");
    }
    Ok(())
}

fn missing_ones_are_inherited(lab: &Lab) -> Outcome {
    // A container without a mount namespace cannot have a root file system of its own.
    for (kind, file) in KINDS.into_iter().filter(|(kind, _)| *kind != "mount") {
        let mut c = lab.container(&["sleep", "100"]);
        c.edit(|v| {
            without_namespace(v, kind);
            match kind {
                "uts" => v["hostname"] = json!(""),
                // sysfs shows a network namespace, mqueue an IPC one: without a new one they are bound.
                "network" => {
                    crate::harness::bundle::without_mount(v, "/sys");
                    crate::harness::bundle::mount(v, "/sys", "bind", "/sys", &["rbind", "ro"]);
                    crate::harness::bundle::without_mount(v, "/sys/fs/cgroup");
                }
                _ => (),
            }
        });
        c.up();
        assert_eq!(of_process(c.pid(), file), of_process("self", file), "{kind}");
    }
    Ok(())
}

fn join(c: &mut Container, kind: &str, file: &str, pid: u64) {
    let path = format!("/proc/{pid}/ns/{file}");
    c.edit(|v| {
        set_namespace(v, kind, Some(&path));
        if kind == "uts" {
            v.as_object_mut().unwrap().remove("hostname");
        }
    });
}

fn each_can_be_joined(lab: &Lab) -> Outcome {
    let mut first = lab.container(&["sleep", "100"]);
    first.edit(|v| kinds(lab).for_each(|(kind, _)| set_namespace(v, kind, None)));
    first.up();
    for (kind, file) in kinds(lab).filter(|(kind, _)| *kind != "mount") {
        let mut second = lab.container(&["sleep", "100"]);
        join(&mut second, kind, file, first.pid());
        second.up();
        assert_eq!(of_process(second.pid(), file), of_process(first.pid(), file), "{kind}");
        assert_ne!(of_process(second.pid(), file), of_process("self", file), "{kind}");
    }
    Ok(())
}

/// What an engine does for a pod: one container holds the namespaces, the others join them all.
fn a_pod_shares_all_but_the_mounts(lab: &Lab) -> Outcome {
    let holder = lab.container(&["sleep", "100"]);
    holder.up();
    let mut member =
        lab.container(&["sh", "-c", "hostname; ps | grep -c 'sleep 100'; readlink /proc/self/ns/net"]);
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        join(&mut member, kind, file, holder.pid());
    }
    let run = member.run(&[]);
    let lines: Vec<&str> = run.ok().lines().collect();
    // The pattern itself is no `sleep 100` process, but grep's arguments show it.
    assert_eq!(lines[0], "box");
    assert!(lines[1] >= "1", "the processes of the pod are seen: {lines:?}");
    assert_eq!(lines[2], of_process(holder.pid(), "net"));
    assert_eq!(holder.status(), "running", "the end of a member is not the end of the pod");
    Ok(())
}

/// As network plug-ins prepare it: a namespace that no process holds.
fn joined_network_by_a_bind_mounted_file(lab: &Lab) -> Outcome {
    let unshare = crate::harness::settings::program("unshare")?;
    let file = lab.file("netns", "");
    let made = std::process::Command::new(unshare).arg(format!("--net={file}")).arg("true").status().unwrap();
    assert!(made.success());
    let inside = lab.inside(
        |v| set_namespace(v, "network", Some(&file)),
        "readlink /proc/self/ns/net; ls /sys/class/net",
    );
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file).unwrap());
    assert_eq!(inside.lines().next(), Some(format!("net:[{inode}]").as_str()));
    std::process::Command::new("umount").arg(&file).status().unwrap();
    Ok(())
}

fn loopback_is_up(lab: &Lab) -> Outcome {
    let inside =
        lab.inside(|_| (), "cat /sys/class/net/lo/flags; ping -c 1 127.0.0.1 >/dev/null 2>&1; ifconfig lo");
    let flags = u32::from_str_radix(inside.lines().next().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert_eq!(flags & 1, 1, "IFF_UP of lo: {flags:#x}");
    assert!(inside.contains("inet addr:127.0.0.1"), "{inside}");
    Ok(())
}

fn hostname_and_domainname(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let edit = |v: &mut serde_json::Value| {
        v["hostname"] = json!("a-host");
        v["domainname"] = json!("a-domain");
    };
    let inside = lab.inside(edit, "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname");
    assert_eq!(inside, "a-host\na-domain");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "a-host");
    Ok(())
}

fn clock_offsets(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let edit = |v: &mut serde_json::Value| {
        set_namespace(v, "time", None);
        v["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": 7881, "nanosecs": 2_718_281}, "boottime": {"secs": 1_337_000}});
    };
    let uptime = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    let host = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    let inside = lab.inside(edit, "cut -d' ' -f1 /proc/uptime; cat /proc/self/timens_offsets | tr -s ' '");
    let lines: Vec<&str> = inside.lines().collect();
    assert!(uptime(lines[0]) >= host + 1_337_000, "{host} {lines:?}");
    assert_eq!(lines[1..], ["monotonic 7881 2718281", "boottime 1337000 0"]);
    Ok(())
}

fn cgroup_namespace_shows_its_own_root(lab: &Lab) -> Outcome {
    let inside = lab.inside(|v| set_namespace(v, "cgroup", None), "cut -d: -f3 /proc/self/cgroup | sort -u");
    assert_eq!(inside, "/");
    Ok(())
}

fn pid_1_is_the_process(lab: &Lab) -> Outcome {
    assert_eq!(
        lab.inside(|_| (), "echo $$; cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l").lines().next(),
        Some("1")
    );
    Ok(())
}

fn wrong_paths_are_refused(lab: &Lab) -> Outcome {
    let absent = lab.run(&["true"], |v| set_namespace(v, "network", Some("/nope")));
    assert_eq!(absent.code, 1);
    assert!(
        absent.err.contains("/nope") && absent.err.contains("no such file or directory"),
        "{}",
        absent.err
    );
    // A file that is no namespace, and a namespace of another kind.
    for path in ["/etc/passwd", "/proc/self/ns/uts"] {
        let run = lab.run(&["true"], |v| {
            set_namespace(v, "network", Some(path));
            capabilities(v, &[]);
        });
        assert_eq!(run.code, 1, "{path}: {}", run.err);
    }
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}
