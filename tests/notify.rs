//! `NOTIFY_SOCKET`: a container says that it is ready, and the caller's socket hears of it.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Child, Command};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::helper::{self, PROGRAM};
use crate::harness::runtime::wait;
use crate::harness::{Container, Lab, Outcome, Output, PATIENCE, bundle, eventually, json, tests};

tests![
    nothing_without_a_socket_of_the_caller,
    what_the_container_sees,
    run_says_so_once,
    run_detached_waits_for_it,
    start_waits_for_it,
    ready_among_other_lines,
    nothing_else_gets_through,
    a_container_that_ends_before,
    ready_at_the_very_end,
    floods_hold_nothing_up,
    handed_over_files_are_not_kept,
    abstract_socket,
    a_socket_of_no_use_is_a_warning,
    start_after_one_that_was_killed,
    a_privileged_container_can_fill_the_directory,
];

/// The caller's socket, as systemd has one.
pub struct Host {
    socket: UnixDatagram,
    pub name: String,
}

impl Host {
    pub fn new(lab: &Lab) -> Self {
        let path = lab.dir.join("host.sock");
        let _ = fs::remove_file(&path);
        Self::of(UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap())
    }

    fn of(socket: UnixDatagram, name: &str) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name: name.to_owned() }
    }

    /// The next message, with `+` when a descriptor came with it, which is closed as systemd does.
    #[track_caller]
    fn hear(&self) -> String {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); 64];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let buffer = &mut [IoSliceMut::new(&mut text)];
        let got = recvmsg(self.socket.as_fd(), buffer, &mut control, RecvFlags::CMSG_CLOEXEC);
        let length = got.expect("a message").bytes;
        let mark = control.drain().any(|m| matches!(m, RecvAncillaryMessage::ScmRights(_)));
        String::from_utf8_lossy(&text[..length]).into_owned() + if mark { "+" } else { "" }
    }

    /// What a container that is ready leads to, when process `main` is to be watched.
    #[track_caller]
    fn hears_of(&self, main: &str) {
        assert_eq!([self.hear(), self.hear(), self.hear()], ready(main));
    }

    /// Listens during a call, which waits for that, and gives three messages.
    pub fn during(&self, call: impl FnOnce() -> Output) -> (Output, [String; 3]) {
        std::thread::scope(|scope| {
            let listener = scope.spawn(|| [self.hear(), self.hear(), self.hear()]);
            (call(), listener.join().unwrap())
        })
    }

    /// What has come until now.
    pub fn heard(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut text = [0; 4096];
        let next =
            || self.socket.recv(&mut text).ok().map(|n| String::from_utf8_lossy(&text[..n]).into_owned());
        let all = std::iter::from_fn(next).collect();
        self.socket.set_nonblocking(false).unwrap();
        all
    }
}

fn ready(main: &str) -> [String; 3] {
    ["READY=1\n".to_owned(), format!("MAINPID={main}\n"), "BARRIER=1+".to_owned()]
}

/// A container with the helper, and with the directory `out` of the test at `/out`.
pub fn container<'l>(lab: &'l Lab<'l>, runtime: &crate::harness::Runtime, script: &str) -> Container<'l> {
    let mut c = lab.container_of(runtime, &["sh", "-c", script]);
    fs::create_dir_all(lab.dir.join("out")).unwrap();
    let out = lab.dir.join("out").to_str().unwrap().to_owned();
    c.edit(|v| {
        helper::add(v);
        bundle::mount(v, "/out", "bind", &out, &["bind"]);
    });
    c
}

fn of<'l>(lab: &'l Lab<'l>, script: &str) -> Container<'l> {
    container(lab, &lab.tare, script)
}

/// A shell's words that say `messages`.
fn say(messages: &str) -> String {
    format!("{PROGRAM} --say {messages}")
}

fn out(lab: &Lab, name: &str) -> PathBuf {
    lab.dir.join("out").join(name)
}

/// A call with the caller's socket.
fn call(c: &Container, name: &str, command: &str, flags: &[&str]) -> Output {
    c.lab.finish(&c.runtime, |call| complete(call, c, name, command, flags))
}

