//! An attacker that exchanges two names for ever in a directory that it shares with containers which are being made,
//! and what of the host must not change meanwhile.
//!
//! What a runtime leaves mounted or running on the host is looked for after every test, by `leaks`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::bundle::mount;
use super::{Container, Lab, eventually, helper};

/// A directory of the host that no container is given, and the runtime's own file.
pub struct Host {
    dir: PathBuf,
    before: Vec<String>,
    program: (PathBuf, Vec<u8>),
}

impl Host {
    pub fn new(lab: &Lab) -> Self {
        let dir = lab.dir.join("host");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("marker"), "host").unwrap();
        fs::create_dir(dir.join("below")).unwrap();
        let program = lab.tare.program.clone();
        Self { before: listing(&dir), program: (program.clone(), fs::read(program).unwrap()), dir }
    }

    /// Its path, for an image to point to.
    pub fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    /// Fails when a file has come, gone or changed.
    #[track_caller]
    pub fn unchanged(&self) {
        assert_eq!(listing(&self.dir), self.before, "the host's directory");
    }

    /// Fails when the runtime's own file has changed.
    #[track_caller]
    pub fn program_unchanged(&self) {
        let (path, before) = &self.program;
        assert!(fs::read(path).unwrap() == *before, "{} was changed", path.display());
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path())
    }
}

/// All entries below `dir`, with what they are and contain.
fn listing(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let content = if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        lines.push(format!("{} {kind:?} {content:?}", path.display()));
        if kind.is_dir() {
            lines.extend(listing(&path));
        }
    }
    lines.sort();
    lines
}

/// The attacker, a container of its own, for as long as this lives.
pub struct Race<'l> {
    attacker: Container<'l>,
    host: &'l Host,
    runs: u32,
}

impl<'l> Race<'l> {
    /// Begins to exchange `one` and `other` in `dir`, which are what they are after an even number of exchanges.
    pub fn begin(lab: &'l Lab<'_>, host: &'l Host, dir: &Path, one: &str, other: &str) -> Self {
        let mut attacker = lab.container(&[helper::PROGRAM, "--exchange", "/shared", one, other]);
        attacker.edit(|v| {
            helper::add(v);
            mount(v, "/shared", "bind", dir.to_str().unwrap(), &["bind"]);
        });
        attacker.up();
        let inode = || fs::symlink_metadata(dir.join(one)).unwrap().ino();
        let first = inode();
        eventually("the attacker", || (inode() != first).then_some(()));
        Race { attacker, host, runs: if lab.settings.stress { 10_000 } else { 100 } }
    }

    /// Makes the container again and again. `check` looks at each by the number of its first process, which waits
    /// for `start`. A runtime may refuse to make one under attack, but not all.
    #[track_caller]
    pub fn against(self, victim: &Container, flags: &[&str], mut check: impl FnMut(u64)) {
        let mut made = 0;
        for _ in 0..self.runs {
            let file = victim.lab.dir.join("victim.pid");
            let all: Vec<&str> =
                ["--pid-file", file.to_str().unwrap()].iter().chain(flags).copied().collect();
            let created = victim.create(&all);
            if created.code == 0 {
                check(fs::read_to_string(&file).unwrap().parse().unwrap());
                victim.delete(&["--force"]).ok();
                made += 1;
                // What is kept is told when the test fails: only of the last ones.
                victim.lab.transcript.borrow_mut().clear();
            }
            self.host.unchanged();
        }
        assert_eq!(self.attacker.status(), "running", "the attacker");
        assert!(made > 0, "no container was made in {} attempts", self.runs);
        if victim.lab.settings.stress {
            println!("{made} of {} were made", self.runs);
        }
        self.host.program_unchanged();
        self.attacker.delete(&["--force"]).ok();
    }
}

/// What the attacker does: it exchanges two names in `dir`, and waits for ever other times in between.
pub fn exchange(dir: &str, one: &str, other: &str) -> std::io::Result<()> {
    let (one, other) = (Path::new(dir).join(one), Path::new(dir).join(other));
    for pause in (0..4000).step_by(37).cycle() {
        renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE)?;
        (0..pause).for_each(|_| std::hint::spin_loop());
    }
    Ok(())
}

/// Whether the process is there and has not ended: runc's init can fail after `create` has returned.
pub fn lives(pid: u64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The mounts that a process sees: where, of which type, from what source, and with which options. `None` if it has ended.
pub fn mounts(pid: u64) -> Option<Vec<[String; 4]>> {
    let table = match fs::read_to_string(format!("/proc/{pid}/mountinfo")) {
        Ok(table) if !table.is_empty() => table,
        other => {
            assert!(!lives(pid), "mounts of process {pid}: {other:?}");
            return None;
        }
    };
    let line = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let (mount, mut filesystem) = (mount.split(' ').collect::<Vec<_>>(), filesystem.split(' '));
        let [kind, source] = [filesystem.next()?, filesystem.next()?];
        Some([mount[4], kind, source, mount[5]].map(str::to_owned))
    };
    Some(table.lines().filter_map(line).collect())
}
