//! `events`: what a container uses, beside what runc says of one like it, and that its memory has run out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::differences_events::after_one_kill_and_another_event;
use crate::harness::bundle::{mount, without_mount};
use crate::harness::runtime::{read_log, wait};
use crate::harness::session::idle;
use crate::harness::settings::{controller, unified};
use crate::harness::user::{ALICE, User, possible};
use crate::harness::{Container, Lab, Outcome, Runtime, Skip, Value, eventually, json, tests};

tests![
    one_line_of_statistics,
    has_the_shape_of_runc,
    limits_are_told,
    work_is_counted,
    pressure_is_told,
    before_the_start_and_while_paused,
    comes_again_and_again_until_the_end,
    waits_without_doing_anything,
    lack_of_memory_is_told,
    lack_of_memory_that_ends_the_container_is_told,
    each_lack_is_told_once,
    ends_when_nobody_listens,
    ends_by_a_signal,
    intervals_are_those_of_go,
    refused_without_a_container_that_runs,
    a_container_without_a_cgroup,
];

/// `events --stats`.
#[track_caller]
fn stats(c: &Container) -> Value {
    let out = c.call("events", &["--stats"]);
    let line = out.ok();
    assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
    let event: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
    event["data"].clone()
}

/// A running `events`.
pub struct Stream {
    pub child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Stream {
    pub fn of(c: &Container, interval: &str) -> Stream {
        let (out, log) = (c.lab.next_file("events"), c.lab.next_file("log"));
        let mut call = c.lab.command(&c.runtime, &log);
        call.args(["events", "--interval", interval, &c.id]).stdout(File::create(&out).unwrap());
        Stream { child: call.spawn().unwrap(), out, log }
    }

    /// Its lines so far.
    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.out).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The types of its lines so far.
    pub fn types(&self) -> Vec<String> {
        self.lines().iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until it watches: until then nothing of it is in the log or the output, but in the kernel.
    pub fn watches(&self) -> &Self {
        let dir = format!("/proc/{}/fd", self.child.id());
        let mark = if unified() { "anon_inode:inotify" } else { "anon_inode:[eventfd]" };
        eventually("events to watch", || {
            let links =
                fs::read_dir(&dir).ok()?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
            links.into_iter().any(|link| link.to_string_lossy() == mark).then_some(())
        });
        self
    }

    /// Ends the container, which is not deleted: that it has ended is enough. Only runc goes on until then, on
    /// version 1.
    #[track_caller]
    fn end_of(self, c: &Container) -> Vec<String> {
        c.stop();
        if c.runtime.name() == "runc" && !unified() {
            c.delete(&[]).ok();
        }
        self.end()
    }

    /// Waits for its end, and gives all types.
    #[track_caller]
    fn end(mut self) -> Vec<String> {
        let status = eventually("events to end", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
        assert_eq!(read_log(&self.log), [""; 0]);
        self.types()
    }
}

fn one_line_of_statistics(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "1000"]);
    c.up();
    let data = stats(&c);
    let keys: Vec<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
    // The order is looked at by a test of the types: here it is that of the alphabet.
    assert_eq!(
        keys,
        ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"]
    );
    assert_eq!((&data["network_interfaces"], &data["intel_rdt"]), (&Value::Null, &json!({})));
    if controller("pids").is_ok() {
        // systemd has a limit for all units.
        let current =
            if lab.has_units() { json!({"current": data["pids"]["current"]}) } else { data["pids"].clone() };
        assert_eq!(current, json!({"current": 1}));
    }
    Ok(())
}

/// Each path of a document with the type of its value, without what is zero: older versions of runc print
/// structs of zeros, and whether something is zero is a matter of the moment.
fn shape(value: &Value, at: &str, found: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Object(map) => {
            for (key, value) in map {
                shape(value, &format!("{at}/{key}"), found);
            }
            return;
        }
        Value::Array(list) => {
            list.iter().for_each(|value| shape(value, &format!("{at}/[]"), found));
            return;
        }
        Value::Null => "null",
        Value::String(_) => "text",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.as_f64() == Some(0.0) && !at.starts_with("/memory/raw/") => return,
        Value::Number(_) => "number",
    };
    found.insert(at.to_owned(), kind);
}

