//! SIGKILL at every step: whatever the runtime leaves, `delete --force` removes all of it.
//!
//! strace kills the runtime's own process at its Nth system call, on the very binary that is released. First
//! the calls are counted in an undisturbed run; then each is a place to die.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::settings::program;
use crate::harness::{Container, Lab, Outcome, Skip, json, tests};

tests![create, start, run_detached, run_in_the_foreground, delete, delete_by_force];

/// A step: the name of a system call and which one of them, from 1.
type Step = (String, usize);

/// Runs one call of the runtime under strace, killed at `step` if there is one; gives the trace.
fn traced(c: &Container, strace: &Path, step: Option<&Step>, call: &[&str]) -> String {
    let trace = c.lab.dir.join("trace");
    let mut command = c.lab.clean(Command::new(strace));
    command.args(["-qq", "-s", "0", "-o"]).arg(&trace);
    if let Some((name, which)) = step {
        command.arg("-e").arg(format!("inject={name}:signal=KILL:when={which}"));
    }
    let plain = c.lab.command(&c.runtime, &c.lab.dir.join("crash.log"));
    command.arg("--").arg(plain.get_program()).args(plain.get_args()).args(call);
    c.lab.collect(&c.runtime, command, Path::new("/nonexistent"));
    fs::read_to_string(trace).unwrap_or_default()
}

/// The system calls of a trace in order, each with its number among those of its name.
fn steps(trace: &str) -> Vec<Step> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let names = trace.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name);
    let calls = names.filter(|n| n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !n.starts_with("exit"));
    calls
        .map(|name| {
            let count = seen.entry(name).or_default();
            *count += 1;
            (name.to_owned(), *count)
        })
        .collect()
}

/// Dies at every step of `call`, which `prepare` makes possible, and cleans up each time.
fn matrix(lab: &Lab, prepare: fn(&Container), call: &[&str]) -> Outcome {
    let strace: PathBuf = program("strace")?;
    if lab.tare.name() == "runc" {
        return Err(Skip("runc has threads, of which strace would follow one".into()));
    }
    let mut c = lab.container(&["sleep", "100"]);
    if call.contains(&"run") && !call.contains(&"--detach") {
        c.edit(|v| v["process"]["args"] = json!(["true"]));
    }
    let bundle = c.bundle.to_str().unwrap().to_owned();
    let id = c.id.clone();
    let call: Vec<&str> = call
        .iter()
        .map(|word| match *word {
            "BUNDLE" => bundle.as_str(),
            "ID" => id.as_str(),
            word => word,
        })
        .collect();
    prepare(&c);
    let all = steps(&traced(&c, &strace, None, &call));
    assert!(all.len() > 20, "strace shows the system calls: {all:?}");
    force(lab, &c, "nothing");
    let every = if lab.settings.crash_full { 1 } else { 7 };
    // Start elsewhere each day of the test's life, so that samples add up; the last step always counts.
    let offset = std::process::id() as usize % every;
    for step in all.iter().skip(offset).step_by(every).chain(all.last()) {
        prepare(&c);
        traced(&c, &strace, Some(step), &call);
        force(lab, &c, &format!("{call:?} was killed at {} number {} of {} steps", step.0, step.1, all.len()));
    }
    Ok(())
}

/// Removes the container by force, after which nothing may be left.
#[track_caller]
fn force(lab: &Lab, c: &Container, when: &str) {
    let delete = c.delete(&["--force"]);
    assert_eq!(delete.code, 0, "delete --force after {when}: {}", delete.err);
    assert_eq!(lab.leaks(), [""; 0], "left after {when}");
    lab.transcript.borrow_mut().clear();
}

fn create(lab: &Lab) -> Outcome {
    matrix(lab, |_| (), &["create", "--bundle", "BUNDLE", "ID"])
}

fn start(lab: &Lab) -> Outcome {
    let created = |c: &Container| {
        c.create(&[]).ok();
    };
    matrix(lab, created, &["start", "ID"])
}

fn run_detached(lab: &Lab) -> Outcome {
    matrix(lab, |_| (), &["run", "--detach", "--bundle", "BUNDLE", "ID"])
}

fn run_in_the_foreground(lab: &Lab) -> Outcome {
    matrix(lab, |_| (), &["run", "--bundle", "BUNDLE", "ID"])
}

fn delete(lab: &Lab) -> Outcome {
    let stopped = |c: &Container| {
        c.up().stop();
    };
    matrix(lab, stopped, &["delete", "ID"])
}

fn delete_by_force(lab: &Lab) -> Outcome {
    let running = |c: &Container| {
        c.up();
    };
    matrix(lab, running, &["delete", "--force", "ID"])
}
