//! The programs that are compared: where they are, and how each is called.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

/// A runtime, or the floor program that is called like one.
#[derive(Clone, Debug, Serialize)]
pub struct Runtime {
    /// The name in all tables.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// The first line of what it says of itself.
    pub version: String,
    /// The size of the executable in bytes, without the libraries it loads.
    pub size: u64,
    /// Whether this is the floor program, which knows only `run` and two of the bundles.
    pub is_floor: bool,
    /// Its state directory.
    pub root: PathBuf,
}

/// One call of a runtime.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// `run` in the foreground, under a memory limit in bytes that the floor program is told here.
    Run { bundle: &'a Path, id: &'a str, memory: Option<u64> },
    /// `run --detach`.
    RunDetached { bundle: &'a Path, id: &'a str, pid_file: &'a Path },
    /// `create`.
    Create { bundle: &'a Path, id: &'a str, pid_file: &'a Path },
    /// `start`.
    Start { id: &'a str },
    /// `exec` of `true`, with 128 KiB of environment in 16 variables if there is to be `much`.
    Exec { id: &'a str, much: bool },
    /// `state`.
    State { id: &'a str },
    /// `delete`.
    Delete { id: &'a str },
    /// `delete --force`.
    DeleteForce { id: &'a str },
    /// `--version`: nothing but being started.
    Version,
}

impl Runtime {
    /// A runtime at `path`, with a state directory of its own below `work`.
    pub fn new(name: &str, path: PathBuf, work: &Path) -> std::io::Result<Self> {
        let size = std::fs::metadata(&path)?.len();
        let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(Runtime {
            name: name.to_owned(),
            version: said.lines().next().unwrap_or("-").to_owned(),
            size,
            is_floor: name == "floor",
            root: work.join("state").join(name),
            path,
        })
    }

    /// The command line of a call.
    ///
    /// An ordinary `user` has a state directory of their own, which is made here.
    pub fn command(&self, call: Call<'_>, user: Option<u32>) -> std::io::Result<Vec<OsString>> {
        let mut line: Vec<OsString> = vec![self.path.clone().into()];
        let mut add = |words: &[&std::ffi::OsStr]| line.extend(words.iter().map(|word| (*word).to_owned()));
        let root = match user {
            None => self.root.clone(),
            Some(user) => {
                let root = self.root.with_extension(user.to_string());
                std::fs::create_dir_all(&root)?;
                std::os::unix::fs::chown(&root, Some(user), Some(user))?;
                root
            }
        };
        let root = root.as_os_str();
        match call {
            Call::Version => add(&["--version".as_ref()]),
            _ => add(&["--root".as_ref(), root]),
        }
        match call {
            Call::Run { bundle, id, memory } => {
                let memory = memory.map(|bytes| bytes.to_string());
                if let (true, Some(bytes)) = (self.is_floor, &memory) {
                    add(&["--memory".as_ref(), bytes.as_ref()]);
                }
                if self.is_floor && bundle.file_name().is_some_and(|name| name == "plain-cgns") {
                    add(&["--cgroup-namespace".as_ref()]);
                }
                add(&["run".as_ref(), "--bundle".as_ref(), bundle.as_ref(), id.as_ref()]);
            }
            Call::RunDetached { bundle, id, pid_file } => {
                add(&["run".as_ref(), "--detach".as_ref()]);
                add(&["--pid-file".as_ref(), pid_file.as_ref()]);
                add(&["--bundle".as_ref(), bundle.as_ref(), id.as_ref()]);
            }
            Call::Create { bundle, id, pid_file } => {
                add(&["create".as_ref(), "--pid-file".as_ref(), pid_file.as_ref()]);
                add(&["--bundle".as_ref(), bundle.as_ref(), id.as_ref()]);
            }
            Call::Start { id } => add(&["start".as_ref(), id.as_ref()]),
            Call::Exec { id, much } => {
                add(&["exec".as_ref()]);
                for number in 0..if much { 16 } else { 0 } {
                    let pair = format!("MUCH{number:02}={}", "x".repeat((8 << 10) - "MUCH00=".len()));
                    add(&["--env".as_ref(), pair.as_ref()]);
                }
                add(&[id.as_ref(), "true".as_ref()]);
            }
            Call::State { id } => add(&["state".as_ref(), id.as_ref()]),
            Call::Delete { id } => add(&["delete".as_ref(), id.as_ref()]),
            Call::DeleteForce { id } => add(&["delete".as_ref(), "--force".as_ref(), id.as_ref()]),
            Call::Version => {}
        }
        Ok(line)
    }
}

/// The first executable of that name on `PATH`, also in the directories that only root's has.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(is_floor: bool) -> Runtime {
        Runtime {
            name: "x".into(),
            path: "/bin/x".into(),
            version: String::new(),
            size: 0,
            is_floor,
            root: "/r".into(),
        }
    }

    fn line(is_floor: bool, call: Call<'_>) -> String {
        let words = runtime(is_floor).command(call, None).unwrap();
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn calls_are_written_as_engines_write_them() {
        let (bundle, pid_file) = (Path::new("/b/plain-cgns"), Path::new("/p"));
        for (call, words) in [
            (Call::Version, "/bin/x --version"),
            (Call::State { id: "c" }, "/bin/x --root /r state c"),
            (Call::Exec { id: "c", much: false }, "/bin/x --root /r exec c true"),
            (Call::DeleteForce { id: "c" }, "/bin/x --root /r delete --force c"),
            (
                Call::Create { bundle, id: "c", pid_file },
                "/bin/x --root /r create --pid-file /p --bundle /b/plain-cgns c",
            ),
            (
                Call::Run { bundle, id: "c", memory: Some(4096) },
                "/bin/x --root /r run --bundle /b/plain-cgns c",
            ),
        ] {
            assert_eq!(line(false, call), words);
        }
    }

    #[test]
    fn the_floor_is_told_what_it_cannot_read() {
        let call = Call::Run { bundle: Path::new("/b/plain-cgns"), id: "c", memory: Some(4096) };
        assert_eq!(
            line(true, call),
            "/bin/x --root /r --memory 4096 --cgroup-namespace run --bundle /b/plain-cgns c"
        );
    }
}