/// The same work in a container of runc and in one of ours, counted by each of the two, and by us for both:
/// where runc counts something we do.
fn has_the_shape_of_runc(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    let count = |runtime: &Runtime| {
        // Every counter that this work moves is moved in both.
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; cat /bin/busybox >/dev/null; \
                      dd if=/dev/zero of=/home/user/file bs=64k count=64 2>/dev/null; : > /tmp/done; exec sleep 1000";
        let mut c = lab.container_of(runtime, &["sh", "-c", script]);
        c.edit(|v| {
            v["root"]["readonly"] = json!(false);
            // runc changes the options of the host's mount with it.
            without_mount(v, "/sys/fs/cgroup");
            let resources = &mut v["linux"]["resources"];
            if controller("memory").is_ok() {
                resources["memory"] = json!({"limit": 67_108_864, "reservation": 33_554_432});
            }
            if controller("cpu").is_ok() {
                resources["cpu"] = json!({"quota": 50_000, "period": 100_000});
            }
            if controller("pids").is_ok() {
                resources["pids"] = json!({"limit": 20});
            }
        });
        c.up();
        eventually("the work", || c.rootfs("tmp/done").exists().then_some(()));
        let data = stats(&c);
        c.delete(&["--force"]).ok();
        data
    };
    let (theirs, ours) = (count(&runc), count(&lab.tare));
    for stable in [
        "/memory/usage/limit",
        "/memory/swap/limit",
        "/memory/kernel/limit",
        "/memory/kernelTCP/limit",
        "/memory/raw/hierarchical_memory_limit",
        "/pids",
        "/cpuset",
        "/hugetlb",
        "/intel_rdt",
        "/network_interfaces",
    ] {
        // Older versions of runc print zeros that we leave out.
        let value = |data: &Value| data.pointer(stable).filter(|value| **value != json!(0)).cloned();
        assert_eq!(value(&ours), value(&theirs), "{stable}");
    }
    let shapes = [&ours, &theirs].map(|data| {
        let mut found = BTreeMap::new();
        shape(data, "", &mut found);
        // Pressure of a moment comes and goes, and runc tells it since 1.2. What the file system of the test
        // has written to a device by now is left to the kernel.
        found.retain(|path, _| !path.contains("/psi/") && !path.starts_with("/blkio/"));
        // Ticks of the clock may have missed one of the two modes.
        found.retain(|path, _| !path.starts_with("/cpu/usage/") || path.ends_with("total"));
        found
    });
    // What depends on timing alone.
    let [ours, theirs] = shapes.map(|mut shape| {
        for path in
            ["/cpu/throttling/throttledPeriods", "/cpu/throttling/throttledTime", "/memory/usage/failcnt"]
        {
            shape.remove(path);
        }
        shape
    });
    assert_eq!(ours, theirs);
    Ok(())
}

fn limits_are_told(lab: &Lab) -> Outcome {
    controller("memory")?;
    controller("pids")?;
    let mut c = lab.container(&["sleep", "1000"]);
    c.edit(|v| {
        v["linux"]["resources"]["memory"] = json!({"limit": 33_554_432});
        v["linux"]["resources"]["pids"] = json!({"limit": 7});
    });
    c.up();
    let data = stats(&c);
    assert_eq!(data["pids"]["limit"], 7);
    assert_eq!(data["memory"]["usage"]["limit"], 33_554_432);
    if unified() {
        assert_eq!(data["memory"]["kernel"], Value::Null);
    } else {
        assert_eq!(data["memory"]["raw"]["hierarchical_memory_limit"], 33_554_432);
    }
    let file = if unified() { "memory.current" } else { "memory.usage_in_bytes" };
    assert_ne!(c.cgroup("memory", file)?, "0");
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() <= 33_554_432);
    Ok(())
}

fn work_is_counted(lab: &Lab) -> Outcome {
    controller("cpu")?;
    let mut c = lab.container(&["sh", "-c", "while :; do :; done"]);
    c.edit(|v| v["linux"]["resources"]["cpu"] = json!({"quota": 20_000, "period": 100_000}));
    c.up();
    let cpu = eventually("throttled work", || {
        let cpu = stats(&c)["cpu"].clone();
        let number = |path: &str| cpu.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let counted = ["/usage/total", "/throttling/throttledTime", "/throttling/throttledPeriods"];
        (counted.iter().all(|path| number(path) > 0) && number("/usage/user") + number("/usage/kernel") > 0)
            .then(|| cpu.clone())
    });
    let total = cpu["usage"]["total"].as_u64().unwrap();
    if !unified() && controller("cpuacct").is_ok() {
        let numbers = |name: &str| -> u64 {
            cpu["usage"][name].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum()
        };
        // The files are read one after the other, while it works.
        assert!(numbers("percpu") >= total, "{cpu}");
        assert!(numbers("percpu_user") + numbers("percpu_kernel") > 0, "{cpu}");
        assert_eq!(cpu.get("psi"), None);
    }
    Ok(())
}

