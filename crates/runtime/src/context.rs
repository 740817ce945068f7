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
