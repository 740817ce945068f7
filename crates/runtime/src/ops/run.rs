//! `run`: create and start, and, unless detached, stay until the end.
use std::os::fd::AsFd;

use super::RunOptions;
use super::create::{Container, make, prepare, undo};
use crate::host::{self, Begin};
use crate::plan::Plan;
use crate::relay;
use crate::rooms::hooks::{self, DefaultEnv, Stage};
use crate::rooms::{notify, signals};
use crate::{Context, Result};

/// `run`: returns the exit status for the caller to end with (0 when detached).
pub fn run(ctx: &Context, id: &str, options: &RunOptions) -> Result<i32> {
    let RunOptions { create, detach, keep, no_subreaper } = options;
    let mut prepared = prepare(ctx, id, create, *detach)?;
    if *detach {
        let container = make(ctx, &mut prepared, Begin::AtOnce)?;
        let Container { made, lock, .. } = begun(&prepared.plan, container)?;
        drop(lock);
        if let Some(sockets) = made.notify {
            notify::Proxy::new(sockets, made.child.pid).wait(made.child.pidfd.as_fd())?;
        }
        return Ok(0);
    }
    let caller = if prepared.plan.terminal.is_new() { Some(sys::tty::of_caller()?) } else { None };
    if let Some(caller) = &caller {
        prepared.plan.terminal.take_size(caller.as_fd());
    }
    // From here on signals are the container's.
    signals::host_hold()?;
    if !no_subreaper {
        sys::cred::set_child_subreaper(true)?;
    }
    let container = make(ctx, &mut prepared, Begin::AtOnce)?;
    let Container { mut made, state, entry, lock } = begun(&prepared.plan, container)?;
    // While it runs, others may change it.
    drop(lock);
    // The caller watches the runtime, which lives as long as the container.
    let mut notify = made.notify.take().map(|sockets| notify::Proxy::new(sockets, sys::process::id()));
    let ended = match relay::run(&made.child, made.terminal.take(), caller, notify.as_mut()) {
        Ok(ended) => ended,
        Err(error) => {
            host::kill(&made.child);
            undo_unless_kept(*keep, &state, entry);
            return Err(error);
        }
    };
    undo_unless_kept(*keep, &state, entry);
    if let Some(notify) = notify {
        notify.finish();
    }
    Ok(ended.code())
}

/// Another command may have deleted the container while it ran.
fn undo_unless_kept(keep: bool, state: &crate::store::State, entry: crate::store::Entry) {
    if !keep && let Ok(lock) = entry.lock() {
        undo(state, entry, lock);
    }
}

/// The program runs: its `poststart` hooks are next. When one fails, the container goes.
fn begun(plan: &Plan, container: Container) -> Result<Container> {
    if plan.hooks.of(Stage::Poststart).is_empty() {
        return Ok(container);
    }
    let pid = container.made.child.pid;
    let state = hooks::state(&plan.id, "running", pid, &plan.bundle, &plan.annotations);
    let run = |()| hooks::run(&plan.hooks, Stage::Poststart, &state, DefaultEnv::Inherit);
    match container.made.wait_for_program().and_then(run) {
        Ok(()) => Ok(container),
        Err(error) => {
            let Container { made, state, entry, lock } = container;
            host::kill(&made.child);
            undo(&state, entry, lock);
            Err(error)
        }
    }
}
