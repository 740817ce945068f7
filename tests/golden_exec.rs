//! What runc says to calls of `exec`, measured on runc 1.5, as tables; and what we say otherwise.

use std::fs;

use crate::golden::{Row, Words};
use crate::harness::{Lab, Outcome, Runtime, json};

use Words::{Field, Has, Ours, Same};

const FAILED: &str = "exec failed: ";
const START: &str = "exec failed: unable to start container process: ";

/// The arguments, with `<id>` for the container; exit code; runc's text after the prefix; our words.
type Step = (&'static [&'static str], i32, &'static str, &'static str, Words);

/// What is the program's fault.
fn programs() -> Vec<Step> {
    vec![
        (&["<id>", "true"], 0, "", "", Same),
        (&["--", "<id>", "true"], 0, "", "", Same),
        (&["--tty=false", "--detach=false", "<id>", "sh", "-c", "exit 3"], 3, "", "", Same),
        (&["<id>", "bin/true"], 0, "", "", Same),
        (&["<id>"], 255, FAILED, "exec args cannot be empty", Same),
        (&["<id>", ""], 255, START, "exec: \"\": executable file not found in $PATH", Same),
        (&["<id>", "nope"], 255, START, "exec: \"nope\": executable file not found in $PATH", Same),
        (&["-d", "<id>", "nope"], 255, START, "exec: \"nope\": executable file not found in $PATH", Same),
        (&["<id>", "./x"], 255, START, "exec: \"./x\": stat ./x: no such file or directory", Same),
        (&["<id>", "/nope"], 255, START, "exec: \"/nope\": stat /nope: no such file or directory", Same),
        (&["<id>", "/etc"], 255, START, "exec: \"/etc\": is a directory", Same),
        (
            &["<id>", "/etc/passwd"],
            255,
            START,
            "exec: \"/etc/passwd\": permission denied",
            Has("exec: \"/etc/passwd\": permission denied"),
        ),
        (
            &["<id>", "/etc/passwd/x"],
            255,
            START,
            "exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory",
            Same,
        ),
        (
            &["-u", "1000", "<id>", "/secret/x"],
            255,
            START,
            "exec: \"/secret/x\": stat /secret/x: permission denied",
            Same,
        ),
    ]
}

/// Who and where.
fn persons() -> Vec<Step> {
    let unmapped = "unable to setup user: cannot setuid to unmapped uid 4294967295 in user namespace";
    vec![
        (&["-u", "", "<id>", "true"], 0, "", "", Same),
        (&["-u", "00", "<id>", "true"], 0, "", "", Same),
        (
            &["-u", "root", "<id>", "id"],
            255,
            FAILED,
            "bad uid: strconv.Atoi: parsing \"root\": invalid syntax",
            Has("bad uid: "),
        ),
        (
            &["-u", "0x1", "<id>", "id"],
            255,
            FAILED,
            "bad uid: strconv.Atoi: parsing \"0x1\": invalid syntax",
            Has("bad uid: "),
        ),
        (
            &["-u", ":1", "<id>", "id"],
            255,
            FAILED,
            "bad uid: strconv.Atoi: parsing \"\": invalid syntax",
            Has("bad uid: "),
        ),
        (
            &["-u", "1:", "<id>", "id"],
            255,
            FAILED,
            "bad gid: strconv.Atoi: parsing \"\": invalid syntax",
            Has("bad gid: "),
        ),
        (
            &["-u", "1:2:3", "<id>", "id"],
            255,
            FAILED,
            "bad gid: strconv.Atoi: parsing \"2:3\": invalid syntax",
            Has("bad gid: "),
        ),
        (&["-u", "-1", "<id>", "id"], 255, START, unmapped, Has("bad uid: ")),
        (&["-u", "4294967295", "<id>", "id"], 255, START, unmapped, Has("bad uid: ")),
        (&["-g", "-1", "<id>", "id"], 255, FAILED, "additional-gids must be a positive number -1", Same),
        (
            &["--cwd", "rel", "<id>", "true"],
            255,
            FAILED,
            "Cwd must be an absolute path",
            Field("process.cwd"),
        ),
        (&["--cwd", "", "<id>", "true"], 0, "", "", Same),
        (&["--cwd", "/tmp/../etc", "<id>", "true"], 0, "", "", Same),
        (
            &["--cwd", "/nope", "<id>", "true"],
            255,
            START,
            "chdir to cwd (\"/nope\") set in config.json failed: no such file or directory",
            Same,
        ),
        (
            &["--cwd", "/etc/passwd", "<id>", "true"],
            255,
            START,
            "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory",
            Same,
        ),
        (
            // It is entered with the runtime's rights.
            &["-u", "1000", "--cwd", "/secret", "<id>", "true"],
            0,
            "",
            "",
            Same,
        ),
        (&["--env", "A=", "--env", "B=x=y", "<id>", "true"], 0, "", "", Same),
        (
            &["-e", "A", "<id>", "true"],
            255,
            START,
            "invalid environment variable: missing '='",
            Ours("exec failed: invalid environment variable: missing '=' (process.env[3])"),
        ),
        (
            &["-e", "=x", "<id>", "true"],
            255,
            START,
            "invalid environment variable: name cannot be empty",
            Ours("exec failed: invalid environment variable: name cannot be empty (process.env[3])"),
        ),
    ]
}

