//! The default devices and links, and linux.devices.

use std::collections::BTreeSet;

use crate::harness::bundle::{push, without_namespace};
use crate::harness::settings::{program, unified};
use crate::harness::{Lab, Outcome, Value, json, tests};

tests![
    default_devices_work,
    links_and_console,
    configured_devices,
    configured_device_replaces_a_default,
    fifo_and_devices_in_a_missing_directory,
    cgroup_rules_hold,
    rules_hold_as_with_runc,
    dev_that_is_bound_is_left_alone,
    nothing_is_bound_among_the_hosts_mounts,
];

fn default_devices_work(lab: &Lab) -> Outcome {
    let script = "cd /dev; stat -c '%n %F %a %u:%g %t:%T' null zero full random urandom tty; \
                  head -c 4 zero | wc -c; echo x > null; head -c 4 urandom | wc -c; echo x 2>/dev/null > full || echo full";
    let expected = "\
null character special file 666 0:0 1:3
zero character special file 666 0:0 1:5
full character special file 666 0:0 1:7
random character special file 666 0:0 1:8
urandom character special file 666 0:0 1:9
tty character special file 666 0:0 5:0
4
4
full";
    assert_eq!(lab.inside(|_| (), script), expected);
    Ok(())
}

fn links_and_console(lab: &Lab) -> Outcome {
    let script = "cd /dev; for l in fd stdin stdout stderr ptmx core; do echo $l $(readlink $l); done; ls -A";
    let inside = lab.inside(|_| (), script);
    let (links, names) = inside.split_at(
        inside.find("\nconsole").unwrap_or(inside.len()).min(inside.find("\ncore\n").unwrap_or(inside.len())),
    );
    let lines: Vec<&str> = links.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "fd /proc/self/fd",
            "stdin /proc/self/fd/0",
            "stdout /proc/self/fd/1",
            "stderr /proc/self/fd/2",
            "ptmx pts/ptmx"
        ]
    );
    let mut names: Vec<&str> = names.split_whitespace().filter(|n| *n != "core").collect();
    names.sort_unstable();
    let expected = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(names, expected, "no console without a terminal");
    Ok(())
}

fn configured_devices(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        v["linux"]["devices"] = json!([
            {"path": "/dev/c", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8},
            {"path": "/dev/u", "type": "u", "major": 1, "minor": 5},
            {"path": "/dev/b", "type": "b", "major": 7, "minor": 99, "fileMode": 0o600},
        ]);
    };
    let inside = lab.inside(edit, "cd /dev; stat -c '%n %F %a %u:%g %t:%T' c b; stat -c '%n %F %t:%T' u");
    assert_eq!(
        inside,
        "c character special file 640 7:8 1:5\nb block special file 600 0:0 7:63\nu character special file 1:5"
    );
    Ok(())
}

fn configured_device_replaces_a_default(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        v["linux"]["devices"] = json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 0, "gid": 4}]);
        let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
        push(&mut v["linux"]["resources"]["devices"], rule);
    };
    assert_eq!(lab.inside(edit, "stat -c '%a %u:%g' /dev/null"), "640 0:4");
    Ok(())
}

fn fifo_and_devices_in_a_missing_directory(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        v["linux"]["devices"] = json!([
            {"path": "/dev/p", "type": "p", "fileMode": 0o622},
            {"path": "/dev/deep/er/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666},
        ]);
    };
    assert_eq!(
        lab.inside(edit, "stat -c '%F %a' /dev/p /dev/deep/er/zero"),
        "fifo 622\ncharacter special file 666"
    );
    Ok(())
}

