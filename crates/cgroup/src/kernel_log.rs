//! What the kernel has logged of the processes that it killed for lack of memory: all that tells of them once the
//! cgroup that has counted them is gone, as systemd removes it the moment that it is empty.
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, SeekFrom};
use sys::Errno;

/// The initial namespace of processes, in whose numbers the log speaks (`PROC_PID_INIT_INO` of the kernel).
const INITIAL: &[u8] = b"pid:[4026531836]";

/// A place in the log; see Documentation/ABI/testing/dev-kmsg of the kernel.
#[derive(Debug)]
pub(crate) struct KernelLog(OwnedFd);

impl KernelLog {
    /// All that is still there. `None` for who may not read it.
    pub(crate) fn so_far() -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, "/dev/kmsg", flags, Mode::empty()).ok().map(Self)
    }

    /// What is logged from now on.
    pub(crate) fn from_now() -> Option<Self> {
        let log = Self::so_far()?;
        rustix::fs::seek(&log.0, SeekFrom::End(0)).ok()?;
        Some(log)
    }

    /// Which processes were killed of those in the cgroup `path` and below it. Never waits. What this has told, it
    /// does not tell again.
    ///
    /// The kernel names the cgroup of no more than ten in five seconds. Of `init`, the container's first process, it
    /// is enough that it was killed.
    pub(crate) fn killed(&self, path: &str, init: Option<i32>) -> BTreeSet<i32> {
        let init = init.filter(|_| {
            rustix::fs::readlink("/proc/self/ns/pid", Vec::new()).is_ok_and(|name| name.as_bytes() == INITIAL)
        });
        let mut pids = BTreeSet::new();
        // Longer than any record.
        let mut buffer = [0; 8192];
        loop {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut buffer)) {
                Ok(0) => return pids,
                Ok(length) => {
                    pids.extend(buffer.get(..length).and_then(|record| victim(record, path, init)));
                }
                // Older records have made room for newer ones: what follows is the oldest one left.
                Err(Errno::PIPE) => {}
                Err(_) => return pids,
            }
        }
    }
}

/// The process of the cgroup `path` whose end a record tells of.
pub(crate) fn victim(record: &[u8], path: &str, init: Option<i32>) -> Option<i32> {
    let (head, text) = std::str::from_utf8(record).ok()?.split_once(';')?;
    // Anybody with the right to write to the log does so as another facility than the kernel's, which is 0.
    if head.split(',').next()?.parse::<u32>().ok()? >= 8 {
        return None;
    }
    let line = text.lines().next()?;
    if let Some(fields) = line.strip_prefix("oom-kill:") {
        let (_, fields) = fields.split_once(",task_memcg=")?;
        // The names of cgroups and processes are the containers' own: with a second one, one of the two is forged.
        if fields.contains(",task_memcg=") {
            return None;
        }
        let (place, _) = fields.split_once(",task=")?;
        let (rest, _) = fields.rsplit_once(",uid=")?;
        let (_, pid) = rest.rsplit_once(",pid=")?;
        let place = plain(place);
        let below = place.strip_prefix('/')?.strip_prefix(path)?;
        return (below.is_empty() || below.starts_with('/')).then(|| pid.parse().ok())?;
    }
    let (why, process) = line.split_once(": Killed process ")?;
    if !["Memory cgroup out of memory", "Out of memory"].contains(&why) {
        return None;
    }
    let pid: i32 = process.split_once(" (")?.0.parse().ok()?;
    (init == Some(pid)).then_some(pid)
}

/// The log has `\x5c` for a backslash, which names of units often have, and the like for what is not ASCII.
fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.bytes());
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend(code);
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    bytes.extend(rest.bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_tell_who_was_killed() {
        let of = |place: &str| {
            format!(
                "6,339,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,\
                 oom_memcg=/a.slice,task_memcg={place},task=tail,pid=264,uid=0\n SUBSYSTEM=memory\n"
            )
        };
        let killed =
            "3,340,5140901,-;Memory cgroup out of memory: Killed process 264 (tail) total-vm:1kB, UID:0";
        for (record, path, init, want) in [
            (of("/a.slice/b.scope"), "a.slice/b.scope", None, Some(264)),
            (of("/a.slice/b.scope/c"), "a.slice/b.scope", None, Some(264)),
            (of("/a.slice/b.scope-c"), "a.slice/b.scope", None, None),
            (of("/a.slice"), "a.slice/b.scope", None, None),
            (of("/x/a.slice/b.scope"), "a.slice/b.scope", None, None),
            (of(r"/a\x5cx2db.slice/\xc3\xa4.scope"), r"a\x2db.slice/ä.scope", None, Some(264)),
            (of(r"/a\xzz.scope"), r"azz.scope", None, Some(264)),
            // Who has such a cgroup may die unheard, but not speak for another.
            (of("/me/,task_memcg=/you.scope,task=x"), "you.scope", None, None),
            (of("/me,task=x,pid=1,uid=1"), "me", None, Some(264)),
            // Written by a program.
            (of("/a.scope").replacen('6', "14", 1), "a.scope", None, None),
            (killed.to_owned(), "a", Some(264), Some(264)),
            (killed.to_owned(), "a", Some(26), None),
            (killed.to_owned(), "a", None, None),
            (killed.replace("Memory cgroup out", "Out"), "a", Some(264), Some(264)),
            (killed.replace("3,340", "11,340"), "a", Some(264), None),
            (killed.replace(";M", ";x M"), "a", Some(264), None),
            ("6,1,1,-;oom-kill:".to_owned(), "a", None, None),
            ("6,1,1,-;Linux version 6.18".to_owned(), "a", Some(1), None),
            (String::new(), "a", None, None),
        ] {
            assert_eq!(victim(record.as_bytes(), path, init), want, "{record}");
        }
    }
}
