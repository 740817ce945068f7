//! root, mounts, linux.rootfsPropagation, maskedPaths and readonlyPaths, seen from inside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::harness::bundle::{capabilities, mount, set_namespace, without_mount};
use crate::harness::settings::{cgroup_roots, unified};
use crate::harness::{Lab, Outcome, Value, json, tests};

tests![
    every_default_mount_is_there,
    options_reach_the_mount,
    later_option_wins,
    recursive_attributes,
    data_reaches_the_file_system,
    tmpfs_covers_and_tmpcopyup_copies,
    tmpfs_keeps_the_mode_of_its_directory,
    bind_of_a_directory,
    bind_of_a_file,
    bind_shows_mounts_below_only_when_recursive,
    bind_remount_keeps_the_flags_of_the_source,
    missing_destinations_are_made,
    destination_may_be_the_hosts_path,
    dangling_symlinks_lead_inside,
    several_options_in_one_text,
    an_overlay_of_long_paths,
    read_only_file_systems_are_not_opened_for_writing,
    relative_source_is_in_the_bundle,
    order_is_that_of_the_config,
    propagation_of_one_mount,
    root_is_read_only_when_asked,
    root_may_be_absolute_but_no_symlink,
    root_propagation,
    root_propagation_from_the_host,
    no_pivot,
    cgroup_mount,
    cgroup_mount_in_its_namespace,
    masked_paths,
    masked_directories_share_one_file_system,
    readonly_paths,
    nothing_of_the_host_shows,
    faults_name_source_and_destination,
];

/// The options, source-side root and the rest of the topmost mount at `point`, from mountinfo inside.
fn mount_at(lab: &Lab, edit: impl FnOnce(&mut Value), point: &str) -> Vec<String> {
    let info = lab.inside(edit, "cat /proc/self/mountinfo");
    let line = info.lines().rev().find(|l| l.split(' ').nth(4) == Some(point));
    line.unwrap_or_else(|| panic!("no mount at {point}:\n{info}")).split(' ').map(str::to_owned).collect()
}

fn has(options: &str, option: &str) -> bool {
    options.split(',').any(|o| o == option)
}

fn every_default_mount_is_there(lab: &Lab) -> Outcome {
    let info = lab.inside(|_| (), "cat /proc/self/mountinfo");
    let mounts: Vec<[&str; 3]> = info
        .lines()
        .map(|l| {
            let (head, tail) = l.split_once(" - ").unwrap();
            let head: Vec<&str> = head.split(' ').collect();
            [head[4], head[5], tail.split(' ').next().unwrap()]
        })
        .collect();
    for expected in [
        ["/proc", "rw,relatime", "proc"],
        ["/dev", "rw,nosuid", "tmpfs"],
        ["/dev/pts", "rw,nosuid,noexec,relatime", "devpts"],
        ["/dev/shm", "rw,nosuid,nodev,noexec,relatime", "tmpfs"],
        ["/dev/mqueue", "rw,nosuid,nodev,noexec,relatime", "mqueue"],
        ["/sys", "ro,nosuid,nodev,noexec,relatime", "sysfs"],
    ] {
        assert!(mounts.contains(&expected), "{expected:?} is missing:\n{info}");
    }
    Ok(())
}

fn options_reach_the_mount(lab: &Lab) -> Outcome {
    for (option, shown) in [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("relatime", "relatime"),
        ("nosymfollow", "nosymfollow"),
    ] {
        if option == "nosymfollow" && lab.tare.is_runc_before(1, 2) {
            continue;
        }
        let line = mount_at(lab, |v| mount(v, "/tmp", "tmpfs", "x", &[option]), "/tmp");
        assert!(has(&line[5], shown), "tmpfs {option}: {line:?}");
        let line = mount_at(lab, |v| mount(v, "/tmp", "bind", "/etc", &["bind", option]), "/tmp");
        assert!(has(&line[5], shown), "bind {option}: {line:?}");
    }
    // These are of the whole file system, and so in the last field.
    for option in ["sync", "dirsync"] {
        let line = mount_at(lab, |v| mount(v, "/tmp", "tmpfs", "x", &[option]), "/tmp");
        assert!(has(line.last().unwrap(), option), "{option}: {line:?}");
    }
    Ok(())
}

