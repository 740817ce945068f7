//! The state directory: `<root>/<id>/` with `state.json` and, until `start`, the fifo `exec.fifo`.
//!
//! `state.json` is written before anything is made for the container, so that `delete` finds
//! everything that a killed `create` has left. It is replaced as a whole, never changed in place.
//! Commands that change a container hold the lock of its directory.
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::On;
use crate::{Error, Kind, Result};

/// The format of `state.json`.
const VERSION: u32 = 1;
const STATE: &str = "state.json";
/// Its one reader is the container's first process, which waits there for `start`.
const FIFO: &str = "exec.fifo";
/// Holds the socket where the container says that it is ready; mounted into it.
const NOTIFY: &str = "notify";
/// How long a command waits for another that changes the same container.
const PATIENCE: Duration = Duration::from_secs(10);

/// What has to be known of a container when its runtime process is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Its name.
    pub id: String,
    /// The absolute path of its bundle.
    pub bundle: PathBuf,
    /// The absolute path of its root file system.
    pub rootfs: PathBuf,
    /// When it was made, RFC 3339.
    pub created: String,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Its first process; not there while it is being made.
    pub init: Option<Init>,
    /// Whether it has a PID namespace of its own, whose end is the end of all its processes.
    pub own_pid_namespace: bool,
    /// Whether it has a user namespace of its own.
    pub own_user_namespace: bool,
    /// The kinds of namespaces (`CLONE_NEW*`) that it does not share with its maker.
    pub namespaces: u64,
    /// What its later processes have from the container and not from their own configuration.
    pub exec: Exec,
    /// Its cgroup; without any directory where its maker may make none.
    pub cgroup: cgroup::Cgroup,
    /// Which limits it was asked to have, by its config and by `update`.
    pub asked: cgroup::Asked,
    /// Its unit, where systemd has made that.
    pub unit: Option<cgroup::systemd::Unit>,
    /// Its class of service.
    pub rdt: Option<crate::rooms::rdt::Group>,
    /// Whether its processes may be outside of it, as its maker may have no right to move them.
    pub rootless_cgroups: bool,
    /// Hooks that later commands run.
    pub hooks: crate::rooms::hooks::Plan,
}

/// The part of the state that is in every version of it.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What `exec` takes from the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// `process.oomScoreAdj`.
    pub oom: crate::rooms::oom::Plan,
    /// `linux.memoryPolicy`.
    pub memory_policy: crate::rooms::memory_policy::Plan,
    /// `linux.personality`.
    pub personality: crate::rooms::personality::Plan,
    /// `process.user.umask`.
    pub umask: u32,
    /// Whether it has a session keyring of its own.
    pub keyring: bool,
    /// `linux.seccomp`, compiled.
    pub seccomp: crate::rooms::seccomp::Plan,
    /// What else of `process` holds for one that says nothing of it: capabilities, scheduling, processors.
    pub defaults: oci::Process,
}

/// A process, told apart from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Its number on the host.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_time: u64,
}

impl State {
    /// What it means when its owner has no right to something of a cgroup.
    pub fn denied(&self) -> cgroup::Denied {
        if self.rootless_cgroups { cgroup::Denied::Ignored } else { cgroup::Denied::Error }
    }

