//! The bundles: one root file system for all, and a config.json for each container.
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The bundle on which everything but `run` is measured.
pub const MAIN: &str = "plain-cgns";

/// The same with docker's filter of system calls, on which `exec` is measured too.
pub const FILTERED: &str = "docker-seccomp-cgns";

/// The bundle that an ordinary user runs.
pub const ROOTLESS: &str = "rootless";

/// That user, who is root of the containers.
pub const USER: u32 = 65533;

/// The bundles whose kernel work the floor program does.
pub const OF_FLOOR: [&str; 2] = ["plain", "plain-cgns"];

/// Where the benchmark's own files are.
pub fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all bundles, `plain` first as it is what the others differ from.
pub fn names() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(sources().join("bundles"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_by_key(|name| (name != MAIN, name != "plain", name.clone()));
    Ok(names)
}

/// Makes the root file system: busybox, and the directories to mount on.
pub fn make_rootfs(work: &Path, busybox: &Path) -> io::Result<PathBuf> {
    let root = work.join("rootfs");
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    for applet in ["true", "sleep", "sh"] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    Ok(root)
}

/// What differs between two containers of one bundle.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    /// The root file system, which no runtime accepts as a symbolic link.
    pub rootfs: &'a Path,
    /// The container's program.
    pub args: &'a [&'a str],
    /// The name of its control group.
    pub id: &'a str,
    /// `linux.resources.memory.limit` in bytes.
    pub memory: Option<u64>,
    /// Who runs it, if that is not root.
    pub user: Option<u32>,
}

/// Writes a bundle `<work>/bundles/<id>/<name>`, with a control group of its own.
///
/// The floor program reads no configuration: for it there is a link `rootfs` as well.
pub fn make(work: &Path, name: &str, changes: Changes<'_>) -> io::Result<PathBuf> {
    let template = fs::read(sources().join("bundles").join(name).join("config.json"))?;
    let config = change(serde_json::from_slice(&template)?, changes);
    let bundle = work.join("bundles").join(changes.id).join(name);
    fs::create_dir_all(&bundle)?;
    let rootfs = bundle.join("rootfs");
    if !rootfs.is_symlink() {
        symlink(changes.rootfs, &rootfs)?;
    }
    fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
    Ok(bundle)
}

fn change(mut config: Value, changes: Changes<'_>) -> Value {
    config["process"]["args"] = json!(changes.args);
    config["root"]["path"] = json!(changes.rootfs);
    config["linux"]["cgroupsPath"] = match changes.user {
        // An ordinary user has none.
        Some(_) => json!(""),
        None => json!(format!("/tare-bench/{}", changes.id)),
    };
    if let Some(bytes) = changes.memory {
        config["linux"]["resources"]["memory"] = json!({ "limit": bytes });
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundle_can_be_read_and_the_main_one_is_first() {
        let names = names().unwrap();
        assert_eq!(names[0], MAIN);
        assert!(names.iter().any(|name| name == FILTERED));
        for name in names {
            let text = fs::read(sources().join("bundles").join(&name).join("config.json")).unwrap();
            let config: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(config["linux"]["cgroupsPath"], format!("/tare-bench/{name}"), "{name}");
        }
    }

    #[test]
    fn a_container_differs_from_its_bundle_in_four_fields() {
        let changed = change(
            json!({ "root": { "path": "rootfs" } }),
            Changes {
                rootfs: Path::new("/r"),
                args: &["sleep", "1"],
                id: "c",
                memory: Some(4096),
                user: None,
            },
        );
        assert_eq!(
            changed,
            json!({
                "root": { "path": "/r" },
                "process": { "args": ["sleep", "1"] },
                "linux": { "cgroupsPath": "/tare-bench/c", "resources": { "memory": { "limit": 4096 } } },
            })
        );
    }
}
