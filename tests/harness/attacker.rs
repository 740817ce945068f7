//! What the test program does as the first process of a hostile container: it looks at every process that
//! comes, as fast as it can.
//!
//! A shell would be too slow: the moment is short in which a process of the runtime is in the container.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// The environment variable that makes the test program this, with the directory of the host that holds
/// the file `host-marker`.
pub const VARIABLE: &str = "TARE_TEST_ATTACK";

/// The program that `exec` is to run, whose own business everything of it is. Any other name is the
/// runtime's.
pub const PROGRAM: &str = "usleep";

/// Where the container and the test meet: `ready`, a line in `seen` for each look at a process of the
/// runtime, a line in `leaks` for all that such a look has opened, and one in `reads` for what it has read of the host in
/// files that anybody may read.
const OUT: &str = "/out";

/// Looks for ever. `marked` is the marked directory of the host.
pub fn look(marked: &Path) -> ! {
    File::create(Path::new(OUT).join("ready")).unwrap();
    loop {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            if let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()).filter(|pid| *pid != 1)
            {
                look_at(pid, marked);
            }
        }
    }
}

fn look_at(pid: i32, marked: &Path) {
    let Some(name) = foreign(pid) else { return };
    note("seen", &name);
    let path = |file: &str| Path::new("/proc").join(pid.to_string()).join(file);
    let opened = |file: &str| File::open(path(file)).is_ok();
    let marker = marked.strip_prefix("/").unwrap().join("host-marker");
    let entries = |dir: &str| fs::read_dir(path(dir)).into_iter().flatten().flatten();
    for (what, leaks) in [
        ("exe", opened("exe")),
        ("mem", OpenOptions::new().read(true).write(true).open(path("mem")).is_ok()),
        ("environ", opened("environ")),
        ("auxv", opened("auxv")),
        ("cwd", path("cwd").join("host-marker").exists()),
        ("root", path("root").join(marker).exists()),
        ("fd", entries("fd").any(|entry| fs::metadata(entry.path()).is_ok())),
        ("map_files", entries("map_files").any(|entry| File::open(entry.path()).is_ok())),
        // What decides on this decides on ptrace as well.
        ("ptrace", attach(pid)),
    ] {
        if leaks && let Some(name) = still_foreign(pid) {
            note("leaks", &format!("{what} of {name}"));
        }
    }
    let read = |file: &str| fs::read(path(file)).unwrap_or_default();
    let marked = marked.as_os_str().as_bytes();
    let says = |file: &str| read(file).windows(marked.len()).any(|part| part == marked);
    let mounts = read("mountinfo");
    for (what, found) in [
        ("arguments", says("cmdline")),
        ("sockets", says("net/unix")),
        ("mounts", !mounts.is_empty() && mounts != fs::read("/proc/self/mountinfo").unwrap()),
    ] {
        if found {
            note("reads", &format!("{what} of {name}"));
        }
    }
}

/// Takes a descriptor out of a process.
fn attach(pid: i32) -> bool {
    let Some(Ok(process)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
        return false;
    };
    (0..16).any(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).is_ok())
}

/// The name of a process of the runtime.
fn foreign(pid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| name != PROGRAM)
}

/// The same, where the process may have become the program a moment ago, and its name is the last that
/// changes.
fn still_foreign(pid: i32) -> Option<String> {
    foreign(pid).and_then(|_| foreign(pid)).and_then(|_| foreign(pid))
}

fn note(file: &str, line: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(Path::new(OUT).join(file)).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