fn complete(call: &mut Command, c: &Container, name: &str, command: &str, flags: &[&str]) {
    call.env("NOTIFY_SOCKET", name).arg(command).args(flags);
    if command != "start" {
        call.arg("--bundle").arg(&c.bundle);
    }
    call.arg(&c.id);
}

/// The same, which goes on while the test does other things.
fn begin(c: &Container, host: &Host, command: &str, flags: &[&str]) -> Child {
    let mut call = c.lab.command(&c.runtime, &c.lab.next_file("log"));
    complete(&mut call, c, &host.name, command, flags);
    call.stdout(fs::File::create(c.lab.next_file("stdout")).unwrap()).spawn().unwrap()
}

fn nothing_without_a_socket_of_the_caller(lab: &Lab) -> Outcome {
    let script = "env | grep NOTIFY; ls /run/notify; exit 0";
    for name in [None, Some("")] {
        let c = of(lab, script);
        let run = lab.finish(&c.runtime, |call| {
            call.envs(name.map(|name| ("NOTIFY_SOCKET", name)));
            call.args(["run", "--bundle"]).arg(&c.bundle).arg(&c.id);
        });
        assert_eq!(run.ok(), "", "{name:?}");
        assert!(run.err.contains("/run/notify"), "{}", run.err);
    }
    Ok(())
}

