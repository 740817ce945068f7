//! `tare exec`.
use std::ffi::OsString;

use clap::Args;
use runtime::ops::{self, ExecOptions};
use runtime::{Context, Result};

use super::{lossy, path};
use crate::cli::Act;

/// Run one more process in a container
///
/// Without --process the process is that of the bundle's config.json, with another command and with what
/// the flags change.
#[derive(Args)]
pub struct Exec {
    /// The name of the container
    #[arg(value_name = "ID", value_parser = lossy())]
    id: String,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", value_parser = lossy(), trailing_var_arg = true)]
    command: Vec<String>,
    /// Take the process from FILE, which has the shape of `process` in config.json
    #[arg(long, short, value_name = "FILE")]
    process: Option<OsString>,
    /// Start in the directory DIR of the container
    #[arg(long, value_name = "DIR", value_parser = lossy())]
    cwd: Option<String>,
    /// Set an environment variable; can be given many times
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = lossy())]
    env: Vec<String>,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// Run as this user and group, both as numbers
    #[arg(long, short, value_name = "UID[:GID]", value_parser = lossy())]
    user: Option<String>,
    /// Add a supplementary group, as a number; can be given many times
    #[arg(long, short = 'g', value_name = "GID", allow_negative_numbers = true)]
    additional_gids: Vec<i64>,
    /// Return when the process runs
    #[arg(long, short)]
    detach: bool,
    /// Write the number of the process to FILE
    #[arg(long, value_name = "FILE")]
    pid_file: Option<OsString>,
    /// Send the terminal of the process to the Unix socket PATH
    #[arg(long, value_name = "PATH")]
    console_socket: Option<OsString>,
    /// Send a pidfd of the process to the Unix socket PATH
    #[arg(long, value_name = "PATH")]
    pidfd_socket: Option<OsString>,
    /// Run under this SELinux label, and not under that of the container
    #[arg(long, value_name = "LABEL", value_parser = lossy())]
    process_label: Option<String>,
    /// Run under this AppArmor profile, and not under that of the container
    #[arg(long, value_name = "PROFILE", value_parser = lossy())]
    apparmor: Option<String>,
    /// Let no program give the process more rights
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability to the bounding, effective and permitted sets; can be given many times
    #[arg(long, short, value_name = "CAP", value_parser = lossy())]
    cap: Vec<String>,
    /// Hand N file descriptors, from 3 on, to the process
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// Put the process in a cgroup below the container's; on cgroup v1, for these controllers
    #[arg(long, value_name = "[CONTROLLERS:]PATH", value_parser = lossy())]
    cgroup: Vec<String>,
    /// Don't mind that the container is paused: the process will run when it is resumed
    #[arg(long)]
    ignore_paused: bool,
}

impl Act for Exec {
    fn act(self, ctx: &Context) -> Result<i32> {
        let options = ExecOptions {
            process: path(self.process),
            args: self.command,
            cwd: self.cwd,
            env: self.env,
            tty: self.tty,
            user: self.user,
            additional_gids: self.additional_gids,
            no_new_privs: self.no_new_privs.then_some(true),
            caps: self.cap,
            process_label: self.process_label,
            apparmor: self.apparmor,
            detach: self.detach,
            pid_file: path(self.pid_file),
            console_socket: path(self.console_socket),
            pidfd_socket: path(self.pidfd_socket),
            preserve_fds: self.preserve_fds,
            cgroup: self.cgroup,
            ignore_paused: self.ignore_paused,
        };
        ops::exec(ctx, &self.id, options).map_err(|error| error.context("exec failed"))
    }
}
