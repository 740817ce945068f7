//! D-Bus that is not there, hangs up or makes no sense, and a host without systemd: what the errors say, and that
//! nothing is left.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::settings::Driver;
use crate::harness::{Container, Lab, Outcome, Output, Skip, eventually, json, tests};
use crate::systemd::{booted, dir, files, make, scope, units};

tests![
    without_systemd,
    a_bus_that_is_of_no_use,
    a_bus_that_hangs_up_in_the_middle,
    no_bus_but_systemd_itself,
    no_way_to_systemd,
    cgroups_without_systemd_need_no_bus,
];

fn without_systemd(lab: &Lab) -> Outcome {
    if Path::new("/run/systemd/system").exists() {
        return Err(Skip("systemd runs here".into()));
    }
    let c = scope(lab, &["true"]);
    let text = "systemd not running on this host, cannot use systemd cgroups manager";
    make(&c, "run", &[]).fails(1, &format!("RT run failed: {text}"));
    make(&c, "create", &[]).fails(1, &format!("RT create failed: {text}"));
    assert!(fs::read_dir(lab.root()).unwrap().next().is_none());
    Ok(())
}

/// Listens in the place of a bus and has `serve` do what it will with each connection, the number of which comes along.
fn fake(lab: &Lab, serve: impl Fn(UnixStream, u32) + Send + Sync + 'static) -> (PathBuf, Arc<AtomicU32>) {
    let path = lab.next_file("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream, number));
        }
    });
    (path, count)
}

fn address(path: &Path) -> String {
    format!("unix:path={}", path.display())
}

/// Reads until `what` has come.
fn read_until(mut stream: &UnixStream, what: &str) {
    let (mut have, mut byte) = (Vec::new(), [0]);
    while !have.ends_with(what.as_bytes()) && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        have.push(byte[0]);
    }
}

/// A user's systemd is asked, since there is no other way to that.
fn by_user_bus(c: &Container, path: &Path) -> Output {
    c.lab.finish(&c.runtime, |call| {
        call.env("DBUS_SESSION_BUS_ADDRESS", address(path));
        call.args(["--rootless=true", "--systemd-cgroup", "run", "--bundle"]).arg(&c.bundle).arg(&c.id);
    })
}

/// What a bus does with a connection, with the words that end an authentication.
type Serve = fn(UnixStream, &[u8]);

fn a_bus_that_is_of_no_use(lab: &Lab) -> Outcome {
    booted()?;
    lab.not_runc("says something else")?;
    let ok = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n";
    let closed = "the connection was closed by the other end";
    let cases: [(&str, Serve); 5] = [
        (closed, |_, _| {}),
        (closed, |mut stream, ok| {
            read_until(&stream, "BEGIN\r\n");
            stream.write_all(ok).unwrap();
        }),
        (closed, |stream, _| read_until(&stream, "AUTH")),
        ("authentication refused: \"REJECTED ANONYMOUS\"", |mut stream, _| {
            read_until(&stream, "BEGIN\r\n");
            stream.write_all(b"REJECTED ANONYMOUS\r\n").unwrap();
        }),
        ("the message makes no sense", |mut stream, ok| {
            read_until(&stream, "BEGIN\r\n");
            stream.write_all(ok).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            read_until(&stream, "nothing");
        }),
    ];
    for (why, serve) in cases {
        let (path, _) = fake(lab, move |stream, _| serve(stream, ok));
        let c = scope(lab, &["true"]);
        let out = by_user_bus(&c, &path);
        let text = format!("cannot reach the user's systemd over D-Bus: D-Bus at {}: {why}", path.display());
        out.fails(1, &format!("RT run failed: {text}"));
        assert!(out.err.contains("hint: a login session has"), "{out:?}");
    }
    for (path, why) in [("/nope/bus", "no such file or directory"), ("/etc/hostname", "connection refused")] {
        let c = scope(lab, &["true"]);
        let text = format!("cannot reach the user's systemd over D-Bus: connect {path}: {why}");
        by_user_bus(&c, Path::new(path)).fails(1, &format!("RT run failed: {text}"));
    }
    assert!(fs::read_dir(lab.root()).unwrap().next().is_none());
    Ok(())
}

/// Carries what is said between a client and the real bus, until the client has said `last`.
fn relay(client: UnixStream, last: Option<&str>) {
    let Ok(bus) = UnixStream::connect("/run/dbus/system_bus_socket") else { return };
    let (mut from, mut to) = (bus.try_clone().unwrap(), client.try_clone().unwrap());
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut client, mut bus, mut buffer) = (client, bus, [0; 65536]);
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let said = &buffer[..length];
        let ends = last.is_some_and(|last| said.windows(last.len()).any(|part| part == last.as_bytes()));
        if ends {
            let _ = client.shutdown(Shutdown::Both);
        }
        if bus.write_all(said).is_err() || ends {
            break;
        }
    }
    let _ = bus.shutdown(Shutdown::Write);
    let _ = back.join();
}