/// Control groups, descriptors, terminals.
fn places() -> Vec<Step> {
    vec![
        (&["--cgroup", "/", "<id>", "true"], 0, "", "", Same),
        (&["--cgroup", "", "<id>", "true"], 0, "", "", Same),
        (
            &["--cgroup", ":x", "<id>", "true"],
            255,
            FAILED,
            "invalid --cgroup argument: :x (empty <controller> prefix)",
            Same,
        ),
        (
            &["--cgroup", "a", "--cgroup", "b", "<id>", "true"],
            255,
            FAILED,
            "invalid --cgroup argument: a (missing <controller>: prefix)",
            Same,
        ),
        (&["--preserve-fds", "0", "<id>", "true"], 0, "", "", Same),
        (&["-t", "<id>", "true"], 255, FAILED, "open /dev/tty: no such device or address", Same),
        (
            &["-t", "-d", "<id>", "true"],
            255,
            FAILED,
            "cannot allocate tty if RT will detach without setting console socket",
            Same,
        ),
        (
            &["--console-socket", "/s", "<id>", "true"],
            255,
            FAILED,
            "cannot use console socket if RT will not detach or allocate tty",
            Same,
        ),
        (
            &["-d", "--console-socket", "/s", "<id>", "true"],
            255,
            FAILED,
            "cannot use console socket if RT will not detach or allocate tty",
            Same,
        ),
        (
            &["-t", "--console-socket", "/s", "<id>", "true"],
            255,
            FAILED,
            "cannot use console socket if RT will not detach or allocate tty",
            Same,
        ),
        (
            &["-t", "-d", "--console-socket", "/nope", "<id>", "true"],
            255,
            FAILED,
            "dial unix /nope: connect: no such file or directory",
            Ours("exec failed: --console-socket: connect /nope: no such file or directory"),
        ),
        (
            &["--pidfd-socket", "/nope", "<id>", "true"],
            255,
            FAILED,
            "failed to dail /nope: dial unix /nope: connect: no such file or directory",
            Ours("exec failed: --pidfd-socket: connect /nope: no such file or directory"),
        ),
        (
            &["--pid-file", "/nope/x", "<id>", "true"],
            255,
            FAILED,
            "open /nope/.x: no such file or directory",
            Ours("exec failed: --pid-file: open /nope/.x: no such file or directory"),
        ),
        (&["-c", "CAP_BOGUS", "<id>", "true"], 0, "", "", Same),
        (&["-c", "CAP_KILL,CAP_CHOWN", "<id>", "true"], 0, "", "", Same),
        (&["--apparmor", "", "<id>", "true"], 0, "", "", Same),
    ]
}

