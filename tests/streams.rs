//! The standard streams of the foreground: pipes, files, closed ones, and those that somebody else holds.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::harness::pty::Terminal;
use crate::harness::runtime::wait;
use crate::harness::session::{BOTH, Way, bytes, exists, idle, read_bytes, signal};
use crate::harness::{Lab, Outcome, eventually, tests};

tests![
    much_goes_through_pipes,
    much_goes_through_files,
    the_last_bytes_arrive,
    closed_streams_are_empty_ones,
    input_that_cannot_be_read_has_ended,
    output_that_nobody_reads_is_a_hang_up,
    signals_pass_while_a_screen_is_full,
    callers_may_ignore_their_children,
    grandchildren_hold_nobody_up,
    who_waits_does_nothing,
];

/// How much goes through each stream: all that an engine would ever buffer, or a hundred times that.
pub fn much(lab: &Lab) -> usize {
    if lab.settings.stress { 100 << 20 } else { 8 << 20 }
}

fn much_goes_through_pipes(lab: &Lab) -> Outcome {
    for way in BOTH {
        let (_c, mut command) = way.call(lab, false, &["cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let size = much(lab);
        let writer = std::thread::spawn(move || {
            for start in (0..size).step_by(1 << 20) {
                stdin.write_all(&bytes(start, start + (1 << 20))).unwrap();
            }
        });
        read_bytes(&mut stdout, size);
        writer.join().unwrap();
        assert_eq!(stdout.read_end(), 0, "more than was sent");
        assert_eq!(wait(child), 0);
    }
    Ok(())
}

/// Counts what is left.
trait ReadEnd {
    fn read_end(&mut self) -> usize;
}

impl<R: std::io::Read> ReadEnd for R {
    fn read_end(&mut self) -> usize {
        let mut rest = Vec::new();
        self.read_to_end(&mut rest).unwrap()
    }
}

fn much_goes_through_files(lab: &Lab) -> Outcome {
    let size = 4 << 20;
    let (from, to) = (lab.dir.join("from"), lab.dir.join("to"));
    fs::write(&from, bytes(0, size)).unwrap();
    for way in BOTH {
        let (_c, mut command) = way.call(lab, false, &["cat"]);
        command.stdin(File::open(&from).unwrap()).stdout(File::create(&to).unwrap());
        assert_eq!(wait(command.spawn().unwrap()), 0);
        assert!(fs::read(&to).unwrap() == bytes(0, size), "another file came out");
    }
    Ok(())
}

/// A program that writes and ends at once: its end is seen before its output.
fn the_last_bytes_arrive(lab: &Lab) -> Outcome {
    for way in BOTH {
        for _ in 0..10 {
            let mut terminal = Terminal::open();
            let (_c, child) = way.on(lab, &terminal, "seq 1 3000");
            let text = terminal.read_until("\n3000\r\n");
            assert_eq!(text.lines().count(), 3000);
            assert_eq!(wait(child), 0);
        }
        let (_c, mut command) = way.call(lab, false, &["seq", "1", "3000"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.stdout.ends_with(b"\n3000\n"));
    }
    Ok(())
}

/// No file of the runtime gets the number of a closed stream, and the program has all three.
fn closed_streams_are_empty_ones(lab: &Lab) -> Outcome {
    let script = "test \"$(cat)\" = '' || exit 9; echo out || exit 8; echo err >&2 || exit 7
        test -e /proc/$$/fd/0 -a -e /proc/$$/fd/1 -a -e /proc/$$/fd/2 || exit 6; exit 5";
    for way in BOTH {
        for closed in ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"] {
            let (_c, call) = way.call(lab, false, &["sh", "-c", script]);
            let mut shell = lab.clean(Command::new(&lab.settings.busybox));
            shell.args(["sh", "-c", &format!("exec \"$@\" {closed}"), "sh"]);
            shell.arg(call.get_program()).args(call.get_args());
            let child =
                shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            assert_eq!(wait(child), 5, "{way:?} with {closed}");
        }
    }
    Ok(())
}

/// What is no input at all ends the input, and not the container.
fn input_that_cannot_be_read_has_ended(lab: &Lab) -> Outcome {
    let directory = || File::open("/").unwrap();
    let for_writing = || OpenOptions::new().write(true).open("/dev/null").unwrap();
    for way in BOTH {
        for stdin in [directory(), for_writing()] {
            let mut terminal = Terminal::open();
            let (_c, command) = way.call(lab, true, &["sh", "-c", "sleep 0.2; echo hello; exit 4"]);
            let child = terminal.spawn_with(lab, &command, |call| {
                call.stdin(stdin);
            });
            terminal.read_until("hello\r\n");
            assert_eq!(wait(child), 4);
        }
    }
    Ok(())
}

/// As when a line is cut: the program hears of it, and is not left waiting for a reader for ever.
fn output_that_nobody_reads_is_a_hang_up(lab: &Lab) -> Outcome {
    lab.not_runc("also forwards the SIGPIPE of its own write, before or after")?;
    let script = "trap 'exit 4' HUP; while :; do echo line; done";
    for way in BOTH {
        let terminal = Terminal::open();
        let (_c, command) = way.call(lab, true, &["sh", "-c", script]);
        let (reader, writer) = std::io::pipe().unwrap();
        let child = terminal.spawn_with(lab, &command, |call| {
            call.stdout(writer);
        });
        drop(reader);
        assert_eq!(wait(child), 4, "{way:?}");
    }
    // Nobody has written to a broken pipe in there.
    let (_c, command) = Way::Exec.call(lab, true, &["yes"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let terminal = Terminal::open();
    let child = terminal.spawn_with(lab, &command, |call| {
        call.stdout(writer);
    });
    drop(reader);
    assert_eq!(wait(child), 129);
    Ok(())
}

/// The caller's terminal takes no more: the container must still be reachable.
fn signals_pass_while_a_screen_is_full(lab: &Lab) -> Outcome {
    let script = "trap 'echo > /tmp/heard; exit 9' TERM; yes & while :; do sleep 0.05; done";
    for way in BOTH {
        let terminal = Terminal::open();
        let (c, child) = way.on(lab, &terminal, script);
        eventually("a full screen", || full(&terminal).then_some(()));
        signal(&child, Signal::TERM);
        exists(&c.rootfs("tmp/heard"));
        drop(terminal);
        wait(child);
    }
    Ok(())
}

/// Whether a terminal takes no more of what is written to it, and nobody reads that.
fn full(terminal: &Terminal) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&terminal.slave, PollFlags::OUT)], Some(&now)).unwrap() == 0
}

