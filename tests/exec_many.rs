//! `exec` again and again, well and badly: nothing grows in what lives on, and nobody is left behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::crash::{steps, steps_of_others, strace, traced};
use crate::exec::{exec, up};
use crate::harness::pty::Terminal;
use crate::harness::runtime::wait;
use crate::harness::settings::unified;
use crate::harness::{Container, Lab, Outcome, eventually, leaks, tests};

tests![
    nothing_grows,
    a_runtime_killed_at_any_moment_leaves_nobody,
    a_runtime_killed_at_each_step_leaves_nobody,
    a_process_killed_at_each_step_is_an_error,
];

/// What lives on, counted.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    /// Open files of the container's first process.
    files: usize,
    /// Files in the container's state directory.
    state: usize,
    /// Living processes of the test: those of the container, if all is well.
    processes: usize,
    /// Children of the container's first process, dead ones among them.
    children: usize,
    /// Members of the container's cgroups, in all hierarchies.
    members: usize,
    /// Cgroups of the container and below.
    cgroups: usize,
    mounts: usize,
    /// Session keyrings of the container.
    keyrings: usize,
}

impl Counts {
    fn of(c: &Container, pid: u64) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap();
        let entries = |path: &Path| fs::read_dir(path).unwrap().count();
        let own = c.cgroups();
        let below = |dir: &Path| fs::read_dir(dir).unwrap().flatten().filter(|e| e.path().is_dir()).count();
        Self {
            files: entries(Path::new(&format!("/proc/{pid}/fd"))),
            state: entries(&c.lab.root().join(&c.id)),
            processes: leaks::processes(&c.lab.name).len(),
            children: read(&format!("/proc/{pid}/task/{pid}/children")).split_whitespace().count(),
            members: own
                .iter()
                .map(|dir| read(dir.join("cgroup.procs").to_str().unwrap()).lines().count())
                .sum(),
            cgroups: own.iter().map(|dir| 1 + below(dir)).sum(),
            // Other tests mount at the same time.
            mounts: read("/proc/self/mountinfo").lines().filter(|line| line.contains(&c.id)).count(),
            keyrings: read("/proc/keys")
                .lines()
                .filter(|line| line.contains(&format!("_ses.{}:", c.id)))
                .count(),
        }
    }
}

