//! Holes of this class of program, each with the test that shows it closed here.
//!
//! The image and what runs in it are hostile, config.json and the caller are trusted: see SECURITY.md.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::harness::bundle::{capabilities, mount, push, set_namespace, without_mount};
use crate::harness::{Lab, Outcome, eventually, json, tests};
use crate::process::write_executable;

tests![
    cve_2019_5736_entry_point_is_the_runtime,
    cve_2019_5736_opened_by_a_neighbour,
    cve_2024_21626_working_directory_is_a_leaked_file,
    cve_2025_31133_null_device_is_a_symlink,
    cve_2023_27561_proc_or_sys_is_a_symlink,
    cve_2019_19921_proc_is_no_directory,
    cve_2026_41579_dev_is_a_symlink,
    cve_2024_45310_destinations_stay_inside,
    cve_2019_18837_dots_stay_inside,
    cve_2019_16884_no_mount_over_proc,
    cve_2025_52565_console_is_a_symlink,
    cve_2025_52881_sysctl_through_a_symlink,
    sysctl_with_dots_in_its_path,
    cve_2021_43784_a_long_config,
    masked_path_through_a_symlink_stays_inside,
    working_directory_through_a_symlink_stays_inside,
    state_cannot_be_reached_by_an_id,
    nothing_is_inherited_from_the_caller,
    users_are_not_read_from_files_of_the_runtime,
];

/// What must not change: a directory of the host with one file.
fn host_dir(lab: &Lab) -> String {
    let dir = lab.dir.join("host");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("marker"), "host").unwrap();
    dir.to_str().unwrap().to_owned()
}

#[track_caller]
fn unchanged(dir: &str) {
    let names: Vec<_> = fs::read_dir(dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["marker"], "the host's directory");
    assert_eq!(fs::read_to_string(Path::new(dir).join("marker")).unwrap(), "host");
}

/// A script whose interpreter is the runtime that starts it.
fn cve_2019_5736_entry_point_is_the_runtime(lab: &Lab) -> Outcome {
    let before = fs::read(&lab.tare.program).unwrap();
    let mut c = lab.container(&["/bin/evil"]);
    write_executable(&c.rootfs("bin/evil"), "#!/proc/self/exe\n");
    c.edit(|v| v["root"]["readonly"] = json!(false));
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    let child = command.spawn().unwrap();
    crate::harness::runtime::wait(child);
    assert!(fs::read(&lab.tare.program).unwrap() == before, "the binary was changed");
    Ok(())
}

