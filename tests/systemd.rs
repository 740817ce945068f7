//! `--systemd-cgroup` on a host that systemd has booted: what systemd knows of a container, what the kernel does, and
//! what is left when something goes wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::settings::{cgroup_paths_in, cgroup_roots, unified};
use crate::harness::{Container, Lab, Outcome, Output, Skip, eventually, json, tests};

tests![
    a_scope_from_create_to_delete,
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
    Ok(())
}

/// A container in a slice of the tests, with a name of its own there.
pub fn scope<'l>(lab: &'l Lab, args: &[&str]) -> Container<'l> {
    let mut c = lab.container(args);
    name(&mut c);
    c
}

/// The name of the scope begins with that of the test, so that what is left is noticed.
pub fn name(c: &mut Container) {
    let (prefix, name) = c.id.rsplit_once('-').unwrap();
    let path = format!("tare-test.slice:{prefix}:{name}");
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(path));
}

pub fn unit(c: &Container) -> String {
    format!("{}.scope", c.id)
}

/// The scope's directory in the hierarchy in which systemd keeps its processes.
pub fn dir(c: &Container) -> PathBuf {
    below(c, if unified() { Path::new("/sys/fs/cgroup") } else { Path::new("/sys/fs/cgroup/systemd") })
}

fn below(c: &Container, root: &Path) -> PathBuf {
    root.join("tare.slice/tare-test.slice").join(unit(c))
}

/// The scope's directories in all hierarchies.
pub fn dirs(c: &Container) -> Vec<PathBuf> {
    cgroup_roots().iter().map(|root| below(c, root)).filter(|dir| dir.exists()).collect()
}

/// `create` or `run` by systemd.
pub fn make(c: &Container, command: &str, flags: &[&str]) -> Output {
    c.lab.finish(&c.runtime, |call| {
        call.arg("--systemd-cgroup").arg(command).arg("--bundle").arg(&c.bundle).args(flags).arg(&c.id);
    })
}

pub fn systemctl(args: &[&str]) -> String {
    let out = Command::new("systemctl").args(args).output().expect("systemctl");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Properties of a unit, each as `Name=value`, sorted.
pub fn show(unit: &str, names: &[&str]) -> Vec<String> {
    let shown = systemctl(&["show", unit, "-p", &names.join(",")]);
    let mut lines: Vec<String> = shown.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The units of a test that systemd has, whatever their state.
pub fn units(lab: &Lab) -> String {
    systemctl(&["list-units", "--all", "--plain", "--no-legend", &format!("{}*", lab.name)])
}

/// What these files of the scope say, each as `name=value`.
pub fn files(c: &Container, names: &[&str]) -> Vec<String> {
    let read = |name: &&str| {
        let controller = if unified() { "" } else { name.split('.').next().unwrap() };
        let file = below(c, &Path::new("/sys/fs/cgroup").join(controller)).join(name);
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    };
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
    let place = format!("/tare.slice/tare-test.slice/{}", unit(&c));
    for pid in ["1", "self"] {
        let seen = cgroup_paths_in(c.call("exec", &["cat", &format!("/proc/{pid}/cgroup")]).ok());
        assert_eq!(
            (seen.len(), seen.iter().all(|path| *path == place)),
            (cgroup_roots().len(), true),
            "{seen:?}"
        );
    }
    let ps = c.lab.finish(&c.runtime, |call| {
        call.args(["ps", "-f", "json", &c.id]);
    });
    assert_eq!(ps.ok().trim(), format!("[{pid}]"));
    c.stop();
    c.delete(&[]).ok();
    assert_eq!(units(lab), "");
    assert_eq!(dirs(&c), Vec::<PathBuf>::new());

    // A cgroup namespace begins at the scope.
    let limit = if unified() { "pids.max" } else { "pids/pids.max" };
    let script = format!("cat /sys/fs/cgroup/{limit} /proc/self/cgroup");
    let mut c = scope(lab, &["sh", "-c", &script]);
    c.edit(|v| {
        crate::harness::bundle::set_namespace(v, "cgroup", None);
        v["linux"]["resources"]["pids"] = json!({"limit": 30});
    });
    let out = make(&c, "run", &[]);
    let (limit, cgroups) = out.ok().split_once('\n').unwrap();
    assert_eq!((limit, cgroups.lines().all(|line| line.ends_with(":/"))), ("30", true), "{out:?}");
    assert_eq!((units(lab), dirs(&c)), (String::new(), Vec::<PathBuf>::new()));
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
        let seen = cgroup_paths_in(out.ok());
        assert_eq!(
            (seen.len(), seen.iter().all(|path| path == want)),
            (cgroup_roots().len(), true),
            "{out:?}"
        );
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
        assert_eq!(dirs(&c), Vec::<PathBuf>::new(), "{out:?}");
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
    // Where all is of version 1 the devices hierarchy tells who is there, and the other scope has no cgroup in that.
    let seen = unified() || cgroup_roots().contains(&"/sys/fs/cgroup/unified".into());
    let full = "container's cgroup is not empty: 1 process(es) found";
    for (slice, text) in [
        ("tare-test.slice", if seen { full } else { "unable to start unit" }),
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
        eventually("the cgroup to be gone", || dirs(&c).is_empty().then_some(()));
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
