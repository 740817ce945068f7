//! Being told when memory runs out in a cgroup.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, OFlags};
use sys::Errno;

use crate::error::{Error, Kind};
use crate::file;
use crate::host::Layout;
use crate::kernel_log::KernelLog;
use crate::place::{Cgroup, Directory};

/// Becomes readable when memory may have run out: see [`OomWatch::happened`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    source: Source,
    /// The file that counts kills.
    counter: String,
    /// What it had at the beginning, and when it was asked last.
    kills: (u64, u64),
    /// Where it is told of the cgroup `path`, and of `init`, when the counter is gone.
    log: Option<KernelLog>,
    path: String,
    init: i32,
}

/// Where the kernel says it.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Version 1: an eventfd, which is also told when the cgroup is removed.
    Eventfd,
    /// Version 2: a change of `memory.events`, which is about other events as well.
    Inotify,
}

impl Cgroup {
    /// Asks the kernel to tell when memory runs out. `init` is the container's first process.
    ///
    /// On version 1 that is when there is no more to be had, whether or not a process is killed for it; on
    /// version 2 when one of the cgroup or of one nested in it is killed.
    pub fn watch_oom(&self, init: i32) -> Result<OomWatch, Error> {
        let missing = || Error::new(Kind::Unsupported, "memory controller missing");
        let (directory, counter) = self.oom_counter().ok_or_else(missing)?;
        let (fd, source) = match self.layout {
            Layout::V2 => (watch_events(&counter, missing)?, Source::Inotify),
            Layout::V1 | Layout::Hybrid => (watch_counter(directory)?, Source::Eventfd),
        };
        let log = KernelLog::from_now();
        let before = kills(&counter)?.unwrap_or(0);
        let path = directory.path.clone();
        Ok(OomWatch { fd, source, counter, kills: (before, before), log, path, init })
    }

    /// How many processes of the cgroup the kernel has killed for lack of memory; `None` when it does
    /// not say.
    pub fn oom_kills(&self) -> Option<u64> {
        let (_, counter) = self.oom_counter()?;
        oom_kills(&file::read_absolute(&counter).ok()?)
    }

    /// Whether the kernel has killed a process of a new container, whose first one is `init`, for lack of memory;
    /// false where it does not say. That process is no more, so the cgroup may be gone, too.
    pub fn oom_killed(&self, init: i32) -> bool {
        // Records that are older may be of another process that had this number.
        let logged = || {
            let (directory, _) = self.oom_counter()?;
            Some(KernelLog::so_far()?.killed(&directory.path, None).contains(&init))
        };
        self.oom_kills().is_some_and(|kills| kills > 0) || logged().unwrap_or(false)
    }

    fn oom_counter(&self) -> Option<(&Directory, String)> {
        let (directory, name) = match self.layout {
            Layout::V2 => (self.unified()?, "memory.events"),
            Layout::V1 | Layout::Hybrid => (self.v1("memory")?, "memory.oom_control"),
        };
        Some((directory, format!("{}/{name}", directory.absolute())))
    }
}

/// `cgroup.event_control` of version 1; see Documentation/admin-guide/cgroup-v1/memory.rst.
fn watch_counter(directory: &Directory) -> Result<OwnedFd, Error> {
    let path = directory.absolute();
    let failed = |name: &'static str| {
        let path = path.clone();
        move |errno| Error::call(format!("{name} {path}"), errno)
    };
    let dir = file::open_dir(CWD, path.as_str()).map_err(failed("open"))?;
    let subject = rustix::fs::openat(
        &dir,
        "memory.oom_control",
        OFlags::RDONLY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(failed("open memory.oom_control of"))?;
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let fd = eventfd(0, flags).map_err(|errno| Error::call("eventfd", errno))?;
    let line = format!("{} {}", fd.as_raw_fd(), subject.as_raw_fd());
    file::write(&dir, "cgroup.event_control", &line).map_err(failed("write cgroup.event_control of"))?;
    Ok(fd)
}

fn watch_events(path: &str, missing: impl Fn() -> Error) -> Result<OwnedFd, Error> {
    let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
    let fd = inotify::init(flags).map_err(|errno| Error::call("inotify_init1", errno))?;
    match inotify::add_watch(&fd, path, WatchFlags::MODIFY) {
        Err(Errno::NOENT) => Err(missing()),
        watch => {
            watch.map_err(|errno| Error::call(format!("inotify_add_watch {path}"), errno))?;
            Ok(fd)
        }
    }
}

impl OomWatch {
    /// Whether memory has run out since this was asked last. Never waits.
    pub fn happened(&mut self) -> Result<bool, Error> {
        let signalled = drain(&self.fd).map_err(|errno| Error::call("read events", errno))?;
        let (first, last) = self.kills;
        let Some(now) = kills(&self.counter)? else {
            // systemd removes a cgroup as soon as it is empty, which may be before we come to read.
            let logged = self.log.take().map(|log| log.killed(&self.path, Some(self.init)));
            return Ok(logged.is_some_and(|pids| pids.len() as u64 > last.saturating_sub(first)));
        };
        self.kills.1 = now;
        Ok(match self.source {
            Source::Eventfd => signalled,
            // The kernel may hold a notice back for 10 ms, so the number is what counts.
            Source::Inotify => now > last,
        })
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Takes all that there is to read; says whether that was anything.
fn drain(fd: &OwnedFd) -> Result<bool, Errno> {
    let mut buffer = [0_u8; 4096];
    let mut any = false;
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut buffer)) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(any),
            Ok(_) => any = true,
            Err(errno) => return Err(errno),
        }
    }
}

/// How many processes were killed; `None` when the cgroup is gone.
fn kills(counter: &str) -> Result<Option<u64>, Error> {
    let text = match file::read_absolute(counter) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
        text => text.map_err(|errno| Error::call(format!("read {counter}"), errno))?,
    };
    Ok(Some(oom_kills(&text).unwrap_or(0)))
}

/// The number in `memory.events` of version 2 or `memory.oom_control` of version 1.
fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_one_line_of_several() {
        for (text, number) in [
            ("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", Some(2)),
            ("oom_kill_disable 1\nunder_oom 0\noom_kill 5\n", Some(5)),
            ("oom_kill_disable 1\nunder_oom 0\n", None),
            ("", None),
        ] {
            assert_eq!(oom_kills(text), number, "{text:?}");
        }
    }
}
