//! hooks.*: when each runs, where, with what, and what its failure does.

use std::fs;

use crate::harness::bundle::mount;
use crate::harness::{Lab, Outcome, Value, json, tests};

tests![
    all_six_in_their_order,
    state_is_on_their_input,
    arguments_and_environment_are_exact,
    where_each_runs,
    failures,
    failure_shows_its_output,
    failure_shows_the_end_of_much_output,
    timeout,
    timeout_of_a_hook_that_does_not_read,
    left_behind_writer_is_not_waited_for,
    those_of_the_image_inherit_nothing,
    failed_hooks_leave_nothing,
    poststop_runs_although_another_fails,
];

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs a shell script. startContainer finds the shell of the container at the same path.
fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

/// The directory of the lab, which the container sees at the same place.
fn share(lab: &Lab, config: &mut Value) -> String {
    let dir = lab.dir.to_str().unwrap().to_owned();
    mount(config, &dir, "bind", &dir, &["bind"]);
    dir
}

fn all_six_in_their_order(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    c.edit(|v| {
        let dir = share(lab, v);
        for kind in KINDS {
            v["hooks"][kind] = json!([
                shell(&format!("echo {kind} 1 >> {dir}/order")),
                shell(&format!("echo {kind} 2 >> {dir}/order"))
            ]);
        }
        v["process"]["args"] = json!(["sh", "-c", format!("echo process >> {dir}/order; sleep 100")]);
    });
    let order = || fs::read_to_string(lab.dir.join("order")).unwrap_or_default();
    let twice = |kinds: &[&str]| kinds.iter().map(|k| format!("{k} 1\n{k} 2\n")).collect::<String>();
    c.create(&[]).ok();
    assert_eq!(order(), twice(&KINDS[..3]), "create");
    c.start();
    crate::harness::eventually("the process", || order().contains("process").then_some(()));
    let of = |kind: &str| {
        order().lines().filter(|l| l.starts_with(kind)).map(|l| format!("{l}\n")).collect::<String>()
    };
    let place = |line: &str| order().lines().position(|l| l == line).unwrap();
    assert!(place("startContainer 2") < place("process"), "{}", order());
    // With runc they run side by side.
    assert!(lab.tare.name() == "runc" || place("startContainer 2") < place("poststart 1"), "{}", order());
    for kind in KINDS {
        assert_eq!(of(kind), if kind == "poststop" { String::new() } else { twice(&[kind]) }, "start");
    }
    c.stop();
    assert_eq!(of("poststop"), "", "the end of the process");
    c.delete(&[]).ok();
    assert_eq!(of("poststop"), twice(&["poststop"]), "delete");
    Ok(())
}

fn state_is_on_their_input(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| {
        let dir = share(lab, v);
        for kind in KINDS {
            v["hooks"][kind] = json!([shell(&format!("cat > {dir}/{kind}"))]);
        }
        v["annotations"] = json!({"org.example": "x"});
    });
    c.up();
    let pid = c.pid();
    c.stop().delete(&[]).ok();
    for (kind, status, pid) in [
        ("prestart", "creating", pid),
        ("createRuntime", "creating", pid),
        ("createContainer", "creating", 1),
        ("startContainer", "created", 1),
        ("poststart", "running", pid),
        ("poststop", "stopped", 0),
    ] {
        let state: Value = serde_json::from_slice(&fs::read(lab.dir.join(kind)).unwrap()).unwrap();
        for (key, expected) in [
            ("id", json!(c.id)),
            ("status", json!(status)),
            ("bundle", json!(c.bundle)),
            ("annotations", json!({"org.example": "x"})),
        ] {
            assert_eq!(state[key], expected, "{key} for {kind}: {state}");
        }
        assert!(state["ociVersion"].is_string(), "{kind}: {state}");
        // The number depends on the PID namespace in which the hook looks.
        assert_eq!(state["pid"].as_u64().unwrap_or(0), pid, "pid for {kind}: {state}");
    }
    Ok(())
}

fn arguments_and_environment_are_exact(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    let out = lab.dir.join("out");
    let script =
        format!("echo \"$0 $*\" > {0}; /usr/bin/env >> {0} || /bin/busybox env >> {0}", out.display());
    c.edit(|v| {
        v["hooks"]["createRuntime"] =
            json!([{"path": "/bin/sh", "args": ["other-name", "-c", script, "zero", "a b", "", "c"], "env": ["ONE=1", "TWO=a b"]}]);
    });
    c.run(&[]).ok();
    let text = fs::read_to_string(&out).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|l| !["PWD=", "_=", "SHLVL=", "OLDPWD="].iter().any(|s| l.starts_with(s)))
        .collect();
    assert_eq!(lines, ["zero a b  c", "ONE=1", "TWO=a b"]);
    Ok(())
}

