//! `delete`, with and without force, in every state.

use std::path::Path;

use crate::harness::bundle::without_namespace;
use crate::harness::settings::unified;
use crate::harness::{Lab, Outcome, eventually, tests};

tests![
    removes_a_stopped_container,
    refuses_a_running_container,
    removes_a_created_container,
    force_works_in_every_state,
    force_of_a_missing_one_is_silent,
    flag_may_follow_the_id,
    force_kills_processes_without_init,
    force_removes_an_unreadable_state,
    who_is_left_is_named,
    refuses_unknown,
];

fn removes_a_stopped_container(lab: &Lab) -> Outcome {
    let c = lab.container(&["true"]);
    c.up().wait_for("stopped");
    // Of version 1 systemd removes only the hierarchies that it makes units in.
    if lab.has_units() && unified() {
        eventually("systemd to remove the control group", || c.cgroups().is_empty().then_some(()));
    } else {
        assert!(!c.cgroups().is_empty());
    }
    c.delete(&[]).ok();
    assert!(c.cgroups().is_empty(), "{:?}", c.cgroups());
    assert!(!lab.root().join(&c.id).exists());
    c.call("state", &[]).fails(1, "container does not exist");
    Ok(())
}

fn refuses_a_running_container(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    c.delete(&[]).fails(1, &format!("cannot delete container {} that is not stopped: running", c.id));
    assert_eq!(c.status(), "running");
    Ok(())
}

/// runc deletes a created container without force: its process is only our own init.
fn removes_a_created_container(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    let proc = format!("/proc/{}", c.pid());
    c.delete(&[]).ok();
    eventually("init to go", || (!Path::new(&proc).exists()).then_some(()));
    Ok(())
}

fn force_works_in_every_state(lab: &Lab) -> Outcome {
    for state in ["created", "running", "stopped"] {
        let c = lab.container(&["sleep", "100"]);
        c.create(&[]).ok();
        if state != "created" {
            c.start();
        }
        if state == "stopped" {
            c.stop();
        }
        assert_eq!(c.status(), state);
        c.delete(&["--force"]).ok();
        assert_eq!(lab.leaks(), [""; 0], "left by delete --force of a {state} container");
    }
    Ok(())
}

fn force_of_a_missing_one_is_silent(lab: &Lab) -> Outcome {
    let delete = lab.call(&["delete", "-f", "nope"]);
    assert_eq!((delete.ok(), delete.err.as_str(), delete.log.len()), ("", "", 0));
    Ok(())
}

/// Podman and others put flags last.
fn flag_may_follow_the_id(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    lab.call(&["delete", &c.id, "--force"]).ok();
    c.call("state", &[]).fails(1, "container does not exist");
    Ok(())
}

/// Where the host's PID namespace is shared, processes outlive init: they go with the container.
fn force_kills_processes_without_init(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "sleep 100 & exit 0"]);
    c.edit(|v| without_namespace(v, "pid"));
    c.up().wait_for("stopped");
    assert_eq!(crate::harness::leaks::processes(&lab.name).len(), 1, "the process that outlived init");
    c.delete(&["--force"]).ok();
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn refuses_unknown(lab: &Lab) -> Outcome {
    lab.call(&["delete", "nope"]).fails(1, "container does not exist");
    Ok(())
}

/// As a disk may leave it after a power failure.
fn force_removes_an_unreadable_state(lab: &Lab) -> Outcome {
    lab.not_runc("refuses")?;
    for content in ["", "{\"version\": 1, \"id\": \"x"] {
        let dir = lab.root().join(format!("{}-lost", lab.name));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("state.json"), content).unwrap();
        let id = dir.file_name().unwrap().to_str().unwrap();
        lab.call(&["delete", id]).fails_with("state.json: ");
        lab.call(&["delete", "--force", id]).ok();
        assert!(!dir.exists());
    }
    Ok(())
}

/// A cgroup that is busy is tried again for a while, since processes take their time to end. One of somebody
/// else's stays, and the container with it.
fn who_is_left_is_named(lab: &Lab) -> Outcome {
    lab.not_runc("does not say")?;
    lab.makes_groups()?;
    let c = lab.container(&["true"]);
    c.up().wait_for("stopped");
    let foreign = |script: &str| {
        let mut command = std::process::Command::new(&lab.settings.busybox);
        let child = command.args(["sh", "-c", script]).spawn().unwrap();
        for dir in c.cgroups() {
            std::fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        child
    };
    let mut child = foreign("sleep 100");
    let delete = c.delete(&[]);
    child.kill().unwrap();
    child.wait().unwrap();
    delete.fails_with("device or resource busy");
    delete.fails_with(&format!("(processes in it: {})", child.id()));
    assert_eq!(c.status(), "stopped");
    // It ends while `delete` tries.
    let mut child = foreign("sleep 0.3");
    let waits = std::thread::spawn(move || child.wait());
    c.delete(&[]).ok();
    waits.join().unwrap().unwrap();
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}
