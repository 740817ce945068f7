//! Attacks that nobody has published against a program of this class. Those that are known are in `holes/`.
//!
//! The image and what runs in it are hostile, config.json and the caller are trusted: see SECURITY.md.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::race::Host;
use crate::harness::{Lab, Outcome, json, tests};

tests![
    sysctl_with_dots_in_its_path,
    masked_path_through_a_symlink_stays_inside,
    working_directory_through_a_symlink_stays_inside,
    state_cannot_be_reached_by_an_id,
    nothing_is_inherited_from_the_caller,
    users_are_not_read_from_files_of_the_runtime,
];

/// By its first part it belongs to the network namespace, by its path to the host.
fn sysctl_with_dots_in_its_path(lab: &Lab) -> Outcome {
    // So that nothing happens to the host where the test fails.
    let value = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for key in ["net/../kernel/core_pattern", "net/ipv4/../../kernel/core_pattern"] {
        let run = lab.run(&["true"], |v| v["linux"]["sysctl"] = json!({key: value.trim()}));
        assert_ne!(run.code, 0, "{key}");
    }
    Ok(())
}

fn masked_path_through_a_symlink_stays_inside(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let mut c = lab.container(&["true"]);
    symlink(host.path(), c.rootfs("etc/link")).unwrap();
    c.edit(|v| {
        v["linux"]["maskedPaths"] = json!(["/etc/link", "/etc/link/marker"]);
        v["linux"]["readonlyPaths"] = json!(["/etc/link", "/etc/link/marker"]);
    });
    c.run(&[]);
    host.unchanged();
    fs::OpenOptions::new().append(true).open(format!("{host}/marker")).unwrap().write_all(b"").unwrap();
    Ok(())
}

fn working_directory_through_a_symlink_stays_inside(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    for cwd in [format!("/link{host}/made"), "/link/made".to_owned()] {
        let mut c = lab.container(&["true"]);
        symlink("/../../../../../../..", c.rootfs("link")).unwrap();
        c.edit(|v| {
            v["root"]["readonly"] = json!(false);
            v["process"]["cwd"] = json!(cwd);
        });
        c.run(&[]);
        host.unchanged();
        assert!(!Path::new("/made").exists());
    }
    Ok(())
}

/// An id is one file name: nothing outside the root is read or removed by way of it.
fn state_cannot_be_reached_by_an_id(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let c = lab.container(&["sleep", "100"]);
    c.up();
    for id in ["../host", "..", ".", "/", "x/../../host", host.path()] {
        for call in [&["state"][..], &["delete", "--force"], &["kill"], &["start"], &["ps"]] {
            let call: Vec<&str> = call.iter().copied().chain([id]).collect();
            assert_ne!(lab.call(&call).code, 0, "{call:?}");
        }
    }
    host.unchanged();
    assert_eq!(c.status(), "running");
    Ok(())
}

/// Files, ignored signals and environment of the caller end at the runtime.
fn nothing_is_inherited_from_the_caller(lab: &Lab) -> Outcome {
    let c = lab.container(&["sh", "-c", "ls /proc/$$/fd; env; exit 0"]);
    let log = lab.next_file("log");
    let call = lab.command(&c.runtime, &log);
    let mut shell = lab.clean(std::process::Command::new(&lab.settings.busybox));
    shell.args(["sh", "-c", "exec \"$@\" 3</ 4</etc/passwd 5<>/dev/null 9</", "sh"]).arg(call.get_program());
    shell.args(call.get_args()).arg("run").arg("-b").arg(&c.bundle).arg(&c.id).env("SECRET", "x");
    let run = lab.collect(&lab.tare, shell, &log);
    let lines: Vec<&str> = run.ok().lines().collect();
    assert_eq!(lines[..3], ["0", "1", "2"]);
    assert!(lines[3].contains('='), "no other file: {lines:?}");
    assert!(!run.out.contains("SECRET"));
    Ok(())
}

/// An `/etc/passwd` that leads to whatever the runtime has open at that moment: here what the caller lends it.
fn users_are_not_read_from_files_of_the_runtime(lab: &Lab) -> Outcome {
    lab.not_runc("follows such links")?;
    let c = lab.container(&["sh", "-c", "echo $HOME"]);
    fs::remove_file(c.rootfs("etc/passwd")).unwrap();
    symlink("/proc/self/fd/0", c.rootfs("etc/passwd")).unwrap();
    let secret = lab.file("secret", "x:x:0:0::/secret:\n");
    let log = lab.next_file("log");
    let mut call = lab.command(&c.runtime, &log);
    call.arg("run").arg("-b").arg(&c.bundle).arg(&c.id).stdin(fs::File::open(secret).unwrap());
    assert_eq!(lab.collect(&c.runtime, call, &log).ok(), "/\n");
    Ok(())
}
