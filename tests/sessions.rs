//! Somebody sits at a terminal: keys, sizes, jobs, full-screen programs, and every way in which that ends.

use std::fs;
use std::io::Write;
use std::process::{Child, Command};

use rustix::process::Signal;

use crate::harness::pty::Terminal;
use crate::harness::runtime::wait;
use crate::harness::screen::Screen;
use crate::harness::session::{BOTH, Way, bytes, exists, read_bytes, signal, stat, stopped, ticks};
use crate::harness::{Lab, Outcome, Runtime, Skip, eventually, json, tests};
use crate::streams::much;

tests![
    keys_reach_the_process,
    size_follows_the_callers,
    a_shell_has_jobs,
    a_full_screen_program,
    much_comes_from_a_terminal,
    much_goes_to_a_terminal,
    settings_come_back,
    a_call_that_was_stopped_goes_on,
    a_call_in_the_background_stops,
    a_caller_that_goes_away_is_told_of,
    a_caller_that_is_gone_takes_the_terminal_along,
    a_terminal_that_is_gone_before_it_is_used,
];

/// ^C is the process's business, not the caller's.
fn keys_reach_the_process(lab: &Lab) -> Outcome {
    let script =
        "trap 'echo interrupted; exit 9' INT; read line; echo got $line; while :; do sleep 0.05; done";
    for way in BOTH {
        let mut terminal = Terminal::open();
        let (_c, child) = way.on(lab, &terminal, script);
        terminal.wait_until_raw();
        terminal.type_in("some words\r");
        terminal.read_until("got some words\r\n");
        terminal.type_in("\x03");
        terminal.read_until("interrupted\r\n");
        assert_eq!(wait(child), 9);
    }
    Ok(())
}

fn size_follows_the_callers(lab: &Lab) -> Outcome {
    let script = "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.05; done";
    for way in BOTH {
        let mut terminal = Terminal::open();
        terminal.resize(33, 77);
        let (_c, child) = way.on(lab, &terminal, script);
        terminal.read_until("33 77\r\n");
        terminal.resize(44, 88);
        terminal.read_until("44 88\r\n");
        assert_eq!(wait(child), 0);
    }
    Ok(())
}

/// ^Z stops a job of the shell in the container and nothing else, `fg` continues it, ^C ends it.
fn a_shell_has_jobs(lab: &Lab) -> Outcome {
    // There ^Z does nothing to the shell's job once in four times or so, with tare and with runc.
    if fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("User Mode Linux")) {
        return Err(Skip("User-Mode Linux does not always stop what is asked to stop".into()));
    }
    for way in BOTH {
        let mut terminal = Terminal::open();
        let (_c, command) = way.call(lab, true, &["sh", "-i"]);
        let child = terminal.spawn(lab, &command);
        terminal.read_until("/ # ");
        // It tells when it has the terminal.
        terminal.type_in("sh -c \"trap 'echo again' CONT; echo here; while :; do sleep 0.05; done\"\r");
        terminal.read_until("\nhere\r\n");
        terminal.type_in("\x1a");
        terminal.read_until("Stopped");
        terminal.read_until("/ # ");
        assert_ne!(stat(child.id())[0], "T", "the runtime goes on");
        terminal.type_in("fg\r");
        terminal.read_until("\nagain\r\n");
        terminal.type_in("\x03");
        terminal.read_until("/ # ");
        terminal.type_in("echo $?\r");
        terminal.read_until("\r\n130\r\n");
        terminal.type_in("exit 3\r");
        assert_eq!(wait(child), 3);
    }
    Ok(())
}

