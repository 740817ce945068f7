//! From which file the runtime runs where a container can see it: never from one that can be written to.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::SealFlags;

use crate::harness::settings::program;
use crate::harness::user::{ALICE, User};
use crate::harness::{Lab, Outcome, Runtime, eventually, json, tests};

tests![
    where_it_is_installed,
    from_memory,
    from_any_path,
    nobody_makes_it_writable_again,
    an_ordinary_user,
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
    let kept = fs::File::open(&exe).unwrap();
    c.start();
    c.wait_for("stopped").delete(&[]).ok();
    // Until here nobody could, as the file was being executed; that of the other tests may be still.
    let error = eventually("nobody to execute it", || {
        let error = fs::File::options().write(true).open(own_path(&kept)).unwrap_err();
        (error.kind() != ErrorKind::ExecutableFileBusy).then_some(error)
    });
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{seen}: {error}");
    assert!(fs::read(at).unwrap() == before, "{} was changed", at.display());
    seen
}

fn own_path(file: &fs::File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
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
    assert_eq!(is_sealed(lab, &lab.tare.program), "/", "no mount of its own");
    Ok(())
}

fn from_memory(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let memory = Mounted::new("tmpfs", "mode=755", lab.dir.join("memory"))?;
    assert_eq!(is_sealed(lab, &copy(lab, &memory.0)), "/", "no mount of its own");
    Ok(())
}

fn from_any_path(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    for dir in ["a:b\\c", "with, blank", &format!("{0}/{0}/{0}", "l".repeat(200))] {
        assert_eq!(is_sealed(lab, &copy(lab, &lab.dir.join(dir))), "/", "{dir}");
    }
    Ok(())
}

/// Not even root of the host, in its own mounts, from a descriptor that it has kept.
fn nobody_makes_it_writable_again(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let at = copy(lab, &lab.dir.join("bin"));
    let before = fs::read(&at).unwrap();
    let c = lab.container_of(&Runtime { program: at.clone(), kind: lab.tare.kind }, &["true"]);
    c.create(&[]).ok();
    let kept = fs::File::open(format!("/proc/{}/exe", c.pid())).unwrap();
    c.start();
    c.wait_for("stopped").delete(&[]).ok();

    let path = own_path(&kept);
    let error = fs::File::options().write(true).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    let error = fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    let from_outside = format!("/proc/{}/fd/{}", std::process::id(), kept.as_raw_fd());
    let target = lab.file("target", "");
    for arguments in [
        &["-o", "remount,bind,rw", &from_outside][..],
        &["-o", "remount,rw", &from_outside],
        &["--bind", &from_outside, &target],
        &["--move", &from_outside, &target],
    ] {
        // By itself mount(8) would take what the link reads, `/`, for the path.
        let mut command = Command::new(program("mount")?);
        let done = command.arg("--no-canonicalize").args(arguments).stderr(Stdio::null()).status().unwrap();
        assert!(!done.success(), "mount {arguments:?}");
    }
    assert!(fs::read(&at).unwrap() == before, "it was changed");
    Ok(())
}

/// A program that is root's is out of reach of a user's containers, and stays as it is; the user's own is copied
/// to memory.
fn an_ordinary_user(lab: &Lab) -> Outcome {
    lab.not_runc("always copies itself")?;
    for (owner, mode, copied) in [(0, 0o755, false), (0, 0o777, true), (ALICE, 0o755, true)] {
        let mut alice = User::new(lab, ALICE);
        alice.runtime.program = copy(lab, &alice.dir.join(format!("bin{owner}-{mode:o}")));
        chown(&alice.runtime.program, Some(owner), None).unwrap();
        fs::set_permissions(&alice.runtime.program, fs::Permissions::from_mode(mode)).unwrap();
        let bundle = alice.bundle(&["true"], |_| {});
        let id = alice.id(&format!("{owner}-{mode:o}"));
        alice.call(&["create", "--bundle", bundle.to_str().unwrap(), &id]).ok();
        let exe = format!("/proc/{}/exe", alice.state(&id)["pid"]);
        let seen = fs::read_link(&exe).unwrap();
        assert_eq!(seen.starts_with("/memfd:tare (deleted)"), copied, "{seen:?}");
        if copied {
            let seals = rustix::fs::fcntl_get_seals(fs::File::open(&exe).unwrap()).unwrap();
            assert!(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL));
        }
        alice.call(&["delete", "--force", &id]).ok();
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
    assert_eq!(is_sealed(lab, &merged.0.join("renamed")), "/", "no mount of its own");
    Ok(())
}

/// The program is called by whatever name an engine has for it.
fn by_a_symlink(lab: &Lab) -> Outcome {
    lab.not_runc("makes its own choice")?;
    let at = copy(lab, &lab.dir.join("bin"));
    let link = lab.dir.join("runc");
    std::os::unix::fs::symlink(&at, &link).unwrap();
    assert_eq!(is_sealed(lab, &link), "/");
    Ok(())
}

/// The descriptor of the mount then has the number of a stream.
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
