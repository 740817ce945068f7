//! The runtime in the foreground as a process among others: signals, orphans, and the end of its caller.

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::bundle::without_namespace;
use crate::harness::helper;
use crate::harness::runtime::wait;
use crate::harness::{Container, Lab, Outcome, Runtime, eventually, tests};

tests![
    signals_of_every_kind_are_forwarded,
    orphans_are_adopted_and_reaped,
    no_subreaper_leaves_orphans_to_others,
    parent_death_signal_ends_the_runtime,
    parent_death_signal_is_forwarded,
];

/// Without those that tell the runtime something (PIPE, CHLD, TTIN, TTOU, WINCH), and those that nobody can
/// catch. 32 and 33 are the C library's.
fn signals() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| ![9, 13, 17, 19, 21, 22, 28, 32, 33].contains(signal))
}

/// A shell that prints the number of each signal it gets, and ends by the last.
fn listener(list: impl Iterator<Item = i32>) -> String {
    let traps: Vec<String> = list.map(|n| format!("trap 'echo got{n}.' {n};")).collect();
    format!("{} echo ready; while :; do sleep 0.02; done", traps.join(" "))
}

/// Begins a command of the container, whose output goes to a file.
fn begin(c: &Container, words: &[&str]) -> (Child, std::path::PathBuf) {
    let out = c.lab.next_file("stdout");
    let mut call = c.lab.command(&c.runtime, &c.lab.next_file("log"));
    let child = call.args(words).stdout(fs::File::create(&out).unwrap()).spawn().unwrap();
    eventually("the program", || read(&out).contains("ready").then_some(()));
    (child, out)
}

