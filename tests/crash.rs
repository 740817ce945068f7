//! SIGKILL at every step: whatever the runtime leaves, `delete --force` removes all of it.
//!
//! strace kills the runtime's own process at its Nth system call, on the very binary that is released. First
//! the calls are counted in an undisturbed run; then each is a place to die.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::bundle::{mount, set_namespace};
use crate::harness::settings::program;
use crate::harness::{Container, Lab, Outcome, Output, Skip, Value, json, tests};
use crate::idmap::mapped;
use crate::user_namespaces;

tests![
    create,
    start,
    start_with_a_notify_socket,
    run_detached,
    run_detached_with_a_notify_socket,
    run_detached_with_id_maps,
    run_detached_in_a_user_namespace,
    create_with_a_helper,
    run_in_the_foreground,
    delete,
    delete_by_force,
    pause,
    resume,
    update,
    death_of_init,
    death_of_init_in_a_user_namespace,
];

/// A step: the name of a system call and which one of them, from 1.
pub type Step = (String, usize);

/// Runs one call of the runtime under strace with `flags`, killed at `step` if there is one; gives the
/// trace and what the call gave.
pub fn traced(
    c: &Container,
    strace: &Path,
    flags: &[&str],
    step: Option<&Step>,
    call: &[&str],
) -> (String, Output) {
    let trace = c.lab.dir.join("trace");
    let log = c.lab.next_file("log");
    let mut command = c.lab.clean(Command::new(strace));
    command.args(["-qq", "-s", "0"]).args(flags).arg("-o").arg(&trace);
    if let Some((name, which)) = step {
        command.arg("-e").arg(format!("inject={name}:signal=KILL:when={which}"));
    }
    let plain = c.lab.command(&c.runtime, &log);
    command.arg("--").arg(plain.get_program()).args(plain.get_args()).args(call);
    let output = c.lab.collect(&c.runtime, command, &log);
    (fs::read_to_string(trace).unwrap_or_default(), output)
}

/// The system calls of a trace in order, each with its number among those of its name.
pub fn steps(trace: &str) -> Vec<Step> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let names = trace.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name);
    let calls =
        names.filter(|n| n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !n.starts_with("exit"));
    calls
        .map(|name| {
            let count = seen.entry(name).or_default();
            *count += 1;
            (name.to_owned(), *count)
        })
        .collect()
}

/// The steps of the processes that the runtime makes, in a trace with `-f`, but for those that it makes itself
/// as well: it would be killed there in their place.
pub fn steps_of_others(trace: &str) -> Vec<Step> {
    // Each line begins with the number of the process; the runtime's own is the first.
    let lines: Vec<(&str, &str)> = trace.lines().filter_map(|l| l.split_once(' ')).collect();
    let of = |own: bool| {
        let lines = lines.iter().filter(|(pid, _)| (*pid == lines[0].0) == own);
        steps(&lines.map(|(_, call)| call.trim_start()).collect::<Vec<_>>().join("\n"))
    };
    let runtime = of(true);
    of(false).into_iter().filter(|step| !runtime.contains(step)).collect()
}

/// Dies at every step of `call`, which `prepare` makes possible, and cleans up each time.
fn matrix(lab: &Lab, prepare: fn(&Container), call: &[&str]) -> Outcome {
    let mut c = lab.container(&["sleep", "100"]);
    if call.contains(&"run") && !call.contains(&"--detach") {
        c.edit(|v| v["process"]["args"] = json!(["true"]));
    }
    every_step(&c, &[], prepare, call)
}

/// The same when somebody wants to hear that the container is ready, which says nothing and ends.
fn notify_matrix(lab: &Lab, prepare: fn(&Container), call: &[&str]) -> Outcome {
    let c = lab.container(&["true"]);
    let host = crate::notify::Host::new(lab);
    every_step(&c, &["-E", &format!("NOTIFY_SOCKET={}", host.name)], prepare, call)
}

fn every_step(c: &Container, flags: &[&str], prepare: fn(&Container), call: &[&str]) -> Outcome {
    let lab = c.lab;
    let strace = strace(lab)?;
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
    prepare(c);
    let all = steps(&traced(c, &strace, flags, None, &call).0);
    assert!(all.len() > 20, "strace shows the system calls: {all:?}");
    force(lab, c, "nothing");
    for step in &all {
        prepare(c);
        traced(c, &strace, flags, Some(step), &call);
        readable(c, step);
        force(lab, c, &format!("{call:?} was killed at {} number {} of {} steps", step.0, step.1, all.len()));
    }
    Ok(())
}

/// A state that is there can be read: it is never half written.
#[track_caller]
fn readable(c: &Container, step: &Step) {
    let path = c.lab.root().join(&c.id).join("state.json");
    let Ok(state) = fs::read(&path) else { return };
    let read = serde_json::from_slice::<Value>(&state);
    assert!(read.is_ok(), "{}: {read:?} after {step:?}", path.display());
}

pub fn strace(lab: &Lab) -> Result<PathBuf, Skip> {
    lab.not_runc("has threads, of which strace would follow one")?;
    program("strace")
}