/// Files for `--process`: name, content.
const FILES: [(&str, &str); 12] = [
    ("torn", "{"),
    ("type", r#"{"args":"true"}"#),
    ("bare", r#"{"args":["true"],"cwd":"/"}"#),
    ("good", r#"{"args":["/bin/true"],"cwd":"/","unknown":1}"#),
    ("relative", r#"{"args":["true"],"cwd":"rel"}"#),
    ("nowhere", r#"{"args":["true"],"cwd":""}"#),
    ("nothing", r#"{"args":[],"cwd":"/"}"#),
    ("env", r#"{"args":["/bin/true"],"cwd":"/","env":["X"]}"#),
    ("limit", r#"{"args":["/bin/true"],"cwd":"/","rlimits":[{"type":"RLIMIT_X","hard":1,"soft":1}]}"#),
    ("policy", r#"{"args":["/bin/true"],"cwd":"/","scheduler":{"policy":"SCHED_BOGUS"}}"#),
    ("caps", r#"{"args":["/bin/true"],"cwd":"/","capabilities":{"bounding":["CAP_X"]}}"#),
    ("tty", r#"{"args":["/bin/true"],"cwd":"/","terminal":true}"#),
];

fn files() -> Vec<Step> {
    vec![
        (&["-p", "good", "<id>"], 0, "", "", Same),
        (&["-p", "good", "<id>", "false"], 0, "", "", Same),
        (&["-p", "/nope", "<id>"], 255, FAILED, "open /nope: no such file or directory", Same),
        (&["-p", "/etc", "<id>"], 255, FAILED, "read /etc: is a directory", Same),
        (&["-p", "torn", "<id>"], 255, FAILED, "unexpected EOF", Has("unexpected EOF")),
        (
            &["-p", "type", "<id>"],
            255,
            FAILED,
            "json: cannot unmarshal string into Go struct field Process.args of type []string",
            Has("--process type: args: invalid type"),
        ),
        (&["-p", "bare", "<id>"], 255, START, "exec: \"true\": executable file not found in $PATH", Same),
        (&["-p", "relative", "<id>"], 255, FAILED, "Cwd must be an absolute path", Field("process.cwd")),
        (&["-p", "nowhere", "<id>"], 255, FAILED, "Cwd property must not be empty", Field("process.cwd")),
        (&["-p", "nothing", "<id>"], 255, FAILED, "args must not be empty", Field("process.args")),
        (
            &["-p", "env", "<id>"],
            255,
            START,
            "invalid environment variable: missing '='",
            Ours("exec failed: invalid environment variable: missing '=' (process.env[0])"),
        ),
        (
            &["-p", "limit", "<id>"],
            255,
            FAILED,
            "wrong rlimit value: RLIMIT_X",
            Field("process.rlimits[0].type"),
        ),
        (
            &["-p", "policy", "<id>"],
            255,
            START,
            "invalid scheduler policy: SCHED_BOGUS",
            Ours("exec failed: invalid scheduler policy: SCHED_BOGUS (process.scheduler.policy)"),
        ),
        (&["-p", "caps", "<id>"], 0, "", "", Same),
        (&["-p", "tty", "<id>"], 255, FAILED, "open /dev/tty: no such device or address", Same),
        (
            &["-d", "-p", "tty", "<id>"],
            255,
            FAILED,
            "cannot allocate tty if RT will detach without setting console socket",
            Same,
        ),
    ]
}

/// Everything but the state is right.
const STATES: [(&str, i32, &str); 3] = [
    ("absent", 255, "exec failed: container does not exist"),
    ("created", 0, ""),
    ("stopped", 255, "exec failed: cannot exec in a stopped container"),
];

fn row((call, code, prefix, text, words): Step) -> Row {
    let row = Row::new(call[0], Box::new(|_| ()), call, code, &format!("{prefix}{text}"), words);
    // Older ones have other words for nearly all of it.
    if code == 255 { row.newer() } else { row }
}

/// Puts every call to `runtime` and fails with all that differs.
pub fn compare(lab: &Lab, runtime: &Runtime) -> Outcome {
    let mut c = lab.container_of(runtime, &["sleep", "1000"]);
    c.edit(|v| v["process"]["capabilities"] = json!({}));
    fs::create_dir(c.rootfs("secret")).unwrap();
    crate::process::write_executable(&c.rootfs("secret/x"), "#!/bin/sh\n");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(c.rootfs("secret"), fs::Permissions::from_mode(0o700)).unwrap();
    for (name, content) in FILES {
        lab.file(name, content);
    }
    let exec = |call: &[&str]| {
        let words = call.iter().map(|word| if *word == "<id>" { c.id.as_str() } else { word });
        lab.finish(runtime, |command| {
            command.arg("exec").args(words);
        })
    };
    let mut faults = Vec::new();
    for (state, code, text) in STATES {
        match state {
            "created" => drop(c.create(&[])),
            "stopped" => drop(c.stop()),
            _ => {}
        }
        let row = Row::new(state, Box::new(|_| ()), &[], code, text, Same);
        faults.extend(row.check(&c, &exec(&["<id>", "true"])));
    }
    c.delete(&[]).ok();
    c.up();
    let steps = [programs(), persons(), places(), files()].into_iter().flatten();
    for row in steps.map(row).filter(|row| row.is_about(runtime)) {
        faults.extend(row.check(&c, &exec(row.call)).into_iter().map(|f| format!("{:?}: {f}", row.call)));
    }
    for code in [0, 1, 2, 126, 127, 128, 129, 254, 255] {
        let got = exec(&["<id>", "sh", "-c", &format!("exit {code}")]);
        faults.extend((got.code != code).then(|| format!("exit {code}: {got:?}")));
    }
    for signal in [1, 2, 6, 9, 10, 11, 13, 14, 15, 31, 34, 64] {
        let got = exec(&["<id>", "sh", "-c", &format!("kill -{signal} $$")]);
        faults.extend((got.code != 128 + signal).then(|| format!("signal {signal}: {got:?}")));
    }
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}
