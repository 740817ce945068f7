//! In which state a container is: never stored, always asked from the kernel.
use std::fmt;
use std::path::Path;

use crate::Result;
use crate::store::{Entry, Init, State};

/// The states of the specification's runtime.md, and runc's `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being made at this moment.
    Creating,
    /// Its first process waits for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process is gone.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// What the kernel says of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The process with the number of the container's first one.
    pub process: Option<Process>,
    /// Whether somebody holds the lock of the state directory.
    pub locked: bool,
    /// Whether init waits at the fifo.
    pub waiting: bool,
    /// Whether the cgroup is frozen.
    pub frozen: bool,
}

/// A process as `/proc/PID/stat` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The number of its parent.
    pub parent: i32,
    /// In clock ticks since boot.
    pub start_time: u64,
    /// It has ended, and only its status is left.
    pub dead: bool,
    /// It is ending or has ended: nobody can join its namespaces any more.
    pub exiting: bool,
}

/// Decides the status.
pub fn status(init: Option<Init>, probe: &Probe) -> Status {
    let Some(init) = init else {
        return if probe.locked { Status::Creating } else { Status::Stopped };
    };
    match probe.process {
        Some(p) if p.start_time == init.start_time && !p.dead => {}
        _ => return Status::Stopped,
    }
    match probe {
        Probe { frozen: true, .. } => Status::Paused,
        Probe { waiting: true, .. } => Status::Created,
        _ => Status::Running,
    }
}

/// Asks the kernel and decides.
pub fn of(state: &State, entry: &Entry) -> Result<Status> {
    let Some(init) = state.init else {
        return Ok(status(None, &Probe { locked: entry.is_locked(), ..Probe::default() }));
    };
    let mut probe = Probe { process: process(init.pid)?, ..Probe::default() };
    if status(Some(init), &probe) == Status::Running {
        probe.waiting = entry.open_fifo()?.is_some();
        probe.frozen = state.cgroup.frozen()?;
    }
    Ok(status(Some(init), &probe))
}

/// Process `pid`, if there is one.
pub fn process(pid: i32) -> Result<Option<Process>> {
    let path = format!("/proc/{pid}/stat");
    match sys::file::read(Path::new(&path)) {
        Ok(data) => Ok(parse_stat(&String::from_utf8_lossy(&data))),
        Err(e) if matches!(e.errno, sys::Errno::NOENT | sys::Errno::SRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The kernel's flag of a process that is ending.
const PF_EXITING: u32 = 4;

/// The name of the program is in parentheses and may contain any character, so fields count from the last one.
pub fn parse_stat(text: &str) -> Option<Process> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let dead = matches!(state, "Z" | "X" | "x");
    // The state is field 3, the parent field 4, the flags are field 9, the start time is field 22.
    let parent = fields.next()?.parse().ok()?;
    let flags: u32 = fields.nth(4)?.parse().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    Some(Process { parent, start_time, dead, exiting: dead || flags & PF_EXITING != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let rest = "1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 0 0";
        for (name, state, dead) in [("sh", "S", false), ("a) b (", "Z", true), (") R 1", "X", true)] {
            let line = format!("12 ({name}) {state} {rest}");
            assert_eq!(
                parse_stat(&line),
                Some(Process { parent: 1, start_time: 777, dead, exiting: dead }),
                "{line}"
            );
        }
        let ending = parse_stat(&format!("12 (sh) R {}", rest.replace("4194560", "4194564")));
        assert_eq!(ending, Some(Process { parent: 1, start_time: 777, dead: false, exiting: true }));
        assert_eq!(parse_stat("12 (sh) S 1"), None);
    }

    #[test]
    fn the_table_of_states() {
        let init = Some(Init { pid: 7, start_time: 5 });
        let alive = Some(Process { parent: 1, start_time: 5, dead: false, exiting: false });
        let probe = |process, waiting, frozen| Probe { process, waiting, frozen, locked: false };
        for (probe, want) in [
            (probe(alive, true, false), Status::Created),
            (probe(alive, false, false), Status::Running),
            (probe(alive, false, true), Status::Paused),
            (probe(None, false, false), Status::Stopped),
            (
                probe(Some(Process { parent: 1, start_time: 5, dead: true, exiting: true }), false, false),
                Status::Stopped,
            ),
            (
                probe(Some(Process { parent: 1, start_time: 6, dead: false, exiting: false }), true, false),
                Status::Stopped,
            ),
        ] {
            assert_eq!(status(init, &probe), want, "{probe:?}");
        }
        assert_eq!(status(None, &Probe::default()), Status::Stopped);
        assert_eq!(status(None, &Probe { locked: true, ..Probe::default() }), Status::Creating);
    }
}
