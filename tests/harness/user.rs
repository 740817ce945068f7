//! An ordinary user: somebody with a number and a directory, and no more rights than that. Nothing on the host
//! needs to know of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bundle::{self, set_namespace, without_namespace};
use super::helper::becoming;
use super::{Lab, Outcome, Output, Runtime, Skip, Value, json};

/// Two users that no host has.
pub const ALICE: u32 = 2_047_001;
pub const BOB: u32 = 2_047_002;

pub struct User<'l> {
    pub lab: &'l Lab<'l>,
    pub uid: u32,
    /// Theirs.
    pub dir: PathBuf,
    pub runtime: Runtime,
    /// A command that puts the calls elsewhere: it ends by executing its arguments.
    pub within: Vec<String>,
}

impl<'l> User<'l> {
    pub fn new(lab: &'l Lab<'l>, uid: u32) -> Self {
        let dir = lab.dir.join(format!("user{uid}"));
        fs::create_dir_all(&dir).unwrap();
        chown(&dir, Some(uid), Some(uid)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        User { lab, uid, dir, runtime: lab.tare.clone(), within: Vec::new() }
    }

    /// One whose calls have no rights but the user's: see [`becoming`].
    pub fn of_few_rights(lab: &'l Lab<'l>, uid: u32) -> Self {
        let mut user = User::new(lab, uid);
        user.within = becoming(uid).to_vec();
        user
    }

    /// The state directory of this user's calls.
    pub fn root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// A bundle whose process is `args`, with the config of `spec --rootless`, but for the terminal and what
    /// `edit` changes.
    pub fn bundle(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.dir.join(self.lab.next_file("bundle").file_name().unwrap());
        bundle::make_rootfs(self.lab.settings, &bundle.join("rootfs"));
        let mut config = bundle::config(args, &self.lab.name, "");
        self.runtime.accept(&mut config);
        rootless(&mut config, self.uid);
        edit(&mut config);
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        give(&bundle, self.uid);
        bundle
    }

    /// A call as this user, with a state directory of their own.
    pub fn call(&self, args: &[&str]) -> Output {
        self.finish(|call| {
            call.args(args);
        })
    }

    /// A call that `edit` completes.
    pub fn finish(&self, edit: impl FnOnce(&mut Command)) -> Output {
        let log = self.dir.join(self.lab.next_file("log").file_name().unwrap());
        let mut call = self.lab.clean(Command::new(&self.runtime.program));
        call.arg("--root").arg(self.root()).arg("--log").arg(&log).args(["--log-format", "json"]);
        edit(&mut call);
        self.collect(call, &log)
    }

    /// A call without any global flag.
    pub fn bare(&self, args: &[&str], edit: impl FnOnce(&mut Command)) -> Output {
        let mut call = self.lab.clean(Command::new(&self.runtime.program));
        call.current_dir(&self.dir).args(args);
        edit(&mut call);
        self.collect(call, Path::new("/nonexistent"))
    }

    fn collect(&self, mut call: Command, log: &Path) -> Output {
        if let Some((program, args)) = self.within.split_first() {
            let mut outer = self.lab.clean(Command::new(program));
            outer.args(args).arg(call.get_program()).args(call.get_args());
            outer.envs(call.get_envs().filter_map(|(name, value)| Some((name, value?))));
            outer.current_dir(call.get_current_dir().unwrap_or(&self.dir));
            call = outer;
        } else {
            call.uid(self.uid).gid(self.uid);
        }
        self.lab.collect(&self.runtime, call, log)
    }

    /// Runs a container in the foreground.
    pub fn run(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> Output {
        let bundle = self.bundle(args, edit);
        self.call(&["run", "--bundle", bundle.to_str().unwrap(), &self.id("fg")])
    }

    /// A running container; its id.
    #[track_caller]
    pub fn up(&self, name: &str, args: &[&str], edit: impl FnOnce(&mut Value)) -> String {
        let (bundle, id) = (self.bundle(args, edit), self.id(name));
        self.call(&["run", "--detach", "--bundle", bundle.to_str().unwrap(), &id]).ok();
        id
    }

    /// A name that the whole host has but once.
    pub fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.lab.name)
    }

    /// What `state` says.
    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        serde_json::from_str(self.call(&["state", id]).ok()).expect("state is JSON")
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.root()).into_iter().flatten().flatten() {
            self.call(&["delete", "--force", &entry.file_name().to_string_lossy()]);
        }
    }
}

/// What `spec --rootless` changes of a config.
pub fn rootless(config: &mut Value, uid: u32) {
    set_namespace(config, "user", None);
    without_namespace(config, "network");
    if super::settings::unified() {
        set_namespace(config, "cgroup", None);
    }
    let map = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    for key in ["resources", "cgroupsPath"] {
        config["linux"].as_object_mut().unwrap().remove(key);
    }
    let mounts = config["mounts"].as_array_mut().unwrap();
    for options in mounts.iter_mut().filter_map(|m| m["options"].as_array_mut()) {
        options.retain(|option| option != "gid=5");
    }
    let at = mounts.iter().position(|m| m["destination"] == "/sys").unwrap();
    let options = json!(["rbind", "nosuid", "noexec", "nodev", "ro"]);
    mounts[at] = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options});
}

/// Whether ordinary users can make user namespaces here, or the reason to ignore the test.
pub fn possible(lab: &Lab) -> Outcome {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    for (name, bad) in [
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ] {
        if read(name).trim() == bad {
            return Err(Skip(format!("/proc/sys/{name} is {bad}")));
        }
    }
    // Whether they can reach the runtime at all.
    let alice = User::new(lab, ALICE);
    alice.bare(&["--version"], |_| {}).ok();
    Ok(())
}

/// Hands a tree over. Symlinks stay whose they are, and so does the busybox that all tests share.
pub fn give(dir: &Path, uid: u32) {
    chown(dir, Some(uid), Some(uid)).unwrap();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            give(&entry.path(), uid);
        } else if kind.is_file() && entry.file_name() != "busybox" {
            chown(entry.path(), Some(uid), Some(uid)).unwrap();
        }
    }
}
