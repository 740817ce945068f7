//! Id maps of new file systems: tmpfs, disks, and whatever else the kernel can.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::harness::settings::program;
use crate::harness::{Lab, Outcome, Skip, Value, json, tests};
use crate::idmap::{FIRST, SHOW, container, lines, mapped, source};

tests![
    tmpfs_in_a_user_namespace,
    tmpfs_without_a_user_namespace,
    tmpfs_copies_what_it_covers,
    every_file_system_that_can,
    a_disk_of_the_host,
];

fn tmpfs(v: &mut Value, options: &[&str], maps: [&[(u32, u32, u32)]; 2]) {
    mapped(v, "/data", ("tmpfs", Path::new("tmpfs")), options, maps);
}

/// Made by the runtime, for root of the container could not map it; and the same from inside as one of its own.
fn tmpfs_in_a_user_namespace(lab: &Lab) -> Outcome {
    lab.not_runc("can do bind mounts only")?;
    let script = "stat -c '%u %g %a' /data; touch /data/a; stat -c '%u %g' /data/a; df -m /data | awk 'NR>1 {print $2}'";
    for (mode, options, want) in [
        (0o751, &["idmap", "size=3m"][..], "0 0 751\n0 0\n3\n"),
        (0o755, &["idmap", "size=3m", "mode=710"], "0 0 710\n0 0\n3\n"),
        (0o755, &["ridmap", "size=3m", "uid=0", "gid=9"], "0 9 755\n0 0\n3\n"),
    ] {
        let mut c = container(lab, &lab.tare, script, true);
        fs::create_dir(c.rootfs("data")).unwrap();
        fs::set_permissions(c.rootfs("data"), fs::Permissions::from_mode(mode)).unwrap();
        c.edit(|v| tmpfs(v, options, [&[], &[]]));
        assert_eq!(c.run(&[]).ok(), want, "{options:?}");
        // A user of its own, who is somebody else in there.
        c.edit(|v| {
            v["mounts"][7]["uidMappings"] = lines(&[(0, FIRST + 5, 10)]);
            v["mounts"][7]["gidMappings"] = lines(&[(0, FIRST, 10)]);
            v["process"]["user"]["uid"] = json!(5);
        });
        assert_eq!(c.run(&[]).ok(), want.replace("0 0\n3", "5 0\n3").replacen('0', "5", 1), "{options:?}");
    }
    let mut c = container(lab, &lab.tare, "grep ' /data ' /proc/self/mountinfo; touch /data/a", true);
    c.edit(|v| tmpfs(v, &["idmap", "ro"], [&[], &[]]));
    let run = c.run(&[]);
    assert!(run.out.contains(" /data ro,") && run.err.contains("Read-only file system"), "{run:?}");
    Ok(())
}

fn tmpfs_without_a_user_namespace(lab: &Lab) -> Outcome {
    lab.not_runc("can do bind mounts only")?;
    let script =
        "stat -c '%u %g %a' /data; touch /data/a; stat -c '%u %g' /data/a; mkdir /data/sub && ls /data";
    let mut c = container(lab, &lab.tare, script, false);
    c.edit(|v| {
        tmpfs(v, &["mode=700"], [&[(0, 1000, 1)], &[(0, 1000, 1)]]);
        v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert_eq!(c.run(&[]).ok(), "1000 1000 700\n1000 1000\na\nsub\n");
    // Root is not one of its users.
    c.edit(|v| {
        v["process"]["user"] = json!({"uid": 0, "gid": 0});
        v["mounts"][7]["options"] = json!([]);
    });
    let run = c.run(&[]);
    assert!(run.out.starts_with("1000 1000 ") && run.err.contains("Value too large"), "{run:?}");
    Ok(())
}

/// What was there has the same owners as before for those in the container.
fn tmpfs_copies_what_it_covers(lab: &Lab) -> Outcome {
    lab.not_runc("can do bind mounts only")?;
    for (user, first) in [(false, 0), (true, FIRST)] {
        let mut c = container(lab, &lab.tare, SHOW, user);
        let covered = source(c.rootfs("data"), &[(first, first), (first + 3, first + 4)]);
        chown(&covered, Some(first), Some(first)).unwrap();
        c.edit(|v| tmpfs(v, &["tmpcopyup"], [&[(0, first, 100)], &[(0, first, 100)]]));
        assert_eq!(c.run(&[]).ok(), "/data/a 0 0\n/data/b 3 4\n");
    }
    let mut c = container(lab, &lab.tare, SHOW, false);
    source(c.rootfs("data"), &[(0, 0)]);
    c.edit(|v| tmpfs(v, &["tmpcopyup"], [&[(0, 1000, 100)], &[(0, 1000, 100)]]));
    c.run(&[]).fails_with("tmpcopyup: a: ");
    Ok(())
}

/// By what the kernel says of itself: whoever else learns it is found here.
fn every_file_system_that_can(lab: &Lab) -> Outcome {
    lab.not_runc("can do bind mounts only")?;
    for user in [false, true] {
        let mut seen = Vec::new();
        for kind in ["tmpfs", "ramfs", "hugetlbfs", "devpts", "bpf", "debugfs"] {
            let known = fs::read_to_string("/proc/filesystems").unwrap();
            if !known.lines().any(|line| line.ends_with(&format!("\t{kind}"))) {
                continue;
            }
            let mut c = container(lab, &lab.tare, "stat -c '%u %g' /data", user);
            let first = if user { FIRST } else { 0 } + 7;
            c.edit(|v| {
                let maps = [&[(0, first, 10)][..], &[(0, first, 10)]];
                mapped(v, "/data", (kind, Path::new(kind)), &["mode=755"], maps);
            });
            let run = c.run(&[]);
            if run.code == 0 {
                assert_eq!(run.out, "7 7\n", "{kind}");
                seen.push(kind);
            } else {
                let text = format!(
                    "failed to set MOUNT_ATTR_IDMAP on {kind}: invalid argument: {kind} has no id maps in Linux "
                );
                assert!(run.err.contains(&text) || run.err.contains("fsconfig"), "{kind}: {}", run.err);
            }
        }
        assert!(seen.contains(&"tmpfs"), "{seen:?}");
        println!("user namespace: {user}; {}", seen.join(" "));
    }
    Ok(())
}

/// Root of a user namespace could not mount it at all.
fn a_disk_of_the_host(lab: &Lab) -> Outcome {
    lab.not_runc("can do bind mounts only")?;
    let (mkfs, losetup) = (program("mkfs.ext4")?, program("losetup")?);
    let image = lab.dir.join("image");
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    assert!(Command::new(mkfs).arg("-q").arg(&image).status().unwrap().success());
    let made = Command::new(&losetup).args(["--find", "--show"]).arg(&image).output().unwrap();
    if !made.status.success() {
        return Err(Skip("no loop device".into()));
    }
    let device = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let run = || {
        let mut c =
            container(lab, &lab.tare, "touch /data/a; stat -c '%u %g' /data /data/a /data/lost+found", true);
        c.edit(|v| mapped(v, "/data", ("ext4", Path::new(&device)), &["idmap"], [&[], &[]]));
        c.run(&[])
    };
    let outputs = [run(), run()];
    assert!(Command::new(&losetup).args(["--detach", &device]).status().unwrap().success());
    for output in outputs {
        assert_eq!(output.ok(), "0 0\n0 0\n0 0\n");
    }
    Ok(())
}