fn later_option_wins(lab: &Lab) -> Outcome {
    for (options, expected) in [
        (&["ro", "rw"][..], "rw,relatime"),
        (&["rw", "ro"], "ro,relatime"),
        (&["nosuid", "suid", "nodev", "dev", "noexec", "exec"], "rw,relatime"),
        (&["strictatime"], "rw"),
    ] {
        let line = mount_at(lab, |v| mount(v, "/tmp", "tmpfs", "x", options), "/tmp");
        assert_eq!(line[5], expected, "{options:?}");
    }
    Ok(())
}

/// `ro` is of the one mount, `rro` of all below it.
fn recursive_attributes(lab: &Lab) -> Outcome {
    let outer = lab.dir.join("outer");
    fs::create_dir_all(outer.join("inner")).unwrap();
    mounted(&outer.join("inner"), || {
        let source = outer.to_str().unwrap();
        for (option, outer, inner) in [
            ("ro", "ro", "rw"),
            ("rro", "ro", "ro"),
            ("rnosuid", "nosuid", "nosuid"),
            ("rnodev", "nodev", "nodev"),
            ("rnoexec", "noexec", "noexec"),
            ("rnoatime", "noatime", "noatime"),
        ] {
            for (point, shown) in [("/tmp", outer), ("/tmp/inner", inner)] {
                let line = mount_at(lab, |v| mount(v, "/tmp", "bind", source, &["rbind", option]), point);
                assert!(has(&line[5], shown), "{option} at {point}: {line:?}");
            }
        }
    });
    Ok(())
}

/// Runs `test` while a tmpfs is mounted at `point` on the host.
fn mounted(point: &std::path::Path, test: impl FnOnce()) {
    let run = |program: &str, args: &[&str]| {
        assert!(
            std::process::Command::new(program).args(args).arg(point).status().unwrap().success(),
            "{program}"
        );
    };
    run("mount", &["-t", "tmpfs", "x"]);
    // The guard of the lab unmounts after a failure.
    test();
    run("umount", &[]);
}

fn data_reaches_the_file_system(lab: &Lab) -> Outcome {
    let options = ["size=1m", "mode=0710", "nr_inodes=7", "uid=5", "gid=6"];
    let line = mount_at(lab, |v| mount(v, "/tmp", "tmpfs", "x", &options), "/tmp");
    for option in ["size=1024k", "mode=710", "nr_inodes=7", "uid=5", "gid=6"] {
        assert!(has(line.last().unwrap(), option), "{option}: {line:?}");
    }
    assert_eq!(line[line.len() - 2], "x", "the source is free text for tmpfs");
    Ok(())
}