/// The kilobytes that the kernel charges to the container, and those of its first process.
fn memory(c: &Container, pid: u64) -> (u64, u64) {
    let file = if unified() { "memory.current" } else { "memory.usage_in_bytes" };
    // Only the hierarchy of the memory has it, and none where that is not counted.
    let charged = c
        .cgroups()
        .iter()
        .find_map(|dir| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    (charged.unwrap_or(0) >> 10, resident.expect("a process has memory").trim().parse().unwrap())
}

/// A call of `exec` whose output nobody wants.
fn quiet(c: &Container, args: &[&str]) -> Command {
    let mut command = c.lab.command(&c.runtime, &c.lab.dir.join("log"));
    command.arg("exec").args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn code(mut command: Command) -> i32 {
    wait(command.spawn().unwrap())
}

/// Ten calls: most of them good ones, on streams, detached and on a terminal, and two that fail.
fn ten(c: &Container) {
    for _ in 0..6 {
        assert_eq!(code(quiet(c, &[&c.id, "true"])), 0);
    }
    assert_eq!(code(quiet(c, &["--detach", &c.id, "true"])), 0);
    assert_eq!(code(quiet(c, &[&c.id, "/nope"])), 255);
    assert_eq!(code(quiet(c, &["--cwd", "/nope", &c.id, "true"])), 255);
    let terminal = Terminal::open();
    assert_eq!(wait(terminal.spawn(c.lab, &quiet(c, &["--tty", &c.id, "true"]))), 0);
}

fn nothing_grows(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let pid = c.pid();
    // The first calls make what all later ones use.
    (0..5).for_each(|_| ten(&c));
    let settled = |counts: &Counts| {
        eventually("all to be as before", || (Counts::of(&c, pid) == *counts).then_some(()))
    };
    let before = Counts::of(&c, pid);
    let memory_before = memory(&c, pid);
    let total = if lab.settings.stress { 10_000 } else { 300 };
    for round in 1..=total / 10 {
        ten(&c);
        if round % 100 == 0 {
            println!("{} calls: {:?} kB, {:?}", round * 10, memory(&c, pid), Counts::of(&c, pid));
        }
    }
    settled(&before);
    let (charged, resident) = memory(&c, pid);
    assert!(
        resident <= memory_before.1 + 64,
        "{resident} kB of {}: the first process has grown",
        memory_before.1
    );
    // The kernel charges in portions, and keeps some for each CPU.
    assert!(
        charged <= memory_before.0 + 2048,
        "{charged} kB of {}: the container has grown",
        memory_before.0
    );
    Ok(())
}

/// The living processes of the test are `count` again.
#[track_caller]
fn alone(lab: &Lab, count: usize, when: &str) {
    eventually(&format!("all processes to be gone after {when}"), || {
        (leaks::processes(&lab.name).len() == count).then_some(())
    });
}

/// SIGKILL is nothing that a runtime could clean up after: the kernel must have been told before.
fn a_runtime_killed_at_any_moment_leaves_nobody(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let pid = c.pid();
    assert_eq!(code(quiet(&c, &[&c.id, "true"])), 0);
    let begun = Instant::now();
    assert_eq!(code(quiet(&c, &[&c.id, "true"])), 0);
    let whole = begun.elapsed();
    let before = Counts::of(&c, pid);
    let total: u32 = if lab.settings.stress { 1000 } else { 100 };
    for number in 0..total {
        // From the beginning to a moment after the end.
        let moment = whole * 5 / 4 * number / total;
        for args in [&[&c.id, "true"][..], &["--detach", &c.id, "true"]] {
            let mut child: Child = quiet(&c, args).spawn().unwrap();
            std::thread::sleep(moment);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    alone(lab, before.processes, "the runtime was killed");
    assert_eq!(Counts::of(&c, pid), before);
    assert_eq!(exec(&c, &[], &["echo", "works"]).ok(), "works\n");
    Ok(())
}

/// The same at each of the runtime's system calls.
fn a_runtime_killed_at_each_step_leaves_nobody(lab: &Lab) -> Outcome {
    let strace = strace(lab)?;
    let c = up(lab, |_| ());
    for flags in [&[][..], &["--detach"], &["--pid-file", "pid"]] {
        let call = [&["exec"], flags, &[&c.id, "true"]].concat();
        let before = Counts::of(&c, c.pid());
        let all = steps(&traced(&c, &strace, &[], None, &call).0);
        assert!(all.len() > 20, "strace shows the system calls: {all:?}");
        for step in &all {
            traced(&c, &strace, &[], Some(step), &call);
            alone(lab, before.processes, &format!("{call:?} was killed at {step:?}"));
        }
        assert_eq!(Counts::of(&c, c.pid()).state, before.state);
        assert_eq!(exec(&c, &[], &["echo", "works"]).ok(), "works\n");
    }
    Ok(())
}

/// The process that is to become the program dies instead: one error, and nobody waits for it for ever.
fn a_process_killed_at_each_step_is_an_error(lab: &Lab) -> Outcome {
    let strace = strace(lab)?;
    let c = up(lab, |_| ());
    let count = leaks::processes(&lab.name).len();
    let call = ["exec", &c.id, "true"];
    let (trace, output) = traced(&c, &strace, &["-f"], None, &call);
    output.ok();
    let process = steps_of_others(&trace);
    assert!(process.iter().any(|(name, _)| name == "capset"), "the process is seen: {process:?}");
    for step in &process {
        let (trace, output) = traced(&c, &strace, &["-f"], Some(step), &call);
        let runtime = trace.split(' ').next().unwrap_or_default();
        if !trace.lines().any(|l| l.starts_with(runtime) && l.contains("killed by")) {
            assert_ne!(output.code, 0, "killed at {step:?}");
            assert!(output.errors().len() <= 1, "one line at {step:?}: {:?}", output.errors());
        }
        alone(lab, count, &format!("the process was killed at {step:?}"));
    }
    assert_eq!(exec(&c, &[], &["echo", "works"]).ok(), "works\n");
    Ok(())
}
