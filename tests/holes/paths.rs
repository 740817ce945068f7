//! Holes of paths: what the image has planted where the runtime looks, mounts and makes. The same while somebody
//! changes it meanwhile is in `races.rs`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::bundle::{mount, push, without_mount};
use crate::harness::race::Host;
use crate::harness::{Lab, Outcome, json, tests};

tests![
    cve_2025_31133_null_device_is_a_symlink,
    cve_2023_27561_proc_or_sys_is_a_symlink,
    cve_2019_19921_proc_is_no_directory,
    cve_2026_41579_dev_is_a_symlink,
    cve_2024_45310_destinations_stay_inside,
    cve_2019_18837_dots_stay_inside,
    cve_2019_16884_no_mount_over_proc,
    cve_2025_52565_console_is_a_symlink,
    cve_2025_52881_sysctl_through_a_symlink,
    cve_2025_24965_what_is_made_in_the_image,
];

/// The null device of the image covers masked files; a symlink there would uncover something else.
fn cve_2025_31133_null_device_is_a_symlink(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "echo x 2>/dev/null > /etc/secret; cat /etc/secret"]);
    let host = Host::new(lab);
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
    host.unchanged();
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
    let host = Host::new(lab);
    for with_mount in [true, false] {
        let mut c = lab.container(&["true"]);
        fs::remove_dir(c.rootfs("dev")).unwrap();
        symlink(host.path(), c.rootfs("dev")).unwrap();
        c.edit(|v| {
            v["root"]["readonly"] = json!(false);
            if !with_mount {
                for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
                    without_mount(v, point);
                }
            }
        });
        c.run(&[]);
        host.unchanged();
        // A volume at the end of the symlink, over what is mounted at /dev.
        fs::remove_file(c.rootfs("dev")).unwrap();
        symlink("/volume", c.rootfs("dev")).unwrap();
        c.edit(|v| mount(v, "/volume", "bind", host.path(), &["bind"]));
        c.run(&[]);
        host.unchanged();
    }
    Ok(())
}

/// The image plants symlinks where directories and files are made for mounts.
fn cve_2024_45310_destinations_stay_inside(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let file = lab.file("source", "");
    for (kind, source, options) in
        [("tmpfs", "x", &[][..]), ("bind", host.path(), &["bind"]), ("bind", file.as_str(), &["bind"])]
    {
        for (destination, target) in
            [("/vol/made/here", host.path().to_owned()), ("/vol/made", format!("../../../../..{host}"))]
        {
            let mut c = lab.container(&["true"]);
            symlink(&target, c.rootfs("vol")).unwrap();
            c.edit(|v| mount(v, destination, kind, source, options));
            c.run(&[]);
            host.unchanged();
        }
    }
    Ok(())
}

fn cve_2019_18837_dots_stay_inside(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let up = "../".repeat(20);
    for destination in
        [format!("/tmp/{up}{host}/made"), format!("/{up}{host}/made"), format!("{up}{host}/made")]
    {
        lab.run(&["true"], |v| mount(v, &destination, "tmpfs", "x", &[]));
        host.unchanged();
    }
    Ok(())
}

/// What looks like procfs must be procfs: labels and sysctls are written there.
fn cve_2019_16884_no_mount_over_proc(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    for (destination, kind, source, options) in [
        ("/proc", "bind", host.path(), &["bind"][..]),
        ("/proc", "tmpfs", "x", &[]),
        ("/proc/sys", "tmpfs", "x", &[]),
        ("/proc/self/attr", "bind", host.path(), &["bind"]),
        ("/tmp/../proc", "tmpfs", "x", &[]),
    ] {
        let run = lab.run(&["true"], |v| mount(v, destination, kind, source, options));
        assert_eq!(run.code, 1, "{kind} at {destination}: {run:?}");
        host.unchanged();
    }
    Ok(())
}

fn cve_2025_52565_console_is_a_symlink(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
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
    host.unchanged();
    Ok(())
}

/// A sysctl goes into the kernel's own file, whatever the image has below /proc.
fn cve_2025_52881_sysctl_through_a_symlink(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let mut c = lab.container(&["cat", "/proc/sys/kernel/shm_rmid_forced"]);
    fs::create_dir_all(c.rootfs("proc/sys/kernel")).unwrap();
    symlink(format!("{host}/marker"), c.rootfs("proc/sys/kernel/shm_rmid_forced")).unwrap();
    c.edit(|v| v["linux"]["sysctl"] = json!({"kernel.shm_rmid_forced": "1"}));
    assert_eq!(c.run(&[]).ok(), "1\n");
    host.unchanged();
    Ok(())
}

/// Whatever the runtime makes in the image by itself: mountpoints, devices, links, the console, the working directory.
fn cve_2025_24965_what_is_made_in_the_image(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let file = lab.file("source", "");
    let links = ["a", "b", "c", "d", "e"];
    for target in [host.path().to_owned(), format!("../../../../../../../..{host}"), format!("{host}/new")] {
        let terminal = crate::harness::pty::Terminal::open();
        let mut c = lab.container(&["echo", "end"]);
        for link in links {
            symlink(&target, c.rootfs(link)).unwrap();
        }
        for name in ["console", "ptmx", "fd", "null", ".krun_config.json"] {
            symlink(&target, c.rootfs("dev").join(name)).unwrap();
        }
        symlink(&target, c.rootfs(".krun_vm.json")).unwrap();
        c.edit(|v| {
            for point in ["/dev", "/dev/shm", "/dev/mqueue"] {
                without_mount(v, point);
            }
            mount(v, "/a/made", "tmpfs", "x", &[]);
            mount(v, "/b/made", "bind", &file, &["bind"]);
            mount(v, "/c", "bind", &file, &["bind"]);
            push(&mut v["linux"]["devices"], json!({"path": "/d/made", "type": "c", "major": 1, "minor": 5}));
            v["process"]["cwd"] = json!("/e/made");
            v["process"]["terminal"] = json!(true);
            v["root"]["readonly"] = json!(false);
        });
        let mut command = lab.command(&c.runtime, &lab.next_file("log"));
        command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
        crate::harness::runtime::wait(terminal.spawn(lab, &command));
        host.unchanged();
    }
    Ok(())
}
