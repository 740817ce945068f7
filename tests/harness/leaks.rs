//! The oracle for what a test left behind: mounts, cgroups, processes and state directories.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::settings::cgroup_roots;

/// What the host looks like, as far as it can be a test's doing.
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Looks at the host. `name` marks this test; mounts of other tests' directories below `base` do not count.
    pub fn take(name: &str, base: &Path) -> Self {
        let mut seen = BTreeSet::new();
        let base = base.to_string_lossy();
        let own = |line: &str| !line.contains(&*base) || line.contains(&format!("{name}/"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        seen.extend(mounts.lines().filter(|l| own(l)).map(|l| format!("mount {}", without_flags(l))));
        seen.extend(processes(name).iter().map(|pid| format!("process {pid} {}", command_line(*pid))));
        for root in cgroup_roots() {
            seen.extend(cgroups(name, &root, 4).into_iter().map(|path| format!("cgroup {path}")));
        }
        let state = fs::read_dir(Path::new(&*base).join(name).join("state"));
        seen.extend(state.into_iter().flatten().flatten().map(|e| format!("state {}", e.path().display())));
        Self(seen)
    }

    /// What is in `after` and was not here before.
    pub fn left(&self, after: &Self) -> Vec<String> {
        after.0.difference(&self.0).cloned().collect()
    }
}

/// The living processes that carry the mark in their environment or sit in a cgroup of ours.
pub fn processes(name: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let has = |text: &[u8], mark: &str| text.windows(mark.len()).any(|w| w == mark.as_bytes());
        let ours = has(&read("environ"), &format!("TARE_TEST={name}\0"))
            || has(&read("cgroup"), &format!("/{name}-"));
        // Whoever adopted a zombie reaps it; it holds nothing.
        ours && !String::from_utf8_lossy(&read("stat")).contains(") Z ")
    })
    .collect()
}

/// A line of mountinfo without the flags of cgroup version 2 itself, which every new mount of it in the host's
/// cgroup namespace sets anew: runc makes such, for a container without a cgroup namespace.
fn without_flags(line: &str) -> &str {
    line.split_once(" - cgroup2 ").map_or(line, |(mount, _)| mount)
}

fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// The cgroups below `dir`, at most `depth` deep, that are named after the test.
fn cgroups(name: &str, dir: &Path, depth: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if depth == 0 || !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
            found.push(entry.path().to_string_lossy().into_owned());
        }
        found.extend(cgroups(name, &entry.path(), depth - 1));
    }
    found
}

/// Waits for the end of the suite, which has the other end of the standard input, and removes what is left of its
/// run in `dir`: nothing but this run's directory and the cgroup of all tests, unless the suite was killed.
pub fn sweep_at_the_end(dir: &Path) -> std::io::Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    for lab in fs::read_dir(dir)?.flatten().filter(|entry| entry.path().is_dir()) {
        sweep(&lab.file_name().to_string_lossy(), &lab.path());
    }
    for root in cgroup_roots() {
        // Another run may be in it.
        let _ = fs::remove_dir(root.join("tare-test"));
    }
    fs::remove_dir_all(dir)
}

/// Removes by force what a failed test left, so that it does not disturb the next one.
pub fn sweep(name: &str, dir: &Path) {
    for pid in processes(name) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|l| l.split(' ').nth(4));
    for point in points.filter(|p| Path::new(p).starts_with(dir)) {
        let _ = std::process::Command::new("umount").args(["-l", point]).status();
    }
    for root in cgroup_roots() {
        // A cgroup can go when its last process has.
        for path in cgroups(name, &root, 4).iter().rev() {
            let gone = || fs::remove_dir(path).is_ok() || !Path::new(path).exists();
            let _ = (0..100)
                .any(|_| gone() || (std::thread::sleep(std::time::Duration::from_millis(5)), false).1);
        }
    }
}