/// A caller that does has made it so for the runtime, and the kernel would not tell that of any end.
fn callers_may_ignore_their_children(lab: &Lab) -> Outcome {
    for way in BOTH {
        let (_c, call) = way.call(lab, false, &["sh", "-c", "exit 3"]);
        let mut shell = lab.clean(Command::new(&lab.settings.busybox));
        shell.args(["sh", "-c", "trap '' CHLD; exec \"$@\"", "sh"]);
        shell.arg(call.get_program()).args(call.get_args());
        let ignores = |call: &mut Command| wait(call.spawn().unwrap());
        assert_eq!(ignores(&mut shell), 3);
    }
    Ok(())
}

/// What is left behind in the container keeps streams open, and may even write to them without an end.
fn grandchildren_hold_nobody_up(lab: &Lab) -> Outcome {
    for left in ["setsid sleep 1000 & exit 4", "setsid yes & sleep 0.1; exit 4"] {
        let mut terminal = Terminal::open();
        let (_c, mut child) = Way::Exec.on(lab, &terminal, left);
        let code = eventually("the end of the call", || {
            terminal.read_now();
            child.try_wait().unwrap()
        });
        assert_eq!(code.code(), Some(4), "{left}");
    }
    lab.not_runc("copies between pipes until their last user has gone")?;
    let (_c, mut command) = Way::Exec.call(lab, false, &["sh", "-c", "sleep 1000 & exit 4"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _held = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    assert_eq!(wait(child), 4);
    Ok(())
}

/// A loop that finds something ready each time, and never gets rid of it, would show here.
fn who_waits_does_nothing(lab: &Lab) -> Outcome {
    let begin = |way: Way, stdin: Option<Stdio>, tty: bool, script: &str| {
        let script = format!("{script}; : > /tmp/ready; exec sleep 1000");
        let (c, command) = way.call(lab, tty, &["sh", "-c", &script]);
        let terminal = Terminal::open();
        let child = terminal.spawn_with(lab, &command, |call| {
            stdin.map(|stdin| call.stdin(stdin));
        });
        exists(&c.rootfs("tmp/ready"));
        (c, terminal, child)
    };
    fs::write(lab.dir.join("long"), [b'x'; 1 << 20]).unwrap();
    let long = || Some(File::open(lab.dir.join("long")).unwrap().into());
    let run = begin(Way::Run, None, true, ":");
    let plain = begin(Way::Exec, None, true, ":");
    let streams = begin(Way::Exec, Some(Stdio::null()), false, ":");
    let ended = begin(Way::Exec, Some(Stdio::null()), true, ":");
    let unread = begin(Way::Exec, long(), true, "stty raw -echo");
    let full = begin(Way::Exec, None, true, "trap '' HUP; yes & :");
    let closed = begin(Way::Exec, None, true, "trap '' HUP; exec <&- >&- 2>&-");
    let mut gone = begin(Way::Exec, None, true, "trap '' HUP");
    gone.1 = Terminal::open();
    idle(&[
        ("nothing happens in run", &run.2),
        ("nothing happens", &plain.2),
        ("without a terminal", &streams.2),
        ("the input has ended", &ended.2),
        ("the container does not read", &unread.2),
        ("the caller does not read", &full.2),
        ("nobody has the container's terminal open", &closed.2),
        ("the caller's terminal is gone", &gone.2),
    ]);
    for (_c, _terminal, mut child) in [run, plain, streams, ended, unread, full, closed, gone] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    Ok(())
}