fn tmpfs_covers_and_tmpcopyup_copies(lab: &Lab) -> Outcome {
    let script =
        "ls -A /data; cat /data/d/f 2>/dev/null; stat -c %a /data/d /data/d/f 2>/dev/null; readlink /data/l";
    for (options, expected) in [
        (&["nosuid"][..], ""),
        (&["tmpcopyup"], "d\nl\ncontent\n710\n640\nd/f"),
        (&["tmpcopyup", "size=1m"], "d\nl\ncontent\n710\n640\nd/f"),
    ] {
        let mut c = lab.container(&["sh", "-c", script]);
        fs::create_dir_all(c.rootfs("data/d")).unwrap();
        fs::write(c.rootfs("data/d/f"), "content\n").unwrap();
        fs::set_permissions(c.rootfs("data/d/f"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(c.rootfs("data/d"), fs::Permissions::from_mode(0o710)).unwrap();
        symlink("d/f", c.rootfs("data/l")).unwrap();
        c.edit(|v| mount(v, "/data", "tmpfs", "tmpfs", options));
        let run = c.run(&[]);
        assert_eq!(run.out.trim_end(), expected, "{options:?}: {}", run.err);
    }
    Ok(())
}

/// Without `mode=` a tmpfs takes the mode of what it covers; where nothing was, the kernel's own.
fn tmpfs_keeps_the_mode_of_its_directory(lab: &Lab) -> Outcome {
    for (directory, options, expected) in [
        ("/tmp", &[][..], "1777"),
        ("/new", &[], "1777"),
        ("/tmp", &["mode=700"], "700"),
        ("/new", &["mode=711"], "711"),
    ] {
        let mode =
            lab.inside(|v| mount(v, directory, "tmpfs", "x", options), &format!("stat -c %a {directory}"));
        assert_eq!(mode, expected, "{directory} {options:?}");
    }
    Ok(())
}

/// `fsconfig(2)` takes no more than 255 bytes at once; an overlay's layers are often longer.
fn an_overlay_of_long_paths(lab: &Lab) -> Outcome {
    let base = lab.next_file("layers").join("o".repeat(200));
    let dir = |name: &str| {
        let path = base.join(name);
        fs::create_dir_all(&path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (lower, upper, work) = (dir("lower-with-a-long-name"), dir("upper-with-a-long-name"), dir("work"));
    fs::write(base.join("lower-with-a-long-name/file"), "below").unwrap();
    assert!(lower.len() + "lowerdir=".len() > 200);
    let second = dir("second");
    let lowers = format!("lowerdir={lower}:{second}");
    assert!(lowers.len() > 255, "{}", lowers.len());
    let options = json!([lowers, format!("upperdir={upper}"), format!("workdir={work}"), "nodev"]);
    let overlay = |v: &mut Value| {
        let mount = json!({"destination": "/o", "type": "overlay", "source": "overlay", "options": options});
        v["mounts"].as_array_mut().unwrap().push(mount);
        v["root"]["readonly"] = false.into();
    };
    let out = lab.inside(overlay, "cat /o/file; echo written > /o/new; grep ' /o ' /proc/self/mountinfo");
    assert!(out.starts_with("below") && out.contains(" /o rw,nodev,relatime - overlay"), "{out}");
    assert_eq!(fs::read_to_string(format!("{upper}/new")).unwrap(), "written\n");
    Ok(())
}

fn bind_of_a_directory(lab: &Lab) -> Outcome {
    fs::create_dir(lab.dir.join("shared")).unwrap();
    fs::write(lab.dir.join("shared/in"), "from the host").unwrap();
    let source = lab.dir.join("shared");
    for options in [&["bind"][..], &["rbind"], &["rbind", "rw", "rprivate"]] {
        let edit = |v: &mut Value| mount(v, "/data", "bind", source.to_str().unwrap(), options);
        assert_eq!(
            lab.inside(edit, "cat /data/in; echo from inside > /data/out"),
            "from the host",
            "{options:?}"
        );
        assert_eq!(fs::read_to_string(source.join("out")).unwrap(), "from inside\n", "{options:?}");
        fs::remove_file(source.join("out")).unwrap();
    }
    // The type need not say bind: the option does.
    let edit = |v: &mut Value| mount(v, "/data", "none", source.to_str().unwrap(), &["bind", "ro"]);
    assert_eq!(
        lab.inside(edit, "cat /data/in; echo x 2>/dev/null > /data/out || echo refused"),
        "from the hostrefused"
    );
    Ok(())
}

fn bind_of_a_file(lab: &Lab) -> Outcome {
    let source = lab.file("hosts", "a line\n");
    // Over a file of the image, and to a place that does not exist.
    for destination in ["/etc/passwd", "/etc/hosts", "/new/dir/hosts"] {
        let edit = |v: &mut Value| mount(v, destination, "bind", &source, &["bind", "ro"]);
        assert_eq!(lab.inside(edit, &format!("cat {destination}")), "a line", "{destination}");
    }
    Ok(())
}

fn bind_shows_mounts_below_only_when_recursive(lab: &Lab) -> Outcome {
    let outer = lab.dir.join("outer");
    fs::create_dir_all(outer.join("inner")).unwrap();
    mounted(&outer.join("inner"), || {
        fs::write(outer.join("inner/file"), "").unwrap();
        for (option, expected) in [("bind", ""), ("rbind", "file")] {
            let edit = |v: &mut Value| mount(v, "/tmp", "bind", outer.to_str().unwrap(), &[option]);
            assert_eq!(lab.inside(edit, "ls /tmp/inner"), expected, "{option}");
        }
    });
    Ok(())
}

/// A read-only bind of a source that is nosuid must not ask the kernel to drop nosuid.
fn bind_remount_keeps_the_flags_of_the_source(lab: &Lab) -> Outcome {
    let point = lab.dir.join("flags");
    fs::create_dir(&point).unwrap();
    mounted(&point, || {
        let path = point.to_str().unwrap();
        let remount = ["-o", "remount,bind,nosuid,nodev,noexec", path];
        assert!(std::process::Command::new("mount").args(remount).status().unwrap().success());
        let line = mount_at(lab, |v| mount(v, "/tmp", "bind", path, &["bind", "ro"]), "/tmp");
        assert!(has(&line[5], "ro"), "{line:?}");
    });
    Ok(())
}

/// Through the root file system: runc takes the path before it off.
fn destination_may_be_the_hosts_path(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let mut c = lab.container(&["cat", "/home/here/hostname"]);
    let (here, root) = (c.rootfs("home/here/"), c.rootfs(""));
    fs::create_dir(c.bundle.join("source")).unwrap();
    fs::write(c.bundle.join("source/hostname"), "found").unwrap();
    c.edit(|v| mount(v, here.to_str().unwrap(), "bind", "source", &["bind"]));
    assert_eq!(c.run(&[]).ok(), "found");
    c.edit(|v| v["mounts"].as_array_mut().unwrap().last_mut().unwrap()["destination"] = json!(root));
    assert_eq!(c.run(&[]).code, 1, "the root itself is no destination");
    Ok(())
}

fn missing_destinations_are_made(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "stat -c '%F %a %u' /a /a/b /a/b/c"]);
    c.edit(|v| mount(v, "/a/b/c", "tmpfs", "x", &["mode=755"]));
    assert_eq!(c.run(&[]).ok(), "directory 755 0\n".repeat(3));
    assert!(c.rootfs("a/b/c").is_dir(), "they are in the root file system");
    Ok(())
}

/// `/etc/resolv.conf` of many images leads to a file that only a running system has.
fn dangling_symlinks_lead_inside(lab: &Lab) -> Outcome {
    let source = lab.file("source", "mounted");
    let mut c = lab.container(&["sh", "-c", "cat /etc/resolv.conf; stat -c %t /run/lock/x /real/dir"]);
    symlink("../run/resolve/stub.conf", c.rootfs("etc/resolv.conf")).unwrap();
    fs::create_dir(c.rootfs("var")).unwrap();
    symlink("/run/lock", c.rootfs("var/lock")).unwrap();
    // The kernel resolves what is before the dots, which is a symlink itself.
    fs::create_dir(c.rootfs("real")).unwrap();
    fs::create_dir(c.rootfs("real/sub")).unwrap();
    symlink("/real/sub", c.rootfs("link")).unwrap();
    symlink("../dir", c.rootfs("real/sub/up")).unwrap();
    c.edit(|v| {
        mount(v, "/etc/resolv.conf", "bind", &source, &["bind"]);
        mount(v, "/var/lock/x", "tmpfs", "x", &[]);
        mount(v, "/link/up", "tmpfs", "x", &[]);
    });
    assert_eq!(c.run(&[]).ok(), "mounted0\n0\n");
    assert!(c.rootfs("run/resolve/stub.conf").is_file() && c.rootfs("real/dir").is_dir());
    Ok(())
}

fn several_options_in_one_text(lab: &Lab) -> Outcome {
    let line = mount_at(lab, |v| mount(v, "/tmp", "tmpfs", "x", &["size=64k,mode=700"]), "/tmp");
    let options = line.last().unwrap();
    assert!(has(options, "size=64k") && has(options, "mode=700"), "{options}");
    Ok(())
}

fn read_only_file_systems_are_not_opened_for_writing(lab: &Lab) -> Outcome {
    let line = mount_at(lab, |v| mount(v, "/tmp", "ramfs", "x", &["ro"]), "/tmp");
    assert!(has(line.last().unwrap(), "ro"), "{line:?}");
    Ok(())
}

fn relative_source_is_in_the_bundle(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["cat", "/data/file"]);
    fs::create_dir(c.bundle.join("volume")).unwrap();
    fs::write(c.bundle.join("volume/file"), "in the bundle").unwrap();
    c.edit(|v| mount(v, "/data", "bind", "volume", &["bind"]));
    assert_eq!(c.run(&[]).ok(), "in the bundle");
    Ok(())
}

fn order_is_that_of_the_config(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        mount(v, "/tmp", "tmpfs", "first", &[]);
        mount(v, "/tmp/sub", "tmpfs", "second", &[]);
        mount(v, "/tmp", "tmpfs", "third", &[]);
    };
    let inside = lab.inside(
        edit,
        "grep -E ' /tmp' /proc/self/mountinfo | sed 's/.* tmpfs \\([a-z]*\\) .*/\\1/'; ls /tmp",
    );
    assert_eq!(inside, "first\nsecond\nthird", "the third covers the second");
    Ok(())
}

