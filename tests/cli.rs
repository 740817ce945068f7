//! The command line itself: global flags, help, versions, and Go's way to spell flags.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Lab, Outcome, Output, Value, json, tests};

tests![
    version_is_what_engines_read,
    called_as_runc_it_says_runc,
    help_is_printed_and_succeeds,
    no_command_prints_help,
    flags_in_every_spelling,
    every_command_knows_its_flags,
    flags_after_the_command_are_not_global,
    log_is_appended,
    log_in_text,
    debug_writes_more,
    warnings_go_to_stderr_without_a_log,
    a_log_that_cannot_be_opened,
    one_error_line_a_failed_call,
    rootless_values,
    criu_is_accepted_with_a_warning,
    root_from_the_environment_without_privileges,
    commands_of_a_later_version_are_refused,
];

fn version_is_what_engines_read(lab: &Lab) -> Outcome {
    for flag in ["--version", "-v"] {
        let output = lab.bare(&lab.tare, &[flag]);
        let lines: Vec<&str> = output.ok().lines().collect();
        assert!(lines[0].starts_with(&format!("{} version ", lab.tare.name())), "{lines:?}");
        for start in ["commit: ", "spec: 1."] {
            assert!(lines.iter().any(|l| l.starts_with(start)), "a line starts with {start:?}: {lines:?}");
        }
    }
    // There is no such command, as with runc.
    lab.call(&["version"]).fails(3, "No help topic for 'version'");
    Ok(())
}

/// containerd's library reads the version only from a first line that begins with `runc version `.
fn called_as_runc_it_says_runc(lab: &Lab) -> Outcome {
    let link = lab.dir.join("runc");
    symlink(&lab.tare.program, &link).unwrap();
    let runc = crate::harness::Runtime { program: link, kind: lab.tare.kind };
    assert!(lab.bare(&runc, &["--version"]).ok().starts_with("runc version "));
    let c = lab.container(&["true"]);
    let run = lab.finish(&runc, |call| {
        call.arg("run").arg("-b").arg(&c.bundle).arg("a/b");
    });
    assert_eq!(run.err, "runc run failed: invalid container ID format\n");
    let run = lab.finish(&runc, |call| {
        call.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    });
    run.ok();
    Ok(())
}

const COMMANDS: [&str; 10] =
    ["create", "delete", "features", "kill", "list", "ps", "run", "spec", "start", "state"];

fn help_is_printed_and_succeeds(lab: &Lab) -> Outcome {
    let known = |name: &&str| *name != "features" || !lab.tare.is_runc_before(1, 2);
    for call in [&["--help"][..], &["-h"], &["help"], &["h"]] {
        let output = lab.bare(&lab.tare, call);
        for command in COMMANDS.iter().filter(|c| known(c)) {
            assert!(output.ok().contains(command), "{call:?} names {command}");
        }
        assert_eq!(output.err, "", "{call:?}");
    }
    for command in COMMANDS.iter().filter(|c| known(c)) {
        for call in [[command, "--help"], [command, "-h"], ["help", command]] {
            let output = lab.bare(&lab.tare, &call);
            assert!(output.ok().contains(command) && output.err.is_empty(), "{call:?}: {output:?}");
        }
    }
    Ok(())
}

fn no_command_prints_help(lab: &Lab) -> Outcome {
    assert!(lab.bare(&lab.tare, &[]).ok().contains("create"));
    Ok(())
}

/// One dash or two, `=` or a space, before the id or behind it.
fn flags_in_every_spelling(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    let bundle = c.bundle.to_str().unwrap();
    let id = c.id.as_str();
    let with = |flag: &str| format!("{flag}={bundle}");
    for call in [
        &["create", "--bundle", bundle, id][..],
        &["create", &with("--bundle"), id],
        &["create", "-bundle", bundle, id],
        &["create", &with("-bundle"), id],
        &["create", "-b", bundle, id],
        &["create", &with("-b"), id],
        &["create", id, "--bundle", bundle],
        &["create", "--no-new-keyring=true", "--no-pivot=false", "-b", bundle, id],
        &["create", "--preserve-fds=0", "--bundle", bundle, "--", id],
    ] {
        let create = lab.call(call);
        assert_eq!(create.code, 0, "{call:?}: {}", create.err);
        lab.call(&["delete", "-force", id]).ok();
    }
    assert_eq!(lab.call(&["list", "-format", "json"]).ok().trim_end(), "null");
    Ok(())
}

