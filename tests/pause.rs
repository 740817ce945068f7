//! `pause` and `resume`: what stands still, what the other commands make of it, and who cannot be paused.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::harness::settings::{controller, unified};
use crate::harness::user::{ALICE, User, possible};
use crate::harness::{Container, Lab, Outcome, eventually, tests};

tests![
    a_busy_loop_stands_still,
    who_makes_processes_all_the_time,
    processes_in_nested_cgroups,
    paused_from_outside,
    a_container_that_waits_for_its_start,
    signals_wait,
    kill_reaches_what_is_paused,
    delete_of_what_is_paused,
    refused_in_every_wrong_state,
    without_a_cgroup,
];

/// Clock ticks that a process has used.
fn ticks(pid: u64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The directory that freezes the container, or the reason to ignore the test.
fn freezer(c: &Container) -> Result<PathBuf, crate::harness::Skip> {
    let root: PathBuf = if unified() { "/sys/fs/cgroup".into() } else { controller("freezer")? };
    Ok(c.cgroup_dir(&root))
}

/// Whether every process has come to a halt, as the kernel says.
fn frozen(c: &Container) -> bool {
    let dir = freezer(c).unwrap_or_default();
    match unified() {
        true => fs::read_to_string(dir.join("cgroup.events")).unwrap().contains("frozen 1"),
        false => fs::read_to_string(dir.join("freezer.state")).unwrap() == "FROZEN\n",
    }
}

/// A running container that can be frozen here.
fn up<'l>(lab: &'l Lab, args: &[&str]) -> Result<Container<'l>, crate::harness::Skip> {
    let c = lab.container(args);
    c.up();
    freezer(&c)?;
    Ok(c)
}

fn a_busy_loop_stands_still(lab: &Lab) -> Outcome {
    let c = up(lab, &["sh", "-c", "while :; do :; done"])?;
    let pid = c.pid();
    for _ in 0..2 {
        let before = ticks(pid);
        eventually("the loop to run", || (ticks(pid) > before + 2).then_some(()));
        assert_eq!(c.call("pause", &[]).ok(), "");
        assert!(frozen(&c), "when the call returns");
        let before = ticks(pid);
        sleep(Duration::from_millis(100));
        assert_eq!(ticks(pid), before, "it uses no time");
        assert_eq!(c.state()["pid"], pid);
        assert_eq!(c.status(), "paused");
        assert!(lab.call(&["list"]).ok().contains(" paused "));
        assert_eq!(c.call("resume", &[]).ok(), "");
        assert!(!frozen(&c));
        assert_eq!(c.status(), "running");
    }
    Ok(())
}

/// New processes don't slip through: on version 1 they could.
fn who_makes_processes_all_the_time(lab: &Lab) -> Outcome {
    let script = "loop() { while :; do /bin/true; done; }; loop & loop & loop";
    let c = up(lab, &["sh", "-c", script])?;
    let processes = || lab.call_of(&c.runtime, &["ps", "-f", "json", &c.id]).ok().to_owned();
    for _ in 0..5 {
        c.call("pause", &[]).ok();
        assert!(frozen(&c));
        let before = processes();
        sleep(Duration::from_millis(30));
        assert_eq!(processes(), before, "none begins and none ends");
        c.call("resume", &[]).ok();
        eventually("processes to change", || (processes() != before).then_some(()));
    }
    Ok(())
}

fn processes_in_nested_cgroups(lab: &Lab) -> Outcome {
    let c = up(lab, &["sleep", "100"])?;
    let nested = freezer(&c)?.join("nested");
    fs::create_dir(&nested).unwrap();
    let mut child = std::process::Command::new(&lab.settings.busybox)
        .args(["sh", "-c", "while :; do :; done"])
        .spawn()
        .unwrap();
    fs::write(nested.join("cgroup.procs"), child.id().to_string()).unwrap();
    c.call("pause", &[]).ok();
    let before = ticks(child.id().into());
    sleep(Duration::from_millis(100));
    let after = ticks(child.id().into());
    c.call("resume", &[]).ok();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(after, before);
    Ok(())
}

