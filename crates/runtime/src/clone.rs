//! The clone that a [`Spawn`] asks for: by the runtime itself, or by a helper in between.
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::host::how_it_ended;
use crate::init;
use crate::rooms::mappings;
use crate::rooms::namespaces::{self, Joins};
use crate::spawn::{Caller, Spawn};
use crate::sync::{self, FromInit};
use crate::{Error, Kind, Result, obstacles};
use sys::clone::{Alone, Child, InChild, Setting};
use sys::ns::flag;

/// What the process does, for ever.
type Body<T> = fn(&mut T, InChild) -> Infallible;

/// What the clone needs besides the context of the process.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is to be done.
    pub spawn: Spawn,
    /// Who calls.
    pub caller: Caller,
    /// The namespaces that are joined.
    pub joins: &'a Joins,
    /// The directory of cgroup v2 to start in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What the process must not hold.
    pub parent_only: &'a [BorrowedFd<'a>],
}

/// Makes the process, which then runs `body`.
pub fn process<T>(request: Request<'_>, context: &mut T, body: Body<T>) -> Result<Child> {
    let Request { spawn, caller, joins, cgroup, parent_only } = request;
    if spawn.helper != 0 {
        return by_helper(request, context, body);
    }
    let alone = Alone::check()?;
    let visit = namespaces::host_visit(joins, spawn.visit, caller)?;
    let setting = Setting { namespaces: spawn.clone, cgroup, parent_only };
    // The process is seen in the PID namespace that it is in from its first moment on, and so would be these.
    let hidden = sys::exe::hide_arguments();
    let made = sys::clone::clone_process(alone, setting, context, body);
    drop(hidden);
    visit.leave()?;
    made.map_err(|e| explain(e, spawn.clone))
}

fn explain(e: sys::Error, namespaces: u64) -> Error {
    let hint = match e.errno {
        sys::Errno::BUSY => Some("its cgroup has given its controllers to cgroups below it".to_owned()),
        errno if namespaces & flag::USER != 0 => obstacles::of_clone(errno),
        _ => None,
    };
    let error = Error::from(e);
    hint.into_iter().fold(error, Error::hint)
}

/// What the helper works on.
struct Helper<'a, T> {
    request: Request<'a>,
    context: &'a mut T,
    body: Body<T>,
    sync: Option<OwnedFd>,
}

/// Makes a helper that joins the user namespace, where the runtime could not come back from. What it clones
/// is the runtime's child and not its own.
fn by_helper<T>(request: Request<'_>, context: &mut T, body: Body<T>) -> Result<Child> {
    let (ours, theirs) = sys::sock::pair()?;
    let mut helper = Helper { request, context, body, sync: Some(theirs) };
    let mut parent_only = request.parent_only.to_vec();
    parent_only.push(ours.as_fd());
    // What it clones has its cgroup; it could not clone into one that is not its user's.
    let setting = Setting { namespaces: 0, cgroup: request.cgroup, parent_only: &parent_only };
    let hidden = sys::exe::hide_arguments();
    let child =
        sys::clone::clone_process(Alone::check()?, setting, &mut helper, help).map_err(|e| explain(e, 0))?;
    drop(hidden);
    // Only the helper has its end of the socket now, so that its death is noticed.
    drop(helper);
    let said = sync::hear_init(&ours);
    let how = how_it_ended(child.pid);
    match said? {
        // Its number can't be another's: it is our own child, and nobody has waited for it.
        Some(FromInit::Cloned(pid)) => Ok(Child { pid, pidfd: sys::signal::open_process(pid)? }),
        Some(FromInit::Failed(error)) => Err(error),
        _ => Err(Error::new(Kind::System, format!("the process that joins the user namespace ended: {how}"))),
    }
}

fn help<T>(helper: &mut Helper<'_, T>, _: InChild) -> Infallible {
    let sync = init::begin(helper.sync.take());
    let message = join_and_clone(helper, &sync).map_or_else(FromInit::Failed, FromInit::Cloned);
    // When the runtime can't be told, it sees that nothing came.
    sync::tell_runtime(&sync, &message).ok();
    sys::process::exit(0)
}

fn join_and_clone<T>(helper: &mut Helper<'_, T>, sync: &OwnedFd) -> Result<i32> {
    let Request { spawn, caller, joins, cgroup: _, parent_only: _ } = helper.request;
    // From now on processes of the container are in the same user namespace.
    sys::cred::set_dumpable(false)?;
    joins.enter(spawn.helper, caller)?;
    if spawn.helper & flag::USER != 0 {
        mappings::init_become_root()?;
        sys::cred::set_dumpable(false)?;
    }
    let parent_only = [sync.as_fd()];
    let setting = Setting { namespaces: spawn.clone, cgroup: None, parent_only: &parent_only };
    sys::clone::clone_sibling(setting, helper.context, helper.body).map_err(|e| explain(e, spawn.clone))
}
