//! `events`: what a container uses, and when it runs out of memory.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use oci::stats::{Event, Stats};
use sys::process::For;

use crate::rooms::rdt_stats;
use crate::status::{self, Status};
use crate::store::{self, Init, Purpose, State};
use crate::{Context, Error, Kind, Result};

/// `events --stats`: what the container uses now.
pub fn stats(ctx: &Context, id: &str) -> Result<Stats> {
    count(&running(ctx, id, Purpose::Read)?.0)
}

/// `events`: hands statistics to `tell` once every `interval`, and each time that memory runs out, until the
/// container has ended. The first ones come after the first interval.
///
/// If `listener` is given, this ends when nobody is at the other end of it any more, as when `tell` fails.
pub fn events(
    ctx: &Context,
    id: &str,
    interval: Duration,
    listener: Option<BorrowedFd<'_>>,
    mut tell: impl FnMut(&Event) -> Result<()>,
) -> Result<()> {
    // The kernel is asked by a write, in the place that the state names: that must be the caller's own word.
    let (state, init) = running(ctx, id, Purpose::Change)?;
    let Some(process) = watch(init)? else { return Err(not_running(id)) };
    let mut oom = match state.cgroup.watch_oom(init.pid) {
        // It may have ended in between, and its cgroup with it.
        Err(_) if has_ended(&process)? => return Err(not_running(id)),
        oom => oom.map_err(no_watch)?,
    };
    let mut next = Instant::now() + interval;
    loop {
        let wants = [
            Some((process.as_fd(), For::Read)),
            Some((oom.as_fd(), For::Read)),
            listener.map(|fd| (fd, For::End)),
        ];
        let [ended, _, unheard] = sys::process::poll_for(wants, until(next, Instant::now()))?;
        if unheard {
            return Ok(());
        }
        // Asked for at the end as well: it may be what has ended the container.
        if oom.happened()? {
            tell(&Event { r#type: "oom".to_owned(), id: id.to_owned(), data: None })?;
        }
        if ended {
            return Ok(());
        }
        let now = Instant::now();
        if now < next {
            continue;
        }
        match count(&state) {
            Ok(data) => {
                tell(&Event { r#type: "stats".to_owned(), id: id.to_owned(), data: Some(data) })?;
            }
            // The next time may be better.
            Err(e) => log::warn!("{e}"),
        }
        next = following(next, interval, now);
    }
}

/// A container that has not ended, and its first process.
fn running(ctx: &Context, id: &str, purpose: Purpose) -> Result<(State, Init)> {
    let entry = store::open(&ctx.root, id, purpose)?;
    let state = entry.load()?;
    match (status::of(&state, &entry)?, state.init) {
        (Status::Stopped | Status::Creating, _) | (_, None) => Err(not_running(id)),
        (Status::Created | Status::Running | Status::Paused, Some(init)) => Ok((state, init)),
    }
}

fn not_running(id: &str) -> Error {
    Error::new(Kind::State, format!("container with id {id} is not running"))
}

/// Can be read when the process has ended; `None` when it has already.
fn watch(init: Init) -> Result<Option<OwnedFd>> {
    let process = match sys::signal::open_process(init.pid) {
        Err(e) if e.errno == sys::Errno::SRCH => return Ok(None),
        process => process?,
    };
    // The number may be another process's by now.
    Ok(status::process(init.pid)?.filter(|p| p.start_time == init.start_time).map(|_| process))
}

fn has_ended(process: &OwnedFd) -> Result<bool> {
    let [ended] = sys::process::poll_for([Some((process.as_fd(), For::Read))], 0)?;
    Ok(ended)
}

fn no_watch(error: cgroup::Error) -> Error {
    let hint = error.kind == cgroup::Kind::Unsupported;
    let error = Error::from(error);
    if hint { error.hint("`events --stats` needs no memory controller") } else { error }
}

fn count(state: &State) -> Result<Stats> {
    let stats =
        state.cgroup.stats().map_err(|e| Error::from(e).context("unable to get container cgroup stats"))?;
    let Some(group) = &state.rdt else { return Ok(stats) };
    let intel_rdt =
        rdt_stats::host_count(group).map_err(|e| e.context("unable to get container Intel RDT stats"))?;
    Ok(Stats { intel_rdt, ..stats })
}

/// Milliseconds from `now` to `next`, of which the last counts in full.
fn until(next: Instant, now: Instant) -> i64 {
    let left = next.saturating_duration_since(now);
    i64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// When to count again: times that were missed are left out, as by Go's ticker.
fn following(next: Instant, interval: Duration, now: Instant) -> Instant {
    let planned = next + interval;
    if planned > now { planned } else { now + interval }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_no_earlier_than_they_should() {
        let now = Instant::now();
        for (nanoseconds, milliseconds) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(until(now + Duration::from_nanos(nanoseconds), now), milliseconds, "{nanoseconds}");
        }
        assert_eq!(until(now, now + Duration::from_secs(1)), 0);
    }

    #[test]
    fn missed_times_are_left_out() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(following(start, second, start + second / 2), start + second);
        assert_eq!(following(start, second, start + second * 5), start + second * 6);
    }
}
