//! process.terminal: in the foreground on the caller's terminal, and over `--console-socket`.

use rustix::process::Signal;

use crate::harness::pty::{Terminal, receive};
use crate::harness::runtime::wait;
use crate::harness::session::{Way, signal, socket};
use crate::harness::{Lab, Outcome, Value, eventually, json, tests};

tests![
    is_a_terminal_inside,
    settings_come_back_when_the_container_is_killed,
    much_output_arrives,
    signals_pass_while_nobody_reads,
    host_mounts_get_no_console,
    console_is_the_terminal,
    console_socket_receives_the_master,
    console_socket_with_run_detached,
    console_size,
    owner_of_the_terminal,
    create_needs_a_socket,
    socket_needs_a_terminal,
    run_needs_a_terminal,
    a_wrong_socket_is_refused,
];

fn interactive(config: &mut Value) {
    config["process"]["terminal"] = json!(true);
}

fn is_a_terminal_inside(lab: &Lab) -> Outcome {
    let mut terminal = Terminal::open();
    let (_, child) = Way::Run.on(
        lab,
        &terminal,
        "tty; test -t 0 -a -t 1 -a -t 2 && echo all; ps -o pid,tty,args | grep '[p]s -o'; exit 5",
    );
    let text = terminal.read_until("ps -o");
    assert!(text.starts_with("/dev/pts/0\r\nall\r\n"), "{text:?}");
    assert!(text.contains("136,0"), "it is the controlling terminal: {text:?}");
    assert_eq!(wait(child), 5);
    Ok(())
}

fn settings_come_back_when_the_container_is_killed(lab: &Lab) -> Outcome {
    let mut terminal = Terminal::open();
    let before = terminal.settings();
    let (c, child) = Way::Run.on(lab, &terminal, "echo ready; sleep 100");
    terminal.read_until("ready");
    c.kill("KILL").ok();
    assert_eq!(wait(child), 137);
    assert_eq!(terminal.settings(), before);
    Ok(())
}

/// More than every buffer on the way, and the last line before the end.
fn much_output_arrives(lab: &Lab) -> Outcome {
    let mut terminal = Terminal::open();
    let (_, child) = Way::Run.on(lab, &terminal, "seq 1 200000; echo last");
    let text = terminal.read_until("last\r\n");
    assert_eq!(text.lines().count(), 200_001);
    assert!(text.lines().zip(1..).take(200_000).all(|(line, number)| line == number.to_string()));
    assert_eq!(wait(child), 0);
    Ok(())
}

fn console_is_the_terminal(lab: &Lab) -> Outcome {
    let mut terminal = Terminal::open();
    let (_, child) = Way::Run.on(
        lab,
        &terminal,
        "echo to the console > /dev/console; stat -c '%t:%T' /dev/console; echo end",
    );
    let text = terminal.read_until("end\r\n");
    // CVE-2025-52565: it is a Unix98 pseudoterminal, whatever the image has there.
    assert_eq!(text, "to the console\r\n88:0\r\nend\r\n");
    wait(child);
    Ok(())
}

fn console_socket_receives_the_master(lab: &Lab) -> Outcome {
    let (listener, path) = socket(lab);
    let mut c = lab.container(&["sh", "-c", "echo hello; read line; echo got $line; sleep 100"]);
    c.edit(interactive);
    // The runtime sends while the call goes on: the socket's backlog holds it until it is accepted.
    c.create(&["--console-socket", &path]).ok();
    let (master, text) = receive(&listener);
    assert!(text.contains("ptmx") || text.contains("pts"), "the name beside it: {text:?}");
    let mut terminal = Terminal::of(master);
    c.start();
    terminal.read_until("hello\r\n");
    terminal.type_in("line\n");
    terminal.read_until("got line\r\n");
    assert_eq!(c.status(), "running");
    Ok(())
}

fn console_socket_with_run_detached(lab: &Lab) -> Outcome {
    let (listener, path) = socket(lab);
    let mut c = lab.container(&["sh", "-c", "tty; sleep 100"]);
    c.edit(interactive);
    c.run(&["--detach", "--console-socket", &path]).ok();
    Terminal::of(receive(&listener).0).read_until("/dev/pts/0\r\n");
    Ok(())
}

fn console_size(lab: &Lab) -> Outcome {
    let (listener, path) = socket(lab);
    let mut c = lab.container(&["sh", "-c", "stty size; sleep 100"]);
    c.edit(|v| {
        interactive(v);
        v["process"]["consoleSize"] = json!({"height": 31, "width": 91});
    });
    c.create(&["--console-socket", &path]).ok();
    let mut terminal = Terminal::of(receive(&listener).0);
    c.start();
    terminal.read_until("31 91\r\n");
    Ok(())
}