/// Every flag of the contract is known: an unknown one would be a usage error before anything else.
fn every_command_knows_its_flags(lab: &Lab) -> Outcome {
    let common = [
        "--bundle=x",
        "--console-socket=x",
        "--pidfd-socket=x",
        "--pid-file=x",
        "--no-pivot",
        "--no-new-keyring",
        "--preserve-fds=1",
    ];
    let run = ["--detach", "-d", "--keep", "--no-subreaper"];
    let table: [(&str, &[&str]); 7] = [
        ("create", &common),
        ("run", &common),
        ("run", &run),
        ("kill", &["--all", "-a"]),
        ("delete", &["--force", "-f"]),
        ("list", &["--format=json", "-f=json", "--quiet", "-q"]),
        ("ps", &["--format=json", "-f=json"]),
    ];
    for (command, flags) in table {
        for flag in flags {
            if lab.tare.is_runc_before(1, 2) && (flag.contains("pidfd") || flag.contains("keep")) {
                continue;
            }
            let output = lab.call(&[command, flag, "no/such"]);
            assert!(
                !output.err.contains("flag provided but not defined"),
                "{command} {flag}: {}",
                output.err
            );
        }
    }
    Ok(())
}

fn flags_after_the_command_are_not_global(lab: &Lab) -> Outcome {
    let output = lab.bare(&lab.tare, &["state", "--systemd-cgroup=bogus", "x"]);
    assert_eq!(output.code, 1);
    Ok(())
}

fn log_is_appended(lab: &Lab) -> Outcome {
    let log =
        lab.file("own.log", "{\"level\":\"info\",\"msg\":\"mine\",\"time\":\"2026-01-01T00:00:00Z\"}\n");
    for _ in 0..2 {
        lab.call(&["--log", &log, "state", "nope"]);
    }
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|l| &l["msg"]).collect::<Vec<_>>(),
        [&json!("mine"), &json!("container does not exist"), &json!("container does not exist")]
    );
    let time = lines[1]["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
    Ok(())
}

fn log_in_text(lab: &Lab) -> Outcome {
    let log = lab.dir.join("text.log");
    lab.call(&["--log-format", "text", "--log", log.to_str().unwrap(), "kill", "nope", "BO\"GUS"]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("time=\"20") && text.contains(" level=error msg="), "{text}");
    Ok(())
}

fn debug_writes_more(lab: &Lab) -> Outcome {
    let c = lab.container(&["true"]);
    let run = lab.call(&["--debug", "run", "-b", c.bundle.to_str().unwrap(), &c.id]);
    run.ok();
    assert!(!run.messages("debug").is_empty());
    assert!(run.errors().is_empty());
    Ok(())
}

fn warnings_go_to_stderr_without_a_log(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    c.edit(|v| {
        crate::harness::bundle::push(&mut v["process"]["capabilities"]["bounding"], json!("CAP_BOGUS"))
    });
    let root = lab.root();
    let output = lab
        .bare(&lab.tare, &["--root", root.to_str().unwrap(), "run", "-b", c.bundle.to_str().unwrap(), &c.id]);
    output.ok();
    assert!(
        output
            .err
            .contains("level=warning msg=\"ignoring unknown or unavailable capabilities: [CAP_BOGUS]\""),
        "{}",
        output.err
    );
    Ok(())
}

fn a_log_that_cannot_be_opened(lab: &Lab) -> Outcome {
    let output = lab.bare(&lab.tare, &["--log", "/does/not/exist/log", "list"]);
    assert_eq!(output.code, 1);
    assert!(output.err.contains("/does/not/exist/log: no such file or directory"), "{}", output.err);
    Ok(())
}