/// It draws, draws anew on a screen of another size, changes what is typed, and leaves.
fn a_full_screen_program(lab: &Lab) -> Outcome {
    for way in BOTH {
        let mut terminal = Terminal::open();
        terminal.resize(8, 40);
        let (c, command) = way.call(lab, true, &["vi", "/tmp/text"]);
        let line = |n: u32| format!("line {n} of the text");
        fs::write(c.rootfs("tmp/text"), (1..=50).map(|n| line(n) + "\n").collect::<String>()).unwrap();
        let child = terminal.spawn(lab, &command);
        let page = |numbers: std::ops::RangeInclusive<u32>, status: &str| {
            numbers.map(line).chain([status.to_owned()]).collect::<Vec<_>>()
        };
        let mut screen = Screen::new(8, 40);
        screen.shows(&mut terminal, &page(1..=7, "- /tmp/text 1/50 2%"));
        terminal.resize(12, 60);
        screen = Screen::new(12, 60);
        screen.shows(&mut terminal, &page(1..=11, "- /tmp/text 1/50 2%"));
        terminal.type_in("Oa new one\x1b");
        let mut wanted = page(1..=10, "- /tmp/text [Modified] 1/51 1%");
        wanted.insert(0, "a new one".to_owned());
        screen.shows(&mut terminal, &wanted);
        terminal.type_in(":wq\r");
        assert_eq!(wait(child), 0);
        assert!(fs::read_to_string(c.rootfs("tmp/text")).unwrap().starts_with("a new one\nline 1 of"));
    }
    Ok(())
}

fn much_comes_from_a_terminal(lab: &Lab) -> Outcome {
    let size = much(lab);
    for way in BOTH {
        let mut terminal = Terminal::open();
        terminal.keep_newlines();
        let (c, command) = way.call(lab, true, &["sh", "-c", "stty raw; cat /tmp/data; printf end"]);
        let mut file = fs::File::create(c.rootfs("tmp/data")).unwrap();
        for start in (0..size).step_by(1 << 20) {
            file.write_all(&bytes(start, start + (1 << 20))).unwrap();
        }
        let child = terminal.spawn(lab, &command);
        read_bytes(&mut terminal.master, size);
        assert_eq!(terminal.read_until("end"), "end");
        assert_eq!(wait(child), 0);
        fs::remove_file(c.rootfs("tmp/data")).unwrap();
    }
    Ok(())
}

/// The container takes a checksum, which must be that of what was typed.
fn much_goes_to_a_terminal(lab: &Lab) -> Outcome {
    let size = much(lab);
    let script = format!("stty raw -echo; echo ready; head -c {size} | sha256sum");
    let chunks = || (0..size).step_by(1 << 20).map(|start| bytes(start, start + (1 << 20)));
    let mut own = lab.clean(Command::new(&lab.settings.busybox));
    let piped = std::process::Stdio::piped;
    let mut own = own.arg("sha256sum").stdin(piped()).stdout(piped()).spawn().unwrap();
    let mut stdin = own.stdin.take().unwrap();
    chunks().for_each(|chunk| stdin.write_all(&chunk).unwrap());
    drop(stdin);
    let sum = String::from_utf8(own.wait_with_output().unwrap().stdout).unwrap();
    for way in BOTH {
        let mut terminal = Terminal::open();
        let (_c, child) = way.on(lab, &terminal, &script);
        terminal.read_until("ready");
        chunks().for_each(|chunk| terminal.master.write_all(&chunk).unwrap());
        terminal.read_until(sum.trim_end());
        assert_eq!(wait(child), 0);
    }
    Ok(())
}

/// Whichever way it ends.
fn settings_come_back(lab: &Lab) -> Outcome {
    for way in BOTH {
        let mut terminal = Terminal::open();
        terminal.keep_newlines();
        let before = terminal.settings();
        let ready = "trap 'exit 3' TERM; trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done";
        let mut check = |script: &str, code: i32, end: &dyn Fn(&mut Terminal, &Child)| {
            let (_c, child) = way.on(lab, &terminal, script);
            terminal.read_until("ready");
            terminal.wait_until_raw();
            end(&mut terminal, &child);
            assert_eq!(wait(child), code, "{way:?} {script}");
            assert_eq!(terminal.settings(), before, "{way:?} {script}");
        };
        check("echo ready; read line", 0, &|terminal, _| terminal.type_in("\r"));
        check("echo ready; read line; exit 7", 7, &|terminal, _| terminal.type_in("\r"));
        // The container's first process can't end itself by a signal.
        if way == Way::Exec {
            check("echo ready; read line; kill -9 $$", 137, &|terminal, _| terminal.type_in("\r"));
        }
        check(ready, 3, &|_, child| signal(child, Signal::TERM));
        // runc ends at once and leaves the container alone.
        lab.not_runc("does not pass on SIGINT")?;
        check(ready, 5, &|_, child| signal(child, Signal::INT));
        // A call that fails when the terminal is there already.
        let (_c, command) = way.call(lab, true, &["/nope"]);
        let child = terminal.spawn(lab, &command);
        terminal.read_until("stat /nope: no such file or directory");
        assert_ne!(wait(child), 0);
        assert_eq!(terminal.settings(), before);
    }
    Ok(())
}