fn pressure_is_told(lab: &Lab) -> Outcome {
    if !unified() || !std::path::Path::new("/proc/pressure/cpu").exists() {
        return Err(Skip("cgroup version 1, or a kernel without pressure stall information".into()));
    }
    // Two who want the tenth of one processor.
    let mut c = lab.container(&["sh", "-c", "while :; do :; done & while :; do :; done"]);
    let limited = controller("cpu").is_ok();
    if limited {
        c.edit(|v| v["linux"]["resources"]["cpu"] = json!({"quota": 10_000, "period": 100_000}));
    }
    c.up();
    for part in ["memory", "blkio", "cpu"] {
        assert!(stats(&c)[part].get("psi").is_some(), "{part}");
    }
    if limited {
        eventually("pressure", || {
            let some = stats(&c)["cpu"]["psi"]["some"].clone();
            (some["total"].as_u64()? > 0 && some["avg10"].is_number()).then_some(())
        });
    }
    Ok(())
}

fn before_the_start_and_while_paused(lab: &Lab) -> Outcome {
    controller(if unified() { "pids" } else { "freezer" })?;
    let c = lab.container(&["sleep", "1000"]);
    c.create(&[]).ok();
    assert!(stats(&c)["cpu"].is_object());
    c.start();
    c.call("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    assert!(stats(&c)["cpu"].is_object());
    c.call("resume", &[]).ok();
    Ok(())
}

fn comes_again_and_again_until_the_end(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c = lab.container(&["sleep", "1000"]);
    c.up();
    let stream = Stream::of(&c, "20ms");
    eventually("three lines", || (stream.lines().len() >= 3).then_some(()));
    for line in stream.lines() {
        assert_eq!((&line["type"], &line["id"]), (&json!("stats"), &json!(c.id)));
        assert!(line["data"]["memory"]["raw"].is_object(), "{line}");
    }
    assert!(stream.end_of(&c).iter().all(|kind| kind == "stats"));
    Ok(())
}

fn waits_without_doing_anything(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c = lab.container(&["sleep", "1000"]);
    c.up();
    let stream = Stream::of(&c, "1h");
    stream.watches();
    idle(&[("between two counts", &stream.child)]);
    let threads = fs::read_dir(format!("/proc/{}/task", stream.child.id())).unwrap().count();
    if lab.tare.name() == "tare" {
        assert_eq!(threads, 1);
    }
    assert_eq!(stream.end_of(&c), [""; 0]);
    Ok(())
}

/// A container with little memory, which runs a shell script. `FILL` in it is killed.
pub fn little_memory<'l>(lab: &'l Lab, runtime: &Runtime, script: &str) -> Container<'l> {
    let fill = "tail -c 100m /dev/zero >/dev/null";
    let mut c = lab.container_of(runtime, &["sh", "-c", &script.replace("FILL", fill)]);
    c.edit(|v| {
        mount(v, "/tmp", "tmpfs", "x", &[]);
        v["linux"]["resources"]["memory"] = json!({"limit": 16_777_216, "swap": 16_777_216});
        v["root"]["readonly"] = json!(false);
    });
    c
}

fn lack_of_memory_is_told(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c =
        little_memory(lab, &lab.tare, "until [ -e /home/user/go ]; do usleep 10000; done; FILL; sleep 1000");
    c.up();
    let stream = Stream::of(&c, "1h");
    stream.watches();
    fs::write(c.rootfs("home/user/go"), "").unwrap();
    eventually("an event", || (!stream.lines().is_empty()).then_some(()));
    assert_eq!(stream.lines()[0], json!({"type": "oom", "id": c.id}));
    assert_eq!(
        fs::read_to_string(&stream.out).unwrap().lines().next().unwrap(),
        format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", c.id)
    );
    assert_eq!(stats(&c)["memory"]["usage"]["limit"], 16_777_216);
    assert!(stream.end_of(&c).iter().all(|kind| kind == "oom"));
    Ok(())
}

/// Both come at once, and the one is why the other.
fn lack_of_memory_that_ends_the_container_is_told(lab: &Lab) -> Outcome {
    controller("memory")?;
    if !unified() {
        lab.not_runc("goes on until the container is deleted")?;
    }
    // systemd, where it has made the control group, removes that at the same moment.
    let mut c = little_memory(
        lab,
        &lab.tare,
        "until [ -e /home/user/go ]; do usleep 10000; done; exec tail -c 100m /dev/zero",
    );
    for _ in 0..5 {
        let _ = fs::remove_file(c.rootfs("home/user/go"));
        c.up();
        let stream = Stream::of(&c, "1h");
        stream.watches();
        fs::write(c.rootfs("home/user/go"), "").unwrap();
        let types = stream.end();
        assert!(!types.is_empty() && types.iter().all(|kind| kind == "oom"), "{types:?}");
        c.delete(&["--force"]).ok();
        c.edit(|_| {});
    }
    Ok(())
}