    /// The state of a container of which nothing is made yet.
    pub fn new(plan: &crate::plan::Plan, created: String) -> State {
        State {
            version: VERSION,
            id: plan.id.clone(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.path.clone(),
            created,
            annotations: plan.annotations.clone(),
            init: None,
            own_pid_namespace: plan.namespaces.pid == crate::rooms::namespaces::Namespace::New,
            own_user_namespace: plan.namespaces.user == crate::rooms::namespaces::Namespace::New,
            namespaces: crate::spawn::private(&plan.namespaces),
            exec: Exec {
                oom: plan.oom,
                memory_policy: plan.memory_policy.clone(),
                personality: plan.personality,
                umask: plan.privileges.umask,
                keyring: plan.keyring.is_some(),
                seccomp: plan.seccomp.clone(),
                defaults: plan.exec_defaults.clone(),
            },
            cgroup: plan.cgroup.cgroup.clone(),
            rdt: plan.rdt.as_ref().map(|wish| wish.group.clone()),
            asked: plan.cgroup.asked.clone(),
            unit: plan.cgroup.unit.as_ref().map(|plan| plan.unit.clone()),
            rootless_cgroups: plan.cgroup.denied == cgroup::Denied::Ignored,
            hooks: plan.hooks.later(),
        }
    }
}

/// The state directory of one container.
#[derive(Debug)]
pub struct Entry {
    dir: OwnedFd,
    path: PathBuf,
}

/// The right to change a container, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(OwnedFd);

/// Names are what runc takes: letters, digits and `_+-.`, but not `.` and `..`.
pub fn check_id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::new(Kind::Invalid, "container id cannot be empty"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if matches!(id, "." | "..") || !id.chars().all(good) {
        return Err(Error::new(Kind::Invalid, "invalid container ID format"));
    }
    Ok(())
}

/// Makes the directory of a new container, locked.
pub fn create(root: &Path, id: &str) -> Result<(Entry, Lock)> {
    check_id(id)?;
    sys::file::mkdir_all(root, 0o700)?;
    check_root(root)?;
    let path = root.join(id);
    sys::file::mkdir_at(sys::file::CWD, &path, 0o711).map_err(|e| match e.errno {
        sys::Errno::EXIST => exists(),
        _ => e.into(),
    })?;
    let entry = Entry { dir: sys::file::open_dir_nofollow(&path)?, path };
    entry.check_owner(Purpose::Change)?;
    let lock = entry.lock()?;
    // Until the lock is held, another command can have deleted the directory, and a third one have made
    // a container of this name.
    if sys::file::open_at(entry.dir.as_fd(), STATE, sys::OFlags::PATH, 0).is_ok() {
        return Err(exists());
    }
    Ok((entry, lock))
}

/// Refuses a state directory of another user, who could put anything in the place of a container.
fn check_root(root: &Path) -> Result<()> {
    let (user, owner) = (sys::cred::effective_uid(), sys::file::stat(root)?.st_uid);
    // Root looks after itself: whom it lets have its directories, and what it names with `--root`.
    if user == 0 || owner == 0 || owner == user {
        return Ok(());
    }
    let text = format!("the state directory {} belongs to user {owner}, not to user {user}", root.display());
    Err(Error::new(Kind::Invalid, text).hint("--root names another; $XDG_RUNTIME_DIR has the default one"))
}

/// What a container is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To tell what there is. Root may ask for everybody's.
    Read,
    /// To do something with it, as its state says: which hooks to run, which cgroup to empty. That must be the
    /// caller's own word.
    Change,
}

/// Opens the directory of an existing container.
pub fn open(root: &Path, id: &str, purpose: Purpose) -> Result<Entry> {
    check_id(id)?;
    let path = root.join(id);
    let dir = sys::file::open_dir_nofollow(&path).map_err(|e| match e.errno {
        // Neither a file in the root nor a symlink is a container.
        sys::Errno::NOENT | sys::Errno::NOTDIR => missing(),
        _ => e.into(),
    })?;
    let entry = Entry { dir, path };
    entry.check_owner(purpose)?;
    Ok(entry)
}

fn exists() -> Error {
    Error::new(Kind::Exists, "container with given ID already exists")
}

fn missing() -> Error {
    Error::new(Kind::NotFound, "container does not exist")
}

/// Where the directory of a container's notify socket is.
pub fn notify_path(root: &Path, id: &str) -> PathBuf {
    root.join(id).join(NOTIFY)
}

/// The names of all containers, sorted. `None` when there is no such root.
pub fn ids(root: &Path) -> Result<Option<Vec<String>>> {
    let dir = match sys::file::open_at(sys::file::CWD, root, sys::OFlags::RDONLY | sys::OFlags::DIRECTORY, 0)
    {
        Err(e) if e.errno == sys::Errno::NOENT => return Ok(None),
        other => other?,
    };
    let mut names = sys::file::names(dir.as_fd())?;
    names.retain(|name| check_id(name).is_ok());
    Ok(Some(names))
}