/// Podman reads the whole log as one object, containerd the last line: there is exactly one.
fn one_error_line_a_failed_call(lab: &Lab) -> Outcome {
    lab.not_runc("writes warnings beside the error")?;
    let failing: [&dyn Fn(&mut Value); 6] = [
        &|v| v["process"]["args"] = json!(["/nope"]),
        &|v| v["process"]["args"] = json!([]),
        &|v| v["hooks"]["prestart"] = json!([{"path": "/bin/false"}]),
        &|v| v["hooks"]["createContainer"] = json!([{"path": "/bin/false"}]),
        &|v| {
            v["hooks"] =
                json!({"createRuntime": [{"path": "/bin/false"}], "poststop": [{"path": "/bin/false"}]})
        },
        &|v| {
            crate::harness::bundle::push(&mut v["process"]["capabilities"]["bounding"], json!("CAP_BOGUS"));
            v["mounts"][0]["type"] = json!("bogusfs");
        },
    ];
    for (number, edit) in failing.iter().enumerate() {
        let mut c = lab.container(&["true"]);
        c.edit(edit);
        let create: Output = c.create(&[]);
        assert_eq!((create.code, create.log.len()), (1, 1), "{number}: {:?}", create.log);
        assert_eq!(create.log[0]["level"], "error");
    }
    Ok(())
}

fn rootless_values(lab: &Lab) -> Outcome {
    for value in ["true", "false", "auto"] {
        lab.call(&["--rootless", value, "list"]).ok();
        lab.call(&[&format!("--rootless={value}"), "list"]).ok();
    }
    assert_eq!(lab.call(&["--rootless", "bogus", "list"]).code == 0, lab.tare.name() == "runc");
    Ok(())
}

/// runc removed the flag; older engines still give it.
fn criu_is_accepted_with_a_warning(lab: &Lab) -> Outcome {
    lab.not_runc("has removed the flag")?;
    let list = lab.call(&["--criu", "/usr/sbin/criu", "list"]);
    list.ok();
    assert_eq!(list.messages("warning").len(), 1);
    Ok(())
}

fn root_from_the_environment_without_privileges(lab: &Lab) -> Outcome {
    let setpriv = crate::harness::settings::program("setpriv")?;
    let runtime = lab.dir.join("xdg");
    fs::create_dir(&runtime).unwrap();
    rustix::fs::chown(&runtime, Some(rustix::fs::Uid::from_raw(1000)), Some(rustix::fs::Gid::from_raw(1000)))
        .unwrap();
    // The directory of the lab is root's own; a copy of the binary where the user may enter.
    let mut command = lab.clean(std::process::Command::new(setpriv));
    command.args(["--reuid=1000", "--regid=1000", "--clear-groups"]).arg(&lab.tare.program).arg("list");
    command.env("XDG_RUNTIME_DIR", &runtime).current_dir("/");
    lab.collect(&lab.tare, command, std::path::Path::new("/nonexistent")).ok();
    let created = runtime.join(lab.tare.name());
    if created.exists() {
        use std::os::unix::fs::PermissionsExt;
        let mode = created.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o1777, 0o1700, "private, and sticky against clean-up");
    }
    Ok(())
}

/// What is not there yet says so; it is never taken for something else.
fn commands_of_a_later_version_are_refused(lab: &Lab) -> Outcome {
    lab.not_runc("has them all")?;
    let c = lab.container(&["sleep", "100"]);
    c.up();
    for (call, code) in [(&["checkpoint"][..], 1), (&["restore"], 1)] {
        let mut words: Vec<&str> = call.iter().map(|w| if *w == "ID" { c.id.as_str() } else { w }).collect();
        if !call.contains(&"ID") {
            words.push(&c.id);
        }
        let output = lab.call(&words);
        assert_eq!((output.code, output.errors().len()), (code, 1), "{call:?}: {}", output.err);
        assert!(output.err.contains("not supported"), "{call:?}: {}", output.err);
    }
    assert_eq!(c.status(), "running");
    Ok(())
}