/// `memory.events` of version 2 changes for other reasons as well: when memory is only getting scarce.
fn each_lack_is_told_once(lab: &Lab) -> Outcome {
    controller("memory")?;
    if !unified() {
        return Err(Skip("cgroup version 1 tells of nothing else".into()));
    }
    lab.not_runc("tells of it at every change after the first")?;
    let (stream, kills) = after_one_kill_and_another_event(lab, &lab.tare);
    // It may only be late: the end comes after all that was to be told.
    lab.tidy();
    assert_eq!(stream.end(), vec!["oom"; kills]);
    Ok(())
}

fn ends_when_nobody_listens(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c = lab.container(&["sleep", "1000"]);
    c.up();
    let call = |interval: &str| {
        let mut call = lab.command(&c.runtime, &lab.next_file("log"));
        call.args(["events", "--interval", interval, &c.id]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut child = call("10ms");
    let mut line = String::new();
    // One line, and no more of it.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"type\":\"stats\""), "{line}");
    eventually("the end", || child.try_wait().unwrap());
    lab.not_runc("learns of it by the next line alone")?;
    let mut child = call("1h");
    drop(child.stdout.take());
    assert_eq!(eventually("the end", || child.try_wait().unwrap()).code(), Some(0));
    Ok(())
}

fn ends_by_a_signal(lab: &Lab) -> Outcome {
    controller("memory")?;
    let c = lab.container(&["sleep", "1000"]);
    c.up();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let stream = Stream::of(&c, "1h");
        stream.watches();
        kill_process(Pid::from_child(&stream.child), signal).unwrap();
        assert_eq!(wait(stream.child), 128 + signal.as_raw());
    }
    assert_eq!(c.status(), "running");
    Ok(())
}

fn intervals_are_those_of_go(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "1000"]);
    c.up();
    let call = |interval: &str| lab.call(&["events", "--stats", &format!("--interval={interval}"), &c.id]);
    for good in ["5s", "1h15m30.918s", ".5s", "1ns", "+1us"] {
        call(good).ok();
    }
    // The other ways to write a flag.
    lab.call(&["events", "--interval", "5s", "-stats", &c.id]).ok();
    lab.call(&["events", &c.id, "--stats", "-interval=5s"]).ok();
    for none in ["0", "0s", "-5s"] {
        call(none).fails(1, "duration interval must be greater than 0");
    }
    lab.newer_than_runc(1, 5)?;
    for (wrong, why) in [
        ("5", "missing unit in duration \"5\""),
        ("5x", "unknown unit \"x\" in duration \"5x\""),
        ("", "invalid duration \"\""),
        ("soon", "invalid duration \"soon\""),
    ] {
        let text = format!("invalid value {wrong:?} for flag -interval: time: {why}");
        let out = call(wrong);
        assert_eq!((out.code, out.errors()), (1, vec![text.as_str()]), "{out:?}");
        assert!(out.err.starts_with(&format!("Incorrect Usage: {text}\n")), "{}", out.err);
    }
    Ok(())
}

fn refused_without_a_container_that_runs(lab: &Lab) -> Outcome {
    for flags in [&["--stats"][..], &["--interval", "1s"]] {
        let call = |id: &str| lab.call(&[&["events"], flags, &[id]].concat());
        call("nope").fails(1, "container does not exist");
        let c = lab.container(&["sleep", "1000"]);
        c.up().stop();
        call(&c.id).fails(1, &format!("container with id {} is not running", c.id));
    }
    let out = lab.call(&["events"]);
    let text = format!("{}: \"events\" requires exactly 1 argument(s)", lab.tare.program.display());
    out.fails(1, &text);
    Ok(())
}

/// An ordinary user's: nothing is counted, and nobody can be told of a lack of memory.
fn a_container_without_a_cgroup(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let id = alice.up("c", &["sleep", "1000"], |_| {});
    let out = alice.call(&["events", "--stats", &id]);
    let event: Value = serde_json::from_str(out.ok()).unwrap();
    let without = |part: &str| event["data"][part].as_object().unwrap().clone();
    if !unified() {
        for part in ["cpu", "memory", "pids", "blkio", "hugetlb"] {
            let empty = |v: &Value| v.as_object().is_some_and(serde_json::Map::is_empty);
            assert!(without(part).values().all(empty) || lab.tare.name() == "runc", "{part}: {event}");
        }
        alice.call(&["events", &id]).fails(1, "memory controller missing");
    }
    Ok(())
}
