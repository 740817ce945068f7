//! `NOTIFY_SOCKET` of the caller: the container says that it is ready (sd_notify(3)), and the caller hears of it.
//!
//! The container gets a socket of the runtime's own, in a directory of its state. Whatever it writes there is
//! hostile, and nothing of it goes any further: the one thing that it can bring about is that the runtime says
//! `READY=1` in words of its own, once, and which process is to be watched. Descriptors that come with a message
//! are never taken. A container does not fail for the sake of this: what goes wrong is a warning.
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::error::On;
use crate::host::Begin;
use crate::store::{Entry, Lock};

/// The caller's socket, if it has one: a path, or, after an `@`, a name in the abstract namespace.
pub type Plan = Option<OsString>;

/// Where the container finds the directory, and the socket in it.
const DIRECTORY: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
/// A message is a few lines; what is longer is cut.
const LONGEST: usize = 4096;
/// How long the caller may take for a message, or to say that it has dealt with all of them.
const PATIENCE: Duration = Duration::from_secs(30);
/// No queue of a socket is longer (`net.unix.max_dgram_qlen`), unless somebody fills it all the time.
const QUEUE: usize = 1024;

/// Decides whether there is somebody to be told.
pub fn plan(caller: Option<OsString>) -> Plan {
    caller.filter(|name| !name.is_empty())
}

/// The same for a new container, which must have mounts of its own to be given a socket.
pub fn plan_new(caller: Option<OsString>, config: &oci::Config) -> Plan {
    let list = config.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
    let plan = plan(caller);
    if plan.is_some() && !list.iter().any(|namespace| namespace.r#type == "mount") {
        log::warn!("NOTIFY_SOCKET is of no use: the container has no mount namespace to show it a socket in");
        return None;
    }
    plan
}

/// What the container needs for it, as runc gives it: a mount of `directory`, which is on the host, and the
/// variable that names the socket.
pub fn additions(directory: &Path) -> (oci::Mount, String) {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"];
    let mount = oci::Mount {
        destination: DIRECTORY.to_owned(),
        source: directory.to_string_lossy().into_owned(),
        options: options.map(str::to_owned).to_vec(),
        ..Default::default()
    };
    (mount, format!("NOTIFY_SOCKET={DIRECTORY}/{SOCKET}"))
}

/// The two ends between which the runtime stands.
#[derive(Debug)]
pub struct Sockets {
    container: OwnedFd,
    caller: OwnedFd,
}

/// Makes the directory, and the socket when this process is to serve it: for `create`, that is left to `start`.
pub fn host_make(plan: &Plan, begin: Begin, entry: &Entry, lock: &Lock) -> Result<Option<Sockets>> {
    let Some(caller) = plan else { return Ok(None) };
    let directory = without_umask(|| entry.make_notify_dir(lock))?;
    Ok(match begin {
        Begin::Later => None,
        Begin::AtOnce => listen(caller, directory.as_fd()),
    })
}

/// Makes the socket of a container that `create` has made the directory for.
pub fn host_listen(plan: &Plan, entry: &Entry, lock: &Lock) -> Option<Sockets> {
    let caller = plan.as_ref()?;
    match entry.open_notify_dir(lock) {
        Ok(directory) => listen(caller, directory.as_fd()),
        Err(e) => {
            log::warn!("NOTIFY_SOCKET was not set when the container was created: {e}");
            None
        }
    }
}

fn listen(caller: &OsStr, directory: BorrowedFd<'_>) -> Option<Sockets> {
    let both = || -> Result<Sockets> {
        let caller = sys::sock::connect_datagram(caller, PATIENCE)?;
        // A `start` that was killed has left one.
        sys::file::unlink_at(directory, SOCKET)?;
        // A change of the mode after this could meet another file, if the container has unusual rights.
        let container = without_umask(|| sys::sock::bind_datagram(directory, SOCKET))?;
        Ok(Sockets { container, caller })
    };
    both().on(|| "NOTIFY_SOCKET is of no use".to_owned()).map_err(|e| log::warn!("{e}")).ok()
}

/// The container's user is anybody, and the caller's umask is not about them.
fn without_umask<T>(make: impl FnOnce() -> T) -> T {
    let before = sys::cred::set_umask(0);
    let made = make();
    sys::cred::set_umask(before);
    made
}

