//! Makes bundles: a root file system of busybox and a plain config.json.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::settings::Settings;
use super::{Value, json};

/// Makes a root file system below `rootfs`. The one busybox is shared by hard links.
pub fn make_rootfs(settings: &Settings, rootfs: &Path) {
    for dir in ["bin", "dev", "etc", "home/user", "proc", "root", "run", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(settings.dir.join("busybox"), rootfs.join("bin/busybox")).unwrap();
    for applet in settings.applets.iter().filter(|a| *a != "busybox") {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    )
    .unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
}

/// The config most tests start from: what `spec` gives, without a terminal.
pub fn config(args: &[&str], marker: &str, cgroup: &str) -> Value {
    let caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", format!("TARE_TEST={marker}")],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Appends to an array of the config, and makes the array where there is none.
pub fn push(list: &mut Value, item: Value) {
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().expect("the field is an array").push(item);
}

/// Removes the namespace `kind` from the config.
pub fn without_namespace(config: &mut Value, kind: &str) {
    let list = config["linux"]["namespaces"].as_array_mut().expect("the config has namespaces");
    list.retain(|n| n["type"] != kind);
}

/// Sets the namespace `kind`: new, or the one at `path`.
pub fn set_namespace(config: &mut Value, kind: &str, path: Option<&str>) {
    without_namespace(config, kind);
    let item = path.map_or(json!({"type": kind}), |path| json!({"type": kind, "path": path}));
    push(&mut config["linux"]["namespaces"], item);
}

/// Adds a mount.
pub fn mount(config: &mut Value, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let item = json!({"destination": destination, "type": kind, "source": source, "options": options});
    push(&mut config["mounts"], item);
}

/// Removes the mount at `destination`.
pub fn without_mount(config: &mut Value, destination: &str) {
    config["mounts"]
        .as_array_mut()
        .expect("the config has mounts")
        .retain(|m| m["destination"] != destination);
}

/// Gives the process these capabilities in the bounding, effective and permitted sets.
pub fn capabilities(config: &mut Value, names: &[&str]) {
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(names);
    }
}
