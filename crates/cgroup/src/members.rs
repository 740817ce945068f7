//! The processes in a container's cgroup: which there are, ending them.
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use sys::Errno;

use crate::error::{Error, Kind};
use crate::host::{self, Layout};
use crate::place::{Cgroup, Directory};
use crate::{file, tree};

const SIGKILL: i32 = 9;

impl Cgroup {
    /// Refuses a cgroup that somebody else uses: one with processes, or a frozen one.
    ///
    /// To be asked before the cgroup is recorded as the container's, because whoever has the record
    /// may kill and remove what is in it.
    pub fn check_unused(&self) -> Result<(), Error> {
        let pids = self.pids()?;
        if !pids.is_empty() {
            let text = format!("container's cgroup is not empty: {} process(es) found", pids.len());
            return Err(Error::new(Kind::InUse, text));
        }
        if self.frozen()? {
            return Err(Error::new(Kind::InUse, "container's cgroup unexpectedly frozen"));
        }
        Ok(())
    }

    /// The processes in the cgroup and in those nested in it, ascending, as the caller's PID namespace
    /// numbers them. A cgroup that does not exist has none.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let mut pids = BTreeSet::new();
        for directory in self.rolls() {
            let path = directory.absolute();
            collect(&path, &mut pids)
                .map_err(|errno| Error::call(format!("read {path}/cgroup.procs"), errno))?;
        }
        Ok(pids.into_iter().collect())
    }

    /// The hierarchies that are asked for the container's processes. On version 1 the devices
    /// hierarchy speaks for all others, since root is never without it; a process that was cloned into the
    /// unified one may not have joined it yet.
    fn rolls(&self) -> impl Iterator<Item = &Directory> {
        let speaks = |directory: &Directory| directory.is_unified() || directory.has("devices");
        let none = !self.directories.iter().any(speaks);
        self.directories.iter().filter(move |directory| none || speaks(directory))
    }

    /// Sends a signal to every process in the cgroup and in those nested in it.
    ///
    /// After `SIGKILL` a frozen cgroup of version 1 is thawed, as its processes could not die
    /// otherwise; they may not have ended yet when this returns.
    pub fn kill(&self, signal: i32) -> Result<(), Error> {
        if signal == SIGKILL
            && let Some(unified) = self.unified()
            // Linux 5.14. Where it fails there is the other way, which will tell the reason.
            && file::write_absolute(&format!("{}/cgroup.kill", unified.absolute()), "1").is_ok()
            && self.layout == Layout::V2
        {
            return Ok(());
        }
        let mut told = BTreeSet::new();
        for round in 0..1000 {
            let pids = self.pids()?;
            // Whoever was told may take its time to end, but cannot make processes after SIGKILL.
            let new: Vec<i32> = pids.into_iter().filter(|pid| told.insert(*pid)).collect();
            if new.is_empty() {
                break;
            }
            if signal == SIGKILL && round == 3 {
                self.forbid_forks();
            }
            for pid in new {
                send(pid, signal)?;
            }
        }
        if signal == SIGKILL
            && let Some(freezer) = self.v1("freezer")
        {
            // Whether it was frozen or has vanished since makes no difference.
            let _ = file::write_absolute(&format!("{}/freezer.state", freezer.absolute()), "THAWED");
        }
        Ok(())
    }

    /// Keeps processes from multiplying faster than they are killed.
    fn forbid_forks(&self) {
        let directory = if self.layout == Layout::V2 { self.unified() } else { self.v1("pids") };
        if let Some(directory) = directory {
            // Without the controller the killing goes on as it did.
            let _ = file::write_absolute(&format!("{}/pids.max", directory.absolute()), "0");
        }
    }

    /// The cgroup in which process `pid` of the container is now, where that may be another one.
    ///
    /// On version 2 a container may make cgroups below its own and move there, after which the kernel
    /// lets no process into its own any more. On version 1 this is `self`.
    pub fn of_process(&self, pid: i32) -> Result<Cgroup, Error> {
        let mut cgroup = self.clone();
        if self.layout != Layout::V2 {
            return Ok(cgroup);
        }
        let path = format!("/proc/{pid}/cgroup");
        let text = file::read_absolute(&path).map_err(|errno| Error::call(format!("read {path}"), errno))?;
        let own = text.lines().filter_map(host::entry).find(|(controllers, _)| controllers.is_empty());
        if let Some((_, own)) = own {
            for directory in &mut cgroup.directories {
                own.trim_matches('/').clone_into(&mut directory.path);
            }
        }
        Ok(cgroup)
    }
}

/// Adds the processes of the cgroup at `path`, and of those nested in it.
fn collect(path: &str, pids: &mut BTreeSet<i32>) -> Result<(), Errno> {
    let top = match file::open_dir(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        top => top?,
    };
    let visit = |dir: &OwnedFd| {
        // Processes of other PID namespaces have the number 0.
        pids.extend(members(dir)?.lines().filter_map(|line| line.parse().ok()).filter(|pid: &i32| *pid > 0));
        Ok(())
    };
    tree::walk(top, visit, |_, _| Ok(()))
}

fn members(dir: &OwnedFd) -> Result<String, Errno> {
    match file::read(dir, "cgroup.procs") {
        Err(Errno::NOENT | Errno::NODEV) => Ok(String::new()),
        // A threaded cgroup has no list of processes.
        Err(Errno::OPNOTSUPP) => file::read(dir, "cgroup.threads"),
        text => text,
    }
}

fn send(pid: i32, signal: i32) -> Result<(), Error> {
    let sent = sys::signal::open_process(pid).and_then(|process| sys::signal::send(process.as_fd(), signal));
    match sent {
        Err(error) if error.errno == Errno::SRCH => Ok(()),
        sent => Ok(sent?),
    }
}
