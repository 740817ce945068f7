//! Where the binaries are and what this host offers. Read once from the environment:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `TARE` | binary under test | `bin/tare` of the checkout, which `make build` leaves there |
//! | `RUNC`, `CRUN` | peers to compare with | from `PATH`; without them those tests are ignored |
//! | `BUSYBOX` | static busybox for the containers | `/bin/busybox`, `/usr/bin/busybox` |
//! | `TARE_TEST_DIR` | where bundles and state go | `/run/tare-test` |
//! | `TARE_STRESS` | `1`: 1,000 containers instead of 200 | |
//! | `TARE_CGROUP` | `systemd`: containers of root are made with `--systemd-cgroup` | `cgroupfs` |
//! | `TARE_TEST_TIMEOUT` | seconds after which the run ends and says which tests were running | none |

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Runtime, Skip};

pub struct Settings {
    pub tare: Runtime,
    pub runc: Option<Runtime>,
    pub busybox: PathBuf,
    /// This run's own directory; every test has one of its own below it.
    pub dir: PathBuf,
    pub applets: Vec<String>,
    pub stress: bool,
    pub driver: Driver,
    pub timeout: Option<Duration>,
}

/// Who makes the control groups of root's containers, and by which names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// The runtime itself, through the file system.
    Files,
    /// systemd, asked by `--systemd-cgroup`.
    Systemd,
}

impl Driver {
    fn read() -> Result<Self, String> {
        match env::var("TARE_CGROUP").as_deref() {
            Err(_) | Ok("cgroupfs") => Ok(Driver::Files),
            Ok("systemd") if Path::new("/run/systemd/system").exists() => Ok(Driver::Systemd),
            Ok("systemd") => Err("TARE_CGROUP=systemd: systemd does not run here".into()),
            Ok(other) => Err(format!("TARE_CGROUP={other}: neither cgroupfs nor systemd")),
        }
    }

    /// `linux.cgroupsPath` for a container of the suite. Its id ends with a dash and a number.
    pub fn path(self, id: &str) -> String {
        match self {
            Driver::Files => format!("/tare-test/{id}"),
            Driver::Systemd => {
                let (prefix, name) = id.rsplit_once('-').expect("an id of the suite has a dash");
                format!("tare-test.slice:{prefix}:{name}")
            }
        }
    }

    /// Where that group is, below the root of every hierarchy.
    pub fn place(self, id: &str) -> String {
        match self {
            Driver::Files => format!("tare-test/{id}"),
            Driver::Systemd => format!("tare.slice/tare-test.slice/{id}.scope"),
        }
    }
}

impl Settings {
    /// # Errors
    /// Says what is missing and how to get it.
    pub fn read() -> Result<Self, String> {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bin/tare");
        let tare = env::var_os("TARE").map_or(checkout, PathBuf::from);
        let tare = tare
            .canonicalize()
            .map_err(|e| format!("{}: {e}; build it with `make build` or set TARE", tare.display()))?;
        let busybox = env::var_os("BUSYBOX")
            .map(PathBuf::from)
            .or_else(|| {
                ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|p| p.exists())
            })
            .ok_or("no busybox: install busybox-static or set BUSYBOX")?;
        let list = Command::new(&busybox).arg("--list").output().map_err(|e| format!("busybox: {e}"))?;
        let applets = String::from_utf8_lossy(&list.stdout).lines().map(str::to_owned).collect();
        let base = env::var_os("TARE_TEST_DIR").map_or("/run/tare-test".into(), PathBuf::from);
        let timeout = match env::var("TARE_TEST_TIMEOUT") {
            Ok(text) => Some(text.parse().map_err(|e| format!("TARE_TEST_TIMEOUT={text}: {e}"))?),
            Err(_) => None,
        };
        let driver = Driver::read()?;
        let dir = base.join(std::process::id().to_string());
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        // A hard link of this copy is the busybox of every container.
        std::fs::copy(&busybox, dir.join("busybox")).map_err(|e| format!("copy busybox: {e}"))?;
        Ok(Self {
            tare: Runtime::at(tare)?,
            runc: peer("RUNC", "runc").map(Runtime::at).transpose()?,
            busybox,
            dir,
            applets,
            stress: env::var("TARE_STRESS").is_ok_and(|v| v == "1"),
            driver,
            timeout: timeout.map(Duration::from_secs),
        })
    }
}

