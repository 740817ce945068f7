//! Removing a container's cgroup, whatever is left of it.
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD};
use sys::Errno;

use crate::error::{Error, Kind};
use crate::place::Cgroup;
use crate::{file, tree};

/// The last pause between attempts. They double from 1 ms on, so that all take some 4 seconds.
const LAST_PAUSE: Duration = Duration::from_millis(2048);

impl Cgroup {
    /// Removes the container's directories, with those that it made in them. Their parents stay.
    ///
    /// What does not exist is fine. The kernel keeps a directory while processes in it are ending, so
    /// this waits a little, and then tells which are left.
    pub fn remove(&self) -> Result<(), Error> {
        let mut failure = None;
        let mut left: Vec<String> = self.directories.iter().map(|directory| directory.absolute()).collect();
        let mut pause = Duration::from_millis(1);
        loop {
            left.retain(|path| match remove(path) {
                Ok(()) => false,
                Err(Errno::BUSY) => true,
                Err(errno) => {
                    // The others are still to be removed.
                    failure.get_or_insert_with(|| Error::call(format!("rmdir {path}"), errno));
                    false
                }
            });
            if left.is_empty() {
                return failure.map_or(Ok(()), Err);
            }
            if pause > LAST_PAUSE {
                return Err(failure.unwrap_or_else(|| self.still_in_use(&left)));
            }
            sleep(pause);
            pause *= 2;
        }
    }

    fn still_in_use(&self, left: &[String]) -> Error {
        let pids: Vec<String> = self.pids().unwrap_or_default().iter().map(i32::to_string).collect();
        let paths = left.join(", ");
        let mut error = Error::call(format!("rmdir {paths}"), Errno::BUSY);
        error.kind = Kind::InUse;
        if !pids.is_empty() {
            error.text += &format!(" (processes in it: {})", pids.join(" "));
        }
        error
    }
}

/// Removes the cgroup at `path`; `EBUSY` if it, or one nested in it, has processes.
fn remove(path: &str) -> Result<(), Errno> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY) => {}
        // A read-only mount refuses before it looks whether there is anything to remove.
        Err(errno) => {
            return match file::open_dir(CWD, path) {
                Err(Errno::NOENT) => Ok(()),
                _ => Err(errno),
            };
        }
    }
    let top = match file::open_dir(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        top => top?,
    };
    tree::walk(
        top,
        |_| Ok(()),
        |parent, name| match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            done => done,
        },
    )?;
    match rustix::fs::rmdir(path) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}
