//! The processes of a container: those in its cgroup or, where it has none, those in its namespaces.
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use crate::Result;
use crate::status::{self, Process};
use crate::store::State;

/// The processes, as the host numbers them, ascending.
///
/// Without a cgroup they are known as long as the first process lives, whose namespaces are compared.
pub fn pids(state: &State) -> Result<Vec<i32>> {
    if !state.cgroup.directories.is_empty() {
        return Ok(state.cgroup.pids()?);
    }
    // The namespace of the container that no other process can be in.
    let own = match state {
        State { own_pid_namespace: true, .. } => "pid",
        State { own_user_namespace: true, .. } => "user",
        _ => return Ok(first(state)?.into_iter().collect()),
    };
    let Some(first) = first(state)? else { return Ok(Vec::new()) };
    let Some(namespace) = namespace(first, own) else { return Ok(vec![first]) };
    let mut all = BTreeMap::new();
    let mut members = Vec::new();
    let proc = sys::file::open_at(sys::file::CWD, "/proc", sys::OFlags::RDONLY | sys::OFlags::DIRECTORY, 0)?;
    for pid in sys::file::names(proc.as_fd())?.iter().filter_map(|name| name.parse().ok()) {
        let Ok(Some(process)) = status::process(pid) else { continue };
        all.insert(pid, process);
        if self::namespace(pid, own).as_ref() == Some(&namespace) {
            members.push(pid);
        }
    }
    Ok(descendants(&all, &members))
}

/// The container's first process, while it lives.
fn first(state: &State) -> Result<Option<i32>> {
    let Some(init) = state.init else { return Ok(None) };
    let alive = |process: &Process| process.start_time == init.start_time && !process.dead;
    Ok(status::process(init.pid)?.filter(alive).map(|_| init.pid))
}

fn namespace(pid: i32, kind: &str) -> Option<(u64, u64)> {
    let stat = sys::file::stat(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// `members` and all that come from them and live, ascending: a process may be in namespaces of its own within.
fn descendants(all: &BTreeMap<i32, Process>, members: &[i32]) -> Vec<i32> {
    let comes_from_them = |pid: i32| {
        let mut line = std::iter::successors(Some(pid), |pid| all.get(pid).map(|process| process.parent));
        // Numbers that are used again while the list is read must not make this go in circles.
        line.by_ref().take(all.len()).any(|pid| members.contains(&pid))
    };
    let alive = all.iter().filter(|(_, process)| !process.dead);
    alive.map(|(pid, _)| *pid).filter(|pid| comes_from_them(*pid)).collect()
}

/// Sends a signal to all of them. Without a cgroup the first process comes last: it holds the namespaces.
pub fn signal(state: &State, number: i32) -> Result<()> {
    if !state.cgroup.directories.is_empty() {
        return Ok(state.cgroup.kill(number)?);
    }
    let first = first(state)?;
    let mut told = BTreeSet::new();
    // New ones may be made meanwhile, but not without end.
    for _ in 0..100 {
        let others = pids(state)?.into_iter().filter(|pid| Some(*pid) != first);
        let new: Vec<i32> = others.filter(|pid| told.insert(*pid)).collect();
        if new.is_empty() {
            break;
        }
        new.into_iter().try_for_each(|pid| send(pid, number))?;
    }
    first.map_or(Ok(()), |pid| send(pid, number))
}

fn send(pid: i32, number: i32) -> Result<()> {
    let sent = sys::signal::open_process(pid).and_then(|process| sys::signal::send(process.as_fd(), number));
    match sent {
        Err(e) if e.errno == sys::Errno::SRCH => Ok(()),
        sent => Ok(sent?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_from_a_member_is_one() {
        let process = |parent, dead| Process { parent, dead, start_time: 1, exiting: dead };
        let mut all: BTreeMap<_, _> = [(1, 0), (5, 1), (6, 5), (7, 6), (9, 1)]
            .map(|(pid, parent)| (pid, process(parent, false)))
            .into();
        all.insert(8, process(7, true));
        // A number that was used again: each is the other's parent.
        all.extend([(20, process(21, false)), (21, process(20, false))]);
        assert_eq!(descendants(&all, &[5]), [5, 6, 7]);
        assert_eq!(descendants(&all, &[]), [0; 0]);
    }
}