/// createContainer runs in the namespaces of the container but still on the host's files, startContainer on
/// the container's, and the others in the namespaces of the runtime.
fn where_each_runs(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| {
        let dir = share(lab, v);
        for kind in KINDS {
            v["hooks"][kind] =
                json!([shell(&format!("(readlink /proc/self/ns/mnt; readlink /proc/self/ns/uts; pwd; ls -d /home/user /usr 2>/dev/null) > {dir}/{kind}; true"))]);
        }
    });
    c.up();
    let inside = |file: &str| {
        fs::read_link(format!("/proc/{}/ns/{file}", c.pid())).unwrap().to_str().unwrap().to_owned()
    };
    let container = [inside("mnt"), inside("uts")];
    let host = ["mnt", "uts"]
        .map(|f| fs::read_link(format!("/proc/self/ns/{f}")).unwrap().to_str().unwrap().to_owned());
    c.stop().delete(&[]).ok();
    for kind in KINDS {
        let text = fs::read_to_string(lab.dir.join(kind)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let expected = if ["createContainer", "startContainer"].contains(&kind) { &container } else { &host };
        assert_eq!(&lines[..2], expected, "{kind}");
        let own_root = text.contains("/home/user") && !text.contains("/usr");
        assert_eq!(own_root, kind == "startContainer", "the root of {kind}: {text}");
    }
    Ok(())
}

fn failures(lab: &Lab) -> Outcome {
    let init = "RT run failed: unable to start container process: error during container init: ";
    for (kind, code, prefix) in [
        ("prestart", 1, init),
        ("createRuntime", 1, init),
        ("createContainer", 1, init),
        ("startContainer", 255, ""),
        ("poststart", 1, "RT run failed: "),
    ] {
        let run = lab.run(&["sh", "-c", "exit 7"], |v| v["hooks"][kind] = json!([shell("exit 3")]));
        let text =
            format!("{prefix}error running {kind} hook #0: exit status 3, stdout: , stderr: {}", path(lab));
        assert_eq!((run.code, run.err.trim_end()), (code, run.runtime.words(&text).trim_end()), "{kind}");
        let missing = lab.run(&["sh", "-c", "exit 7"], |v| v["hooks"][kind] = json!([{"path": "/nohook"}]));
        missing.fails_with(&format!(
            "{prefix}error running {kind} hook #0: fork/exec /nohook: no such file or directory"
        ));
        assert_eq!(missing.code, code, "{kind}");
    }
    // The end of the container counts, not the last hook: a warning only.
    let run = lab.run(&["sh", "-c", "exit 7"], |v| v["hooks"]["poststop"] = json!([shell("exit 3")]));
    assert_eq!((run.code, run.err.as_str()), (7, ""));
    let text =
        "unable to destroy container: error running poststop hook #0: exit status 3, stdout: , stderr: ";
    assert_eq!(run.messages("warning"), [format!("{text}{}", path(lab))]);
    // The second hook has number 1, and stops the third.
    let file = lab.dir.join("third");
    let third = format!("touch {}", file.display());
    let run = lab.run(&["true"], |v| {
        v["hooks"]["createRuntime"] = json!([shell("true"), shell("false"), shell(&third)])
    });
    run.fails_with("error running createRuntime hook #1: exit status 1");
    assert!(!file.exists());
    Ok(())
}

/// What an error says of the hook behind runc's words; tare does not show the newline that ends its output.
fn path(lab: &Lab) -> &'static str {
    if lab.tare.name() == "runc" { "" } else { ", path: /bin/sh" }
}

fn failure_shows_its_output(lab: &Lab) -> Outcome {
    let newline = if lab.tare.name() == "runc" { "\n" } else { "" };
    let run = lab
        .run(&["true"], |v| v["hooks"]["createRuntime"] = json!([shell("echo said; echo oops >&2; exit 3")]));
    run.fails_with(&format!(
        "error running createRuntime hook #0: exit status 3, stdout: said{newline}, stderr: oops{newline}{}",
        path(lab)
    ));
    let run = lab.run(&["true"], |v| v["hooks"]["createRuntime"] = json!([shell("kill -9 $$")]));
    run.fails_with(&format!(
        "error running createRuntime hook #0: signal: killed, stdout: , stderr: {}",
        path(lab)
    ));
    Ok(())
}