fn peer(variable: &str, name: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).or_else(|| find(name))
}

/// Looks a program up in `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|p| p.is_file())
}

/// A program of the host, or the reason to ignore the test.
pub fn program(name: &str) -> Result<PathBuf, Skip> {
    find(name).ok_or_else(|| Skip(format!("{name} is not installed")))
}

/// Whether `/sys/fs/cgroup` is cgroup v2 alone.
pub fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Whether a cgroup hierarchy is mounted there. Where none of that name is, runc makes plain directories.
fn is_hierarchy(dir: &Path) -> bool {
    dir.join("cgroup.procs").exists()
}

/// The directory of every mounted cgroup hierarchy.
pub fn cgroup_roots() -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    if unified() {
        return vec![base.to_owned()];
    }
    let Ok(entries) = std::fs::read_dir(base) else { return Vec::new() };
    // cpu,cpuacct and its links name one hierarchy: keep the directories.
    let directories = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    directories.map(|e| e.path()).filter(|dir| is_hierarchy(dir)).collect()
}

/// The cgroups of a process, in the hierarchies that are mounted where the suite looks.
pub fn cgroup_paths(pid: u64) -> Vec<String> {
    cgroup_paths_in(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default())
}

/// The same, from what a process reads of itself.
pub fn cgroup_paths_in(lines: &str) -> Vec<String> {
    let mounted = |controllers: &str| match (controllers.split(',').next(), unified()) {
        (Some(""), true) => true,
        (Some(""), false) => is_hierarchy(Path::new("/sys/fs/cgroup/unified")),
        (Some(name), false) => {
            is_hierarchy(&Path::new("/sys/fs/cgroup").join(name.trim_start_matches("name=")))
        }
        _ => false,
    };
    let fields = lines.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    fields.filter(|(controllers, _)| mounted(controllers)).map(|(_, path)| path.to_owned()).collect()
}

/// Whether the kernel keeps `memory.reservation`. That of version 1 takes any value and forgets it since Linux 7.
pub fn keeps_reservations() -> bool {
    static KEEPS: OnceLock<bool> = OnceLock::new();
    *KEEPS.get_or_init(probe_reservations)
}

fn probe_reservations() -> bool {
    let probe = Path::new("/sys/fs/cgroup/memory").join(format!("tare-test-soft{}", std::process::id()));
    if unified() || std::fs::create_dir(&probe).is_err() {
        return true;
    }
    let file = probe.join("memory.soft_limit_in_bytes");
    let kept = std::fs::write(&file, "4096").and_then(|()| std::fs::read_to_string(&file));
    std::fs::remove_dir(&probe).expect("an empty cgroup");
    kept.is_ok_and(|text| text.trim() == "4096")
}

/// The hierarchy that has `controller`, or the reason to ignore the test.
pub fn controller(name: &str) -> Result<PathBuf, Skip> {
    let root = Path::new("/sys/fs/cgroup");
    if !unified() {
        let dir = root.join(name);
        return if is_hierarchy(&dir) {
            Ok(dir)
        } else {
            Err(Skip(format!("no cgroup v1 controller {name}")))
        };
    }
    let has = |file| std::fs::read_to_string(root.join(file)).unwrap_or_default();
    if has("cgroup.controllers").split_whitespace().any(|c| c == name) {
        Ok(root.to_owned())
    } else {
        Err(Skip(format!("no cgroup v2 controller {name}")))
    }
}