/// A shell with jobs, on `terminal`.
fn shell(lab: &Lab, terminal: &mut Terminal) -> Child {
    let mut shell = Command::new(&lab.settings.busybox);
    shell.args(["sh", "-i"]);
    let child = terminal.spawn_with(lab, &shell, |shell| {
        shell.env("PS1", "host> ").env_remove("ENV");
    });
    terminal.read_until("host> ");
    child
}

/// The line that calls the runtime.
fn line(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_str().unwrap())).collect::<Vec<_>>().join(" ")
}

/// The one child of a process.
fn child_of(pid: u32) -> u32 {
    eventually("a child", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}

/// Between stop and `fg` the terminal is the shell's, which has its own settings for it and leaves them so.
fn a_call_that_was_stopped_goes_on(lab: &Lab) -> Outcome {
    lab.not_runc("leaves the terminal as the shell had it")?;
    for way in BOTH {
        let mut terminal = Terminal::open();
        let script = "echo begun; read line; echo got $line; stty size; exit 4";
        let (_c, command) = way.call(lab, true, &["sh", "-c", script]);
        let mut shell = shell(lab, &mut terminal);
        terminal.type_in(&format!("{}\r", line(&command)));
        terminal.read_until("\nbegun\r\n");
        let pid = child_of(shell.id());
        terminal.wait_until_raw();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
            Signal::STOP,
        )
        .unwrap();
        stopped(pid);
        terminal.read_until("host> ");
        terminal.resize(44, 88);
        terminal.type_in("fg\r");
        terminal.wait_until_raw();
        terminal.read_now();
        terminal.type_in("words\r");
        let text = terminal.read_until("44 88\r\n");
        assert_eq!(text.matches("words").count(), 2, "typed once, and got: {text:?}");
        terminal.read_until("host> ");
        terminal.type_in("echo code $?\r");
        terminal.read_until("\ncode 4\r\n");
        shell.kill().unwrap();
        wait(shell);
    }
    Ok(())
}

/// As every program that wants the terminal, until it is in the foreground.
fn a_call_in_the_background_stops(lab: &Lab) -> Outcome {
    lab.not_runc("tries for ever to get the terminal")?;
    for way in BOTH {
        let mut terminal = Terminal::open();
        let (_c, command) = way.call(lab, true, &["sh", "-c", "read line; echo got $line; exit 4"]);
        let mut shell = shell(lab, &mut terminal);
        terminal.type_in(&format!("{} &\r", line(&command)));
        stopped(child_of(shell.id()));
        terminal.type_in("echo the $((40 + 2)) shell\r");
        terminal.read_until("\nthe 42 shell\r\n");
        terminal.type_in("fg\r");
        terminal.wait_until_raw();
        terminal.type_in("words\r");
        terminal.read_until("\ngot words\r\n");
        terminal.read_until("host> ");
        terminal.type_in("echo code $?\r");
        terminal.read_until("\ncode 4\r\n");
        shell.kill().unwrap();
        wait(shell);
    }
    Ok(())
}

/// The runtime leads a session, so it hears that the terminal is gone, and passes that on.
fn a_caller_that_goes_away_is_told_of(lab: &Lab) -> Outcome {
    for way in BOTH {
        let terminal = Terminal::open();
        let script = "trap 'exit 4' HUP; : > /tmp/ready; while :; do sleep 0.05; done";
        let (c, child) = way.on(lab, &terminal, script);
        exists(&c.rootfs("tmp/ready"));
        terminal.wait_until_raw();
        drop(terminal);
        assert_eq!(wait(child), 4, "{way:?}");
    }
    Ok(())
}

