//! One test's place: its directory, its state root, its containers, and the guard that removes them.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::leaks::Snapshot;
use super::runtime::{Kind, read_log, wait};
use super::settings::{self, Driver, Settings, controller};
use super::{Output, Runtime, Skip, Value, bundle, eventually};

static LABS: AtomicU32 = AtomicU32::new(0);

pub struct Lab<'s> {
    pub settings: &'s Settings,
    /// Unique on this host: the prefix of every id and cgroup, and the value of `TARE_TEST` in the
    /// environment of every process of this test.
    pub name: String,
    pub dir: PathBuf,
    pub tare: Runtime,
    before: Snapshot,
    count: Cell<u32>,
    calls: Cell<u32>,
    /// Every call and its result, to be shown when the test fails.
    pub transcript: RefCell<String>,
}

impl<'s> Lab<'s> {
    pub fn new(settings: &'s Settings) -> Self {
        let name = format!("t{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let dir = settings.dir.join(&name);
        fs::create_dir_all(dir.join("state")).unwrap();
        let (count, calls, transcript) = <(Cell<u32>, Cell<u32>, RefCell<String>)>::default();
        let before = Snapshot::take(&name, &settings.dir);
        Self { settings, name, dir, tare: settings.tare.clone(), before, count, calls, transcript }
    }

    /// The `--root` of all calls.
    pub fn root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The peer, or the reason to ignore the test.
    pub fn runc(&self) -> Result<Runtime, Skip> {
        self.settings.runc.clone().ok_or_else(|| Skip("no runc on PATH and RUNC is not set".into()))
    }

    /// Ignores the test when the suite is pointed at a runc that is too old for it.
    pub fn newer_than_runc(&self, major: u32, minor: u32) -> Result<(), Skip> {
        if self.tare.is_runc_before(major, minor) {
            return Err(Skip(format!("the runtime under test is runc before {major}.{minor}")));
        }
        Ok(())
    }

    /// Ignores the test when the suite is pointed at runc, which does otherwise by design.
    pub fn not_runc(&self, what: &str) -> Result<(), Skip> {
        if self.tare.name() == "runc" { Err(Skip(format!("runc {what}"))) } else { Ok(()) }
    }

    /// Ignores the test when the suite is pointed at another runtime, which does otherwise.
    pub fn only_tare(&self, what: &str) -> Result<(), Skip> {
        if self.tare.kind == Kind::Tare {
            return Ok(());
        }
        Err(Skip(format!("{} {what}", self.tare.name())))
    }

    /// Ignores the test where it is about groups that the runtime makes itself.
    pub fn makes_groups(&self) -> Result<(), Skip> {
        if self.has_units() {
            return Err(Skip("it is about control groups that systemd does not make".into()));
        }
        Ok(())
    }

    /// Whether systemd has made the container's control group, and removes it with the last process.
    pub fn has_units(&self) -> bool {
        self.settings.driver == Driver::Systemd
    }

    /// A container whose process is `args`; only its bundle exists so far.
    pub fn container(&self, args: &[&str]) -> Container<'_> {
        self.container_of(&self.tare, args)
    }