fn owner_of_the_terminal(lab: &Lab) -> Outcome {
    let (listener, path) = socket(lab);
    let mut c = lab.container(&["sh", "-c", "stat -c '%u:%g %a' /dev/pts/0 /dev/console; sleep 100"]);
    c.edit(|v| {
        interactive(v);
        v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    c.create(&["--console-socket", &path]).ok();
    let mut terminal = Terminal::of(receive(&listener).0);
    c.start();
    terminal.read_until("1000:5 620\r\n1000:5 620\r\n");
    Ok(())
}

fn create_needs_a_socket(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh"]);
    c.edit(interactive);
    let text = "cannot allocate tty if RT will detach without setting console socket";
    c.create(&[]).fails(1, &format!("RT create failed: {text}"));
    c.run(&["--detach"]).fails(1, &format!("RT run failed: {text}"));
    Ok(())
}

fn socket_needs_a_terminal(lab: &Lab) -> Outcome {
    let (_listener, path) = socket(lab);
    let c = lab.container(&["true"]);
    let text = "cannot use console socket if RT will not detach or allocate tty";
    c.create(&["--console-socket", &path]).fails(1, &format!("RT create failed: {text}"));
    let mut c = lab.container(&["true"]);
    c.edit(interactive);
    c.run(&["--console-socket", &path]).fails(1, &format!("RT run failed: {text}"));
    Ok(())
}

/// Without a controlling terminal there is nothing to show the container's on.
fn run_needs_a_terminal(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    c.edit(interactive);
    let log = lab.next_file("log");
    let mut command = lab.command(&c.runtime, &log);
    command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    let mut session = lab.clean(std::process::Command::new(&lab.settings.busybox));
    session.arg("setsid").arg(command.get_program()).args(command.get_args());
    let run = lab.collect(&lab.tare, session, &log);
    run.fails(1, "RT run failed: open /dev/tty: no such device or address");
    Ok(())
}

fn a_wrong_socket_is_refused(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    c.edit(interactive);
    let file = lab.file("no-socket", "");
    for path in [file.as_str(), "/does/not/exist"] {
        let create = c.create(&["--console-socket", path]);
        assert_eq!((create.code, create.errors().len()), (1, 1), "{path}: {}", create.err);
        assert_eq!(lab.leaks(), [""; 0]);
    }
    Ok(())
}

/// Whoever reads the output of `run` has stopped: the container must still be reachable.
fn signals_pass_while_nobody_reads(lab: &Lab) -> Outcome {
    let terminal = Terminal::open();
    let mut c = lab.container(&["sh", "-c", "trap 'exit 9' TERM; yes & while :; do sleep 0.05; done"]);
    c.edit(interactive);
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdin(terminal.slave.try_clone().unwrap()).stderr(terminal.slave.try_clone().unwrap());
    let child = command.stdout(writer).spawn().unwrap();
    drop(command);
    let waiting = || rustix::io::ioctl_fionread(&reader).unwrap();
    // How much a pipe holds depends on how it was written.
    let mut last = 0;
    eventually("a full pipe", || {
        let before = std::mem::replace(&mut last, waiting());
        (last > 30_000 && last == before).then_some(())
    });
    signal(&child, Signal::TERM);
    eventually("the end of the container", || {
        let state = c.call("state", &[]);
        (state.code != 0 || state.out.contains("stopped")).then_some(())
    });
    drop(reader);
    assert_eq!(wait(child), 9);
    Ok(())
}

/// Without a mount namespace it would stay there when the container is gone.
fn host_mounts_get_no_console(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    c.edit(|v| {
        interactive(v);
        crate::harness::bundle::without_namespace(v, "mount");
        v["mounts"] = json!([]);
        v["linux"]["maskedPaths"] = json!([]);
        v["linux"]["readonlyPaths"] = json!([]);
        v["root"]["readonly"] = json!(false);
    });
    let pts = c.rootfs("dev/pts");
    std::fs::create_dir(&pts).unwrap();
    let busybox = |args: &[&str]| {
        let mut command = std::process::Command::new(&lab.settings.busybox);
        assert!(command.args(args).arg(&pts).status().unwrap().success());
    };
    busybox(&["mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts"]);
    let terminal = Terminal::open();
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    wait(terminal.spawn(lab, &command));
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    busybox(&["umount"]);
    assert!(!table.contains(c.rootfs("dev/console").to_str().unwrap()), "left on the host");
    Ok(())
}
