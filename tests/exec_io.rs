//! `exec`: streams, descriptors, terminals, and what the caller gets hold of.

use std::fs;

use rustix::process::Signal;

use crate::exec::{exec, up};
use crate::harness::pty::{Terminal, receive};
use crate::harness::runtime::wait;
use crate::harness::session::{Way, signal, socket};
use crate::harness::{Container, Lab, Outcome, eventually, json, tests};

tests![
    streams_are_the_callers,
    only_three_files_are_open,
    preserved_files_stay_open,
    detached_with_a_pid_file,
    detached_failure_leaves_nothing,
    pidfd_socket,
    console_socket,
    console_socket_wants_a_terminal_and_detach,
    terminal_of_the_caller,
    signals_are_forwarded,
];

fn streams_are_the_callers(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let output = exec(&c, &[], &["sh", "-c", "echo out; echo err >&2; cat; exit 3"]);
    assert_eq!((output.code, output.out.as_str(), output.err.as_str()), (3, "out\n", "err\n"));
    Ok(())
}

/// CVE-2024-21626: a leaked descriptor is a way out.
fn only_three_files_are_open(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    assert_eq!(exec(&c, &[], &["sh", "-c", "ls /proc/$$/fd; exit 0"]).ok(), "0\n1\n2\n");
    Ok(())
}

/// Calls `exec --preserve-fds=COUNT` with files open at 3 and 4.
fn with_two_files(c: &Container, count: u32) -> crate::harness::Output {
    let lab = c.lab;
    let (a, b) = (lab.file("a", "first\n"), lab.file("b", "second\n"));
    let log = lab.next_file("log");
    let call = lab.command(&c.runtime, &log);
    let mut shell = lab.clean(std::process::Command::new(&lab.settings.busybox));
    shell.args(["sh", "-c", "a=$1 b=$2; shift 2; exec \"$@\" 3<$a 4<$b", "sh", &a, &b]);
    shell.arg(call.get_program()).args(call.get_args());
    shell.args(["exec", &format!("--preserve-fds={count}"), &c.id]);
    shell.args(["sh", "-c", "cat <&3; cat <&4; ls /proc/$$/fd; exit 0"]);
    lab.collect(&c.runtime, shell, &log)
}

fn preserved_files_stay_open(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    assert_eq!(with_two_files(&c, 2).ok(), "first\nsecond\n0\n1\n2\n3\n4\n");
    lab.not_runc("takes files of its own for the caller's")?;
    let text = "exec failed: unable to stat preserved-fd 2 (of 3): no such file or directory";
    with_two_files(&c, 3).fails(255, text);
    Ok(())
}

fn detached_with_a_pid_file(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let file = lab.dir.join("pid");
    exec(&c, &["-d", "--pid-file", file.to_str().unwrap()], &["sleep", "999"]).ok();
    let pid = fs::read_to_string(&file).unwrap();
    // The call may come back a moment before the program begins.
    eventually("the program", || {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_else(|e| panic!("{pid:?}: {e}"));
        (line == b"sleep\0999\0").then_some(())
    });
    // A relative name is one of the caller's directory, and a detached process has a status for nobody.
    exec(&c, &["--detach", "--pid-file", "pid2"], &["sh", "-c", "exit 3"]).ok();
    assert!(lab.dir.join("pid2").exists());
    Ok(())
}

fn detached_failure_leaves_nothing(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let count = || crate::harness::leaks::processes(&lab.name).len();
    let before = count();
    let output = exec(&c, &["-d", "--pid-file", "/no/such/dir/pid"], &["sleep", "999"]);
    assert_eq!((output.code, output.errors().len()), (255, 1), "{}", output.err);
    eventually("the process to be gone", || (count() == before).then_some(()));
    Ok(())
}

fn pidfd_socket(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let c = up(lab, |_| ());
    let (listener, path) = socket(lab);
    let file = lab.dir.join("pid");
    let flags = ["-d", "--pidfd-socket", &path, "--pid-file", file.to_str().unwrap()];
    exec(&c, &flags, &["sleep", "999"]).ok();
    let (pidfd, _) = receive(&listener);
    use std::os::fd::AsRawFd;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let pid = fs::read_to_string(file).unwrap();
    assert!(info.lines().any(|line| line == format!("Pid:\t{pid}")), "{info}");
    Ok(())
}

fn console_socket(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let (listener, path) = socket(lab);
    let script = "tty; stat -c '%u:%g' $(tty); read line; echo got $line; sleep 999";
    exec(&c, &["-t", "-d", "-u", "1000", "--console-socket", &path], &["sh", "-c", script]).ok();
    let (master, text) = receive(&listener);
    assert!(text.contains("ptmx") || text.contains("pts"), "the name beside it: {text:?}");
    let mut terminal = Terminal::of(master);
    terminal.read_until("/dev/pts/0\r\n1000:5\r\n");
    terminal.type_in("line\n");
    terminal.read_until("got line\r\n");
    // As engines ask for it.
    let mut process = c.config["process"].clone();
    process["terminal"] = json!(true);
    process["args"] = json!(["sh", "-c", "stty size; tty; sleep 999"]);
    process["consoleSize"] = json!({"height": 31, "width": 91});
    let file = lab.file("process.json", &process.to_string());
    exec(&c, &["--detach", "--console-socket", &path, "--process", &file], &[]).ok();
    Terminal::of(receive(&listener).0).read_until("31 91\r\n/dev/pts/1\r\n");
    Ok(())
}

fn console_socket_wants_a_terminal_and_detach(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let (_listener, path) = socket(lab);
    let text = "cannot allocate tty if RT will detach without setting console socket";
    exec(&c, &["-t", "-d"], &["true"]).fails(255, &format!("exec failed: {text}"));
    let text = "cannot use console socket if RT will not detach or allocate tty";
    exec(&c, &["--console-socket", &path], &["true"]).fails(255, &format!("exec failed: {text}"));
    Ok(())
}

fn terminal_of_the_caller(lab: &Lab) -> Outcome {
    let mut terminal = Terminal::open();
    terminal.resize(33, 77);
    let script =
        "tty; test -t 0 -a -t 1 -a -t 2 && echo all; stty size; ls /proc/$$/fd | tr '\\n' ' '; exit 5";
    let (_c, child) = Way::Exec.on(lab, &terminal, script);
    let text = terminal.read_until("0 1 2 ");
    assert!(text.starts_with("/dev/pts/0\r\nall\r\n33 77\r\n"), "{text:?}");
    assert_eq!(wait(child), 5);
    Ok(())
}

fn signals_are_forwarded(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let ready = lab.next_file("out");
    let mut call = lab.command(&c.runtime, &lab.next_file("log"));
    call.args(["exec", &c.id, "sh", "-c", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done"]);
    let child = call.stdout(fs::File::create(&ready).unwrap()).spawn().unwrap();
    eventually("the trap", || fs::read_to_string(&ready).unwrap().contains("ready").then_some(()));
    signal(&child, Signal::TERM);
    assert_eq!(wait(child), 4);
    Ok(())
}