    /// The same, for another runtime.
    pub fn container_of(&self, runtime: &Runtime, args: &[&str]) -> Container<'_> {
        let number = self.count.replace(self.count.get() + 1);
        let id = format!("{}-{number}", self.name);
        let bundle = self.dir.join(format!("bundle{number}"));
        bundle::make_rootfs(self.settings, &bundle.join("rootfs"));
        let mut config = bundle::config(args, &self.name, &self.settings.driver.path(&id));
        runtime.accept(&mut config);
        let container = Container { lab: self, runtime: runtime.clone(), id, bundle, config };
        container.write();
        container
    }

    /// Runs a shell script in a container, after `edit` of its config, and gives its output, trimmed.
    #[track_caller]
    pub fn inside(&self, edit: impl FnOnce(&mut Value), script: &str) -> String {
        let mut container = self.container(&["sh", "-c", script]);
        container.edit(edit);
        container.run(&[]).ok().trim_end().to_owned()
    }

    /// Runs an edited config in the foreground.
    pub fn run(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> Output {
        let mut container = self.container(args);
        container.edit(edit);
        container.run(&[])
    }

    /// Calls the binary under test with this lab's `--root` and `--log`.
    pub fn call(&self, args: &[&str]) -> Output {
        self.call_of(&self.tare, args)
    }

    /// The same for another runtime.
    pub fn call_of(&self, runtime: &Runtime, args: &[&str]) -> Output {
        self.finish(runtime, |command| {
            command.args(args);
        })
    }

    /// A call whose command `edit` completes: arguments, environment, streams.
    pub fn finish(&self, runtime: &Runtime, edit: impl FnOnce(&mut Command)) -> Output {
        let log = self.next_file("log");
        let mut command = self.command(runtime, &log);
        edit(&mut command);
        self.collect(runtime, command, &log)
    }

    /// A call that has nothing to do with systemd, whoever makes the control groups of the suite.
    pub fn finish_by_files(&self, edit: impl FnOnce(&mut Command)) -> Output {
        let log = self.next_file("log");
        let mut command = self.command_by_files(&self.tare, &log);
        edit(&mut command);
        self.collect(&self.tare, command, &log)
    }

    /// A call without any global flag.
    pub fn bare(&self, runtime: &Runtime, args: &[&str]) -> Output {
        let mut command = self.clean(Command::new(&runtime.program));
        command.args(args);
        self.collect(runtime, command, Path::new("/nonexistent"))
    }

    /// The command with the global flags of this lab.
    pub fn command(&self, runtime: &Runtime, log: &Path) -> Command {
        let mut command = self.command_by_files(runtime, log);
        if self.has_units() {
            command.arg("--systemd-cgroup");
        }
        command
    }

    /// The same, but for who makes the control groups: that is the runtime itself.
    fn command_by_files(&self, runtime: &Runtime, log: &Path) -> Command {
        let mut command = self.clean(Command::new(&runtime.program));
        command.arg("--root").arg(self.root()).arg("--log").arg(log).args(["--log-format", "json"]);
        command
    }

    /// Marks the command as this test's, and takes away what the caller's environment could change.
    pub fn clean(&self, mut command: Command) -> Command {
        command.current_dir(&self.dir).env("TARE_TEST", &self.name).stdin(Stdio::null());
        for name in [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
            "DBUS_SYSTEM_BUS_ADDRESS",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Runs `command` to its end. Its output goes to files: a container that goes on running holds it open.
    pub fn collect(&self, runtime: &Runtime, mut command: Command, log: &Path) -> Output {
        let (out, err) = (self.next_file("out"), self.next_file("err"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let code = wait(child);
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let (out, err) = (read(&out), read(&err));
        let call: Vec<_> = command.get_args().skip(6).map(|a| a.to_string_lossy()).collect();
        // crun's may have objects of many lines, and nothing of it is compared.
        let log = if runtime.kind == Kind::Crun { Vec::new() } else { read_log(log) };
        let _ =
            writeln!(self.transcript.borrow_mut(), "$ {} {}\n  rc={code}", runtime.name(), call.join(" "));
        for (name, text) in [("out", &out), ("err", &err)] {
            for line in text.lines().take(40) {
                let _ = writeln!(self.transcript.borrow_mut(), "  {name}: {line}");
            }
        }
        for line in &log {
            let _ = writeln!(self.transcript.borrow_mut(), "  log: {line}");
        }
        Output { runtime: runtime.clone(), code, out, err, log }
    }

    /// A new file name in this lab's directory.
    pub fn next_file(&self, kind: &str) -> PathBuf {
        let number = self.calls.replace(self.calls.get() + 1);
        self.dir.join(format!("{kind}.{number}"))
    }

    /// Writes a file into this lab's directory and gives its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What this test has left on the host since it began. Processes need a moment to go, so ask until
    /// nothing is left or patience ends.
    pub fn leaks(&self) -> Vec<String> {
        let mut left = Vec::new();
        for _ in 0..400 {
            left = self.before.left(&Snapshot::take(&self.name, &self.settings.dir));
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        left
    }

    /// Deletes what the test did not delete itself. Gives what even `delete --force` left.
    pub fn tidy(&self) -> Vec<String> {
        for entry in fs::read_dir(self.root()).into_iter().flatten().flatten() {
            let id = entry.file_name();
            // Containers of the peer share the root: only their own runtime can delete them.
            let state = fs::read_to_string(entry.path().join("state.json")).unwrap_or_default();
            let is_runcs = state.contains("\"init_process_pid\"");
            let runtime = self.settings.runc.as_ref().filter(|_| is_runcs).unwrap_or(&self.tare);
            self.call_of(runtime, &["delete", "--force", &id.to_string_lossy()]);
        }
        self.leaks()
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        super::leaks::sweep(&self.name, &self.dir);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A bundle with an id. Nothing runs before `create` or `run`.
pub struct Container<'l> {
    pub lab: &'l Lab<'l>,
    pub runtime: Runtime,
    pub id: String,
    pub bundle: PathBuf,
    pub config: Value,
}

impl Container<'_> {
    fn write(&self) {
        fs::write(self.bundle.join("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
    }

    /// Changes config.json.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Value)) -> &mut Self {
        edit(&mut self.config);
        self.write();
        self
    }

    pub fn rootfs(&self, path: &str) -> PathBuf {
        self.bundle.join("rootfs").join(path)
    }

    /// Calls a command that takes `--bundle`: create or run.
    pub fn with_bundle(&self, command: &str, flags: &[&str]) -> Output {
        self.lab.finish(&self.runtime, |call| {
            call.arg(command).arg("--bundle").arg(&self.bundle).args(flags).arg(&self.id);
        })
    }

    pub fn create(&self, flags: &[&str]) -> Output {
        self.with_bundle("create", flags)
    }

    pub fn run(&self, flags: &[&str]) -> Output {
        self.with_bundle("run", flags)
    }

    /// `COMMAND ID ARGS`.
    pub fn call(&self, command: &str, args: &[&str]) -> Output {
        self.lab.finish(&self.runtime, |call| {
            call.arg(command).arg(&self.id).args(args);
        })
    }

    #[track_caller]
    pub fn start(&self) {
        self.call("start", &[]).ok();
    }

    /// Created and started.
    #[track_caller]
    pub fn up(&self) -> &Self {
        self.create(&[]).ok();
        self.start();
        self
    }

    pub fn kill(&self, signal: &str) -> Output {
        self.call("kill", &[signal])
    }

    pub fn delete(&self, flags: &[&str]) -> Output {
        self.lab.finish(&self.runtime, |call| {
            call.arg("delete").args(flags).arg(&self.id);
        })
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(self.call("state", &[]).ok()).expect("state is JSON")
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("status is text").to_owned()
    }

    #[track_caller]
    pub fn wait_for(&self, status: &str) -> &Self {
        eventually(&format!("{} to be {status}", self.id), || (self.status() == status).then_some(self))
    }

    /// Kills the process and waits until the container is stopped.
    #[track_caller]
    pub fn stop(&self) -> &Self {
        self.kill("KILL").ok();
        self.wait_for("stopped")
    }

    #[track_caller]
    pub fn pid(&self) -> u64 {
        self.state()["pid"].as_u64().expect("pid is a number")
    }

    /// A file of the cgroup, trimmed, or the reason to ignore the test when there is no such controller.
    pub fn cgroup(&self, of: &str, file: &str) -> Result<String, Skip> {
        let path = self.cgroup_dir(&controller(of)?).join(file);
        Ok(fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned())
    }

    /// The directory of this container in the hierarchy at `root`.
    pub fn cgroup_dir(&self, root: &Path) -> PathBuf {
        root.join(self.place())
    }

    /// Where its control group is, below the root of every hierarchy.
    pub fn place(&self) -> String {
        self.lab.settings.driver.place(&self.id)
    }

    /// The directories of this container in every hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let roots = settings::cgroup_roots().into_iter();
        roots.map(|root| self.cgroup_dir(&root)).filter(|path| path.exists()).collect()
    }
}