/// systemd hears the call, and the caller does not hear of it: what is made is removed all the same.
fn a_bus_that_hangs_up_in_the_middle(lab: &Lab) -> Outcome {
    booted()?;
    if !Path::new("/run/dbus/system_bus_socket").exists() {
        return Err(Skip("no system bus".into()));
    }
    for last in ["AddMatch", "StartTransientUnit"] {
        let (path, count) = fake(lab, move |stream, number| relay(stream, (number == 0).then_some(last)));
        let c = scope(lab, &["sleep", "100"]);
        let out = lab.finish(&c.runtime, |call| {
            call.env("DBUS_SYSTEM_BUS_ADDRESS", address(&path));
            call.args(["--systemd-cgroup", "create", "--bundle"]).arg(&c.bundle).arg(&c.id);
        });
        if lab.tare.name() == "tare" {
            out.fails_with("the connection was closed by the other end");
            assert!(out.err.contains("hint: `systemctl status dbus.socket`"), "{out:?}");
        }
        assert_ne!(out.code, 0, "{out:?}");
        // To start the unit, and to stop it.
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert!(fs::read_dir(lab.root()).unwrap().next().is_none());
        eventually("the unit to be gone", || units(lab).is_empty().then_some(()));
        assert!(!dir(&c).exists());
    }
    Ok(())
}

fn no_bus_but_systemd_itself(lab: &Lab) -> Outcome {
    booted()?;
    let c = scope(lab, &["sleep", "100"]);
    let call = |args: &[&str]| {
        lab.finish(&c.runtime, |call| {
            call.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nope").args(args);
        })
    };
    call(&["--systemd-cgroup", "run", "--detach", "--bundle", c.bundle.to_str().unwrap(), &c.id]).ok();
    assert!(dir(&c).exists());
    call(&["update", "--pids-limit", "10", &c.id]).ok();
    assert_eq!(files(&c, &["pids.max"]), ["pids.max=10"]);
    call(&["delete", "--force", &c.id]).ok();
    assert_eq!(units(lab), "");
    Ok(())
}

/// Runs a call where neither the bus nor systemd's own socket can be reached.
fn cut_off(c: &Container, args: &[&str]) -> Output {
    let lab = c.lab;
    let log = lab.next_file("log");
    let inner = lab.command(&c.runtime, &log);
    let script = "for s in /run/systemd/private /run/dbus/system_bus_socket; do \
                  [ -e $s ] && mount --bind /dev/null $s; done; exec \"$@\"";
    let mut outer = lab.clean(Command::new(&lab.settings.busybox));
    outer.args(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args()).args(args);
    lab.collect(&c.runtime, outer, &log)
}

/// Nothing is made; but what is there can be deleted: once it is empty, systemd drops the scope by itself.
fn no_way_to_systemd(lab: &Lab) -> Outcome {
    booted()?;
    lab.not_runc("says something else")?;
    let c = scope(lab, &["sleep", "100"]);
    let bundle = c.bundle.to_str().unwrap();
    let out = cut_off(&c, &["--systemd-cgroup", "create", "--bundle", bundle, &c.id]);
    out.fails_with("cannot reach the system's systemd over D-Bus: connect /run/dbus/system_bus_socket: ");
    out.fails_with("; connect /run/systemd/private: connection refused");
    assert!(out.err.contains("hint: `systemctl status dbus.socket`"), "{out:?}");
    assert!(fs::read_dir(lab.root()).unwrap().next().is_none());

    make(&c, "run", &["--detach"]).ok();
    let before = files(&c, &["pids.max"]);
    cut_off(&c, &["update", "--pids-limit", "10", &c.id]).fails_with("cannot reach the system's systemd");
    assert_eq!(files(&c, &["pids.max"]), before);
    assert_eq!(cut_off(&c, &["exec", &c.id, "echo", "here"]).ok(), "here\n");
    let out = cut_off(&c, &["delete", "--force", &c.id]);
    out.ok();
    assert!(out.messages("warning").iter().any(|text| text.contains("cannot reach")), "{out:?}");
    assert!(!dir(&c).exists());
    eventually("the unit to be gone", || units(lab).is_empty().then_some(()));
    Ok(())
}

fn cgroups_without_systemd_need_no_bus(lab: &Lab) -> Outcome {
    let (path, count) = fake(lab, |_, _| {});
    let mut c = lab.container(&["sleep", "100"]);
    let group = Driver::Files.path(&c.id);
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(group));
    let call = |args: &[&str]| {
        lab.finish_by_files(|call| {
            call.env("DBUS_SYSTEM_BUS_ADDRESS", address(&path));
            call.env("DBUS_SESSION_BUS_ADDRESS", address(&path)).args(args);
        })
    };
    call(&["create", "--bundle", c.bundle.to_str().unwrap(), &c.id]).ok();
    call(&["start", &c.id]).ok();
    call(&["exec", &c.id, "true"]).ok();
    call(&["delete", "--force", &c.id]).ok();
    assert_eq!(count.load(Ordering::SeqCst), 0);
    Ok(())
}