fn propagation_of_one_mount(lab: &Lab) -> Outcome {
    for (option, shown) in [
        ("rprivate", ""),
        ("rslave", ""),
        ("rshared", "shared:"),
        ("shared", "shared:"),
        ("runbindable", "unbindable"),
    ] {
        let line = mount_at(lab, |v| mount(v, "/tmp", "tmpfs", "x", &[option]), "/tmp");
        let tags = line[6..line.iter().position(|f| f == "-").unwrap()].join(" ");
        assert!(if shown.is_empty() { tags.is_empty() } else { tags.contains(shown) }, "{option}: {line:?}");
    }
    Ok(())
}

fn root_is_read_only_when_asked(lab: &Lab) -> Outcome {
    for (readonly, expected) in [(true, "refused"), (false, "written")] {
        let edit = |v: &mut Value| v["root"]["readonly"] = json!(readonly);
        assert_eq!(lab.inside(edit, "echo x 2>/dev/null > /file && echo written || echo refused"), expected);
    }
    let edit = |v: &mut Value| drop(v["root"].as_object_mut().unwrap().remove("readonly"));
    assert_eq!(lab.inside(edit, "touch /file && echo written"), "written");
    Ok(())
}

fn root_may_be_absolute_but_no_symlink(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["echo", "here"]);
    let root = c.rootfs("").to_str().unwrap().trim_end_matches('/').to_owned();
    c.edit(|v| v["root"]["path"] = json!(root));
    assert_eq!(c.run(&[]).ok(), "here\n");
    symlink("rootfs", c.bundle.join("link")).unwrap();
    c.edit(|v| v["root"]["path"] = json!("link"));
    c.run(&[]).fails(1, "RT run failed: invalid rootfs: not an absolute path, or a symlink (root.path)");
    Ok(())
}