/// GHSA-g54h-m393-cpwq: what no rule allows is denied, also when the node is there.
fn cgroup_rules_hold(lab: &Lab) -> Outcome {
    let probe = "dd if=/dev/probe of=/dev/null bs=1 count=1 2>&1 | grep -o 'Operation not permitted'; true";
    // The kernel's message device: readable by root on every host.
    let device = json!({"path": "/dev/probe", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
    let allow = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"});
    for (rules, expected) in [
        (json!([{"allow": false, "access": "rwm"}]), "Operation not permitted"),
        (json!([]), "Operation not permitted"),
        (json!([{"allow": false, "access": "rwm"}, allow]), ""),
    ] {
        let edit = |v: &mut Value| {
            v["linux"]["resources"]["devices"] = rules.clone();
            push(&mut v["linux"]["devices"], device.clone());
            crate::harness::bundle::capabilities(v, &["CAP_SYSLOG", "CAP_SYS_ADMIN"]);
        };
        assert_eq!(lab.inside(edit, probe), expected, "{rules}");
    }
    Ok(())
}

/// Lists of rules, each `allow|deny TYPE MAJOR:MINOR ACCESS` with `*` for what is left out.
const RULES: &[&[&str]] = &[
    &[],
    &["deny a *:* rwm"],
    &["allow a *:* rwm"],
    &["allow a *:* rwm", "deny a *:* rwm"],
    &["allow a *:* rwm", "deny c 1:11 w"],
    &["allow a *:* rwm", "deny c 1:11 rw", "deny b *:* rwm"],
    &["allow c 1:11 r"],
    &["allow c 1:11 r", "allow c 1:11 w"],
    &["allow c 1:11 rwm", "deny c 1:11 w"],
    &["allow c *:* rwm"],
    &["allow c *:11 rw"],
    &["allow c 1:* rw", "allow b 7:* r"],
    &["allow b *:* rwm", "deny b 7:* w"],
    &["allow c 1:11 rw", "deny a *:* rwm", "allow c 10:229 r"],
    &["deny c 1:3 rwm", "deny c 1:5 w"],
];

/// What opens and what can be made, for every list of rules, for each device and each way.
fn rules_hold_as_with_runc(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    // Nodes that some hosts lack a driver for are denied before that is known.
    let devices = [
        ("c", 1, 3),
        ("c", 1, 5),
        ("c", 1, 11),
        ("c", 10, 229),
        ("c", 5, 2),
        ("c", 240, 77),
        ("b", 7, 0),
        ("b", 240, 11),
    ];
    // For reading and writing at once runc has other rules on version 2: see `differences_resources.rs`.
    let ways = if unified() { "0< 1>>" } else { "0< 1>> 1<>" };
    let script = format!(
        "verdict() {{ grep -q 'not permitted' && printf '%s-' $1 || printf '%s+' $1; }}
        cd /dev
        for n in probe*; do
            printf ' %s: ' $n
            for way in {ways}; do (eval \"exec $way $n\") 2>&1 | verdict $way; done
        done
        for kind in 'c 1 11' 'c 10 229' 'b 7 0'; do
            mknod /tmp/node $kind 2>&1 | verdict ' mknod'; rm -f /tmp/node
        done"
    );
    let mut wrong = Vec::new();
    for rules in RULES {
        let seen = [&lab.tare, &runc].map(|runtime| {
            let mut c = lab.container_of(runtime, &["sh", "-c", &script]);
            c.edit(|v| {
                v["linux"]["resources"]["devices"] = rules.iter().map(|text| rule(text)).collect();
                for (n, (kind, major, minor)) in devices.iter().enumerate() {
                    let path = format!("/dev/probe{n}");
                    push(&mut v["linux"]["devices"], json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o666}));
                }
                crate::harness::bundle::mount(v, "/tmp", "tmpfs", "tmpfs", &[]);
                crate::harness::bundle::capabilities(v, &["CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_MKNOD"]);
            });
            let run = c.run(&[]);
            if run.code == 0 { run.out } else { "refused".to_owned() }
        });
        if seen[0] != seen[1] {
            wrong.push(format!("{rules:?}: {seen:?}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
    Ok(())
}

fn rule(text: &str) -> Value {
    let parts: Vec<&str> = text.split([' ', ':']).collect();
    let [verdict, kind, major, minor, access] = parts[..] else { panic!("{text}") };
    let mut rule = json!({"allow": verdict == "allow", "type": kind, "access": access});
    for (name, number) in [("major", major), ("minor", minor)] {
        if number != "*" {
            rule[name] = json!(number.parse::<i64>().unwrap());
        }
    }
    rule
}

/// A /dev that comes from the host has its devices already.
fn dev_that_is_bound_is_left_alone(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            crate::harness::bundle::without_mount(v, point);
        }
        crate::harness::bundle::mount(v, "/dev", "bind", "/dev", &["rbind"]);
        v["linux"]["devices"] = json!([{"path": "/dev/tare-test", "type": "c", "major": 1, "minor": 5}]);
    };
    let names =
        || std::fs::read_dir("/dev").unwrap().flatten().map(|e| e.file_name()).collect::<BTreeSet<_>>();
    let before = names();
    lab.inside(edit, "test ! -e /dev/tare-test");
    assert_eq!(names(), before, "nothing was written into the host's directory");
    Ok(())
}

/// Where devices may not be made, the host's own are bound; but in the host's mounts they would stay.
fn nothing_is_bound_among_the_hosts_mounts(lab: &Lab) -> Outcome {
    let setpriv = program("setpriv")?;
    let mut c = lab.container(&["true"]);
    c.edit(|v| {
        without_namespace(v, "mount");
        v["mounts"] = json!([]);
        v["linux"]["maskedPaths"] = json!([]);
        v["linux"]["readonlyPaths"] = json!([]);
        v["root"]["readonly"] = json!(false);
    });
    let log = lab.next_file("log");
    let call = lab.command(&c.runtime, &log);
    let mut without_right = lab.clean(std::process::Command::new(setpriv));
    without_right.args(["--bounding-set", "-mknod", "--inh-caps", "-mknod"]).arg(call.get_program());
    without_right.args(call.get_args()).arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    let run = lab.collect(&c.runtime, without_right, &log);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(c.rootfs("dev").to_str().unwrap()), "left on the host: {table}");
    run.fails_with("mknod null 1:3: operation not permitted");
    Ok(())
}
