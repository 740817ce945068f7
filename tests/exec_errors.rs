//! Programs that the kernel does not execute: what is told, by `run`, `create` and `start`, and `exec`, and where.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use crate::exec::{exec, up};
use crate::harness::bundle::mount;
use crate::harness::runtime::read_log;
use crate::harness::{Container, Lab, Outcome, Runtime, Value, eventually, json, tests};
use crate::process::write_executable;

tests![
    reasons_of_late_failures,
    reasons_of_early_failures,
    words_and_codes_are_those_of_runc,
    too_much_to_hand_over,
    too_many_processes,
    what_cannot_be_read_is_not_explained,
    hostile_files_are_not_believed,
    late_failures_are_in_the_log_of_create,
    late_failures_are_in_the_log_of_exec,
    late_failures_without_a_log,
];

/// What is executed, what the kernel says of it in runc's words, and what is added.
const LATE: &[(&str, &str, &str)] = &[
    ("/t/nowhere", "no such file or directory", "its interpreter /nope is not in the container"),
    (
        "/t/script-of-script",
        "no such file or directory",
        "the interpreter /nope of /t/nowhere is not in the container",
    ),
    (
        "/t/windows",
        "no such file or directory",
        "its interpreter \"/bin/sh\\r\" is not in the container: the line that names it ends with CR LF",
    ),
    (
        "/t/to-dangling",
        "no such file or directory",
        "its interpreter /t/dangling is a symlink that leads nowhere",
    ),
    ("/t/to-file-below-file", "not a directory", "its interpreter /etc/passwd/x is not in the container"),
    ("/t/to-data", "permission denied", "its interpreter /etc/passwd is not executable, its mode is 0644"),
    ("/t/to-directory", "permission denied", "its interpreter /bin is a directory"),
    ("/t/to-device", "permission denied", "its interpreter /dev/null is not a regular file"),
    ("/t/to-noexec", "permission denied", "its interpreter /noexec/sh is on a mount with the option noexec"),
    (
        "/t/itself",
        "too many levels of symbolic links",
        "its interpreter is a script, whose interpreter is a script, and so on for too long",
    ),
    ("/t/empty", "exec format error", "it is empty"),
    ("/t/text", "exec format error", "it is neither an ELF program nor a script that begins with #!"),
    ("/t/nothing-named", "exec format error", "it names no interpreter after #!"),
    ("/t/long", "exec format error", "it has too long a line after #!"),
    (
        "/t/to-text",
        "exec format error",
        "its interpreter /t/text is neither an ELF program nor a script that begins with #!",
    ),
    ("/t/no-loader", "no such file or directory", "its interpreter /lib/ld.so.0 is not in the container"),
    (
        "/t/script-without-loader",
        "no such file or directory",
        "the interpreter /lib/ld.so.0 of /t/no-loader is not in the container",
    ),
    (
        "/t/text-as-loader",
        "accessing a corrupted shared library",
        "its interpreter /t/long is not an ELF file",
    ),
    (
        "/t/machine",
        "exec format error",
        "it is for machine 9999 (64 bits, little-endian), and this host is HOST",
    ),
    (
        "/t/loader-of-machine",
        "accessing a corrupted shared library",
        "its interpreter /t/machine is for machine 9999 (64 bits, little-endian), and this host is HOST",
    ),
    ("/t/object", "exec format error", "it is an object file and not a program"),
    ("/t/cut-off", "exec format error", "it is cut off: its ELF headers are not all there"),
    ("/t/busy", "text file busy", "it, or its interpreter, is open for writing"),
];

/// An ELF program of this machine that names a loader.
fn with_loader(busybox: &[u8], loader: &str) -> Vec<u8> {
    let mut file = busybox[..64].to_vec();
    file.resize(120, 0);
    // One program header, behind this one.
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[56..58].copy_from_slice(&1_u16.to_le_bytes());
    // PT_INTERP, with the path behind itself.
    file[64] = 3;
    file[72..80].copy_from_slice(&120_u64.to_le_bytes());
    file[96..104].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
    [&file, loader.as_bytes(), &[0]].concat()
}