/// All forms of linux.rootfsPropagation, with the tag that mountinfo shows for the root.
pub const ROOT_PROPAGATION: [(&str, &str); 9] = [
    ("", ""),
    ("private", ""),
    ("rprivate", ""),
    ("slave", ""),
    ("rslave", ""),
    ("shared", "shared:"),
    ("rshared", "shared:"),
    ("unbindable", "unbindable"),
    ("runbindable", "unbindable"),
];

/// Fails unless a line of mountinfo has the tag that belongs to a propagation, and no other: the suite's own mounts
/// have no peers, so a slave has no master.
#[track_caller]
pub fn is_propagated(value: &str, line: &str, shown: &str) {
    let tags: Vec<_> = line.split(' ').skip(6).take_while(|field| *field != "-").collect();
    assert!(tags.len() == usize::from(!shown.is_empty()), "{value}: {line}");
    assert!(tags.iter().all(|tag| tag.starts_with(shown)), "{value}: {line}");
}

fn root_propagation(lab: &Lab) -> Outcome {
    for (value, shown) in ROOT_PROPAGATION {
        let line = mount_at(lab, |v| v["linux"]["rootfsPropagation"] = json!(value), "/").join(" ");
        is_propagated(value, &line, shown);
    }
    Ok(())
}

/// Mounts that the host makes below the root later on are seen where the config makes it a slave, and the container's own are
/// never seen outside.
fn root_propagation_from_the_host(lab: &Lab) -> Outcome {
    let host = |args: &[&str]| assert!(Command::new(args[0]).args(&args[1..]).status().unwrap().success());
    for (value, seen) in [
        ("", false),
        ("slave", true),
        ("rslave", true),
        ("private", false),
        ("shared", false),
        ("unbindable", false),
    ] {
        let mut c = lab.container(&["sleep", "100"]);
        c.edit(|v| {
            v["linux"]["rootfsPropagation"] = json!(value);
            capabilities(v, &["CAP_SYS_ADMIN"]);
        });
        let (bundle, place) = (c.bundle.to_str().unwrap(), c.rootfs("tmp"));
        host(&["mount", "--bind", bundle, bundle]);
        host(&["mount", "--make-shared", bundle]);
        c.up();
        host(&["mount", "-t", "tmpfs", "later", place.to_str().unwrap()]);
        let inside = fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).unwrap();
        assert_eq!(inside.contains(" - tmpfs later "), seen, "{value}: {inside}");
        c.call("exec", &["mount", "-t", "tmpfs", "own", "/home"]).ok();
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - tmpfs own "), "{value}");
        c.delete(&["--force"]).ok();
        host(&["umount", place.to_str().unwrap()]);
        host(&["umount", bundle]);
    }
    Ok(())
}

