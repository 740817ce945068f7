//! What the kernel has counted for a cgroup: one file for each controller, with pure readers of its texts.
//!
//! A controller that the host does not have counts nothing, and neither does a file that this kernel does
//! not have.
mod blkio;
mod cpu;
mod cpuset;
mod hugetlb;
mod memory;
mod pids;
mod pressure;

use std::os::fd::OwnedFd;

use oci::stats::Stats;
use rustix::fs::CWD;
use sys::Errno;

use crate::error::{Error, Kind};
use crate::file;
use crate::host::Layout;
use crate::place::{Cgroup, Directory};

impl Cgroup {
    /// What the kernel has counted for this cgroup and those nested in it.
    ///
    /// On a hybrid host the hierarchies of version 1 are asked, since they have the controllers.
    pub fn stats(&self) -> Result<Stats, Error> {
        match self.layout {
            Layout::V2 => Files::open(self.unified())?.map_or(Ok(Stats::default()), |files| unified(&files)),
            Layout::V1 | Layout::Hybrid => self.stats_of_v1(),
        }
    }

    fn stats_of_v1(&self) -> Result<Stats, Error> {
        let files = |controller| Files::open(self.v1(controller));
        let mut stats = Stats::default();
        if let Some(cpuset) = files("cpuset")? {
            stats.cpuset = cpuset::v1(&cpuset)?;
        }
        if let Some(memory) = files("memory")? {
            stats.memory = memory::v1(&memory)?;
        }
        if let Some(cpu) = files("cpu")? {
            stats.cpu.throttling = cpu::throttling(&cpu)?;
        }
        if let Some(cpuacct) = files("cpuacct")? {
            stats.cpu.usage = cpu::v1(&cpuacct)?;
        }
        if let Some(pids) = files("pids")? {
            stats.pids = pids::read(&pids)?;
        }
        if let Some(blkio) = files("blkio")? {
            stats.blkio = blkio::v1(&blkio)?;
        }
        if let Some(hugetlb) = files("hugetlb")? {
            stats.hugetlb = hugetlb::v1(&hugetlb)?;
        }
        Ok(stats)
    }
}

fn unified(files: &Files) -> Result<Stats, Error> {
    Ok(Stats {
        cpu: cpu::v2(files)?,
        memory: memory::v2(files)?,
        pids: pids::read(files)?,
        blkio: blkio::v2(files)?,
        hugetlb: hugetlb::v2(files)?,
        ..Stats::default()
    })
}

/// The files of a cgroup in one hierarchy.
struct Files {
    fd: OwnedFd,
    path: String,
}

impl Files {
    /// `None` where there is no such hierarchy, or the cgroup is gone.
    fn open(directory: Option<&Directory>) -> Result<Option<Files>, Error> {
        let Some(directory) = directory else { return Ok(None) };
        let path = directory.absolute();
        match file::open_dir(CWD, path.as_str()) {
            Ok(fd) => Ok(Some(Files { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::call(format!("open {path}"), errno)),
        }
    }

    /// The text of a file; `None` when there is none, or it has nothing to say for this cgroup.
    fn text(&self, name: &str) -> Result<Option<String>, Error> {
        match file::read(&self.fd, name) {
            Ok(text) => Ok(Some(text)),
            // The last one is for a cgroup without pressure, or a threaded one without a list of processes.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::call(format!("read {}/{name}", self.path), errno)),
        }
    }

    /// What `parse` makes of a file; `None` when there is none.
    fn parsed<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let parsed = parse(&text).ok_or_else(|| {
            let line = text.lines().next().unwrap_or_default();
            Error::new(Kind::System, format!("unable to parse {}/{name}: {line:?} …", self.path))
        })?;
        Ok(Some(parsed))
    }

    /// The one number of a file; `None` when there is none.
    fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        self.parsed(name, number)
    }

    /// The numbers of a file with one key a line; none when there is no such file.
    fn pairs(&self, name: &str) -> Result<Vec<(String, u64)>, Error> {
        Ok(self.parsed(name, pairs)?.unwrap_or_default())
    }
}

/// A number where `max` is the largest one, and what is below 0 counts as 0.
fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        text if text.starts_with('-') => text.parse::<i64>().ok().map(|_| 0),
        text => text.parse().ok(),
    }
}

/// Lines of a key and a number.
fn pairs(text: &str) -> Option<Vec<(String, u64)>> {
    text.lines()
        .map(|line| line.split_once(' ').and_then(|(k, v)| Some((k.to_owned(), number(v)?))))
        .collect()
}

/// The number of one of the keys; 0 when it is not among them.
fn of(pairs: &[(String, u64)], key: &str) -> u64 {
    pairs.iter().find(|(name, _)| name == key).map_or(0, |(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0\n", Some(0)),
            ("9223372036854771712\n", Some(9_223_372_036_854_771_712)),
            ("18446744073709551615", Some(u64::MAX)),
            ("max\n", Some(u64::MAX)),
            ("-1\n", Some(0)),
            ("-x", None),
            ("18446744073709551616", None),
            ("", None),
            ("1 2", None),
        ] {
            assert_eq!(number(text), value, "{text:?}");
        }
    }

    #[test]
    fn keys_and_numbers() {
        let read = pairs("anon 1\nfile 23\n").unwrap();
        assert_eq!((of(&read, "anon"), of(&read, "file"), of(&read, "fil")), (1, 23, 0));
        assert_eq!(pairs(""), Some(vec![]));
        for broken in ["anon\n", "anon x\n", "anon 1 2\n"] {
            assert_eq!(pairs(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let files = Files { fd: file::open_dir(CWD, "/proc/self").unwrap(), path: "/proc/self".into() };
        assert_eq!(files.number("nope").unwrap(), None);
        let error = files.number("comm").unwrap_err().text;
        assert!(error.starts_with("unable to parse /proc/self/comm: "), "{error}");
        let error = files.number("environ/x").unwrap_err().text;
        assert_eq!(error, "read /proc/self/environ/x: not a directory");
    }
}
