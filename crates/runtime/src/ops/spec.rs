//! `spec`: writes a `config.json` to begin with.
use std::os::fd::AsFd;
use std::path::Path;

use oci::{
    Capabilities, Config, DeviceRule, IdMapping, Linux, Mount, Namespace, Process, Resources, Rlimit, Root,
};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::{Error, Kind, Result};

const FILE: &str = "config.json";

/// Writes a config that runs `sh` on a terminal to the directory `bundle`, or
/// to the current one; with `rootless` one that the caller can run without
/// being root.
///
/// # Errors
/// When there is a `config.json` already, or the file can't be written.
pub fn spec(bundle: Option<&Path>, rootless: bool) -> Result<()> {
    // Only cgroup v2 has this file at its root.
    let unified = sys::file::stat("/sys/fs/cgroup/cgroup.controllers").is_ok();
    let mut config = example(unified);
    if rootless {
        make_rootless(&mut config, sys::cred::effective_uid(), sys::cred::effective_gid());
    }
    let dir = sys::file::open_dir(bundle.unwrap_or(Path::new(".")))?;
    // The umask takes from these permissions what the user wants it to.
    sys::file::create_at(dir.as_fd(), FILE, &print(&config)?, 0o666).map_err(|error| match error.errno {
        sys::Errno::EXIST => Error::new(Kind::Invalid, format!("File {FILE} exists. Remove it first")),
        _ => error.into(),
    })
}

/// The text of a config, with tabs and without a newline at the end, as runc prints it.
fn print(config: &Config) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut json = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    config.serialize(&mut json).map_err(|error| Error::new(Kind::System, error.to_string()))?;
    Ok(text)
}

/// What runc writes, so that scripts which edit it find what they look for.
fn example(unified: bool) -> Config {
    Config {
        oci_version: oci::VERSION.to_owned(),
        process: Some(process()),
        root: Some(Root { path: "rootfs".to_owned(), readonly: true }),
        hostname: "runc".to_owned(),
        mounts: mounts(),
        linux: Some(linux(unified)),
        ..Config::default()
    }
}

fn process() -> Process {
    let capabilities = strings(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    Process {
        terminal: true,
        args: strings(&["sh"]),
        env: strings(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
        cwd: "/".to_owned(),
        // None is inheritable: those survive the execution of files that ask for them (CVE-2022-29162).
        capabilities: Some(Capabilities {
            bounding: capabilities.clone(),
            effective: capabilities.clone(),
            permitted: capabilities,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { r#type: "RLIMIT_NOFILE".to_owned(), hard: 1024, soft: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    }
}

fn mounts() -> Vec<Mount> {
    let shm = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &shm),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}

fn linux(unified: bool) -> Linux {
    let mut namespaces: Vec<_> = ["pid", "network", "ipc", "uts", "mount"].map(namespace).into();
    if unified {
        namespaces.push(namespace("cgroup"));
    }
    let no_devices = DeviceRule { allow: false, access: "rwm".to_owned(), ..DeviceRule::default() };
    Linux {
        resources: Some(Resources { devices: vec![no_devices], ..Resources::default() }),
        namespaces,
        masked_paths: strings(&[
            "/proc/acpi",
            "/proc/asound",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/sys/firmware",
            "/proc/scsi",
        ]),
        readonly_paths: strings(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
        ..Linux::default()
    }
}

/// Takes out what needs root on the host, and maps the caller to the container's root.
fn make_rootless(config: &mut Config, uid: u32, gid: u32) {
    for mount in &mut config.mounts {
        if mount.destination == "/sys" {
            // The kernel mounts sysfs only for the owner of the network namespace, which is the host's.
            *mount = self::mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
        // Ids that are not mapped can't own anything.
        mount.options.retain(|option| !option.starts_with("uid=") && !option.starts_with("gid="));
    }
    if let Some(linux) = &mut config.linux {
        // Nobody but root could give the container's network a way out.
        linux.namespaces.retain(|namespace| namespace.r#type != "network");
        linux.namespaces.push(namespace("user"));
        linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: uid, size: 1 }];
        linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: gid, size: 1 }];
        linux.resources = None;
    }
}

fn mount(destination: &str, r#type: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        r#type: r#type.to_owned(),
        source: source.to_owned(),
        options: strings(options),
        ..Mount::default()
    }
}

fn namespace(r#type: &str) -> Namespace {
    Namespace { r#type: r#type.to_owned(), path: String::new() }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(config: &Config) -> Vec<&str> {
        config.linux.as_ref().unwrap().namespaces.iter().map(|n| n.r#type.as_str()).collect()
    }

    fn options<'a>(config: &'a Config, destination: &str) -> Vec<&'a str> {
        let mount = config.mounts.iter().find(|m| m.destination == destination).unwrap();
        mount.options.iter().map(String::as_str).collect()
    }

    #[test]
    fn namespaces_follow_the_host_and_the_caller() {
        let cases: [(bool, bool, &[&str]); 4] = [
            (false, false, &["pid", "network", "ipc", "uts", "mount"]),
            (true, false, &["pid", "network", "ipc", "uts", "mount", "cgroup"]),
            (false, true, &["pid", "ipc", "uts", "mount", "user"]),
            (true, true, &["pid", "ipc", "uts", "mount", "cgroup", "user"]),
        ];
        for (unified, rootless, expected) in cases {
            let mut config = example(unified);
            if rootless {
                make_rootless(&mut config, 0, 0);
            }
            assert_eq!(types(&config), expected);
        }
    }

    #[test]
    fn rootless_needs_no_root() {
        let mut config = example(false);
        make_rootless(&mut config, 1000, 1001);
        assert_eq!(
            options(&config, "/dev/pts"),
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
        );
        assert_eq!(options(&config, "/sys"), ["rbind", "nosuid", "noexec", "nodev", "ro"]);
        assert_eq!(config.mounts.len(), example(false).mounts.len());
        let linux = config.linux.unwrap();
        assert_eq!(linux.resources, None);
        assert_eq!(linux.uid_mappings, [IdMapping { container_id: 0, host_id: 1000, size: 1 }]);
        assert_eq!(linux.gid_mappings, [IdMapping { container_id: 0, host_id: 1001, size: 1 }]);
    }

    #[test]
    fn is_printed_with_tabs_and_can_be_read_again() {
        let text = print(&example(true)).unwrap();
        assert!(
            text.starts_with(b"{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": true,\n")
        );
        assert!(text.ends_with(b"\n\t}\n}"));
        assert_eq!(Config::parse(&text), Ok(Some(example(true))));
    }

    #[test]
    fn fixes_nothing_that_a_new_user_would_miss() {
        let config = example(false);
        let process = config.process.unwrap();
        assert_eq!((process.args, process.terminal), (strings(&["sh"]), true));
        assert_eq!(process.capabilities.unwrap().inheritable, [""; 0]);
        assert_eq!(config.linux.unwrap().seccomp, None);
    }
}
