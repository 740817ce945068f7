//! Holes that take a race: a neighbour exchanges what the image or a shared volume has in the moment between a look and
//! an act of the runtime. 100 containers each, or 10,000 with `TARE_STRESS`.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use rustix::fs::{FileType, Mode, major, makedev, minor, mknodat};

use crate::harness::bundle::{mount, push, without_mount};
use crate::harness::race::{Host, Race, lives, mounts};
use crate::harness::{Container, Lab, Outcome, Value, json, tests};

tests![
    cve_2019_19921_proc_is_exchanged,
    cve_2021_30465_mountpoint_is_exchanged,
    cve_2024_45310_directory_above_is_exchanged,
    cve_2025_31133_null_device_is_exchanged,
    cve_2025_52565_terminals_are_exchanged,
    cve_2025_52881_kernel_parameters_are_exchanged,
    cve_2026_41579_dev_is_exchanged,
];

/// A volume with the directory `a` and the symlink `b` to the host's directory, and a container that has it at `/vol`.
fn with_volume<'l>(lab: &'l Lab<'_>, host: &Host) -> (std::path::PathBuf, Container<'l>) {
    let volume = lab.dir.join("volume");
    fs::create_dir_all(volume.join("a")).unwrap();
    symlink(host.path(), volume.join("b")).unwrap();
    let mut c = lab.container(&["true"]);
    c.edit(|v| mount(v, "/vol", "bind", volume.to_str().unwrap(), &["bind"]));
    (volume, c)
}

/// The mount goes to the place that was looked at, which is in the container.
fn cve_2021_30465_mountpoint_is_exchanged(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let (volume, mut c) = with_volume(lab, &host);
    c.edit(|v| mount(v, "/vol/a", "tmpfs", "raced", &[]));
    Race::begin(lab, &host, &volume, "a", "b").against(&c, &[], |pid| {
        let Some(mounts) = mounts(pid) else { return };
        let raced = mounts.iter().filter(|[_, _, source, _]| source == "raced").count();
        assert_eq!(raced, 1, "the mount is not in the container: {mounts:?}");
    });
    Ok(())
}

/// What is missing of a mountpoint is made in the container.
fn cve_2024_45310_directory_above_is_exchanged(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let (volume, mut c) = with_volume(lab, &host);
    let file = lab.file("source", "");
    c.edit(|v| {
        for number in 0..10 {
            mount(v, &format!("/vol/a/d{number}/x"), "tmpfs", "x", &[]);
            mount(v, &format!("/vol/a/f{number}"), "bind", &file, &["bind"]);
        }
    });
    // Whatever its name is.
    let dir = fs::File::open(volume.join("a")).unwrap();
    let own = format!("/proc/self/fd/{}", dir.as_raw_fd());
    Race::begin(lab, &host, &volume, "a", "b").against(&c, &[], |_| {
        // So that there is something to make the next time. What is mounted on goes with its name.
        for entry in fs::read_dir(&own).unwrap().flatten() {
            fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path())).unwrap();
        }
    });
    Ok(())
}

/// The image's `/proc` is exchanged with a symlink to a directory that looks like it, which the image has as well.
fn with_odd_proc<'l>(lab: &'l Lab<'_>, edit: impl FnOnce(&mut Value)) -> Container<'l> {
    let mut c = lab.container(&["true"]);
    fs::create_dir_all(c.rootfs("fake/self/attr")).unwrap();
    fs::create_dir_all(c.rootfs("fake/sys/kernel")).unwrap();
    fs::write(c.rootfs("fake/sys/kernel/shm_rmid_forced"), "0\n").unwrap();
    symlink("/fake", c.rootfs("link")).unwrap();
    c.edit(edit);
    c
}

/// procfs is mounted on the image's directory, and all is masked and read-only there that should be.
fn cve_2019_19921_proc_is_exchanged(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let c = with_odd_proc(lab, |_| ());
    let existing = |list: &str| -> Vec<String> {
        let list = c.config["linux"][list].as_array().unwrap().iter().filter_map(Value::as_str);
        let list = list.filter(|path| path.starts_with("/proc/") && Path::new(path).exists());
        list.map(|path| path["/proc".len()..].to_owned()).collect()
    };
    let (masked, readonly) = (existing("maskedPaths"), existing("readonlyPaths"));
    Race::begin(lab, &host, &c.rootfs(""), "proc", "link").against(&c, &[], |pid| {
        let Some(mounts) = mounts(pid) else { return };
        // Mounts move with what they are on.
        let at = |below: &str| {
            mounts.iter().rfind(|[at, ..]| [format!("/proc{below}"), format!("/link{below}")].contains(at))
        };
        assert_eq!(at("").map(|[_, kind, ..]| kind.as_str()), Some("proc"), "{mounts:?}");
        for path in &masked {
            assert!(at(path).is_some(), "{path} is not masked: {mounts:?}");
        }
        for path in &readonly {
            let is_readonly = at(path).is_some_and(|[.., options]| options.starts_with("ro"));
            assert!(is_readonly, "{path} is not read-only: {mounts:?}");
        }
    });
    Ok(())
}

