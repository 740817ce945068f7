//! The integration suite: it drives the built binary on real containers, as root.
//!
//! `cargo test -p integration` runs all of it, `cargo test -p integration -- create::` one file.
//! [`harness::settings`] lists the settings. The program is static: copied to another machine beside a
//! `tare` and a busybox, it runs there without cargo. `TARE=$(command -v runc)` points it at runc: what
//! runc does is the expectation nearly everywhere, and what is not stands in `differences.rs`.
#![forbid(unsafe_code)]
// A failed unwrap is a failed test, output is for the person who runs it, and files are made by name.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod block_io;
mod cgroup_files;
mod cgroups;
mod cli;
mod crash;
mod create;
mod delete;
mod descriptors;
mod devices;
mod differences;
mod differences_events;
mod differences_exec;
mod differences_fields;
mod differences_idmap;
mod differences_lsm;
mod differences_resources;
mod differences_rootless;
mod differences_seccomp;
mod differences_update;
mod events;
mod exec;
mod exec_errors;
mod exec_io;
mod exec_many;
mod features;
mod golden;
mod golden_cli;
mod golden_config;
mod golden_exec;
mod harness;
mod holes;
mod hooks;
mod idmap;
mod idmap_filesystems;
mod inside;
mod kill;
mod list;
mod lsm;
mod mounts;
mod namespaces;
mod net_devices;
mod notify;
mod older_kernels;
mod parent;
mod pause;
mod placement;
mod process;
mod ps;
mod rdt;
mod rootless;
mod run;
mod scheduling;
mod seal;
mod seccomp;
mod seccomp_listeners;
mod security;
mod sessions;
mod spec;
mod start;
mod state;
mod streams;
mod stress;
mod sysctl;
mod systemd;
mod systemd_bus;
mod systemd_limits;
mod systemd_user;
mod terminal;
mod update;
mod update_devices;
mod update_refused;
mod user_namespaces;
mod users;

fn main() -> std::process::ExitCode {
    if let Some(marked) = std::env::var_os(harness::attacker::VARIABLE) {
        harness::attacker::look(marked.as_ref());
    }
    if let Some(status) = harness::helper::asked() {
        return status;
    }
    let tests = [
        block_io::TESTS,
        cgroup_files::TESTS,
        cgroups::TESTS,
        cli::TESTS,
        crash::TESTS,
        create::TESTS,
        delete::TESTS,
        descriptors::TESTS,
        devices::TESTS,
        differences::TESTS,
        events::TESTS,
        exec::TESTS,
        exec_errors::TESTS,
        exec_io::TESTS,
        exec_many::TESTS,
        features::TESTS,
        golden::TESTS,
        holes::ENTERING,
        holes::PATHS,
        holes::RACES,
        holes::RIGHTS,
        holes::TESTS,
        hooks::TESTS,
        idmap::TESTS,
        idmap_filesystems::TESTS,
        inside::TESTS,
        kill::TESTS,
        list::TESTS,
        lsm::TESTS,
        mounts::TESTS,
        namespaces::TESTS,
        net_devices::TESTS,
        notify::TESTS,
        parent::TESTS,
        pause::TESTS,
        placement::TESTS,
        process::TESTS,
        ps::TESTS,
        rdt::TESTS,
        rootless::TESTS,
        run::TESTS,
        scheduling::TESTS,
        seal::TESTS,
        seccomp::TESTS,
        seccomp_listeners::TESTS,
        security::TESTS,
        sessions::TESTS,
        spec::TESTS,
        start::TESTS,
        state::TESTS,
        streams::TESTS,
        stress::TESTS,
        sysctl::TESTS,
        systemd::TESTS,
        systemd_bus::TESTS,
        systemd_limits::TESTS,
        systemd_user::TESTS,
        terminal::TESTS,
        update::TESTS,
        update_devices::TESTS,
        update_refused::TESTS,
        user_namespaces::TESTS,
        users::TESTS,
    ]
    .concat();
    let tests = [older_kernels::tests(&tests), tests].concat();
    harness::report::run(&tests)
}