/// For a root that is a ramdisk: chroot after a move instead of pivot_root.
fn no_pivot(lab: &Lab) -> Outcome {
    let c = lab.container(&["sh", "-c", "ls -d /bin /etc; ls -d /usr"]);
    let run = c.run(&["--no-pivot"]);
    assert_eq!(run.out, "/bin\n/etc\n");
    Ok(())
}

fn cgroup_mount(lab: &Lab) -> Outcome {
    let mut c = lab.container(&[
        "sh",
        "-c",
        "grep ' /sys/fs/cgroup' /proc/self/mountinfo; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>&1",
    ]);
    c.edit(|v| v["root"]["readonly"] = json!(true));
    let run = c.run(&[]);
    let mounts: Vec<Vec<&str>> =
        run.out.lines().filter(|l| l.contains(" - ")).map(|l| l.split(' ').collect()).collect();
    if unified() {
        assert_eq!(mounts.len(), 1, "{mounts:?}");
        assert!(has(mounts[0][5], "ro"));
    } else {
        // A tmpfs, and below it every hierarchy, each showing the container's own cgroup as its root.
        let v1 = cgroup_roots().into_iter().filter(|p| !p.join("cgroup.controllers").exists()).count();
        assert_eq!(mounts.len(), 1 + v1, "{mounts:?}");
        for mount in &mounts[1..] {
            assert!(mount[3].ends_with(&c.id) && has(mount[5], "ro"), "{mount:?}");
        }
    }
    assert_ne!(run.code, 0, "the mount is read-only");
    Ok(())
}