fn read(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Sends `list` to a runtime in the foreground, with `last` after them, and gives which came through.
pub fn forwarded(lab: &Lab, runtime: &Runtime, list: &[i32], last: i32) -> Vec<i32> {
    let c = lab.container_of(runtime, &["sh", "-c", &listener(list.iter().copied().chain([last]))]);
    let (child, out) = begin(&c, &["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    for &signal in list.iter().chain([&last]) {
        kill_process(Pid::from_child(&child), Signal::from_named_raw(signal).unwrap()).unwrap();
    }
    let text =
        eventually("the last signal", || Some(read(&out)).filter(|t| t.contains(&format!("got{last}."))));
    c.kill("KILL").ok();
    assert_eq!(wait(child), 137);
    list.iter().copied().filter(|signal| text.contains(&format!("got{signal}."))).collect()
}

fn signals_of_every_kind_are_forwarded(lab: &Lab) -> Outcome {
    lab.not_runc("keeps those that Go uses")?;
    let c = lab.container(&["sh", "-c", &listener(signals())]);
    let run = begin(&c, &["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    let exec = begin(&c, &["exec", &c.id, "sh", "-c", &listener(signals())]);
    for (child, out) in [&run, &exec] {
        for signal in signals() {
            let sent = Command::new(&lab.settings.busybox)
                .args(["kill", &format!("-{signal}"), &child.id().to_string()])
                .status();
            assert!(sent.unwrap().success());
            let got = format!("got{signal}.");
            eventually(&format!("signal {signal}"), || read(out).contains(&got).then_some(()));
        }
    }
    c.kill("KILL").ok();
    assert_eq!([wait(run.0), wait(exec.0)], [137, 137]);
    Ok(())
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// A container in the host's PID namespace that leaves an orphan behind, and the orphan's number.
fn with_orphan<'l>(lab: &'l Lab<'l>, flags: &[&str]) -> (Container<'l>, Child, u32) {
    let mut c =
        lab.container(&["sh", "-c", "sh -c 'sleep 100 & echo orphan $!'; echo ready; exec sleep 100"]);
    c.edit(|v| without_namespace(v, "pid"));
    let words = [&["run", "--bundle", c.bundle.to_str().unwrap()], flags, &[c.id.as_str()]].concat();
    let (child, out) = begin(&c, &words);
    let text = read(&out);
    let orphan = text.lines().find_map(|line| line.strip_prefix("orphan ")?.parse().ok()).unwrap();
    (c, child, orphan)
}

fn orphans_are_adopted_and_reaped(lab: &Lab) -> Outcome {
    let (c, child, orphan) = with_orphan(lab, &[]);
    eventually("the adoption", || (parent_of(orphan) == Some(child.id())).then_some(()));
    kill_process(Pid::from_raw(orphan.cast_signed()).unwrap(), Signal::KILL).unwrap();
    eventually("the orphan to be reaped", || parent_of(orphan).is_none().then_some(()));
    assert_eq!(c.status(), "running");
    c.kill("KILL").ok();
    assert_eq!(wait(child), 137);
    Ok(())
}

fn no_subreaper_leaves_orphans_to_others(lab: &Lab) -> Outcome {
    let (c, child, orphan) = with_orphan(lab, &["--no-subreaper"]);
    let init = c.pid();
    let adopted = |parent: &u32| u64::from(*parent) != init;
    let parent = eventually("the adoption", || parent_of(orphan).filter(adopted));
    assert_ne!(parent, child.id());
    c.kill("KILL").ok();
    assert_eq!(wait(child), 137);
    Ok(())
}

/// Runs `words` by a caller that ends when told to; the runtime asked for `signal` then. Gives the caller
/// and the number of the runtime.
fn by_a_caller(c: &Container, signal: Signal, words: &[&str]) -> (Child, u32) {
    let lab = c.lab;
    let (out, pid) = (lab.next_file("stdout"), lab.next_file("pid"));
    let mut call = lab.command(&c.runtime, &lab.next_file("log"));
    call.args(words);
    let call = helper::dying_with_its_parent(lab, signal, &call);
    let mut shell = lab.clean(Command::new(&lab.settings.busybox));
    shell.args(["sh", "-c", "pid=$1; shift; \"$@\" & echo $! > $pid; read line", "sh"]).arg(&pid);
    shell.arg(call.get_program()).args(call.get_args());
    let caller = shell.stdin(Stdio::piped()).stdout(fs::File::create(&out).unwrap()).spawn().unwrap();
    eventually("the program", || read(&out).contains("ready").then_some(()));
    let pid = read(&pid).trim().parse().unwrap();
    (caller, pid)
}

/// It ends by closing its input.
fn end(mut caller: Child) {
    drop(caller.stdin.take());
    wait(caller);
}

fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// It survives the second start of the runtime, and a user without rights in the container changes nothing.
/// What the runtime would have done at the end is left to `delete`: the container itself goes on.
fn parent_death_signal_ends_the_runtime(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "echo ready; exec sleep 100"]);
    c.edit(|v| v["process"]["user"] = serde_json::json!({"uid": 1000, "gid": 1000}));
    let (caller, run) =
        by_a_caller(&c, Signal::KILL, &["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    let words = ["exec", &c.id, "sh", "-c", "echo ready; exec sleep 99"];
    let (other, exec) = by_a_caller(&c, Signal::KILL, &words);
    assert!(!is_gone(run) && !is_gone(exec));
    end(caller);
    eventually("the end of run", || is_gone(run).then_some(()));
    assert!(!is_gone(exec));
    end(other);
    eventually("the end of exec", || is_gone(exec).then_some(()));
    assert_eq!(c.status(), "running");
    c.delete(&["--force"]).ok();
    Ok(())
}

/// As any other signal: so the container can end with the caller.
fn parent_death_signal_is_forwarded(lab: &Lab) -> Outcome {
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let c = lab.container(&["sh", "-c", script]);
    let (caller, run) =
        by_a_caller(&c, Signal::TERM, &["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    let (other, exec) = by_a_caller(&c, Signal::TERM, &["exec", &c.id, "sh", "-c", script]);
    end(other);
    eventually("the end of exec", || is_gone(exec).then_some(()));
    assert_eq!(c.status(), "running");
    end(caller);
    eventually("the end of run", || is_gone(run).then_some(()));
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}
