//! The operations: one file a command.
use std::path::PathBuf;

use crate::{Context, Error, Kind, Result};

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

macro_rules! later { ($($t:tt)*) => {{ $(let _ = $t;)* Err(Error::new(Kind::Unsupported, "not there yet")) }} }
/// `create`.
pub fn create(ctx: &Context, id: &str, options: &CreateOptions) -> Result<()> { later!(ctx id options) }
/// `run`: returns the exit status for the caller to end with (0 when detached).
pub fn run(ctx: &Context, id: &str, options: &RunOptions) -> Result<i32> { later!(ctx id options) }
/// `start`.
pub fn start(ctx: &Context, id: &str) -> Result<()> { later!(ctx id) }
/// `state`.
pub fn state(ctx: &Context, id: &str) -> Result<oci::State> { later!(ctx id) }
/// `list`: containers whose state can't be read come as warnings in the log.
pub fn list(ctx: &Context) -> Result<Vec<Listed>> { later!(ctx) }
/// `kill`: `signal` as the user wrote it: a number, `TERM` or `SIGTERM`.
pub fn kill(ctx: &Context, id: &str, signal: &str, all: bool) -> Result<()> { later!(ctx id signal all) }
/// `delete`.
pub fn delete(ctx: &Context, id: &str, force: bool) -> Result<()> { later!(ctx id force) }
/// `ps`: the processes of the container, as the host numbers them, ascending.
pub fn ps(ctx: &Context, id: &str) -> Result<Vec<i32>> { later!(ctx id) }
/// `features`: what this build truly does on this kernel.
pub fn features() -> oci::Features { oci::Features::default() }
/// `spec`: writes config.json to the bundle (the current directory when `None`).
pub fn spec(bundle: Option<&std::path::Path>, rootless: bool) -> Result<()> { later!(bundle rootless) }