fn cgroup_mount_in_its_namespace(lab: &Lab) -> Outcome {
    let info = lab.inside(
        |v| set_namespace(v, "cgroup", None),
        "grep -E ' - cgroup2? ' /proc/self/mountinfo | cut -d' ' -f4 | sort -u; ls /sys/fs/cgroup | grep -c .",
    );
    assert_eq!(info.lines().next(), Some("/"), "{info}");
    Ok(())
}

/// A masked file is the null device, a masked directory is empty and read-only.
fn masked_paths(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "stat -c '%F %t:%T' /etc/secret; cat /etc/secret; ls -A /etc/dir; touch /etc/dir/x 2>/dev/null || echo refused"]);
    fs::write(c.rootfs("etc/secret"), "secret").unwrap();
    fs::create_dir(c.rootfs("etc/dir")).unwrap();
    fs::write(c.rootfs("etc/dir/file"), "secret").unwrap();
    c.edit(|v| v["linux"]["maskedPaths"] = json!(["/etc/secret", "/etc/dir", "/does/not/exist"]));
    assert_eq!(c.run(&[]).ok(), "character special file 1:3\nrefused\n");
    Ok(())
}

/// runc#5275: a hundred masked directories must not be a hundred file systems.
fn masked_directories_share_one_file_system(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 4)?;
    let mut c = lab.container(&[
        "sh",
        "-c",
        "stat -c %d /etc/m* | sort -u | wc -l; stat -c %d /etc /etc/m1 | sort -u | wc -l",
    ]);
    let paths: Vec<String> = (0..20).map(|n| format!("/etc/m{n}")).collect();
    for path in &paths {
        fs::create_dir(c.rootfs(&path[1..])).unwrap();
    }
    c.edit(|v| v["linux"]["maskedPaths"] = json!(paths));
    assert_eq!(c.run(&[]).ok(), "1\n2\n");
    Ok(())
}

fn readonly_paths(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        v["root"]["readonly"] = json!(false);
        v["linux"]["readonlyPaths"] = json!(["/etc", "/root/file", "/does/not/exist"]);
        capabilities(v, &["CAP_DAC_OVERRIDE"]);
    };
    let script = "for f in /etc/new /root/file /root/new; do echo x 2>/dev/null > $f && echo $f written || echo $f refused; done";
    let mut c = lab.container(&["sh", "-c", script]);
    fs::write(c.rootfs("root/file"), "").unwrap();
    c.edit(edit);
    assert_eq!(c.run(&[]).out, "/etc/new refused\n/root/file refused\n/root/new written\n");
    // And by default the knobs of the kernel.
    assert_eq!(
        lab.inside(|_| (), "echo x 2>/dev/null > /proc/sys/kernel/domainname || echo refused"),
        "refused"
    );
    Ok(())
}

/// The old root is gone, and no mount of the host is left in the table.
fn nothing_of_the_host_shows(lab: &Lab) -> Outcome {
    let info = lab.inside(without_cgroup, "cut -d' ' -f5 /proc/self/mountinfo | sort -u");
    let expected = ["/", "/dev", "/proc", "/sys"];
    for point in info.lines() {
        assert!(
            expected.iter().any(|e| point == *e || point.starts_with(&format!("{e}/"))),
            "{point} in\n{info}"
        );
    }
    Ok(())
}

fn without_cgroup(config: &mut Value) {
    without_mount(config, "/sys/fs/cgroup");
}

fn faults_name_source_and_destination(lab: &Lab) -> Outcome {
    for (kind, source, options, parts) in [
        ("bogusfs", "x", &[][..], &["error mounting \"x\" to rootfs at \"/y\"", "no such device"][..]),
        (
            "tmpfs",
            "x",
            &["bogus=1"],
            &["error mounting \"x\" to rootfs at \"/y\"", "bogus=1", "invalid argument"],
        ),
        ("bind", "/does/not/exist", &["bind"], &["/does/not/exist", "no such file or directory"]),
    ] {
        let run = lab.run(&["true"], |v| mount(v, "/y", kind, source, options));
        for part in parts {
            run.fails_with(part);
        }
    }
    Ok(())
}
