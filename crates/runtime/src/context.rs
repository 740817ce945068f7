//! What every command knows about its caller: the global flags, settled.
use std::path::PathBuf;

/// The global `--rootless` flag: whether cgroup permission errors are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// Decide by the caller's effective uid and user namespace.
    #[default]
    Auto,
    /// `--rootless=true`.
    True,
    /// `--rootless=false`.
    False,
}

impl Rootless {
    /// What it means when the caller may not make a cgroup. Root of a user namespace may or may not, as
    /// anybody else.
    pub(crate) fn denied(self) -> cgroup::Denied {
        let ignored = match self {
            Rootless::Auto => sys::cred::effective_uid() != 0 || in_user_namespace(),
            Rootless::True => true,
            Rootless::False => false,
        };
        if ignored { cgroup::Denied::Ignored } else { cgroup::Denied::Error }
    }
}

/// Whether this is not the initial user namespace, which maps every id to itself.
pub fn in_user_namespace() -> bool {
    let map = sys::file::read("/proc/self/uid_map").unwrap_or_default();
    let map = String::from_utf8_lossy(&map);
    !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The global flags of one invocation.
#[derive(Clone, Debug)]
pub struct Context {
    /// What the program was called as, `tare` or `runc`: it prefixes error messages.
    pub program: &'static str,
    /// The state directory: `/run/tare`, `$XDG_RUNTIME_DIR/tare` or `--root`.
    pub root: PathBuf,
    /// Whether `root` was named by the caller; `list` then refuses one that does not exist.
    pub root_is_explicit: bool,
    /// `--systemd-cgroup`.
    pub systemd_cgroup: bool,
    /// `--rootless`.
    pub rootless: Rootless,
}