/// A parameter is written to the kernel, and to nothing that looks like it.
fn cve_2025_52881_kernel_parameters_are_exchanged(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let c = with_odd_proc(lab, |v| v["linux"]["sysctl"] = json!({"kernel.shm_rmid_forced": "1"}));
    let fake = c.rootfs("fake/sys/kernel/shm_rmid_forced");
    let mut looks = 0;
    Race::begin(lab, &host, &c.rootfs(""), "proc", "link").against(&c, &[], |pid| {
        let mut call = Command::new(&lab.settings.busybox);
        call.args(["nsenter", "-i", "-t", &pid.to_string(), "cat", "/proc/sys/kernel/shm_rmid_forced"]);
        let output = call.output().unwrap();
        if output.status.success() {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
            looks += 1;
        } else {
            assert!(!lives(pid), "the first process could not be looked at: {output:?}");
        }
    });
    // Nor by one that was not made after all.
    assert_eq!(fs::read_to_string(&fake).unwrap(), "0\n");
    assert!(looks > 0, "no container has lived long enough to be looked at");
    Ok(())
}

/// `/dev` is the image's own directory.
fn without_dev(config: &mut Value) {
    for point in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
        without_mount(config, point);
    }
    config["root"]["readonly"] = json!(false);
}

/// What covers a masked file is the null device.
fn cve_2025_31133_null_device_is_exchanged(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let mut c = lab.container(&["true"]);
    c.edit(without_dev);
    fs::write(c.rootfs("etc/secret"), "secret").unwrap();
    fs::write(c.rootfs("etc/other"), "other").unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(rustix::fs::CWD, c.rootfs("dev/null"), FileType::CharacterDevice, mode, makedev(1, 3)).unwrap();
    symlink("/etc/other", c.rootfs("dev/link")).unwrap();
    c.edit(|v| v["linux"]["maskedPaths"] = json!(["/etc/secret"]));
    Race::begin(lab, &host, &c.rootfs("dev"), "null", "link").against(&c, &[], |pid| {
        let data = fs::metadata(format!("/proc/{pid}/root/etc/secret")).unwrap();
        assert_eq!((major(data.rdev()), minor(data.rdev())), (1, 3), "what covers the file");
    });
    Ok(())
}

/// `/dev/console` is the terminal that the caller has the other end of.
fn cve_2025_52565_terminals_are_exchanged(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let socket = lab.dir.join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut c = lab.container(&["true"]);
    for name in ["dev/pts", "dev/fake"] {
        fs::create_dir(c.rootfs(name)).unwrap();
    }
    for name in ["0", "ptmx"] {
        fs::write(c.rootfs("dev/fake").join(name), "").unwrap();
    }
    c.edit(without_dev);
    c.edit(|v| {
        mount(v, "/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
        v["process"]["terminal"] = json!(true);
    });
    let mut held = None;
    let race = Race::begin(lab, &host, &c.rootfs("dev"), "pts", "fake");
    race.against(&c, &["--console-socket", socket.to_str().unwrap()], |pid| {
        while let Ok((stream, _)) = listener.accept() {
            // The last of them has the terminal, which would hang up otherwise.
            held = Some(stream);
        }
        let data = fs::metadata(format!("/proc/{pid}/root/dev/console")).unwrap();
        assert!((136..144).contains(&major(data.rdev())), "/dev/console is {:x}", data.rdev());
    });
    drop(held);
    Ok(())
}

/// Nodes and links are made in the image's directory.
fn cve_2026_41579_dev_is_exchanged(lab: &Lab) -> Outcome {
    let host = Host::new(lab);
    let mut c = lab.container(&["true"]);
    // A volume: what a link in the image leads to can be on the host all the same.
    let volume = lab.dir.join("volume");
    fs::create_dir(&volume).unwrap();
    symlink("/volume", c.rootfs("link")).unwrap();
    c.edit(without_dev);
    c.edit(|v| {
        mount(v, "/volume", "bind", volume.to_str().unwrap(), &["bind"]);
        let device = json!({"path": "/dev/probe", "type": "c", "major": 1, "minor": 5});
        push(&mut v["linux"]["devices"], device);
    });
    Race::begin(lab, &host, &c.rootfs(""), "dev", "link").against(&c, &[], |_| {
        let names: Vec<_> = fs::read_dir(&volume).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(names.is_empty(), "made in the volume: {names:?}");
    });
    Ok(())
}