/// Nobody tells the runtime, which leads no session: what it can't show any more hangs the container's
/// terminal up, and a program that reads from it comes to the end.
fn a_caller_that_is_gone_takes_the_terminal_along(lab: &Lab) -> Outcome {
    for way in BOTH {
        let terminal = Terminal::open();
        // Not by `read`, for which the shell of busybox 1.38 spins when a child has ended before.
        let script = "trap : HUP; : > /tmp/ready; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo text
            cat >/dev/null; exit 6";
        let (c, mut command) = way.call(lab, true, &["sh", "-c", script]);
        let slave = || terminal.slave.try_clone().unwrap();
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = command.spawn().unwrap();
        // It has copies of the terminal, which would keep that alive.
        drop(command);
        exists(&c.rootfs("tmp/ready"));
        terminal.wait_until_raw();
        drop(terminal);
        fs::write(c.rootfs("tmp/go"), "").unwrap();
        assert_eq!(wait(child), 6, "{way:?}");
    }
    Ok(())
}

/// The container runs already: it must not be left behind.
fn a_terminal_that_is_gone_before_it_is_used(lab: &Lab) -> Outcome {
    let terminal = Terminal::open();
    let (mut c, command) = Way::Run.call(lab, true, &["sleep", "1000"]);
    let (begun, go) = (lab.dir.join("begun"), lab.dir.join("go"));
    let busybox = lab.settings.busybox.to_str().unwrap();
    let script = format!(": > {}; while [ ! -e {} ]; do sleep 0.05; done", begun.display(), go.display());
    c.edit(|v| {
        v["hooks"] =
            json!({"createRuntime": [{"path": busybox, "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]});
    });
    let child = terminal.spawn(lab, &command);
    exists(&begun);
    drop(terminal);
    fs::write(&go, "").unwrap();
    assert_ne!(wait(child), 0);
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

/// For the table of differences: the status of `run` that gets a SIGINT, for which its program ends with 5.
pub fn status_after_interrupt(lab: &Lab, runtime: &Runtime) -> String {
    let script = "trap 'exit 5' INT; : > /tmp/ready; while :; do sleep 0.05; done";
    let (c, command) = Way::Run.call_of(lab, runtime, true, &["sh", "-c", script]);
    let terminal = Terminal::open();
    let child = terminal.spawn(lab, &command);
    exists(&c.rootfs("tmp/ready"));
    terminal.wait_until_raw();
    signal(&child, Signal::INT);
    wait(child).to_string()
}

/// For the same: what `exec --tty` does in the background of a shell.
pub fn in_the_background(lab: &Lab, runtime: &Runtime) -> String {
    let mut terminal = Terminal::open();
    let (_c, command) = Way::Exec.call_of(lab, runtime, true, &["sleep", "1000"]);
    let mut shell = shell(lab, &mut terminal);
    terminal.type_in(&format!("{} &\r", line(&command)));
    let pid = child_of(shell.id());
    let what = eventually("the call to stop, or to use up time", || match stat(pid)[0].as_str() {
        "T" => Some("stops"),
        _ if ticks(pid) > 50 => Some("uses up a CPU"),
        _ => None,
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    shell.kill().unwrap();
    wait(shell);
    what.to_owned()
}

/// For the same: the terminal after a stop during which somebody else has had it.
pub fn terminal_after_a_stop(lab: &Lab, runtime: &Runtime) -> String {
    let script = "trap ': > /tmp/again' CONT; : > /tmp/ready; while :; do sleep 0.05; done";
    let (c, command) = Way::Exec.call_of(lab, runtime, true, &["sh", "-c", script]);
    let terminal = Terminal::open();
    let cooked = terminal.modes();
    let mut child = terminal.spawn(lab, &command);
    exists(&c.rootfs("tmp/ready"));
    terminal.wait_until_raw();
    signal(&child, Signal::STOP);
    stopped(child.id());
    terminal.set_modes(&cooked);
    signal(&child, Signal::CONT);
    exists(&c.rootfs("tmp/again"));
    let raw = terminal.is_raw();
    child.kill().unwrap();
    wait(child);
    if raw { "raw" } else { "as it was left" }.to_owned()
}