fn what_the_container_sees(lab: &Lab) -> Outcome {
    let script = "env | grep NOTIFY; stat -c '%A %u %g' /run/notify /run/notify/notify.sock;
        grep ' /run/notify ' /proc/mounts | cut -d ' ' -f 4; touch /run/notify/x 2>&1; ls /run/notify; ";
    let mut c = of(lab, &(script.to_owned() + &say("READY=1")));
    c.edit(|v| v["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let host = Host::new(lab);
    let (run, heard) = host.during(|| call(&c, &host.name, "run", &[]));
    let seen: Vec<&str> = run.ok().lines().collect();
    assert_eq!(seen[0], "NOTIFY_SOCKET=/run/notify/notify.sock");
    assert_eq!(seen[1..3], ["drwxr-xr-x 0 0", "srwxrwxrwx 0 0"]);
    assert!(seen[3].starts_with("ro,nosuid,nodev,noexec"), "{}", seen[3]);
    assert!(seen[4].ends_with("Read-only file system"), "{}", seen[4]);
    assert_eq!(seen[5..], ["notify.sock"]);
    assert_eq!(heard[0], "READY=1\n");
    lab.not_runc("lets the caller's umask decide about the socket")?;
    let c = of(lab, "stat -c '%A' /run/notify /run/notify/notify.sock");
    let log = lab.next_file("log");
    let mut plain = lab.command(&c.runtime, &log);
    complete(&mut plain, &c, &host.name, "run", &[]);
    let mut shell = lab.clean(Command::new(&lab.settings.busybox));
    shell.args(["sh", "-c", "umask 077; exec \"$@\"", "sh"]).env("NOTIFY_SOCKET", &host.name);
    shell.arg(plain.get_program()).args(plain.get_args());
    assert_eq!(lab.collect(&c.runtime, shell, &log).ok(), "drwxr-xr-x\nsrwxrwxrwx\n");
    Ok(())
}

/// In the foreground the caller watches the runtime, which passes signals on.
fn run_says_so_once(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let script =
        format!("trap 'exit 7' TERM; {}; touch /out/said; while :; do sleep 0.05; done", say("READY=1"));
    let c = of(lab, &script);
    let child = begin(&c, &host, "run", &[]);
    host.hears_of(&child.id().to_string());
    eventually("the trap", || out(lab, "said").exists().then_some(()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait(child), 7);
    assert_eq!(host.heard(), [""; 0]);
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

/// Waits until the test says so, and is ready then.
fn slow() -> String {
    format!("touch /out/up; while [ ! -e /out/go ]; do sleep 0.02; done; {}; sleep 100", say("READY=1"))
}

fn run_detached_waits_for_it(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let c = of(lab, &slow());
    let mut child = begin(&c, &host, "run", &["--detach", "--pid-file", "pid"]);
    eventually("the container", || out(lab, "up").exists().then_some(()));
    assert_eq!((c.status().as_str(), child.try_wait().unwrap()), ("running", None));
    assert_eq!(host.heard(), [""; 0]);
    fs::write(out(lab, "go"), "").unwrap();
    host.hears_of(&c.pid().to_string());
    assert_eq!(wait(child), 0);
    assert_eq!(c.status(), "running");
    assert_eq!(fs::read_to_string(lab.dir.join("pid")).unwrap(), c.pid().to_string());
    c.delete(&["--force"]).ok();
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

/// Other commands can change the container meanwhile.
fn start_waits_for_it(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let c = of(lab, &slow());
    call(&c, &host.name, "create", &[]).ok();
    let socket = lab.root().join(&c.id).join("notify/notify.sock");
    assert!(!socket.exists());
    let mut child = begin(&c, &host, "start", &[]);
    eventually("the container", || out(lab, "up").exists().then_some(()));
    assert!(socket.exists());
    assert_eq!((c.status().as_str(), child.try_wait().unwrap()), ("running", None));
    c.kill("CONT").ok();
    assert_eq!(host.heard(), [""; 0]);
    fs::write(out(lab, "go"), "").unwrap();
    host.hears_of(&c.pid().to_string());
    assert_eq!(wait(child), 0);
    // One that is deleted before it is ready.
    fs::remove_file(out(lab, "go")).unwrap();
    fs::remove_file(out(lab, "up")).unwrap();
    let c = of(lab, &slow());
    call(&c, &host.name, "create", &[]).ok();
    let child = begin(&c, &host, "start", &[]);
    eventually("the container", || out(lab, "up").exists().then_some(()));
    c.delete(&["--force"]).ok();
    assert_eq!(wait(child), 0);
    assert_eq!(host.heard(), [""; 0]);
    Ok(())
}

fn ready_among_other_lines(lab: &Lab) -> Outcome {
    lab.not_runc("looks at the beginning of a message alone")?;
    let host = Host::new(lab);
    let c = of(lab, &(say("'STATUS=nearly\nREADY=1\nMAINPID=1'") + "; sleep 100"));
    let (run, heard) = host.during(|| call(&c, &host.name, "run", &["--detach"]));
    run.ok();
    assert_eq!(heard, ready(&c.pid().to_string()));
    Ok(())
}

/// Claims about processes that are not the container's, and what is too long.
fn nothing_else_gets_through(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let forged = say(
        "MAINPID=1 STOPPING=1 RELOADING=1 WATCHDOG=trigger 'STATUS=x\nMAINPID=1' ERRNO=2 BARRIER=1 '' $long",
    );
    let script = format!(
        "long=MAINPID=$(head -c 60000 /dev/zero | tr '\\0' 1); {forged}; {PROGRAM} --hand-over FDSTORE=1 3;
         {}; {forged}; {}; touch /out/said; while [ ! -e /out/go ]; do sleep 0.02; done; exit 4",
        say("'READY=1\nMAINPID=1\nFDNAME=x'"),
        say("RELOADING=1 MAINPID=1"),
    );
    let c = of(lab, &script);
    let child = begin(&c, &host, "run", &[]);
    host.hears_of(&child.id().to_string());
    eventually("the end of it", || out(lab, "said").exists().then_some(()));
    fs::write(out(lab, "go"), "").unwrap();
    assert_eq!(wait(child), 4);
    assert_eq!(host.heard(), [""; 0]);
    Ok(())
}

fn a_container_that_ends_before(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let c = of(lab, "exit 3");
    call(&c, &host.name, "create", &[]).ok();
    call(&c, &host.name, "start", &[]).ok();
    c.delete(&[]).ok();
    lab.not_runc("waits for ever")?;
    assert_eq!(call(&of(lab, "exit 3"), &host.name, "run", &[]).code, 3);
    call(&of(lab, "exit 3"), &host.name, "run", &["--detach"]).ok();
    assert_eq!(host.heard(), [""; 0]);
    Ok(())
}

/// The message is in the queue when the container is gone.
fn ready_at_the_very_end(lab: &Lab) -> Outcome {
    lab.not_runc("can lose it")?;
    let host = Host::new(lab);
    for flags in [&[][..], &["--detach"]] {
        let mut c = lab.container(&[PROGRAM, "--say", "STATUS=x", "READY=1"]);
        c.edit(helper::add);
        let (run, heard) = host.during(|| call(&c, &host.name, "run", flags));
        run.ok();
        assert_eq!((heard[0].as_str(), heard[2].as_str()), ("READY=1\n", "BARRIER=1+"), "{flags:?}");
    }
    Ok(())
}

/// A container that writes all the time holds up neither signals nor its own end.
fn floods_hold_nothing_up(lab: &Lab) -> Outcome {
    lab.not_runc("waits for a message that counts")?;
    let host = Host::new(lab);
    let flood = format!("for i in 1 2 3; do {PROGRAM} --flood STATUS=x MAINPID=1 '' & done");
    let script = format!("trap 'exit 6' TERM; {flood}; touch /out/up; while :; do sleep 0.05; done");
    let c = of(lab, &script);
    let child = begin(&c, &host, "run", &[]);
    eventually("the flood", || out(lab, "up").exists().then_some(()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait(child), 6);
    for (command, flags) in [("start", &[][..]), ("run", &["--detach"])] {
        fs::remove_file(out(lab, "up")).unwrap();
        let c = of(lab, &script);
        if command == "start" {
            call(&c, &host.name, "create", &[]).ok();
        }
        let child = begin(&c, &host, command, flags);
        eventually("the flood", || out(lab, "up").exists().then_some(()));
        c.kill("KILL").ok();
        assert_eq!(wait(child), 0, "{command}");
    }
    assert_eq!(host.heard(), [""; 0]);
    Ok(())
}

fn handed_over_files_are_not_kept(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let script = format!(
        "{}; touch /out/up; while [ ! -e /out/go ]; do sleep 0.02; done; {PROGRAM} --hand-over FDSTORE=1 50;
         touch /out/done; while :; do sleep 0.05; done",
        say("READY=1"),
    );
    let c = of(lab, &script);
    let child = begin(&c, &host, "run", &[]);
    host.hears_of(&child.id().to_string());
    eventually("the container", || out(lab, "up").exists().then_some(()));
    let files = || fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    let before = files();
    fs::write(out(lab, "go"), "").unwrap();
    eventually("all of them", || out(lab, "done").exists().then_some(()));
    // What the first message took may have been open before.
    let after = files();
    assert!(after <= before, "{before} files, then {after}");
    c.kill("KILL").ok();
    assert_eq!(wait(child), 137);
    Ok(())
}

fn abstract_socket(lab: &Lab) -> Outcome {
    let address = SocketAddr::from_abstract_name(&lab.name).unwrap();
    let host = Host::of(UnixDatagram::bind_addr(&address).unwrap(), &format!("@{}", lab.name));
    let c = of(lab, &(say("READY=1") + "; sleep 100"));
    let child = begin(&c, &host, "run", &["--detach"]);
    assert_eq!(host.hear(), "READY=1\n");
    assert!(host.hear().starts_with("MAINPID="));
    assert_eq!(host.hear(), "BARRIER=1+");
    assert_eq!(wait(child), 0);
    Ok(())
}

/// It may be an old one in somebody's environment: no reason not to run the container.
fn a_socket_of_no_use_is_a_warning(lab: &Lab) -> Outcome {
    let c = of(lab, "exit 0");
    let run = call(&c, "/no/such/socket", "run", &[]);
    run.ok();
    lab.not_runc("says nothing here, and fails below")?;
    assert_eq!(
        run.messages("warning"),
        ["NOTIFY_SOCKET is of no use: connect /no/such/socket: no such file or directory"]
    );
    let host = Host::new(lab);
    let c = of(lab, "exit 0");
    c.create(&[]).ok();
    let start = call(&c, &host.name, "start", &[]);
    start.ok();
    let text =
        "NOTIFY_SOCKET was not set when the container was created: open notify: no such file or directory";
    assert_eq!(start.messages("warning"), [text]);
    let mut c = lab.container(&["true"]);
    c.edit(|v| {
        bundle::without_namespace(v, "mount");
        v["mounts"] = json!([]);
        v["linux"]["maskedPaths"] = json!([]);
        v["linux"]["readonlyPaths"] = json!([]);
        v["root"]["readonly"] = json!(false);
    });
    let run = call(&c, &host.name, "run", &[]);
    run.ok();
    let text = "NOTIFY_SOCKET is of no use: the container has no mount namespace to show it a socket in";
    assert_eq!(run.messages("warning"), [text]);
    Ok(())
}

/// It leaves its socket behind, and the container may be as it was.
fn start_after_one_that_was_killed(lab: &Lab) -> Outcome {
    lab.not_runc("cannot start it any more")?;
    let host = Host::new(lab);
    let c = of(lab, &(say("READY=1") + "; sleep 100"));
    call(&c, &host.name, "create", &[]).ok();
    drop(UnixDatagram::bind(lab.root().join(&c.id).join("notify/notify.sock")).unwrap());
    let (start, heard) = host.during(|| call(&c, &host.name, "start", &[]));
    start.ok();
    assert_eq!(heard, ready(&c.pid().to_string()));
    Ok(())
}

/// One that may mount can write to its directory, and must not lead the runtime out of it.
fn a_privileged_container_can_fill_the_directory(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let keep = lab.dir.join("keep");
    fs::create_dir(&keep).unwrap();
    fs::write(keep.join("file"), "kept").unwrap();
    fs::set_permissions(keep.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
    let script = format!(
        "mount -o remount,bind,rw /run/notify && cd /run/notify && rm notify.sock && ln -s {keep}/file notify.sock &&
         mkdir -p a/b/c && touch a/b/c/d && ln -s {keep} a/link && ln -s {keep} link && mkfifo fifo && touch /out/up; sleep 100",
        keep = keep.display()
    );
    let mut c = of(lab, &script);
    c.edit(|v| bundle::capabilities(v, &["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]));
    call(&c, &host.name, "create", &[]).ok();
    let child = begin(&c, &host, "start", &[]);
    eventually("the mischief", || out(lab, "up").exists().then_some(()));
    c.delete(&["--force"]).ok();
    assert_eq!(wait(child), 0);
    assert_eq!(fs::read_to_string(keep.join("file")).unwrap(), "kept");
    assert_eq!(fs::metadata(keep.join("file")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

/// What a message whose first line is another leads to, by `start`, which ends with the container.
pub fn ready_after_another_line(lab: &Lab, runtime: &crate::harness::Runtime) -> String {
    let host = Host::new(lab);
    let c = container(lab, runtime, &say("'STATUS=nearly\nREADY=1'"));
    call(&c, &host.name, "create", &[]).ok();
    let mut child = begin(&c, &host, "start", &[]);
    let mut heard = Vec::new();
    eventually("start", || {
        heard.extend(host.heard());
        child.try_wait().unwrap()
    });
    heard.first().map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

/// The exit code of `run` when the container ends without a word, or 137 when that takes too long.
pub fn ends_before_it_is_ready(lab: &Lab, runtime: &crate::harness::Runtime) -> i32 {
    let host = Host::new(lab);
    let c = container(lab, runtime, "exit 3");
    let log = lab.next_file("log");
    let mut plain = lab.command(&c.runtime, &log);
    complete(&mut plain, &c, &host.name, "run", &[]);
    let mut timeout = lab.clean(Command::new(&lab.settings.busybox));
    timeout.args(["timeout", "-s", "KILL", "10"]).env("NOTIFY_SOCKET", &host.name);
    timeout.arg(plain.get_program()).args(plain.get_args());
    lab.collect(runtime, timeout, &log).code
}