/// It is the kernel that knows, so it makes no difference who has done it.
fn paused_from_outside(lab: &Lab) -> Outcome {
    let c = up(lab, &["sleep", "100"])?;
    let (file, on, off) =
        if unified() { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
    let file = freezer(&c)?.join(file);
    fs::write(&file, on).unwrap();
    c.wait_for("paused").call("resume", &[]).ok();
    assert_eq!(c.status(), "running");
    c.call("pause", &[]).ok();
    fs::write(&file, off).unwrap();
    c.wait_for("running").call("resume", &[]).fails(1, "container not paused");
    Ok(())
}

fn a_container_that_waits_for_its_start(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "echo ran >/tmp/out; sleep 100"]);
    c.edit(|v| v["root"]["readonly"] = false.into());
    c.create(&[]).ok();
    freezer(&c)?;
    c.call("pause", &[]).ok();
    assert_eq!(c.status(), "paused");
    c.call("start", &[]).fails(1, "cannot start a container in the paused state");
    c.call("resume", &[]).ok();
    assert_eq!(c.status(), "created");
    assert!(!c.rootfs("tmp/out").exists());
    c.start();
    eventually("the program", || c.rootfs("tmp/out").exists().then_some(()));
    c.call("pause", &[]).ok();
    c.delete(&["--force"]).ok();
    // The same without force: it is only our own init that waits.
    let c = lab.container(&["true"]);
    c.create(&[]).ok();
    c.call("pause", &[]).ok();
    c.delete(&["--force"]).ok();
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn signals_wait(lab: &Lab) -> Outcome {
    let mut c =
        lab.container(&["sh", "-c", "trap 'exit 0' TERM; touch /tmp/up; while :; do sleep 0.05; done"]);
    c.edit(|v| v["root"]["readonly"] = false.into());
    c.up();
    freezer(&c)?;
    eventually("the trap", || c.rootfs("tmp/up").exists().then_some(()));
    c.call("pause", &[]).ok();
    c.kill("TERM").ok();
    sleep(Duration::from_millis(50));
    assert_eq!(c.status(), "paused");
    c.call("resume", &[]).ok();
    c.wait_for("stopped");
    Ok(())
}

/// On version 1 it dies when it is thawed, which `kill` does then.
fn kill_reaches_what_is_paused(lab: &Lab) -> Outcome {
    for own_pids in [true, false] {
        let mut c = lab.container(&["sh", "-c", "sleep 100 & sleep 100"]);
        if !own_pids {
            c.edit(|v| crate::harness::bundle::without_namespace(v, "pid"));
        }
        c.up();
        freezer(&c)?;
        c.call("pause", &[]).ok();
        c.kill("KILL").ok();
        c.wait_for("stopped").delete(&[]).ok();
    }
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn delete_of_what_is_paused(lab: &Lab) -> Outcome {
    let c = up(lab, &["sh", "-c", "sleep 100 & sleep 100"])?;
    c.call("pause", &[]).ok();
    c.delete(&[]).fails(1, &format!("cannot delete container {} that is not stopped: paused", c.id));
    assert_eq!(c.status(), "paused");
    c.delete(&["--force"]).ok();
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn refused_in_every_wrong_state(lab: &Lab) -> Outcome {
    for call in ["pause", "resume"] {
        lab.call(&[call, "nope"]).fails(1, "container does not exist");
    }
    let c = up(lab, &["sleep", "100"])?;
    c.call("resume", &[]).fails(1, "container not paused");
    c.call("pause", &[]).ok();
    c.call("pause", &[]).fails(1, "container not running");
    c.call("resume", &[]).ok();
    c.stop();
    c.call("pause", &[]).fails(1, "container not running");
    c.call("resume", &[]).fails(1, "container not paused");
    Ok(())
}

/// There is nothing that could be frozen, and what stops processes by signals would not be the same.
fn without_a_cgroup(lab: &Lab) -> Outcome {
    possible(lab)?;
    lab.not_runc("says on version 2 that it cannot open a file")?;
    let alice = User::of_few_rights(lab, ALICE);
    let id = alice.up("c", &["sleep", "100"], |_| {});
    let pause = alice.call(&["pause", &id]);
    pause.fails(1, "cannot toggle freezer: cgroups not configured for container");
    assert!(pause.err.contains("\nhint: "), "{pause:?}");
    assert_eq!(alice.state(&id)["status"], "running");
    alice.call(&["resume", &id]).fails(1, "container not paused");
    Ok(())
}