/// A member of a pod opens the executable of every process that appears beside it, and writes into it as
/// soon as nobody runs it any more. A decoy shows that the attack works.
const OVERWRITE: &str = "
cp /bin/busybox /out/busybox; /out/busybox sleep 0.3 &
while :; do for p in /proc/[0-9]*; do
    case $(readlink $p/exe) in /bin/busybox | '') continue ;; esac
    [ -e /tmp/${p##*/} ] && continue
    touch /tmp/${p##*/}; echo seen >> /out/seen
    ( exec 7< $p/exe; i=0; while [ $i -lt 300 ]; do i=$((i+1)); usleep 10000; echo OVERWRITTEN > /proc/self/fd/7; done ) 2>/dev/null &
done; done";

fn cve_2019_5736_opened_by_a_neighbour(lab: &Lab) -> Outcome {
    // A copy, so that a hole does no harm; it is writable, as the installed one is for root.
    let copy = lab.dir.join("runtime");
    fs::copy(&lab.tare.program, &copy).unwrap();
    let original = fs::read(&copy).unwrap();
    let runtime = crate::harness::Runtime { program: copy.clone(), kind: lab.tare.kind };
    let mut c = lab.container(&["sh", "-c", OVERWRITE]);
    let out = lab.dir.join("out");
    fs::create_dir(&out).unwrap();
    c.edit(|v| {
        mount(v, "/out", "bind", out.to_str().unwrap(), &["bind"]);
        mount(v, "/tmp", "tmpfs", "x", &[]);
        capabilities(v, &["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]);
    });
    c.up();
    let seen = || fs::read_to_string(out.join("seen")).unwrap_or_default().lines().count();
    for _ in 0..3 {
        let mut victim = lab.container_of(&runtime, &["true"]);
        victim.edit(|v| set_namespace(v, "pid", Some(&format!("/proc/{}/ns/pid", c.pid()))));
        let before = seen();
        // Our own process waits here in the attacker's PID namespace.
        victim.create(&[]).ok();
        eventually("the attacker to see the runtime", || (seen() > before).then_some(()));
        victim.start();
        victim.wait_for("stopped").delete(&[]).ok();
        victim.run(&[]).ok();
    }
    eventually("the decoy to be overwritten", || {
        fs::read(out.join("busybox")).unwrap().starts_with(b"OVER").then_some(())
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(fs::read(&copy).unwrap() == original, "the runtime was overwritten");
    Ok(())
}

/// `/proc/self/fd/N` as working directory: one of the runtime's own directories must not be open there.
fn cve_2024_21626_working_directory_is_a_leaked_file(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "pwd; ls"]);
    for number in 3..=100 {
        for base in ["/proc/self/fd", "/proc/1/fd"] {
            c.edit(|v| v["process"]["cwd"] = json!(format!("{base}/{number}")));
            let run = c.run(&[]);
            assert_ne!(run.code, 0, "{base}/{number} was taken: {}", run.out);
        }
    }
    Ok(())
}

/// The null device of the image covers masked files; a symlink there would uncover something else.
fn cve_2025_31133_null_device_is_a_symlink(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "echo x 2>/dev/null > /etc/secret; cat /etc/secret"]);
    let host = host_dir(lab);
    fs::write(c.rootfs("etc/secret"), "secret").unwrap();
    fs::write(c.rootfs("etc/other"), "other").unwrap();
    symlink("/etc/other", c.rootfs("dev/null")).unwrap();
    c.edit(|v| {
        // Without a tmpfs on /dev the image's own directory is used.
        for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            without_mount(v, point);
        }
        v["root"]["readonly"] = json!(false);
        v["linux"]["maskedPaths"] = json!(["/etc/secret"]);
    });
    let run = c.run(&[]);
    assert!(run.code != 0 || run.out.is_empty(), "{run:?}");
    assert_eq!(fs::read_to_string(c.rootfs("etc/other")).unwrap(), "other");
    unchanged(&host);
    Ok(())
}

fn cve_2023_27561_proc_or_sys_is_a_symlink(lab: &Lab) -> Outcome {
    for name in ["proc", "sys"] {
        for target in ["/tmp", "../../..", "/etc"] {
            let c = lab.container(&["true"]);
            fs::remove_dir(c.rootfs(name)).unwrap();
            symlink(target, c.rootfs(name)).unwrap();
            let run = c.run(&[]);
            assert_eq!(run.code, 1, "/{name} -> {target}: {run:?}");
        }
    }
    Ok(())
}

fn cve_2019_19921_proc_is_no_directory(lab: &Lab) -> Outcome {
    let c = lab.container(&["true"]);
    fs::remove_dir(c.rootfs("proc")).unwrap();
    fs::write(c.rootfs("proc"), "").unwrap();
    assert_eq!(c.run(&[]).code, 1);
    Ok(())
}

/// The image's /dev leads to a directory of the host: nodes and links must not be made there.
fn cve_2026_41579_dev_is_a_symlink(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    for with_mount in [true, false] {
        let mut c = lab.container(&["true"]);
        fs::remove_dir(c.rootfs("dev")).unwrap();
        symlink(&host, c.rootfs("dev")).unwrap();
        c.edit(|v| {
            v["root"]["readonly"] = json!(false);
            if !with_mount {
                for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
                    without_mount(v, point);
                }
            }
        });
        c.run(&[]);
        unchanged(&host);
        // A volume at the end of the symlink, over what is mounted at /dev.
        fs::remove_file(c.rootfs("dev")).unwrap();
        symlink("/volume", c.rootfs("dev")).unwrap();
        c.edit(|v| mount(v, "/volume", "bind", &host, &["bind"]));
        c.run(&[]);
        unchanged(&host);
    }
    Ok(())
}

/// The image plants symlinks where directories and files are made for mounts.
fn cve_2024_45310_destinations_stay_inside(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    let file = lab.file("source", "");
    for (kind, source, options) in
        [("tmpfs", "x", &[][..]), ("bind", host.as_str(), &["bind"]), ("bind", file.as_str(), &["bind"])]
    {
        for (destination, target) in
            [("/vol/made/here", host.clone()), ("/vol/made", format!("../../../../..{host}"))]
        {
            let mut c = lab.container(&["true"]);
            symlink(&target, c.rootfs("vol")).unwrap();
            c.edit(|v| mount(v, destination, kind, source, options));
            c.run(&[]);
            unchanged(&host);
        }
    }
    Ok(())
}

fn cve_2019_18837_dots_stay_inside(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    let up = "../".repeat(20);
    for destination in
        [format!("/tmp/{up}{host}/made"), format!("/{up}{host}/made"), format!("{up}{host}/made")]
    {
        lab.run(&["true"], |v| mount(v, &destination, "tmpfs", "x", &[]));
        unchanged(&host);
    }
    Ok(())
}

/// What looks like procfs must be procfs: labels and sysctls are written there.
fn cve_2019_16884_no_mount_over_proc(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    for (destination, kind, source, options) in [
        ("/proc", "bind", host.as_str(), &["bind"][..]),
        ("/proc", "tmpfs", "x", &[]),
        ("/proc/sys", "tmpfs", "x", &[]),
        ("/proc/self/attr", "bind", host.as_str(), &["bind"]),
        ("/tmp/../proc", "tmpfs", "x", &[]),
    ] {
        let run = lab.run(&["true"], |v| mount(v, destination, kind, source, options));
        assert_eq!(run.code, 1, "{kind} at {destination}: {run:?}");
        unchanged(&host);
    }
    Ok(())
}

fn cve_2025_52565_console_is_a_symlink(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    let mut terminal = crate::harness::pty::Terminal::open();
    let mut c = lab.container(&["sh", "-c", "ls -l /dev/console; echo end"]);
    symlink(format!("{host}/marker"), c.rootfs("dev/console")).unwrap();
    c.edit(|v| {
        without_mount(v, "/dev");
        v["root"]["readonly"] = json!(false);
        v["process"]["terminal"] = json!(true);
    });
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    let child = terminal.spawn(lab, &command);
    let code = crate::harness::runtime::wait(child);
    if code == 0 {
        assert!(terminal.read_until("end").contains("136,"), "the console is the terminal");
    }
    unchanged(&host);
    Ok(())
}

/// A sysctl goes into the kernel's own file, whatever the image has below /proc.
fn cve_2025_52881_sysctl_through_a_symlink(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    let mut c = lab.container(&["cat", "/proc/sys/kernel/shm_rmid_forced"]);
    fs::create_dir_all(c.rootfs("proc/sys/kernel")).unwrap();
    symlink(format!("{host}/marker"), c.rootfs("proc/sys/kernel/shm_rmid_forced")).unwrap();
    c.edit(|v| v["linux"]["sysctl"] = json!({"kernel.shm_rmid_forced": "1"}));
    assert_eq!(c.run(&[]).ok(), "1\n");
    unchanged(&host);
    Ok(())
}

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

/// More than fits into 16 bits, which once made a length wrap and namespaces vanish.
fn cve_2021_43784_a_long_config(lab: &Lab) -> Outcome {
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let long = "x".repeat(70_000);
    let run = lab.run(&["readlink", "/proc/self/ns/net"], |v| {
        push(&mut v["process"]["env"], json!(format!("LONG={long}")));
        v["annotations"] = json!({"long": long});
        for number in 0..500 {
            mount(v, &format!("/tmp/{number}"), "tmpfs", "x", &[]);
        }
        mount(v, "/tmp", "tmpfs", &long[..200], &[]);
    });
    assert_ne!(run.ok().trim(), own.to_str().unwrap());
    Ok(())
}

fn masked_path_through_a_symlink_stays_inside(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    let mut c = lab.container(&["true"]);
    symlink(&host, c.rootfs("etc/link")).unwrap();
    c.edit(|v| {
        v["linux"]["maskedPaths"] = json!(["/etc/link", "/etc/link/marker"]);
        v["linux"]["readonlyPaths"] = json!(["/etc/link", "/etc/link/marker"]);
    });
    c.run(&[]);
    unchanged(&host);
    fs::OpenOptions::new().append(true).open(format!("{host}/marker")).unwrap().write_all(b"").unwrap();
    Ok(())
}

fn working_directory_through_a_symlink_stays_inside(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    for cwd in [format!("/link{host}/made"), "/link/made".to_owned()] {
        let mut c = lab.container(&["true"]);
        symlink("/../../../../../../..", c.rootfs("link")).unwrap();
        c.edit(|v| {
            v["root"]["readonly"] = json!(false);
            v["process"]["cwd"] = json!(cwd);
        });
        c.run(&[]);
        unchanged(&host);
        assert!(!Path::new("/made").exists());
    }
    Ok(())
}

/// An id is one file name: nothing outside the root is read or removed by way of it.
fn state_cannot_be_reached_by_an_id(lab: &Lab) -> Outcome {
    let host = host_dir(lab);
    let c = lab.container(&["sleep", "100"]);
    c.up();
    for id in ["../host", "..", ".", "/", "x/../../host", host.as_str()] {
        for call in [&["state"][..], &["delete", "--force"], &["kill"], &["start"], &["ps"]] {
            let call: Vec<&str> = call.iter().copied().chain([id]).collect();
            assert_ne!(lab.call(&call).code, 0, "{call:?}");
        }
    }
    unchanged(&host);
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
