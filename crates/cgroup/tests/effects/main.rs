//! What the crate does to real cgroups, on whatever layout this host has. Needs root.
//!
//! The program is static: copied into another machine, it runs there without cargo.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod limits;
mod making;
mod members;

use std::convert::Infallible;
use std::fs;
use std::io::{PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cgroup::{Cgroup, Denied, Host, Kind, Layout, Limits, Live, place, plan};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rustix::fs::{CWD, Mode, OFlags};
use sys::clone::{Alone, Child, InChild, Setting, clone_process};
use sys::process::Ended;

const KILL: i32 = 9;

/// A test has passed, or says why it cannot run here.
type Outcome = Result<(), &'static str>;
type Test = fn(&Lab) -> Outcome;

fn main() {
    let tests = [making::TESTS, members::TESTS, limits::TESTS].concat();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = tests.into_iter().map(|(name, test)| Trial::ignorable_test(name, move || run(name, test)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn run(name: &str, test: Test) -> Result<Completion, Failed> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Completion::ignored_with("needs root"));
    }
    let lab = Lab { host: Host::detect()?, name: format!("/tare-test-{}/{name}", std::process::id()) };
    Ok(test(&lab).map_or_else(Completion::ignored_with, |()| Completion::Completed))
}

/// A place in the cgroup hierarchies for one test, which is emptied in the end.
struct Lab {
    host: Host,
    name: String,
}

impl Lab {
    fn cgroup(&self) -> Cgroup {
        place(&self.host, Some(&format!("{}/leaf", self.name)), "id", Denied::Error).unwrap()
    }

    fn parent(&self) -> Cgroup {
        place(&self.host, Some(&self.name), "id", Denied::Error).unwrap()
    }

    fn is_v2(&self) -> bool {
        self.host.layout() == Layout::V2
    }

    fn plan(&self, json: &str) -> Limits {
        plan(Some(&serde_json::from_str(json).unwrap()), &[], self.host.layout()).unwrap()
    }

    /// Whether limits of this controller can be set here.
    fn has(&self, controller: &str) -> bool {
        let cgroup = self.cgroup();
        if !self.is_v2() {
            return cgroup.v1(controller).is_some();
        }
        let path = format!("{}/cgroup.controllers", cgroup.unified().unwrap().mount);
        fs::read_to_string(path).unwrap().split_whitespace().any(|name| name == controller)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let all = place(&self.host, self.name.rsplit_once('/').map(|(above, _)| above), "id", Denied::Error)
            .unwrap();
        all.kill(KILL).unwrap();
        // Children of this process stay in their cgroups until somebody asks for their status.
        while let Ok(Some(_)) = sys::process::reap(None, true) {}
        all.remove().unwrap();
    }
}

/// The content of a file of the cgroup, without the line's end.
fn content(cgroup: &Cgroup, controller: &str, file: &str) -> String {
    let directory = cgroup.v1(controller).or_else(|| cgroup.unified()).unwrap();
    let path = format!("{}/{file}", directory.absolute());
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim_end().to_owned()
}

fn exists(cgroup: &Cgroup) -> Vec<bool> {
    cgroup.directories.iter().map(|directory| Path::new(&directory.absolute()).exists()).collect()
}

/// What a process does in a cgroup.
struct Task<'a> {
    live: &'a Live,
    act: fn() -> i32,
    joined: PipeWriter,
}

/// Starts a process that joins and does `act`, whose result is its exit status. It has joined when
/// this returns.
fn start(live: &Live, act: fn() -> i32) -> Child {
    let (mut reader, joined) = pipe().unwrap();
    let body = |task: &mut Task<'_>, _: InChild| -> Infallible {
        if let Err(error) = task.live.join() {
            eprintln!("{error}");
            sys::process::exit(99);
        }
        task.joined.write_all(b"1").unwrap();
        sys::process::exit((task.act)())
    };
    let mut task = Task { live, act, joined };
    let setting = Setting { cgroup: live.into_cgroup(), ..Setting::default() };
    let child = clone_process(Alone::check().unwrap(), setting, &mut task, body).unwrap();
    drop(task);
    reader.read_exact(&mut [0]).unwrap();
    child
}

fn idle() -> i32 {
    loop {
        sleep(Duration::from_secs(100));
    }
}

fn ended(child: &Child) -> Ended {
    sys::process::wait(child.pid).unwrap()
}
