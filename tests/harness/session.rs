//! A program in the foreground of `run` or of `exec`, which both must serve alike.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::pty::Terminal;
use super::{Container, Lab, Runtime, eventually, json};

/// The command by which a program gets into a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Run,
    Exec,
}

pub const BOTH: [Way; 2] = [Way::Run, Way::Exec];

impl Way {
    /// A container, and the call that is to run `args` in it, with a terminal or without. Its standard
    /// streams are for the test to give.
    #[track_caller]
    pub fn call<'l>(self, lab: &'l Lab, terminal: bool, args: &[&str]) -> (Container<'l>, Command) {
        self.call_of(lab, &lab.tare, terminal, args)
    }

    /// The same of another runtime.
    #[track_caller]
    pub fn call_of<'l>(
        self,
        lab: &'l Lab,
        runtime: &Runtime,
        terminal: bool,
        args: &[&str],
    ) -> (Container<'l>, Command) {
        let mut c = lab.container_of(runtime, if self == Way::Run { args } else { &["sleep", "1000"] });
        c.edit(|v| {
            v["process"]["terminal"] = json!(terminal && self == Way::Run);
            v["root"]["readonly"] = json!(false);
        });
        let mut command = lab.command(&c.runtime, &lab.next_file("log"));
        match self {
            Way::Run => drop(command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id)),
            Way::Exec => {
                c.up();
                command.args(["exec", if terminal { "--tty" } else { "--tty=false" }, &c.id]).args(args);
            }
        }
        (c, command)
    }

    /// A shell script on `terminal`.
    #[track_caller]
    pub fn on<'l>(self, lab: &'l Lab, terminal: &Terminal, script: &str) -> (Container<'l>, Child) {
        let (c, command) = self.call(lab, true, &["sh", "-c", script]);
        let child = terminal.spawn(lab, &command);
        (c, child)
    }
}

/// A listening socket, and its path.
pub fn socket(lab: &Lab) -> (UnixListener, String) {
    let path = lab.dir.join("test.sock");
    let _ = fs::remove_file(&path);
    (UnixListener::bind(&path).unwrap(), path.to_str().unwrap().to_owned())
}

/// Waits until a program in the container has made this file.
#[track_caller]
pub fn exists(path: &Path) {
    eventually("the program", || path.exists().then_some(()));
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The fields of `/proc/PID/stat` that follow the name, the state first.
#[track_caller]
pub fn stat(pid: u32) -> Vec<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    line.rsplit_once(") ").expect("a name in parentheses").1.split(' ').map(str::to_owned).collect()
}

/// Waits until the process is stopped.
#[track_caller]
pub fn stopped(pid: u32) {
    eventually("the process to be stopped", || (stat(pid)[0] == "T").then_some(()));
}

/// The time of the CPU that a process has used up, in ticks: a hundredth of a second each.
pub fn ticks(pid: u32) -> u64 {
    stat(pid)[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Fails when one of these processes, which have nothing to do, does something all the time.
#[track_caller]
pub fn idle(processes: &[(&str, &Child)]) {
    // Let what is still under way come to its end.
    std::thread::sleep(Duration::from_millis(200));
    let before: Vec<u64> = processes.iter().map(|(_, child)| ticks(child.id())).collect();
    std::thread::sleep(Duration::from_secs(1));
    for ((when, child), before) in processes.iter().zip(before) {
        let used = ticks(child.id()) - before;
        // Whoever never waits uses the share of a CPU that the other tests leave; who waits, nothing.
        assert!(used <= 10, "{used} ticks in a second: {when}");
    }
}

/// The bytes from `start` to `end` of an endless file that has all values in no order.
pub fn bytes(start: usize, end: usize) -> Vec<u8> {
    (start..end).map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()[3]).collect()
}

/// Reads `size` bytes, which must be those of [`bytes`].
///
/// # Panics
/// When they are others, or end before.
pub fn read_bytes(from: &mut impl std::io::Read, size: usize) {
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    while done < size {
        let room = (size - done).min(buffer.len());
        let count = match from.read(&mut buffer[..room]) {
            Ok(0) => panic!("the end after {done} bytes of {size}"),
            Ok(count) => count,
            Err(error) => panic!("{error} after {done} bytes of {size}"),
        };
        assert!(buffer[..count] == bytes(done, done + count), "other bytes after {done} of {size}");
        done += count;
    }
}
