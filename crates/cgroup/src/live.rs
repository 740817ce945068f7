//! A container's cgroup that exists: making it, and putting processes into it.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use sys::Errno;

use crate::error::Error;
use crate::file;
use crate::host::Layout;
use crate::place::{Cgroup, Directory};
use crate::{cpuset, unified};

/// The open directories of a cgroup.
///
/// It is meant to be made by the host process and used by a child that was forked from it as well:
/// all that a join needs is open already.
#[derive(Debug)]
pub struct Live {
    pub(crate) layout: Layout,
    pub(crate) directories: Vec<Opened>,
}

#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) directory: Directory,
    pub(crate) fd: OwnedFd,
    /// `tasks`, for writing (version 1).
    tasks: Option<OwnedFd>,
    /// Whether this process made it, so that nothing in it has been set by anybody else.
    pub(crate) new: bool,
}

impl Cgroup {
    /// Makes the directories, with the parents that are missing, and opens them.
    ///
    /// On version 2 the controllers of the host are enabled on the way down; on version 1 the CPUs and
    /// memory nodes are inherited, without which no process could join. Directories that exist are
    /// taken as they are. After a failure, or when the caller is killed in here, [`Cgroup::remove`]
    /// clears away what was made.
    pub fn create(&self) -> Result<Live, Error> {
        self.each(|directory, path| {
            let new = make(directory, path)?;
            let fd = open_dir(directory, path)?;
            if directory.is_unified() && self.layout == Layout::V2 {
                unified::enable_controllers(directory, &fd)?;
            }
            if directory.has("cpuset") {
                let done = if new { cpuset::inherit(&fd) } else { cpuset::complete(&fd) };
                done.map_err(|errno| Error::call(format!("inherit cpuset of {path}"), errno))?;
            }
            Ok((fd, new))
        })
    }

    /// Opens the directories of a cgroup that was created before.
    pub fn open(&self) -> Result<Live, Error> {
        self.each(|directory, path| Ok((open_dir(directory, path)?, false)))
    }

    fn each(
        &self,
        mut open: impl FnMut(&Directory, &str) -> Result<(OwnedFd, bool), Error>,
    ) -> Result<Live, Error> {
        let mut directories = Vec::with_capacity(self.directories.len());
        for directory in &self.directories {
            let path = directory.absolute();
            let (fd, new) = open(directory, &path)?;
            let tasks = if directory.is_unified() {
                None
            } else {
                let tasks = file::open_writable(&fd, "tasks");
                Some(tasks.map_err(|errno| Error::call(format!("open {path}/tasks"), errno))?)
            };
            directories.push(Opened { directory: directory.clone(), fd, tasks, new });
        }
        Ok(Live { layout: self.layout, directories })
    }
}

impl Live {
    /// The directory of cgroup v2 to clone a process into (`CLONE_INTO_CGROUP`), if there is one.
    ///
    /// To move a process there later instead waits for a grace period of the kernel.
    pub fn into_cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.directories.iter().find(|opened| opened.directory.is_unified()).map(|opened| opened.fd.as_fd())
    }

    /// Moves the calling process into the hierarchies of version 1. It must be single-threaded.
    ///
    /// A process that writes `0` to `tasks` moves itself alone, for which the kernel needs no lock
    /// on all processes; that lock, which any other way of moving takes, costs a grace period of
    /// several milliseconds.
    pub fn join(&self) -> Result<(), Error> {
        for opened in &self.directories {
            let Some(tasks) = &opened.tasks else { continue };
            if file::put(tasks, "0").is_err() {
                opened.join_by_procs()?;
            }
        }
        Ok(())
    }
}

impl Opened {
    fn join_by_procs(&self) -> Result<(), Error> {
        file::write(&self.fd, "cgroup.procs", "0").map_err(|errno| {
            Error::call(format!("write 0 to {}/cgroup.procs", self.directory.absolute()), errno)
        })
    }
}

/// Makes a directory and the parents that are missing; says whether it is new.
fn make(directory: &Directory, path: &str) -> Result<bool, Error> {
    match file::make_dir(path) {
        Err(Errno::NOENT) => {}
        done => return done.map_err(|errno| Error::call(format!("mkdir {path}"), errno)),
    }
    for parent in directory.ancestors() {
        file::make_dir(&parent).map_err(|errno| Error::call(format!("mkdir {parent}"), errno))?;
    }
    file::make_dir(path).map_err(|errno| Error::call(format!("mkdir {path}"), errno))
}

fn open_dir(directory: &Directory, path: &str) -> Result<OwnedFd, Error> {
    let opened =
        if directory.is_unified() { file::open_readable_dir(CWD, path) } else { file::open_dir(CWD, path) };
    opened.map_err(|errno| Error::call(format!("open {path}"), errno))
}
