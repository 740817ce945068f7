//! Freezing the processes of a container's cgroup, and letting them go on.
//!
//! Version 2 has it in every cgroup (`cgroup.freeze`), version 1 as a controller.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::CWD;
use sys::Errno;

use crate::error::{Error, Kind};
use crate::file;
use crate::host::Layout;
use crate::place::{Cgroup, Directory};

/// How long processes may take to come to a halt: one that waits for a disk or the network does not.
const PATIENCE: Duration = Duration::from_secs(10);
/// After how many attempts a cgroup of version 1 is thawed for a moment.
const ATTEMPTS: u32 = 20;

impl Cgroup {
    /// Whether the cgroup was frozen itself, and not only as part of a frozen one. A cgroup that does
    /// not exist is not frozen.
    pub fn frozen(&self) -> Result<bool, Error> {
        let name = match self.layout {
            Layout::V2 => "cgroup.freeze",
            Layout::V1 | Layout::Hybrid => "freezer.self_freezing",
        };
        let Some(directory) = self.freezer() else { return Ok(false) };
        let path = format!("{}/{name}", directory.absolute());
        match file::read_absolute(&path) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            text => Ok(text.map_err(|errno| Error::call(format!("read {path}"), errno))?.trim_end() == "1"),
        }
    }

    /// Freezes the cgroup with those nested in it, and waits until all processes have come to a halt.
    /// If they don't, they are let go on.
    pub fn freeze(&self) -> Result<(), Error> {
        let directory = self.freezer_or_refusal()?;
        let path = directory.absolute();
        let done = match self.layout {
            Layout::V2 => freeze(&path),
            Layout::V1 | Layout::Hybrid => freeze_v1(&path),
        };
        if done.is_err() {
            // The failure is what counts, and a container that is half frozen is of use to nobody.
            let _ = self.thaw();
        }
        done
    }

    /// Lets the processes go on.
    pub fn thaw(&self) -> Result<(), Error> {
        let path = self.freezer_or_refusal()?.absolute();
        match self.layout {
            Layout::V2 => write(&path, "cgroup.freeze", "0"),
            Layout::V1 | Layout::Hybrid => write(&path, "freezer.state", "THAWED"),
        }
    }

    /// The directory whose files freeze.
    fn freezer(&self) -> Option<&Directory> {
        match self.layout {
            Layout::V2 => self.unified(),
            Layout::V1 | Layout::Hybrid => self.v1("freezer"),
        }
    }

    fn freezer_or_refusal(&self) -> Result<&Directory, Error> {
        self.freezer().ok_or_else(|| {
            Error::new(Kind::Unsupported, "cannot toggle freezer: cgroups not configured for container")
        })
    }
}

/// Version 2: the kernel says when it is done, and freezes as well what joins meanwhile.
fn freeze(path: &str) -> Result<(), Error> {
    let name = format!("{path}/cgroup.events");
    let failed = |errno| Error::call(format!("read {name}"), errno);
    let events = file::open_readable(CWD, name.as_str()).map_err(failed)?;
    write(path, "cgroup.freeze", "1")?;
    let end = Instant::now() + PATIENCE;
    loop {
        if read_again(&events).map_err(failed)?.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(unable(path, "cgroup.events does not say \"frozen 1\""));
        }
        wait_for_change(events.as_fd(), left).map_err(failed)?;
    }
}

/// Version 1: it is said again until it is so, since processes that are made meanwhile slip through.
fn freeze_v1(path: &str) -> Result<(), Error> {
    let name = format!("{path}/freezer.state");
    let end = Instant::now() + PATIENCE;
    let mut attempt = 0;
    loop {
        write(path, "freezer.state", "FROZEN")?;
        let state = file::read_absolute(&name).map_err(|errno| Error::call(format!("read {name}"), errno))?;
        if state.trim_end() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(unable(path, &format!("freezer.state stays {}", state.trim_end())));
        }
        attempt += 1;
        if attempt % ATTEMPTS == 0 {
            // Who makes a process while it waits for it (vfork) may be unable to halt before that one has gone on.
            write(path, "freezer.state", "THAWED")?;
            sleep(Duration::from_millis(10));
        } else if attempt > 2 {
            sleep(Duration::from_millis(1));
        }
    }
}

fn unable(path: &str, why: &str) -> Error {
    Error::new(Kind::System, format!("unable to freeze {path}: {why} after {} seconds", PATIENCE.as_secs()))
}

fn write(path: &str, name: &str, value: &str) -> Result<(), Error> {
    let file = format!("{path}/{name}");
    file::write_absolute(&file, value).map_err(|errno| Error::call(format!("write {value} to {file}"), errno))
}

/// What a file says now that was read before: the kernel tells of later changes to who has read this.
fn read_again(file: &OwnedFd) -> Result<String, Errno> {
    let mut bytes = [0; 256];
    let got = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut bytes, 0))?;
    Ok(String::from_utf8_lossy(bytes.get(..got).unwrap_or_default()).into_owned())
}

fn wait_for_change(file: BorrowedFd<'_>, at_most: Duration) -> Result<(), Errno> {
    let seconds = i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX);
    let timeout = Timespec { tv_sec: seconds, tv_nsec: at_most.subsec_nanos().into() };
    match poll(&mut [PollFd::from_borrowed_fd(file, PollFlags::PRI)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