/// The container's first process dies at each of its own steps: the call fails with one line and cleans up.
fn death_of_init(lab: &Lab) -> Outcome {
    die(&lab.container(&["true"]))
}

fn death_of_init_in_a_user_namespace(lab: &Lab) -> Outcome {
    die(&in_a_user_namespace(lab, &["true"]))
}

fn die(c: &Container) -> Outcome {
    let lab = c.lab;
    let strace = strace(lab)?;
    let call = ["run", "--bundle", c.bundle.to_str().unwrap(), &c.id];
    let (trace, output) = traced(c, &strace, &["-f"], None, &call);
    output.ok();
    let init = steps_of_others(&trace);
    assert!(init.iter().any(|(name, _)| name == "pivot_root"), "init is seen: {init:?}");
    for step in &init {
        let (trace, output) = traced(c, &strace, &["-f"], Some(step), &call);
        let runtime = trace.split(' ').next().unwrap_or_default();
        if trace.lines().any(|l| l.starts_with(runtime) && l.contains("killed by")) {
            force(lab, c, "the death of the runtime, which made more calls than before");
            continue;
        }
        let when = format!("the death of init at {} number {}", step.0, step.1);
        assert_ne!(output.code, 0, "{when}");
        assert!(output.errors().len() <= 1, "one line after {when}: {:?}", output.errors());
        assert_eq!(lab.leaks(), [""; 0], "left after {when}");
        lab.transcript.borrow_mut().clear();
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

fn start_with_a_notify_socket(lab: &Lab) -> Outcome {
    let created = |c: &Container| {
        c.lab
            .finish(&c.runtime, |call| {
                call.env("NOTIFY_SOCKET", "/any").args(["create", "--bundle"]).arg(&c.bundle).arg(&c.id);
            })
            .ok();
    };
    notify_matrix(lab, created, &["start", "ID"])
}

fn run_detached_with_a_notify_socket(lab: &Lab) -> Outcome {
    notify_matrix(lab, |_| (), &["run", "--detach", "--bundle", "BUNDLE", "ID"])
}

fn run_detached(lab: &Lab) -> Outcome {
    matrix(lab, |_| (), &["run", "--detach", "--bundle", "BUNDLE", "ID"])
}

/// Which takes a process beside init for each map.
fn run_detached_with_id_maps(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| {
        for (destination, id) in [("/tmp", 0), ("/home/user", 1000)] {
            let map = [(0, id, 100)];
            mapped(v, destination, ("none", Path::new("/etc")), &["bind"], [&map, &map]);
        }
    });
    every_step(&c, &[], |_| (), &["run", "--detach", "--bundle", "BUNDLE", "ID"])
}

/// For which the runtime goes into the mount namespace of init, and comes back.
fn in_a_user_namespace<'l>(lab: &'l Lab<'l>, args: &[&str]) -> Container<'l> {
    let mut c = user_namespaces::mapped(lab, args);
    c.edit(|v| mount(v, "/tmp", "none", "/etc", &["rbind"]));
    c
}

fn run_detached_in_a_user_namespace(lab: &Lab) -> Outcome {
    let c = in_a_user_namespace(lab, &["sleep", "100"]);
    every_step(&c, &[], |_| (), &["run", "--detach", "--bundle", "BUNDLE", "ID"])
}

/// In the user namespace of another container, with a PID namespace of its own. What is left is looked for at the
/// end, when the other container is gone as well.
fn create_with_a_helper(lab: &Lab) -> Outcome {
    let pod = user_namespaces::mapped(lab, &["sleep", "1000"]);
    pod.up();
    let mut c = in_a_user_namespace(lab, &["sleep", "100"]);
    c.edit(|v| {
        set_namespace(v, "user", Some(&format!("/proc/{}/ns/user", pod.pid())));
    });
    let strace = strace(lab)?;
    let call = ["create", "--bundle", c.bundle.to_str().unwrap(), &c.id];
    let all = steps(&traced(&c, &strace, &[], None, &call).0);
    c.delete(&["--force"]).ok();
    for step in &all {
        traced(&c, &strace, &[], Some(step), &call);
        c.delete(&["--force"]).ok();
    }
    pod.delete(&["--force"]).ok();
    Ok(())
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

fn pause(lab: &Lab) -> Outcome {
    let running = |c: &Container| {
        c.up();
    };
    matrix(lab, running, &["pause", "ID"])
}

fn resume(lab: &Lab) -> Outcome {
    let paused = |c: &Container| {
        c.up().call("pause", &[]).ok();
    };
    matrix(lab, paused, &["resume", "ID"])
}

/// Whatever of the change is made by then, the container is one that can be used.
fn update(lab: &Lab) -> Outcome {
    crate::harness::settings::controller("pids")?;
    let running = |c: &Container| {
        c.up();
    };
    let call = ["update", "--pids-limit", "20", "--cpu-quota", "50000", "--memory", "64M", "ID"];
    matrix(lab, running, &call)
}
