//! `SCMP_ACT_NOTIFY`: system calls about which somebody outside decides, who gets a descriptor for that.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::exec::exec;
use crate::harness::user::{ALICE, User, possible};
use crate::harness::{Lab, Outcome, Skip, Value, eventually, json, tests};
use crate::seccomp::{CALLS, add, but, calls_of, program, rule};

tests![
    a_listener_decides,
    a_listener_decides_about_our_own_calls,
    a_listener_hears_of_exec,
    a_listener_of_an_ordinary_user,
    a_listener_that_is_gone,
];

/// A listener, which ends with this.
struct Listener {
    child: Child,
    lines: BufReader<ChildStdout>,
    path: String,
}

impl Listener {
    fn new(lab: &Lab, how: &[&str]) -> Result<Self, Skip> {
        let path = lab.next_file("sock");
        let mut command = lab.clean(Command::new(program(lab)?));
        let (mode, rest) = how.split_first().unwrap();
        let mut child = command.arg(mode).arg(&path).args(rest).stdout(Stdio::piped()).spawn().unwrap();
        eventually("the listener", || path.exists().then_some(()));
        let lines = BufReader::new(child.stdout.take().unwrap());
        Ok(Self { child, lines, path: path.to_str().unwrap().to_owned() })
    }

    /// The next message.
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    fn profile(&self, rules: Value) -> Value {
        let mut profile = but(rules);
        profile["listenerPath"] = json!(self.path);
        profile["listenerMetadata"] = json!("for you");
        profile
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_listener_decides(lab: &Lab) -> Outcome {
    for no_new_privileges in [true, false] {
        let mut listener = Listener::new(lab, &["listen", "33", "getsid"])?;
        let mut c = lab.container(&[]);
        c.edit(|v| {
            v["process"]["noNewPrivileges"] = json!(no_new_privileges);
            v["annotations"] = json!({"a": "b"});
        });
        let profile = listener.profile(json!([rule(&["getsid", "getppid"], "NOTIFY")]));
        let output = calls_of(lab, &mut c, profile, &["getsid", "getppid", "getpgid"])?;
        assert_eq!(output.ok(), "getsid errno 33\ngetppid ok\ngetpgid ok\n");
        let message = listener.hear();
        let pid = message["pid"].as_i64().unwrap();
        assert!(pid > 1);
        let mut want = json!({
            "ociVersion": message["ociVersion"], "fds": ["seccompFd"], "pid": pid, "metadata": "for you",
            "state": {"ociVersion": message["ociVersion"], "id": c.id, "status": "creating", "pid": pid,
                "bundle": c.bundle, "annotations": {"a": "b"}},
        });
        if lab.not_runc("").is_err() {
            want["state"]["annotations"] = message["state"]["annotations"].clone();
        }
        assert_eq!(message, want);
        // In two steps, where nobody but `create` can hand the descriptor over.
        c.create(&[]).ok();
        let message = listener.hear();
        assert_eq!(message["pid"], c.pid());
        c.start();
        c.wait_for("stopped");
        c.delete(&[]).ok();
    }
    Ok(())
}

/// Whatever the process still calls waits for a listener that can only hear of it meanwhile.
fn a_listener_decides_about_our_own_calls(lab: &Lab) -> Outcome {
    lab.not_runc("runs threads, which ask for ever")?;
    let ours = [
        "close",
        "close_range",
        "execve",
        "capset",
        "prctl",
        "sendmsg",
        "recvmsg",
        "read",
        "umask",
        "openat",
        "faccessat2",
        "rt_sigaction",
        "rt_sigprocmask",
        "poll",
        "ppoll",
        "signalfd4",
        "fcntl",
    ];
    for no_new_privileges in [true, false] {
        let listener = Listener::new(lab, &["listen", "33", "getsid"])?;
        let mut c = lab.container(&[]);
        c.edit(|v| v["process"]["noNewPrivileges"] = json!(no_new_privileges));
        let profile = listener.profile(json!([rule(&ours, "NOTIFY"), rule(&["getsid"], "NOTIFY")]));
        let output = calls_of(lab, &mut c, profile, &["getsid", "getppid"])?;
        assert_eq!(output.ok(), "getsid errno 33\ngetppid ok\n");
        c.create(&[]).ok();
        assert_eq!(c.status(), "created");
        let output = exec(&c, &[], &[CALLS, "calls", "getsid", "getppid"]);
        assert_eq!(output.ok(), "getsid errno 33\ngetppid ok\n");
        c.delete(&["--force"]).ok();
    }
    Ok(())
}

fn a_listener_hears_of_exec(lab: &Lab) -> Outcome {
    let mut listener = Listener::new(lab, &["listen", "33", "getsid"])?;
    let mut c = lab.container(&["sleep", "1000"]);
    let mut ready = Ok(());
    c.edit(|v| {
        v["linux"]["seccomp"] = listener.profile(json!([rule(&["getsid"], "NOTIFY")]));
        ready = add(lab, v);
    });
    ready?;
    c.up();
    let first = listener.hear();
    for flags in [&[][..], &["--user", "1000"]] {
        let output = exec(&c, flags, &[CALLS, "calls", "getsid"]);
        assert_eq!(output.ok(), "getsid errno 33\n", "{flags:?}");
        let message = listener.hear();
        let state = &message["state"];
        assert_eq!((&state["status"], &state["pid"]), (&json!("running"), &first["pid"]));
        assert_ne!(message["pid"], first["pid"]);
    }
    Ok(())
}

/// Who has no rights over the process, and takes the descriptor out of it all the same.
fn a_listener_of_an_ordinary_user(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    for no_new_privileges in [true, false] {
        let mut listener = Listener::new(lab, &["listen", "33", "getsid"])?;
        std::fs::set_permissions(&listener.path, PermissionsExt::from_mode(0o666)).unwrap();
        let mut ready = Ok(());
        let id = alice.up(&format!("c{no_new_privileges}"), &["sleep", "1000"], |v| {
            v["process"]["noNewPrivileges"] = json!(no_new_privileges);
            v["linux"]["seccomp"] = listener.profile(json!([rule(&["getsid"], "NOTIFY")]));
            ready = add(lab, v);
        });
        ready?;
        let first = listener.hear();
        assert_eq!(first["pid"], alice.state(&id)["pid"]);
        let output = alice.call(&["exec", &id, CALLS, "calls", "getsid", "getppid"]);
        assert_eq!(output.ok(), "getsid errno 33\ngetppid ok\n");
        let message = listener.hear();
        assert_eq!(message["state"]["pid"], first["pid"]);
        assert_ne!(message["pid"], first["pid"]);
    }
    // Nobody would hear of the message by which the descriptor goes to who is to hear of it.
    let listener = Listener::new(lab, &["listen", "33", "getsid"])?;
    std::fs::set_permissions(&listener.path, PermissionsExt::from_mode(0o666)).unwrap();
    let id = alice.up("sends", &["sleep", "1000"], |v| {
        v["linux"]["seccomp"] = listener.profile(json!([rule(&["sendmsg"], "NOTIFY")]));
    });
    let output = alice.call(&["exec", &id, "true"]);
    assert_eq!(output.code, 255);
    assert!(output.err.contains("sendmsg is not allowed"), "{}", output.err);
    Ok(())
}

fn a_listener_that_is_gone(lab: &Lab) -> Outcome {
    let profile = |path: &str| {
        let mut profile = but(json!([rule(&["getsid"], "NOTIFY")]));
        profile["listenerPath"] = json!(path);
        profile
    };
    let mut c = lab.container(&[]);
    let output = calls_of(lab, &mut c, profile("/nope/socket"), &["getsid"])?;
    assert_eq!(output.code, 1);
    let text = "failed to connect with seccomp agent specified in the seccomp profile";
    assert!(output.err.contains(text) && output.err.contains("/nope/socket"), "{}", output.err);

    // One that hangs up with the descriptor: nobody answers, so the kernel says that there is no such call.
    let mut listener = Listener::new(lab, &["hang-up"])?;
    c.edit(|v| v["process"]["args"] = json!(["sleep", "1000"]));
    c.edit(|v| v["linux"]["seccomp"] = profile(&listener.path));
    c.up();
    assert_eq!(listener.hear()["fds"], json!(["seccompFd"]));
    listener.child.wait().unwrap();
    // Later processes ask in vain for who was there.
    let output = exec(&c, &[], &[CALLS, "calls", "getsid"]);
    assert_eq!(output.code, 255);
    assert!(output.err.contains(text), "{}", output.err);
    c.stop().delete(&[]).ok();

    let mut listener = Listener::new(lab, &["hang-up"])?;
    let mut c = lab.container(&[]);
    let output = calls_of(lab, &mut c, profile(&listener.path), &["getppid", "getsid"])?;
    listener.hear();
    assert_eq!(output.ok(), "getppid ok\ngetsid errno 38\n");
    Ok(())
}
