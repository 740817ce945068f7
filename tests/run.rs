//! `run`: exit codes, streams, signals, `--detach`, `--keep`.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Lab, Outcome, eventually, tests};

tests![
    exit_code_is_the_process_own,
    streams_are_the_callers,
    input_reaches_the_process,
    leaves_nothing,
    keep_leaves_the_container,
    detach_returns_at_once,
    detached_pid_file,
    no_subreaper_is_accepted,
    forwards_signals,
    refuses_an_id_that_exists,
    late_failure_of_exec,
    takes_a_hundred_arguments,
];

fn exit_code_is_the_process_own(lab: &Lab) -> Outcome {
    // PID 1 cannot kill itself, so a child shows what a shell makes of a signal.
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("sh -c 'kill -9 $$'; exit $?", 137)]
    {
        assert_eq!(lab.run(&["sh", "-c", script], |_| ()).code, code, "{script}");
    }
    Ok(())
}

fn streams_are_the_callers(lab: &Lab) -> Outcome {
    let run = lab.run(&["sh", "-c", "echo out; echo err >&2"], |_| ());
    assert_eq!((run.out.as_str(), run.err.as_str()), ("out\n", "err\n"));
    Ok(())
}

fn input_reaches_the_process(lab: &Lab) -> Outcome {
    let c = lab.container(&["sh", "-c", "tr a-z A-Z; echo end"]);
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.args(["run", "--bundle"]).arg(&c.bundle).arg(&c.id);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "HELLO\nend\n");
    Ok(())
}

fn leaves_nothing(lab: &Lab) -> Outcome {
    lab.run(&["true"], |_| ()).ok();
    assert_eq!(lab.run(&["false"], |_| ()).code, 1);
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn keep_leaves_the_container(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let c = lab.container(&["sh", "-c", "exit 3"]);
    assert_eq!(c.run(&["--keep"]).code, 3);
    assert_eq!(c.status(), "stopped");
    c.delete(&[]).ok();
    Ok(())
}

fn detach_returns_at_once(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.run(&["--detach"]).ok();
    assert_eq!(c.status(), "running");
    let other = lab.container(&["sleep", "100"]);
    other.run(&["-d"]).ok();
    assert_eq!(other.status(), "running");
    Ok(())
}

fn detached_pid_file(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.run(&["-d", "--pid-file", "pid"]).ok();
    assert_eq!(fs::read_to_string(lab.dir.join("pid")).unwrap(), c.pid().to_string());
    Ok(())
}

/// Also with one dash, as containerd's library spells it.
fn no_subreaper_is_accepted(lab: &Lab) -> Outcome {
    for flag in ["--no-subreaper", "-no-subreaper"] {
        let c = lab.container(&["sh", "-c", "exit 4"]);
        assert_eq!(c.run(&[flag]).code, 4, "{flag}");
    }
    Ok(())
}

fn forwards_signals(lab: &Lab) -> Outcome {
    for (signal, name, code) in
        [(Signal::TERM, "TERM", 5), (Signal::INT, "INT", 6), (Signal::USR1, "USR1", 7)]
    {
        let script = format!("trap 'exit {code}' {name}; echo ready; while :; do sleep 0.05; done");
        let c = lab.container(&["sh", "-c", &script]);
        let out = lab.next_file("out");
        let mut command = lab.command(&c.runtime, &lab.next_file("log"));
        command.args(["run", "--bundle"]).arg(&c.bundle).arg(&c.id).stdout(fs::File::create(&out).unwrap());
        let child = command.process_group(0).spawn().unwrap();
        let pid = Pid::from_child(&child);
        eventually("the trap", || fs::read_to_string(&out).unwrap().contains("ready").then_some(()));
        kill_process(pid, signal).unwrap();
        assert_eq!(crate::harness::runtime::wait(child), code, "{name}");
    }
    Ok(())
}

fn refuses_an_id_that_exists(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    c.run(&[]).fails(1, "RT run failed: container with given ID already exists");
    Ok(())
}

/// What only the kernel can refuse comes after `start`: the exit code is 255, as with runc.
fn late_failure_of_exec(lab: &Lab) -> Outcome {
    let table = [("#!/nope/interpreter\n", "no such file or directory"), ("garbage", "exec format error")];
    for (content, text) in table {
        let c = lab.container(&["/bin/odd"]);
        crate::process::write_executable(&c.rootfs("bin/odd"), content);
        let run = c.run(&[]);
        assert_eq!(run.code, 255, "{content}");
        assert!(run.err.contains(&format!("exec /bin/odd: {text}")), "{}", run.err);
    }
    Ok(())
}

fn takes_a_hundred_arguments(lab: &Lab) -> Outcome {
    let mut args = vec!["sh", "-c", "echo $#", "sh"];
    args.extend(std::iter::repeat_n("a b\n\"'$x", 100));
    assert_eq!(lab.run(&args, |_| ()).ok(), "100\n");
    Ok(())
}
