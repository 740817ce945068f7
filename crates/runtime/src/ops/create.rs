//! `create`: a container whose program waits for `start`.
use std::path::{Path, PathBuf};

use cgroup::systemd::Manager;

use super::CreateOptions;
use crate::host::{self, Begin, Handles, Made};
use crate::plan::{self, Inputs, Plan};
use crate::rooms::{fds, notify, unit};
use crate::store::{self, Entry, Lock, State};
use crate::{Context, Result, bundle, facts};

/// `create`.
pub fn create(ctx: &Context, id: &str, options: &CreateOptions) -> Result<()> {
    let mut prepared = prepare(ctx, id, options, true)?;
    make(ctx, &mut prepared, Begin::Later).map(drop)
}

/// Everything that can be known before anything is made.
pub(super) struct Prepared {
    pub plan: Plan,
    /// The systemd that makes the cgroup, if one does.
    systemd: Option<Manager>,
    pid_file: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
}

/// Reads the bundle and decides. `detach` says that the runtime ends before the container.
pub(super) fn prepare(ctx: &Context, id: &str, options: &CreateOptions, detach: bool) -> Result<Prepared> {
    store::check_id(id)?;
    // Relative to where the caller is, not to the bundle.
    let pid_file = match &options.pid_file {
        Some(path) => Some(sys::file::current_dir()?.join(path)),
        None => None,
    };
    let (path, mut config) = bundle::load(options.bundle.as_deref())?;
    let notify = notify::plan_new(std::env::var_os("NOTIFY_SOCKET"), &config);
    let listen = fds::listen(|name| std::env::var_os(name), sys::process::id());
    add_what_the_caller_has(&mut config, &store::notify_path(&ctx.root, id), &notify, &listen);
    let inputs = Inputs { id, bundle: &path, options, detach, program: ctx.program, notify, listen };
    let systemd = ctx.systemd_cgroup.then(|| unit::host_connect(ctx.rootless)).transpose()?;
    let (systemd, of_systemd) = systemd.unzip();
    let plan = plan::plan(&config, &inputs, &facts::read(ctx.rootless, of_systemd)?)?;
    Ok(Prepared { plan, systemd, pid_file, pidfd_socket: options.pidfd_socket.clone() })
}

/// The environment of the caller is asked for two things, which come after those of the config.
fn add_what_the_caller_has(
    config: &mut oci::Config,
    notify_dir: &Path,
    notify: &notify::Plan,
    listen: &fds::Listen,
) {
    let Some(process) = &mut config.process else { return };
    if notify.is_some() {
        let (mount, variable) = notify::additions(notify_dir);
        config.mounts.push(mount);
        process.env.push(variable);
    }
    process.env.extend(listen.variables());
}

/// A made container with the right to change it.
pub(super) struct Container {
    pub made: Made,
    pub state: State,
    pub entry: Entry,
    pub lock: Lock,
}

/// Makes the container, or removes what there is of it.
pub(super) fn make(ctx: &Context, prepared: &mut Prepared, begin: Begin) -> Result<Container> {
    let Prepared { plan, systemd, pid_file, pidfd_socket } = prepared;
    let handles = Handles { pid_file: pid_file.as_deref(), pidfd_socket: pidfd_socket.as_deref() };
    let (entry, lock) = store::create(&ctx.root, &plan.id)?;
    // Before the state names it: undoing this container must not end those of another.
    if let Err(error) = plan.cgroup.cgroup.check_unused() {
        entry.remove(lock)?;
        return Err(error.into());
    }
    let created = crate::time::rfc3339_nanos(std::time::SystemTime::now());
    let mut state = State::new(plan, created);
    match host::make(plan, systemd.take(), begin, handles, &mut state, &entry, &lock) {
        Ok(made) => Ok(Container { made, state, entry, lock }),
        Err(error) => {
            undo(&state, entry, lock);
            Err(error)
        }
    }
}

/// Removes a container that failed. The failure itself is what the caller hears of.
pub(super) fn undo(state: &State, entry: Entry, lock: Lock) {
    if let Err(e) = host::destroy(state, entry, lock) {
        log::warn!("unable to destroy container: {e}");
    }
}