impl Entry {
    /// Waits for the right to change the container, but not for ever: its holder may hang in a hook. The
    /// container is gone when whoever had the right has deleted it.
    pub fn lock(&self) -> Result<Lock> {
        let file =
            sys::file::open_at(self.dir.as_fd(), ".", sys::OFlags::RDONLY | sys::OFlags::DIRECTORY, 0)?;
        let until = Instant::now() + PATIENCE;
        while !sys::file::try_lock(file.as_fd()) {
            if Instant::now() >= until {
                return Err(Error::new(Kind::State, "another command is changing the container"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if sys::file::stat_fd(file.as_fd())?.st_nlink == 0 {
            return Err(missing());
        }
        Ok(Lock(file))
    }

    /// Whether somebody is changing the container now.
    pub fn is_locked(&self) -> bool {
        let open = sys::file::open_at(self.dir.as_fd(), ".", sys::OFlags::RDONLY | sys::OFlags::DIRECTORY, 0);
        open.is_ok_and(|file| !sys::file::try_lock(file.as_fd()))
    }

    /// Reads the state. A container without one is as none: its `create` was killed at the very start.
    /// One that makes no sense is [`Kind::Invalid`].
    pub fn load(&self) -> Result<State> {
        let data = sys::file::read_at(self.dir.as_fd(), STATE, 16 << 20).map_err(|e| match e.errno {
            sys::Errno::NOENT => missing(),
            _ => e.into(),
        })?;
        let path = self.path.join(STATE);
        // First, as another version may have other fields.
        if let Ok(Version { version }) = serde_json::from_slice(&data)
            && version != VERSION
        {
            let text = format!("{}: version {version} is not one that this program knows", path.display());
            return Err(Error::new(Kind::Unsupported, text));
        }
        serde_json::from_slice(&data).map_err(|e| {
            Error::new(Kind::Invalid, format!("{}: {e}", path.display()))
                .hint("`delete --force` removes the directory, and nothing else that the container may have")
        })
    }

    /// Replaces the state. The lock is asked for, not used: only its holder may do this.
    pub fn save(&self, state: &State, _: &Lock) -> Result<()> {
        let data =
            serde_json::to_vec(state).map_err(|e| Error::new(Kind::System, format!("{STATE}: {e}")))?;
        sys::file::replace_at(self.dir.as_fd(), Path::new(STATE), &data, 0o600)
            .on(|| format!("saving {}", self.path.join(STATE).display()))
    }

    /// Makes the fifo and opens the end of init.
    ///
    /// It is opened for reading and writing: a read then waits for a byte however often writers come
    /// and go, and the opening of a writer succeeds exactly while init waits.
    pub fn make_fifo(&self, _: &Lock) -> Result<OwnedFd> {
        sys::file::mkfifo_at(self.dir.as_fd(), FIFO, 0o600)?;
        Ok(sys::file::open_at(self.dir.as_fd(), FIFO, sys::OFlags::RDWR, 0)?)
    }

    /// The writing end of the fifo; `None` when nobody waits at the other.
    pub fn open_fifo(&self) -> Result<Option<OwnedFd>> {
        match sys::file::open_at(self.dir.as_fd(), FIFO, sys::OFlags::WRONLY | sys::OFlags::NONBLOCK, 0) {
            Ok(fd) => Ok(Some(fd)),
            Err(e) if matches!(e.errno, sys::Errno::NOENT | sys::Errno::NXIO) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes the fifo, when nobody waits at it any more.
    pub fn remove_fifo(&self) -> Result<()> {
        Ok(sys::file::unlink_at(self.dir.as_fd(), FIFO)?)
    }

    /// Makes the directory of the notify socket, and opens it.
    pub fn make_notify_dir(&self, lock: &Lock) -> Result<OwnedFd> {
        sys::file::mkdir_at(self.dir.as_fd(), NOTIFY, 0o755)?;
        self.open_notify_dir(lock)
    }

    /// Opens the directory of the notify socket, if `create` has made one.
    pub fn open_notify_dir(&self, _: &Lock) -> Result<OwnedFd> {
        let flags = sys::OFlags::RDONLY | sys::OFlags::DIRECTORY | sys::OFlags::NOFOLLOW;
        Ok(sys::file::open_at(self.dir.as_fd(), NOTIFY, flags, 0)?)
    }

    /// Removes the directory with all that is in it.
    pub fn remove(self, _: Lock) -> Result<()> {
        // The state goes last: as long as there is one, `delete` can be tried again.
        let listed =
            sys::file::open_at(self.dir.as_fd(), ".", sys::OFlags::RDONLY | sys::OFlags::DIRECTORY, 0)?;
        for name in sys::file::names(listed.as_fd())?.iter().filter(|name| *name != STATE) {
            sys::file::remove_at(self.dir.as_fd(), name)?;
        }
        sys::file::unlink_at(self.dir.as_fd(), STATE)?;
        Ok(sys::file::rmdir_at(sys::file::CWD, &self.path)?)
    }

    fn check_owner(&self, purpose: Purpose) -> Result<()> {
        let (user, owner) = (sys::cred::effective_uid(), self.owner()?);
        if owner == user || user == 0 && purpose == Purpose::Read {
            return Ok(());
        }
        let text = format!("{} belongs to user {owner}, not to user {user}", self.path.display());
        Err(Error::new(Kind::State, text).hint("a container can be used by the user who has made it"))
    }

    /// Who owns the directory: the user that the container belongs to.
    pub fn owner(&self) -> Result<u32> {
        Ok(sys::file::stat_fd(self.dir.as_fd())?.st_uid)
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "A-1_b+c.d", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in [".", "..", "a/b", "a b", "é", "a,b", "a\n"] {
            assert_eq!(
                check_id(bad).map_err(|e| e.text),
                Err("invalid container ID format".to_owned()),
                "{bad}"
            );
        }
        assert_eq!(check_id("").map_err(|e| e.text), Err("container id cannot be empty".to_owned()));
    }
}