/// What stands between the container and the caller while the runtime lives.
#[derive(Debug)]
pub struct Proxy {
    container: Option<OwnedFd>,
    caller: OwnedFd,
    /// The process that the caller is to watch.
    main: i32,
    barrier: Option<Barrier>,
}

/// The caller has been told, and says that it has heard all by closing the other end.
#[derive(Debug)]
struct Barrier {
    end: OwnedFd,
    until: Instant,
}

impl Proxy {
    /// Begins to serve; `main` is the process that the caller is to watch when the container is ready.
    pub fn new(sockets: Sockets, main: i32) -> Proxy {
        let Sockets { container, caller } = sockets;
        Proxy { container: Some(container), caller, main, barrier: None }
    }

    /// What to wait for: a message of the container.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.container.as_ref().map(AsFd::as_fd)
    }

    /// Takes one message, if there is one. After the one that counts all are thrown away: the container
    /// would wait for ever at a full queue.
    pub fn step(&mut self) -> bool {
        let Some(container) = &self.container else { return false };
        let mut buffer = [0; LONGEST];
        let told = match sys::sock::read_datagram(container.as_fd(), &mut buffer) {
            Ok(None) => return false,
            Ok(Some(message)) if self.barrier.is_none() && says_ready(message) => self.tell().map(Some),
            Ok(Some(_)) => return true,
            Err(e) => Err(e.into()),
        };
        match told {
            Ok(barrier) => self.barrier = barrier,
            // Nobody is there to be told any more.
            Err(e) => {
                log::warn!("{e}");
                self.container = None;
            }
        }
        true
    }

    fn tell(&self) -> Result<Barrier> {
        let (end, other) = sys::file::pipe()?;
        let main = format!("MAINPID={}\n", self.main);
        let messages = [("READY=1\n", None), (&main, None), ("BARRIER=1", Some(other.as_fd()))];
        for (text, fd) in messages {
            sys::sock::send(self.caller.as_fd(), text.as_bytes(), fd)
                .on(|| format!("telling {} to NOTIFY_SOCKET", text.trim_end()))?;
        }
        Ok(Barrier { end, until: Instant::now() + PATIENCE })
    }

    /// Serves until the container is ready, or `process` has ended.
    pub fn wait(mut self, process: BorrowedFd<'_>) -> Result<()> {
        while self.barrier.is_none() && self.container.is_some() {
            let [message, ended] = sys::process::poll([self.as_fd(), Some(process)], -1)?;
            if message {
                self.step();
            } else if ended {
                break;
            }
        }
        self.finish();
        Ok(())
    }

    /// The container has ended, or is served no longer: hears what it has said until now, and waits until the
    /// caller has heard it too, who could not tell later whose message it was.
    pub fn finish(mut self) {
        for _ in 0..QUEUE {
            if self.barrier.is_some() || !self.step() {
                break;
            }
        }
        self.container = None;
        if let Some(Barrier { end, until }) = self.barrier {
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            let heard = sys::process::poll([Some(end.as_fd())], i64::try_from(left).unwrap_or(i64::MAX));
            if !matches!(heard, Ok([true])) {
                log::warn!("NOTIFY_SOCKET does not answer BARRIER=1");
            }
        }
    }
}

/// Only that, of all that sd_notify(3) knows: other lines are claims that the caller would believe.
pub fn says_ready(message: &[u8]) -> bool {
    message.split(|&b| b == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_counts() {
        for (message, ready) in [
            (&b"READY=1"[..], true),
            (b"READY=1\n", true),
            (b"READY=1\nMAINPID=1\nSTATUS=x", true),
            (b"STATUS=x\nREADY=1\n", true),
            (b"READY=0", false),
            (b"READY=11", false),
            (b"READY=1 ", false),
            (b"XREADY=1", false),
            (b"STATUS=READY=1", false),
            (b"STOPPING=1", false),
            (b"ready=1", false),
            (b"", false),
            (b"\n\n\0\xff", false),
        ] {
            assert_eq!(says_ready(message), ready, "{:?}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn an_empty_name_is_none() {
        assert_eq!(plan(None), None);
        assert_eq!(plan(Some("".into())), None);
        assert_eq!(plan(Some("@a".into())), Some("@a".into()));
    }
}