fn executable(c: &Container, name: &str, content: impl AsRef<[u8]>) {
    let path = c.rootfs(name.trim_start_matches('/'));
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Makes all files of [`LATE`]. What is returned keeps the busy one busy.
fn make_programs(c: &mut Container) -> File {
    let busybox = fs::read(&c.lab.settings.busybox).unwrap();
    fs::create_dir(c.rootfs("t")).unwrap();
    for (name, interpreter) in [
        ("nowhere", "/nope\n"),
        ("script-of-script", "/t/nowhere\n"),
        ("windows", "/bin/sh\r\nexit 0\r\n"),
        ("to-dangling", "/t/dangling\n"),
        ("to-file-below-file", "/etc/passwd/x\n"),
        ("to-data", "/etc/passwd\n"),
        ("to-directory", "/bin\n"),
        ("to-device", "/dev/null\n"),
        ("to-noexec", "/noexec/sh\n"),
        ("itself", " /t/itself\n"),
        ("nothing-named", " \n"),
        ("long", &"x".repeat(300)),
        ("to-text", "/t/text\n"),
        ("script-without-loader", "/t/no-loader\n"),
    ] {
        executable(c, &format!("t/{name}"), format!("#!{interpreter}"));
    }
    symlink("/usr/nowhere", c.rootfs("t/dangling")).unwrap();
    executable(c, "t/empty", "");
    executable(c, "t/text", "echo hello\n");
    executable(c, "t/no-loader", with_loader(&busybox, "/lib/ld.so.0"));
    executable(c, "t/text-as-loader", with_loader(&busybox, "/t/long"));
    executable(c, "t/loader-of-machine", with_loader(&busybox, "/t/machine"));
    let patched = |at: usize, value: u16| {
        let mut file = busybox.clone();
        file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        file
    };
    executable(c, "t/machine", patched(18, 9999));
    executable(c, "t/object", patched(16, 1));
    executable(c, "t/cut-off", &busybox[..100]);
    executable(c, "t/busy", &busybox);
    let noexec = c.lab.dir.join("noexec");
    fs::create_dir_all(&noexec).unwrap();
    for name in ["sh", "app"] {
        write_executable(&noexec.join(name), "#!/bin/sh\n");
    }
    c.edit(|v| mount(v, "/noexec", "bind", noexec.to_str().unwrap(), &["bind", "noexec"]));
    File::options().append(true).open(c.rootfs("t/busy")).unwrap()
}

/// The whole line: with the reason, unless the runtime under test is runc.
fn line(runtime: &Runtime, program: &str, words: &str, reason: &str) -> String {
    let reason = reason.replace("HOST", std::env::consts::ARCH);
    match runtime.name() {
        "runc" => format!("exec {program}: {words}"),
        _ => format!("exec {program}: {words}: {reason}"),
    }
}

fn reasons_of_late_failures(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    let _busy = make_programs(&mut c);
    let mut sleeper = lab.container(&["sleep", "1000"]);
    let _busy_there = make_programs(&mut sleeper);
    sleeper.up();
    for (program, words, reason) in LATE {
        let text = line(&c.runtime, program, words, reason);
        c.edit(|v| v["process"]["args"] = json!([program, "argument"]));
        for output in [c.run(&[]), exec(&sleeper, &[], &[program, "argument"])] {
            assert_eq!((output.code, output.err.as_str()), (255, format!("{text}\n").as_str()));
            let logged: &[&str] = if lab.tare.name() == "runc" { &[] } else { &[&text] };
            assert_eq!(output.errors(), logged);
        }
    }
    Ok(())
}

/// What is known before the program is to begin is the error of the call.
fn reasons_of_early_failures(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let mut c = lab.container(&["sleep", "1000"]);
    let _busy = make_programs(&mut c);
    executable(&c, "t/private", "#!/bin/sh\n");
    fs::set_permissions(c.rootfs("t/private"), fs::Permissions::from_mode(0o700)).unwrap();
    c.edit(|v| {
        v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        v["process"]["env"] = json!(["PATH=/etc:/t"]);
        v["process"]["args"] = json!(["/bin/sleep", "1000"]);
    });
    c.up();
    let mut second = lab.container(&["true"]);
    let rootfs = c.rootfs("");
    let config = c.config.clone();
    second.edit(|v| {
        let cgroup = v["linux"]["cgroupsPath"].clone();
        *v = config;
        v["linux"]["cgroupsPath"] = cgroup;
        v["root"]["path"] = json!(rootfs);
    });
    for (program, words, reason) in [
        ("/etc/passwd", "permission denied", ": it is not executable, its mode is 0644"),
        ("/noexec/app", "permission denied", ": it is on a mount with the option noexec"),
        (
            "/t/private",
            "permission denied",
            ": it is not executable for user 1000, it is 0:0's with mode 0700",
        ),
        ("passwd", "executable file not found in $PATH", ": /etc/passwd is not executable, its mode is 0644"),
        (
            "private",
            "executable file not found in $PATH",
            ": /t/private is not executable for user 1000, it is 0:0's with mode 0700",
        ),
        ("nope", "executable file not found in $PATH", ""),
        ("/nope", "stat /nope: no such file or directory", ""),
        ("/t", "is a directory", ""),
    ] {
        let reason = if lab.tare.name() == "runc" { "" } else { reason };
        let text = format!("exec: \"{program}\": {words}{reason}");
        let start = "unable to start container process";
        exec(&c, &[], &[program]).fails(255, &format!("exec failed: {start}: {text}"));
        exec(&c, &["--detach"], &[program]).fails(255, &format!("exec failed: {start}: {text}"));
        second.edit(|v| v["process"]["args"] = json!([program]));
        let init = format!("{start}: error during container init: {text}");
        second.run(&[]).fails(1, &format!("RT run failed: {init}"));
        second.create(&[]).fails(1, &format!("RT create failed: {init}"));
    }
    Ok(())
}

/// What we say begins with what runc says, and the exit codes are the same.
fn words_and_codes_are_those_of_runc(lab: &Lab) -> Outcome {
    lab.not_runc("is the other side")?;
    let runc = lab.runc()?;
    if runc.is_runc_before(1, 2) {
        return Err(crate::harness::Skip("RUNC is before 1.2".into()));
    }
    let [mut ours, mut theirs] = [&lab.tare, &runc].map(|runtime| lab.container_of(runtime, &["true"]));
    let _busy = [&mut ours, &mut theirs].map(make_programs);
    let early = ["/etc/passwd", "/noexec/app", "nope", "/t", "/nope", "/etc/passwd/x"];
    for program in LATE.iter().map(|(program, ..)| *program).chain(early) {
        let [we, they] =
            [&mut ours, &mut theirs].map(|c| c.edit(|v| v["process"]["args"] = json!([program])).run(&[]));
        let words = they.err.trim_end().replacen("runc run failed", "tare run failed", 1);
        assert!(we.err.starts_with(&words) && !words.is_empty(), "{program}: {:?}, {:?}", we.err, they.err);
        assert_eq!(we.code, they.code, "{program}");
    }
    let [ours, theirs] = [&lab.tare, &runc].map(|runtime| {
        let mut c = lab.container_of(runtime, &["sleep", "1000"]);
        let busy = make_programs(&mut c);
        c.up();
        (c, busy)
    });
    for program in LATE.iter().map(|(program, ..)| *program).chain(early) {
        let [we, they] = [&ours, &theirs].map(|(c, _)| exec(c, &[], &[program]));
        assert!(we.err.starts_with(they.err.trim_end()), "exec {program}: {:?}, {:?}", we.err, they.err);
        assert_eq!(we.code, they.code, "exec {program}");
    }
    theirs.0.delete(&["--force"]).ok();
    Ok(())
}

fn too_much_to_hand_over(lab: &Lab) -> Outcome {
    let words = "exec /bin/true: argument list too long";
    let one = json!(["/bin/true", "x".repeat(200_000)]);
    let many: Vec<_> =
        std::iter::once("/bin/true".to_owned()).chain((0..40).map(|_| "x".repeat(100_000))).collect();
    let c = up(lab, |_| ());
    for (args, variable, reason) in [
        (one, "A=1".to_owned(), ", argument 1 alone 200001\n"),
        (json!(many), "A=1".to_owned(), ", argument 40 alone 100001\n"),
        (json!(["/bin/true"]), format!("LONG={}", "x".repeat(200_000)), ", variable LONG alone 200006\n"),
    ] {
        let edit = |process: &mut Value| {
            process["args"] = args.clone();
            crate::harness::bundle::push(&mut process["env"], json!(variable));
        };
        let mut process = c.config["process"].clone();
        edit(&mut process);
        let file = lab.file("process.json", &process.to_string());
        let of_exec = lab.call(&["exec", "--process", &file, &c.id]);
        for output in [lab.run(&["true"], |v| edit(&mut v["process"])), of_exec] {
            assert_eq!(output.code, 255, "{}", output.err);
            assert!(output.err.starts_with(words), "{}", output.err);
            let explained =
                output.err.contains(": arguments and environment have ") && output.err.ends_with(reason);
            assert!(explained || lab.tare.name() == "runc", "{}", output.err);
        }
    }
    Ok(())
}

fn too_many_processes(lab: &Lab) -> Outcome {
    let c = up(lab, |v| v["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let mut process = c.config["process"].clone();
    process["args"] = json!(["true"]);
    process["rlimits"] = json!([{"type": "RLIMIT_NPROC", "hard": 0, "soft": 0}]);
    let file = lab.file("process.json", &process.to_string());
    let output = lab.call(&["exec", "--process", &file, &c.id]);
    let reason = "its user has as many processes as RLIMIT_NPROC allows";
    let text = line(&lab.tare, "/bin/true", "resource temporarily unavailable", reason);
    assert_eq!((output.code, output.err.trim_end()), (255, text.as_str()));
    Ok(())
}

/// Where a file may not be read, or none can be opened any more, the kernel's word has to do.
fn what_cannot_be_read_is_not_explained(lab: &Lab) -> Outcome {
    lab.not_runc("explains nothing")?;
    let mut c = lab.container(&["/t/no-loader"]);
    let _busy = make_programs(&mut c);
    let words = "exec /t/no-loader: no such file or directory\n";
    c.edit(|v| v["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 3, "soft": 3}]));
    assert_eq!(c.run(&[]).err, words);
    fs::set_permissions(c.rootfs("t/no-loader"), fs::Permissions::from_mode(0o711)).unwrap();
    c.edit(|v| {
        v["process"]["rlimits"] = json!([]);
        v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert_eq!(c.run(&[]).err, words);
    Ok(())
}

/// Nothing in a file of the image makes the runtime wait, or write more than a line, or read what is not
/// the container's.
fn hostile_files_are_not_believed(lab: &Lab) -> Outcome {
    lab.not_runc("explains nothing")?;
    let mut c = lab.container(&["true"]);
    let _busy = make_programs(&mut c);
    let busybox = fs::read(&lab.settings.busybox).unwrap();
    let fifo = c.rootfs("t/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o777.into(), 0).unwrap();
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o777)).unwrap();
    executable(&c, "t/to-fifo", "#!/t/fifo\n");
    executable(&c, "t/escapes", "#!/\x1b[2J\x07\u{202e}\n");
    executable(&c, "t/long-loader", with_loader(&busybox, &format!("/{}", "x/".repeat(2000))));
    // Its program headers are said to be where no file has anything.
    let mut far = with_loader(&busybox, "/x");
    far[32..40].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    executable(&c, "t/far", far);
    for (program, reason) in [
        ("/t/to-fifo", "its interpreter /t/fifo is not a regular file"),
        ("/t/escapes", "its interpreter \"/\\u{1b}[2J\\u{7}\\u{202e}\" is not in the container"),
        ("/t/long-loader", "/x… is not in the container"),
        ("/t/far", "it is cut off: its ELF headers are not all there"),
    ] {
        let run = c.edit(|v| v["process"]["args"] = json!([program])).run(&[]);
        assert_eq!((run.code, run.err.lines().count()), (255, 1), "{}", run.err);
        assert!(run.err.contains(reason), "{}", run.err);
    }
    Ok(())
}

/// The line is in the log that was given to `create`, in its format, and on the container's stderr.
fn late_failures_are_in_the_log_of_create(lab: &Lab) -> Outcome {
    lab.not_runc("logs no late failure")?;
    for format in ["json", "text"] {
        let mut c = lab.container(&["/t/nowhere"]);
        let _busy = make_programs(&mut c);
        let (log, err) = (lab.next_file("log"), lab.next_file("err"));
        let mut create = lab.clean(std::process::Command::new(&lab.tare.program));
        create.arg("--root").arg(lab.root()).arg("--log").arg(&log).args(["--log-format", format]);
        create.args(["create", "--bundle"]).arg(&c.bundle).arg(&c.id);
        create.stdout(Stdio::null()).stderr(File::create(&err).unwrap());
        assert!(create.status().unwrap().success());
        assert_eq!(fs::read_to_string(&log).unwrap(), "", "before start");
        let start = c.call("start", &[]);
        start.ok();
        c.wait_for("stopped");
        let (_, words, reason) = LATE[0];
        let text = line(&lab.tare, "/t/nowhere", words, reason);
        assert_eq!(start.errors(), [""; 0], "it is not the error of start");
        assert_eq!(fs::read_to_string(&err).unwrap(), format!("{text}\n"));
        let logged = fs::read_to_string(&log).unwrap();
        assert_eq!(logged.lines().count(), 1, "{logged}");
        if format == "json" {
            assert_eq!(read_log(&log)[0]["msg"], text.as_str());
        } else {
            assert!(logged.ends_with(&format!("level=error msg=\"{text}\"\n")), "{logged}");
        }
    }
    Ok(())
}

fn late_failures_are_in_the_log_of_exec(lab: &Lab) -> Outcome {
    lab.not_runc("logs no late failure")?;
    let mut c = lab.container(&["sleep", "1000"]);
    let _busy = make_programs(&mut c);
    c.up();
    let (_, words, reason) = LATE[0];
    let text = line(&lab.tare, "/t/nowhere", words, reason);
    let log = lab.next_file("log");
    let mut call = lab.command(&lab.tare, &log);
    call.args(["exec", "--detach", &c.id, "/t/nowhere"]);
    lab.collect(&lab.tare, call, &log).ok();
    // Detached, the call may be over before the program has failed.
    let logged = eventually("the log line", || Some(read_log(&log)).filter(|lines| !lines.is_empty()));
    assert_eq!((logged.len(), logged[0]["msg"].as_str()), (1, Some(text.as_str())));
    Ok(())
}

/// As in runc the line is bare then, though other errors have the log's shape.
fn late_failures_without_a_log(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["/t/nowhere"]);
    let _busy = make_programs(&mut c);
    let root = lab.root();
    let (_, words, reason) = LATE[0];
    for format in ["text", "json"] {
        let args = ["--root", root.to_str().unwrap(), "--log-format", format, "run", "-b"];
        let run = lab.bare(&lab.tare, &[&args[..], &[c.bundle.to_str().unwrap(), &c.id]].concat());
        let text = line(&lab.tare, "/t/nowhere", words, reason);
        assert_eq!((run.code, run.err), (255, format!("{text}\n")), "{format}");
    }
    Ok(())
}
