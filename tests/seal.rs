//! From which file the runtime runs where a container can see it: never from one that can be written to.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::SealFlags;

use crate::harness::settings::program;
use crate::harness::{Lab, Outcome, Runtime, json, tests};

tests![
    where_it_is_installed,
    from_memory,
    from_a_path_with_a_colon,
    from_a_long_path,
    from_an_overlay,
    by_a_symlink,
    with_closed_streams,
    the_name_of_the_process_stays,
];

/// Makes a container by the program `at` (another place of it), and looks from the host at what its init is.
#[track_caller]
fn is_sealed(lab: &Lab, at: &Path) -> String {
    let runtime = Runtime { program: at.to_path_buf(), kind: lab.tare.kind };
    let before = fs::read(at).unwrap();
    let c = lab.container_of(&runtime, &["true"]);
    c.create(&[]).ok();
    let exe = format!("/proc/{}/exe", c.pid());
    let seen = fs::read_link(&exe).unwrap().display().to_string();
    if seen.starts_with("/memfd:") {
        let file = fs::File::open(&exe).unwrap();
        let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
        assert!(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL));
    } else {
        // Not ETXTBSY, which ends with the process.
        let error = fs::File::options().write(true).open(&exe).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{seen}: {error}");
    }
    c.start();
    c.wait_for("stopped").delete(&[]).ok();
    assert!(fs::read(at).unwrap() == before, "{} was changed", at.display());
    seen
}

/// A mount of the host, for the time of a test.
struct Mounted(PathBuf);

impl Mounted {
    fn new(kind: &str, options: &str, at: PathBuf) -> Result<Self, crate::harness::Skip> {
        fs::create_dir_all(&at).unwrap();
        let mut command = Command::new(program("mount")?);
        let done = command.args(["-t", kind, "-o", options, "tare-test"]).arg(&at).status().unwrap();
        assert!(done.success(), "mount {kind} {options}");
        Ok(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().unwrap();
    }
}

/// A copy of the program in the directory `dir`, which is made.
fn copy(lab: &Lab, dir: &Path) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let at = dir.join("renamed");
    fs::copy(&lab.tare.program, &at).unwrap();
    at
}

fn where_it_is_installed(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let name = lab.tare.program.file_name().unwrap();
    assert_eq!(
        Path::new(&is_sealed(lab, &lab.tare.program)),
        Path::new("/").join(name),
        "no overlay is used"
    );
    Ok(())
}

fn from_memory(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let memory = Mounted::new("tmpfs", "mode=755", lab.dir.join("memory"))?;
    assert_eq!(is_sealed(lab, &copy(lab, &memory.0)), "/renamed", "no overlay is used");
    Ok(())
}

/// The overlay's options could not name it.
fn from_a_path_with_a_colon(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let seen = is_sealed(lab, &copy(lab, &lab.dir.join("a:b\\c")));
    assert!(seen.starts_with("/memfd:"), "{seen}");
    Ok(())
}

/// `fsconfig(2)` takes no more than 255 bytes at once.
fn from_a_long_path(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let long = "l".repeat(120);
    for length in [1, 60, 100, 119, 120] {
        let dir = lab.dir.join(&long[..length]).join(&long);
        let at = copy(lab, &dir);
        let seen = is_sealed(lab, &at);
        let fits = at.as_os_str().len() < 248;
        assert_eq!(seen == "/renamed", fits, "{}: {seen}", at.as_os_str().len());
        assert!(fits || seen.starts_with("/memfd:"), "{seen}");
    }
    Ok(())
}

/// As for a runtime that is installed in a container: the file system that its file is on is an overlay.
fn from_an_overlay(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let memory = Mounted::new("tmpfs", "mode=755", lab.dir.join("memory"))?;
    let under = |name: &str| memory.0.join(name);
    copy(lab, &under("lower"));
    for name in ["upper", "work"] {
        fs::create_dir(under(name)).unwrap();
    }
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| under(name).display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let merged = Mounted::new("overlay", &options, lab.dir.join("merged"))?;
    assert_eq!(is_sealed(lab, &merged.0.join("renamed")), "/renamed", "no overlay is used");
    Ok(())
}

/// The program is called by whatever name an engine has for it.
fn by_a_symlink(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let at = copy(lab, &lab.dir.join("bin"));
    let link = lab.dir.join("runc");
    std::os::unix::fs::symlink(&at, &link).unwrap();
    assert_eq!(is_sealed(lab, &link), "/renamed");
    Ok(())
}

/// The overlay's descriptors then have the numbers of the streams.
fn with_closed_streams(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "ls /proc/self/fd | tr '\\n' ' '; echo there > /out"]);
    c.edit(|v| v["root"]["readonly"] = json!(false));
    let script = "exec \"$@\" 0<&- 1>&- 2>&-";
    let out = lab.finish(&c.runtime, |command| {
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let program = command.get_program().to_owned();
        *command = lab.clean(Command::new("sh"));
        command.args(["-c", script, "sh"]).arg(program).args(args);
        command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    });
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(fs::read_to_string(c.rootfs("out")).unwrap(), "there\n");
    Ok(())
}

fn the_name_of_the_process_stays(lab: &Lab) -> Outcome {
    lab.not_runc("is called runc:[2:INIT]")?;
    let at = copy(lab, &lab.dir.join("bin"));
    let c = lab.container_of(&Runtime { program: at, kind: lab.tare.kind }, &["true"]);
    c.create(&[]).ok();
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", c.pid())).unwrap(), "renamed\n");
    Ok(())
}
