//! Being told when memory runs out in a cgroup.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, OFlags};
use sys::Errno;

use crate::error::{Error, Kind};
use crate::file;
use crate::host::Layout;
use crate::place::{Cgroup, Directory};

/// Becomes readable when memory may have run out: see [`OomWatch::happened`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    source: Source,
}

/// Where the kernel says it.
#[derive(Debug)]
enum Source {
    /// Version 1: an eventfd, which is also told when the cgroup is removed.
    Counter { control: String },
    /// Version 2: a change of `memory.events`, which is about other events as well.
    Events { path: String, told: u64 },
}

impl Cgroup {
    /// Asks the kernel to tell when memory runs out.
    ///
    /// On version 1 that is when there is no more to be had, whether or not a process is killed for it; on
    /// version 2 when one of the cgroup or of one nested in it is killed.
    pub fn watch_oom(&self) -> Result<OomWatch, Error> {
        let missing = || Error::new(Kind::Unsupported, "memory controller missing");
        match self.layout {
            Layout::V2 => watch_events(self.unified().ok_or_else(missing)?, missing),
            Layout::V1 | Layout::Hybrid => watch_counter(self.v1("memory").ok_or_else(missing)?),
        }
    }
}

/// `cgroup.event_control` of version 1; see Documentation/admin-guide/cgroup-v1/memory.rst.
fn watch_counter(directory: &Directory) -> Result<OomWatch, Error> {
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
    Ok(OomWatch { fd, source: Source::Counter { control: format!("{path}/cgroup.event_control") } })
}

fn watch_events(directory: &Directory, missing: impl Fn() -> Error) -> Result<OomWatch, Error> {
    let path = format!("{}/memory.events", directory.absolute());
    let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
    let fd = inotify::init(flags).map_err(|errno| Error::call("inotify_init1", errno))?;
    match inotify::add_watch(&fd, path.as_str(), WatchFlags::MODIFY) {
        Err(Errno::NOENT) => return Err(missing()),
        watch => drop(watch.map_err(|errno| Error::call(format!("inotify_add_watch {path}"), errno))?),
    }
    let told = kills(&path)?;
    Ok(OomWatch { fd, source: Source::Events { path, told } })
}

impl OomWatch {
    /// Whether memory has run out since this was asked last. Never waits.
    pub fn happened(&mut self) -> Result<bool, Error> {
        let signalled = drain(&self.fd).map_err(|errno| Error::call("read events", errno))?;
        match &mut self.source {
            Source::Counter { control } => Ok(signalled && rustix::fs::stat(control.as_str()).is_ok()),
            // The kernel may hold a notice back for 10 ms, so the number is what counts.
            Source::Events { path, told } => {
                let now = kills(path)?;
                Ok(std::mem::replace(told, now) < now)
            }
        }
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

/// How many processes were killed. None is told any more of a cgroup that is gone.
fn kills(path: &str) -> Result<u64, Error> {
    let text = match file::read_absolute(path) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(0),
        text => text.map_err(|errno| Error::call(format!("read {path}"), errno))?,
    };
    Ok(oom_kills(&text))
}

/// The number in `memory.events` of version 2 or `memory.oom_control` of version 1; 0 where it is missing.
fn oom_kills(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_one_line_of_several() {
        for (text, number) in [
            ("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n", 2),
            ("oom_kill_disable 1\nunder_oom 0\noom_kill 5\n", 5),
            ("oom_kill_disable 1\nunder_oom 0\n", 0),
            ("", 0),
        ] {
            assert_eq!(oom_kills(text), number, "{text:?}");
        }
    }
}
