//! The rows of the table in `differences.rs` that are about `events`.

use std::fs;
use std::process::Stdio;

use crate::differences::Difference;
use crate::events::{Stream, little_memory};
use crate::harness::settings::{controller, unified};
use crate::harness::{Lab, Runtime, eventually};

pub const ROWS: &[Difference] = &[
    Difference {
        what: "`events` when the container has ended, on cgroup version 1",
        runc: "goes on",
        tare: "ends",
        why: "Nothing can happen any more. runc goes on until the container is deleted.",
        probe: |lab, runtime| {
            if unified() || controller("memory").is_err() {
                // Both end; or runc does not begin.
                return said(runtime, "goes on", "ends");
            }
            let c = lab.container_of(runtime, &["sleep", "1000"]);
            c.up();
            let mut stream = Stream::of(&c, "10ms");
            eventually("a line", || (!stream.types().is_empty()).then_some(()));
            c.stop();
            let goes_on = runtime.name() == "runc";
            let lines = stream.types().len();
            let shown = eventually("the end, or more", || match stream.child.try_wait().unwrap() {
                Some(_) => Some("ends"),
                None => (goes_on && stream.types().len() > lines + 20).then_some("goes on"),
            });
            c.delete(&[]).ok();
            eventually("the end", || stream.child.try_wait().unwrap());
            shown.to_owned()
        },
    },
    Difference {
        what: "`oom` of `events`, on cgroup version 2, when memory gets scarce and nobody is killed",
        runc: "told",
        tare: "not told",
        why: "runc tells of every change of `memory.events` after the first process that was killed.",
        probe: |lab, runtime| {
            if !unified() || controller("memory").is_err() {
                return said(runtime, "told", "not told");
            }
            let (stream, kills) = after_one_kill_and_another_event(lab, runtime);
            if runtime.name() == "runc" {
                eventually("another event", || (stream.types().len() > kills).then_some(()));
                return "told".to_owned();
            }
            assert_eq!(stream.types(), vec!["oom"; kills]);
            "not told".to_owned()
        },
    },
    Difference {
        what: "`events` when nobody reads its output any more",
        runc: "waits for the next line",
        tare: "ends",
        why: "It would wait for nobody.",
        probe: |lab, runtime| {
            if controller("memory").is_err() {
                return said(runtime, "waits for the next line", "ends");
            }
            let c = lab.container_of(runtime, &["sleep", "1000"]);
            c.up();
            let mut call = lab.command(runtime, &lab.next_file("log"));
            call.args(["events", "--interval", "1h", &c.id]).stdout(Stdio::piped());
            let mut child = call.spawn().unwrap();
            drop(child.stdout.take());
            if runtime.name() == "runc" {
                std::thread::sleep(std::time::Duration::from_millis(300));
                let ended = child.try_wait().unwrap().is_some();
                child.kill().unwrap();
                child.wait().unwrap();
                return if ended { "ends" } else { "waits for the next line" }.to_owned();
            }
            eventually("the end", || child.try_wait().unwrap());
            "ends".to_owned()
        },
    },
];

/// What there is to say where nothing can be tried.
fn said(runtime: &Runtime, runc: &str, tare: &str) -> String {
    if runtime.name() == "runc" { runc } else { tare }.to_owned()
}

/// A container of which one process was killed for memory, and which has then only reached `memory.high`: its
/// events, and how many processes were killed.
pub fn after_one_kill_and_another_event(lab: &Lab, runtime: &Runtime) -> (Stream, usize) {
    let script = "until [ -e /home/user/go ]; do usleep 10000; done; FILL; while :; do usleep 10000; done";
    let c = little_memory(lab, runtime, script);
    c.up();
    let stream = Stream::of(&c, "1h");
    stream.watches();
    fs::write(c.rootfs("home/user/go"), "").unwrap();
    eventually("an event", || (!stream.types().is_empty()).then_some(()));
    let counted = || {
        let text = c.cgroup("memory", "memory.events").ok()?;
        let number = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        Some((number("oom_kill ")?, number("high ")?))
    };
    let before: (usize, usize) = counted().unwrap();
    let high = c.cgroups()[0].join("memory.high");
    fs::write(&high, "4096").unwrap();
    let after = eventually("an event of another kind", || counted().filter(|now| now.1 > before.1));
    fs::write(&high, "max").unwrap();
    assert_eq!(after.0, before.0, "nobody was killed");
    (stream, before.0)
}
