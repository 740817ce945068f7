//! The operations: one file a command.
use std::path::PathBuf;

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod pause;
mod ps;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

pub use create::create;
pub use delete::delete;
pub use events::{events, stats};
pub use exec::{ExecOptions, exec};
pub use features::features;
pub use kill::kill;
pub use pause::pause;
pub use ps::ps;
pub use resume::resume;
pub use run::run;
pub use spec::spec;
pub use start::start;
pub use state::{list, state};
pub use update::{UpdateOptions, update};

/// What `create` and `run` take besides the id.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// `--bundle`: the directory of config.json; the current one when `None`.
    pub bundle: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`: how many descriptors from 3 on the container gets.
    pub preserve_fds: u32,
}

/// What `run` takes besides that.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// What it shares with `create`.
    pub create: CreateOptions,
    /// `--detach`.
    pub detach: bool,
    /// `--keep`: do not delete the container when it ends.
    pub keep: bool,
    /// `--no-subreaper`.
    pub no_subreaper: bool,
}

/// One row of `list`.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The container's state as `state` prints it.
    pub state: oci::State,
    /// The name of the user who owns the state directory.
    pub owner: String,
}
