//! The commands, one file each: its flags and operands, and what it prints.
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use runtime::Result;
use runtime::ops::CreateOptions;

pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;

/// The operand that nearly every command has.
#[derive(Args)]
pub struct Container {
    /// The name of the container
    #[arg(value_name = "ID", value_parser = lossy())]
    pub id: String,
}

/// The flags that `create` and `run` share.
#[derive(Args)]
pub struct Making {
    /// The directory of config.json; the current directory by default
    #[arg(long, short, value_name = "DIR")]
    bundle: Option<OsString>,
    /// Send the terminal of the container to the Unix socket PATH
    #[arg(long, value_name = "PATH")]
    console_socket: Option<OsString>,
    /// Send a pidfd of the container's first process to the Unix socket PATH
    #[arg(long, value_name = "PATH")]
    pidfd_socket: Option<OsString>,
    /// Write the number of the container's first process to FILE
    #[arg(long, value_name = "FILE")]
    pid_file: Option<OsString>,
    /// Do without pivot_root, for a root file system on a ramdisk; less safe
    #[arg(long)]
    no_pivot: bool,
    /// Let the container keep the session keyring of the caller
    #[arg(long)]
    no_new_keyring: bool,
    /// Hand N file descriptors to the container: from 3 on, or after those of $LISTEN_FDS
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true, value_parser = number)]
    preserve_fds: u32,
}

impl Making {
    /// The same, as the library takes it.
    fn options(self) -> CreateOptions {
        CreateOptions {
            bundle: path(self.bundle),
            console_socket: path(self.console_socket),
            pidfd_socket: path(self.pidfd_socket),
            pid_file: path(self.pid_file),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
        }
    }
}

/// A path from a flag; an empty one counts as not given, as in runc.
pub fn path(value: Option<OsString>) -> Option<PathBuf> {
    value.filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// An operand as text: no id and no signal has bytes that are not UTF-8, so what stands for them is refused later.
fn lossy() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new()
        .map(|value| value.into_string().unwrap_or_else(|value| value.to_string_lossy().into_owned()))
}

/// A number of file descriptors.
fn number(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "not a number of file descriptors")
}