/// Whatever a hook has written, the error is one line of bounded length, with the end of it.
fn failure_shows_the_end_of_much_output(lab: &Lab) -> Outcome {
    lab.not_runc("shows all of it")?;
    let script = "seq 100000 >&2; printf 'a\\033[31m\\tb\\377\\nlast words\\n\\n' >&2; exit 3";
    for kind in ["createRuntime", "createContainer", "startContainer", "poststart"] {
        let run = lab.run(&["sleep", "1"], |v| v["hooks"][kind] = json!([shell(script)]));
        let start = format!("error running {kind} hook #0: exit status 3, stdout: , stderr: …");
        let end = "99999\\n100000\\na\\u{1b}[31m\\tb\u{fffd}\\nlast words, path: /bin/sh";
        let [error] = run.errors()[..] else { panic!("not one error: {:?}", run.log) };
        assert!(error.contains(&start) && error.ends_with(end), "{kind}: {error}");
        assert!(error.len() < 5000 && run.err == format!("{error}\n"), "{kind}: {:?}", run.err);
    }
    Ok(())
}

fn timeout(lab: &Lab) -> Outcome {
    let slow = json!([{"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}]);
    let run = lab.run(&["true"], |v| v["hooks"]["createRuntime"] = slow);
    let more = if lab.tare.name() == "runc" { "" } else { ", stdout: , stderr: , path: /bin/sleep" };
    let text = format!(
        "RT run failed: unable to start container process: error during container init: \
         error running createRuntime hook #0: hook ran past specified timeout of 1.0s{more}"
    );
    run.fails(1, &text);
    let mut talks = shell("echo waiting for a daemon >&2; sleep 50");
    talks["timeout"] = json!(1);
    let run = lab.run(&["true"], |v| v["hooks"]["createRuntime"] = json!([talks]));
    run.fails_with("hook ran past specified timeout of 1.0s");
    assert!(
        lab.tare.name() == "runc" || run.err.contains(", stderr: waiting for a daemon, path:"),
        "{}",
        run.err
    );
    let quick = json!([{"path": "/bin/true", "timeout": 100}]);
    lab.run(&["true"], |v| v["hooks"]["createRuntime"] = quick).ok();
    Ok(())
}

fn failed_hooks_leave_nothing(lab: &Lab) -> Outcome {
    for kind in KINDS {
        let run = lab.run(&["true"], |v| v["hooks"][kind] = json!([shell("exit 1")]));
        assert_eq!(run.code == 0, kind == "poststop", "{kind}");
        assert_eq!(lab.leaks(), [""; 0], "left by a failed {kind} hook");
    }
    Ok(())
}

/// Who set something up in createRuntime takes it down in poststop, also when the container did not come to be.
fn poststop_runs_although_another_fails(lab: &Lab) -> Outcome {
    let file = lab.dir.join("poststop");
    let run = lab.run(&["true"], |v| {
        v["hooks"] = json!({"createRuntime": [shell("exit 1")], "poststop": [shell(&format!("touch {}", file.display()))]});
    });
    assert_eq!(run.code, 1);
    assert!(file.exists());
    Ok(())
}

/// A state that is more than a pipe holds.
fn timeout_of_a_hook_that_does_not_read(lab: &Lab) -> Outcome {
    let long = json!({"long": "x".repeat(200_000)});
    let run = |hook: Value| {
        lab.run(&["true"], |v| {
            v["annotations"] = long.clone();
            v["hooks"]["createRuntime"] = json!([hook]);
        })
    };
    run(json!({"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}))
        .fails_with("hook ran past specified timeout of 1.0s");
    run(json!({"path": "/bin/true"})).ok();
    let file = lab.dir.join("state.size");
    run(shell(&format!("wc -c > {}", file.display()))).ok();
    assert!(fs::read_to_string(file).unwrap().trim().parse::<u32>().unwrap() > 200_000);
    Ok(())
}

fn left_behind_writer_is_not_waited_for(lab: &Lab) -> Outcome {
    lab.not_runc("waits for it")?;
    lab.run(&["true"], |v| v["hooks"]["createRuntime"] = json!([shell("yes & exit 0")])).ok();
    Ok(())
}

/// startContainer hooks are found in the image.
fn those_of_the_image_inherit_nothing(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["cat", "/tmp/open"]);
    c.edit(|v| {
        v["root"]["readonly"] = json!(false);
        v["hooks"]["startContainer"] = json!([shell("ls /proc/$$/fd > /tmp/open")]);
    });
    let log = lab.next_file("log");
    let call = lab.command(&c.runtime, &log);
    let mut sh = lab.clean(std::process::Command::new(&lab.settings.busybox));
    sh.args(["sh", "-c", "exec \"$@\" 9</", "sh"]).arg(call.get_program()).args(call.get_args());
    sh.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    let run = lab.collect(&lab.tare, sh, &log);
    assert!(!run.ok().lines().any(|fd| fd == "9"), "the caller's file: {}", run.out);
    Ok(())
}
