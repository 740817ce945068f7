//! mounts[].uidMappings and gidMappings, the options idmap and ridmap: whose files are, seen from inside and on the
//! host, and which names nothing can be written under.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::bundle::{push, set_namespace, without_namespace};
use crate::harness::settings::program;
use crate::harness::user::{ALICE, User};
use crate::harness::{Container, Lab, Outcome, Runtime, Skip, Value, json, tests};

tests![
    files_belong_to_others_without_a_user_namespace,
    files_belong_to_others_in_a_user_namespace,
    unmapped_ids_are_nobodys,
    more_than_one_line,
    a_single_file,
    many_mounts_of_few_maps,
    mounts_below_keep_their_ids_without_ridmap,
    maps_of_the_containers_user_namespace,
    maps_of_a_joined_user_namespace,
    options_are_kept,
    propagation_is_kept,
    faults_are_told_before_anything_is_made,
    the_kernels_refusal_is_explained,
    ordinary_users_can_not_have_them,
    root_of_a_user_namespace_can_map_its_own,
    the_same_as_runc,
];

/// The first id of the containers' user namespace.
pub const FIRST: u32 = 100_000;

pub fn lines(list: &[(u32, u32, u32)]) -> Value {
    list.iter()
        .map(|(container, host, size)| json!({"containerID": container, "hostID": host, "size": size}))
        .collect()
}

/// Adds a mount with these maps.
pub fn mapped(
    v: &mut Value,
    destination: &str,
    (kind, source): (&str, &Path),
    options: &[&str],
    maps: [&[(u32, u32, u32)]; 2],
) {
    let mut mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
    for (field, map) in ["uidMappings", "gidMappings"].into_iter().zip(maps) {
        if !map.is_empty() {
            mount[field] = lines(map);
        }
    }
    push(&mut v["mounts"], mount);
}

/// The same on /data from `source` of the host.
fn data(v: &mut Value, source: &Path, options: &[&str], maps: [&[(u32, u32, u32)]; 2]) {
    mapped(v, "/data", ("none", source), options, maps);
}

/// Gives the container a user namespace of its own.
pub fn user_namespace(v: &mut Value) {
    set_namespace(v, "user", None);
    for field in ["uidMappings", "gidMappings"] {
        v["linux"][field] = lines(&[(0, FIRST, 65536)]);
    }
}

pub fn container<'l>(lab: &'l Lab<'l>, runtime: &Runtime, script: &str, user: bool) -> Container<'l> {
    let mut c = lab.container_of(runtime, &["sh", "-c", script]);
    if user {
        c.edit(user_namespace);
        give(&c.rootfs(""));
    }
    c
}

/// Hands a tree over to root of the user namespace; the busybox that all tests share stays whose it is.
pub fn give(dir: &Path) {
    chown(dir, Some(FIRST), Some(FIRST)).unwrap();
    for entry in fs::read_dir(dir).unwrap().flatten().filter(|e| e.file_type().unwrap().is_dir()) {
        give(&entry.path());
    }
}

/// A directory with files `a`, `b` … of these owners. Everybody may write to it.
pub fn source(dir: PathBuf, owners: &[(u32, u32)]) -> PathBuf {
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    for (name, (uid, gid)) in ('a'..).zip(owners) {
        let file = dir.join(name.to_string());
        fs::write(&file, "text\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(*uid), Some(*gid)).unwrap();
    }
    dir
}

fn owner(file: &Path) -> (u32, u32) {
    let file = fs::metadata(file).unwrap();
    (file.uid(), file.gid())
}

/// Mounts something on a directory of this lab; the guard of the lab unmounts it if the test fails.
pub fn host_mount(args: &[&str], point: &Path) {
    assert!(Command::new("mount").args(args).arg(point).status().unwrap().success(), "{args:?}");
}

/// Unmounts it, and what is below it.
pub fn host_unmount(point: &Path) {
    assert!(Command::new("umount").arg("-l").arg(point).status().unwrap().success());
}

/// Shows names and owners of files.
pub const SHOW: &str = "stat -c '%n %u %g' /data/[a-z]";

fn files_belong_to_others_without_a_user_namespace(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(0, 0), (3, 4)]);
    let script = format!("{SHOW}; cat /data/a; echo more > /data/new; cat /data/b; id -u");
    let mut c = container(lab, &lab.tare, &script, false);
    c.edit(|v| {
        data(v, &source, &["bind"], [&[(0, 1000, 10)], &[(0, 2000, 10)]]);
        v["process"]["user"] = json!({"uid": 1000, "gid": 2000});
    });
    let run = c.run(&[]);
    assert_eq!(run.ok(), "/data/a 1000 2000\n/data/b 1003 2004\ntext\n1000\n");
    assert!(run.err.contains("'/data/b': Permission denied"), "{run:?}");
    assert_eq!(owner(&source.join("new")), (0, 0));
    assert_eq!(owner(&source.join("b")), (3, 4));
    Ok(())
}

/// The maps lead to ids of the host, of which the user namespace of the container knows some.
fn files_belong_to_others_in_a_user_namespace(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(0, 0), (3, 4)]);
    let script =
        format!("{SHOW}; cat /data/a; echo more > /data/new; stat -c %u:%g /data/new; stat -c %u /plain/a");
    let mut c = container(lab, &lab.tare, &script, true);
    c.edit(|v| {
        data(v, &source, &["rbind", "idmap"], [&[(0, FIRST, 65536)], &[(0, FIRST + 50, 65000)]]);
        v["process"]["user"]["gid"] = json!(50);
        mapped(v, "/plain", ("none", &source), &["bind"], [&[], &[]]);
    });
    let out = c.run(&[]).ok().to_owned();
    assert_eq!(out, "/data/a 0 50\n/data/b 3 54\ntext\n0:50\n65534\n");
    assert_eq!(owner(&source.join("new")), (0, 0));
    Ok(())
}

fn unmapped_ids_are_nobodys(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(0, 0), (30, 30)]);
    for user in [false, true] {
        let mut c = container(lab, &lab.tare, &format!("{SHOW}; touch /data/new"), user);
        let first = if user { FIRST + 7 } else { 7 };
        c.edit(|v| data(v, &source, &["bind"], [&[(0, first, 10)], &[(0, first, 10)]]));
        let run = c.run(&[]);
        assert_eq!(run.out, "/data/a 7 7\n/data/b 65534 65534\n");
        assert!(run.err.contains("Value too large for defined data type"), "{run:?}");
    }
    assert!(!source.join("new").exists());
    Ok(())
}

fn more_than_one_line(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(100, 211), (101, 222), (102, 233)]);
    for (user, first) in [(false, 0), (true, FIRST)] {
        let uids = [(100, first + 1000, 1), (101, first + 2000, 1), (102, first + 3000, 1)];
        let gids = [(210, first + 1100, 10), (220, first + 2200, 10), (230, first + 3300, 10)];
        let mut c = container(lab, &lab.tare, SHOW, user);
        c.edit(|v| data(v, &source, &["bind"], [&uids, &gids]));
        assert_eq!(c.run(&[]).ok(), "/data/a 1000 1101\n/data/b 2000 2202\n/data/c 3000 3303\n");
    }
    Ok(())
}

fn a_single_file(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(5, 6)]);
    let mut c = container(lab, &lab.tare, "stat -c '%u %g' /file; echo new > /file", false);
    c.edit(|v| {
        mapped(v, "/file", ("none", &source.join("a")), &["bind"], [&[(5, 1005, 1)], &[(6, 1006, 1)]]);
        v["process"]["user"] = json!({"uid": 1005, "gid": 0});
    });
    assert_eq!(c.run(&[]).ok(), "1005 1006\n");
    assert_eq!(fs::read_to_string(source.join("a")).unwrap(), "new\n");
    Ok(())
}

/// Nothing of what stands for the maps stays: no process, no descriptor.
fn many_mounts_of_few_maps(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(0, 0)]);
    let script = "stat -c %u:%g /m*/a | sort | uniq -c | awk '{print $1, $2}'; ls /proc/self/fd | wc -l; set -- /proc/[0-9]*; echo $#";
    for user in [false, true] {
        let mut c = container(lab, &lab.tare, script, user);
        c.edit(|v| {
            for n in 0..30 {
                let id = if user { FIRST } else { 0 } + n % 3;
                let maps = [&[(0, id, 65000)][..], &[(0, id, 65000)]];
                mapped(v, &format!("/m{n}"), ("none", &source), &["bind"], maps);
            }
            v["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 20, "soft": 20}]);
        });
        let out = c.run(&[]).ok().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        // `ls` has three streams and the directory; the shell is alone.
        assert_eq!(out, ["10", "0:0", "10", "1:1", "10", "2:2", "4", "1"]);
    }
    Ok(())
}

/// A tree with two mounts below it.
fn tree(lab: &Lab) -> PathBuf {
    let top = source(lab.dir.join("tree"), &[(100, 211)]);
    for (name, uid) in [("one", 101), ("two", 200)] {
        let below = source(lab.dir.join(name), &[(uid, 222)]);
        fs::create_dir_all(top.join(name)).unwrap();
        host_mount(&["--bind", below.to_str().unwrap()], &top.join(name));
    }
    top
}

fn without_tree(top: &Path) {
    for name in ["one", "two"] {
        host_unmount(&top.join(name));
    }
}

fn mounts_below_keep_their_ids_without_ridmap(lab: &Lab) -> Outcome {
    let top = tree(lab);
    let script = "stat -c '%n %u %g' /data/a /data/one/a /data/two/a";
    for (user, first) in [(false, 0), (true, FIRST)] {
        let maps = [&[(100, first + 1000, 3), (200, first + 2000, 3)][..], &[(210, first + 1100, 20)]];
        let all = "/data/a 1000 1101\n/data/one/a 1001 1112\n/data/two/a 2000 1112\n";
        let one = match user {
            true => "/data/a 1000 1101\n/data/one/a 65534 65534\n/data/two/a 65534 65534\n",
            false => "/data/a 1000 1101\n/data/one/a 101 222\n/data/two/a 200 222\n",
        };
        for (options, want) in [
            (&["rbind"][..], one),
            (&["rbind", "idmap"], one),
            (&["rbind", "ridmap"], all),
            (&["rbind", "ridmap", "idmap"], one),
            (&["rbind", "idmap", "ridmap"], all),
        ] {
            let mut c = container(lab, &lab.tare, script, user);
            c.edit(|v| data(v, &top, options, maps));
            assert_eq!(c.run(&[]).ok(), want, "{options:?}, user namespace: {user}");
        }
    }
    without_tree(&top);
    Ok(())
}

fn maps_of_the_containers_user_namespace(lab: &Lab) -> Outcome {
    let top = tree(lab);
    let script = "stat -c '%u %g' /data/a /data/one/a; touch /data/new; stat -c '%u %g' /data/new";
    for (option, below) in [("idmap", "65534 65534"), ("ridmap", "101 222")] {
        let mut c = container(lab, &lab.tare, script, true);
        c.edit(|v| data(v, &top, &["rbind", option], [&[], &[]]));
        assert_eq!(c.run(&[]).ok(), format!("100 211\n{below}\n0 0\n"));
        assert_eq!(owner(&top.join("new")), (0, 0));
    }
    without_tree(&top);
    Ok(())
}

fn maps_of_a_joined_user_namespace(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(0, 0), (5, 6)]);
    let pod = container(lab, &lab.tare, "sleep 1000", true);
    pod.up();
    let path = format!("/proc/{}/ns/user", pod.pid());
    let own = self::source(lab.dir.join("own"), &[]);
    chown(&own, Some(1), Some(1)).unwrap();
    // With a new PID namespace and with the pod's: two ways to get there.
    for joins_pid in [false, true] {
        let mut c = container(lab, &lab.tare, &format!("{SHOW}; touch /data/new /own/new"), true);
        c.edit(|v| {
            set_namespace(v, "user", Some(&path));
            if joins_pid {
                set_namespace(v, "pid", Some(&format!("/proc/{}/ns/pid", pod.pid())));
            }
            for field in ["uidMappings", "gidMappings"] {
                v["linux"].as_object_mut().unwrap().remove(field);
            }
            data(v, &source, &["bind", "idmap"], [&[], &[]]);
            mapped(v, "/own", ("none", &own), &["bind"], [&[(1, FIRST, 5)], &[(1, FIRST, 5)]]);
            if lab.tare.name() == "tare" {
                mapped(v, "/tmp", ("tmpfs", Path::new("tmpfs")), &["idmap"], [&[], &[]]);
            }
        });
        assert_eq!(c.run(&[]).ok(), "/data/a 0 0\n/data/b 5 6\n");
        assert_eq!(owner(&source.join("new")), (0, 0));
        assert_eq!(owner(&own.join("new")), (1, 1));
        for dir in [&source, &own] {
            fs::remove_file(dir.join("new")).unwrap();
        }
    }
    Ok(())
}

fn options_are_kept(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(0, 0)]);
    for (user, first) in [(false, 0), (true, FIRST)] {
        let script = "grep ' /data ' /proc/self/mountinfo; cat /data/a; touch /data/new";
        let mut c = container(lab, &lab.tare, script, user);
        let maps = [&[(0, first, 10)][..], &[(0, first, 10)]];
        c.edit(|v| data(v, &source, &["bind", "idmap", "ro", "nosuid", "nodev", "noexec"], maps));
        let run = c.run(&[]);
        assert!(
            run.out.contains(" /data ro,nosuid,nodev,noexec,") && run.out.contains(",idmapped"),
            "{run:?}"
        );
        assert!(run.out.ends_with("text\n") && run.err.contains("Read-only file system"), "{run:?}");
    }
    Ok(())
}

fn propagation_is_kept(lab: &Lab) -> Outcome {
    let source = source(lab.dir.join("source"), &[(0, 0)]);
    host_mount(&["-t", "tmpfs", "x"], &source);
    host_mount(&["--make-shared"], &source);
    for (user, first) in [(false, 0), (true, FIRST)] {
        for (root, option, want) in [
            ("", "rbind", &["master:"][..]),
            ("", "rshared", &["shared:", "master:"]),
            ("", "rprivate", &[]),
            ("rslave", "rbind", &["master:"]),
        ] {
            let mut c = container(lab, &lab.tare, "grep ' /data ' /proc/self/mountinfo", user);
            c.edit(|v| {
                v["linux"]["rootfsPropagation"] = json!(root);
                data(v, &source, &["rbind", "idmap", option], [&[(0, first, 10)], &[(0, first, 10)]]);
            });
            let out = c.run(&[]).ok().to_owned();
            let optional = out.split(" - ").next().unwrap().split(' ').skip(6).collect::<Vec<_>>();
            let same =
                optional.len() == want.len() && optional.iter().zip(want).all(|(o, w)| o.starts_with(w));
            assert!(same, "{root:?} {option} {user}: {optional:?}");
        }
    }
    host_unmount(&source);
    Ok(())
}

fn faults_are_told_before_anything_is_made(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 5)?;
    let one = &[(0, 1000, 1)][..];
    let both = "id-mapped mounts must have both uid and gid mappings specified";
    for (kind, options, maps, ours, text) in [
        ("none", &["bind"][..], [one, &[]], false, format!("{both} (mounts[7].gidMappings)")),
        ("none", &["bind", "ridmap"], [&[], one], false, format!("{both} (mounts[7].uidMappings)")),
        ("none", &["bind", "idmap"], [&[], &[]], false, format!("{both} (mounts[7].uidMappings)")),
        ("tmpfs", &["idmap"], [&[], &[]], true, format!("{both} (mounts[7].uidMappings)")),
        (
            "none",
            &["bind"],
            [&[(0, 1, 10), (5, 100, 1)], one],
            true,
            "ids of line 0 are mapped once more (mounts[7].uidMappings[1].containerID)".into(),
        ),
        (
            "none",
            &["bind"],
            [one, &[(0, 1, 0)]],
            true,
            "a mapping of no ids (mounts[7].gidMappings[0].size)".into(),
        ),
        (
            "proc",
            &[],
            [one, one],
            true,
            "id-mapped mounts are not supported for file systems of type proc (mounts[7].type)".into(),
        ),
    ] {
        if ours && lab.tare.name() == "runc" {
            continue;
        }
        let run = lab.run(&["true"], |v| mapped(v, "/data", (kind, Path::new("/etc")), options, maps));
        run.fails_with(&text);
    }
    Ok(())
}

fn the_kernels_refusal_is_explained(lab: &Lab) -> Outcome {
    lab.not_runc("has other words")?;
    let source = source(lab.dir.join("source"), &[(0, 0)]);
    let run = |user: bool, kind: &str, source: &Path, options: &[&str]| {
        let mut c = container(lab, &lab.tare, "true", user);
        c.edit(|v| {
            mapped(v, "/data", (kind, source), options, [&[(0, FIRST, 10)], &[(0, FIRST, 10)]]);
        });
        c.run(&[])
    };
    for user in [false, true] {
        let refused = run(user, "none", Path::new("/proc/tty"), &["bind"]);
        refused.fails_with(
            "error mounting \"/proc/tty\" to rootfs at \"/data\": failed to set MOUNT_ATTR_IDMAP on /proc/tty: \
             invalid argument: /proc is of type proc, and proc has no id maps in Linux ",
        );
        refused.fails_with(" (mounts[7])");
        // Of a tree the mount below that is the cause.
        fs::create_dir_all(source.join("below")).unwrap();
        host_mount(&["-t", "ramfs", "x"], &source.join("below"));
        run(user, "none", &source, &["rbind", "idmap"]).ok();
        run(user, "none", &source, &["rbind", "ridmap"])
            .fails_with("/below is of type ramfs, and ramfs has no id maps");
        host_unmount(&source.join("below"));
        let layers = ["below", "other"].map(|name| source.join(name).display().to_string());
        fs::create_dir_all(&layers[1]).unwrap();
        let layers = format!("lowerdir={}", layers.join(":"));
        run(user, "overlay", Path::new("overlay"), &[&layers])
            .fails_with("on overlay: invalid argument: overlay has no id maps in Linux ");
    }
    // In the mount namespace of a container that has one already.
    let mut pod = container(lab, &lab.tare, "sleep 1000", false);
    pod.edit(|v| data(v, &source, &["bind"], [&[(0, 1000, 10)], &[(0, 1000, 10)]]));
    pod.up();
    let mut c = container(lab, &lab.tare, "true", false);
    c.edit(|v| {
        set_namespace(v, "pid", Some(&format!("/proc/{}/ns/pid", pod.pid())));
        set_namespace(v, "mount", Some(&format!("/proc/{}/ns/mnt", pod.pid())));
        v["root"]["path"] = json!("/");
        v["mounts"] = json!([]);
        mapped(v, "/tmp", ("none", Path::new("/data")), &["bind"], [&[(0, 1000, 10)], &[(0, 1000, 10)]]);
    });
    c.run(&[]).fails_with(
        "failed to set MOUNT_ATTR_IDMAP on /data: operation not permitted: \
         /data is an id-mapped mount already (mounts[0])",
    );
    Ok(())
}

fn ordinary_users_can_not_have_them(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 5)?;
    let alice = User::new(lab, ALICE);
    let refused = "id-mapped mounts are not supported for rootless containers (mounts[7])";
    for (options, maps) in [(&["bind"][..], [&[(0, ALICE, 1)][..]; 2]), (&["bind", "idmap"], [&[], &[]])] {
        let run = alice.run(&["true"], |v| mapped(v, "/data", ("none", &alice.dir), options, maps));
        run.fails_with(refused);
        assert!(run.err.contains("invalid mount") || !alice.root().exists(), "nothing is made before");
    }
    Ok(())
}

/// In there root may map what was mounted in there, and no disk of the host.
fn root_of_a_user_namespace_can_map_its_own(lab: &Lab) -> Outcome {
    lab.not_runc("can do bind mounts only")?;
    let unshare = program("unshare")?;
    let mut alice = User::new(lab, ALICE);
    let setpriv = program("setpriv")?;
    let id = ALICE.to_string();
    alice.within = [
        setpriv.to_str().unwrap(),
        "--reuid",
        &id,
        "--regid",
        &id,
        "--clear-groups",
        unshare.to_str().unwrap(),
        "-Urm",
    ]
    .map(str::to_owned)
    .to_vec();
    let maps = [&[(0, 0, 1)][..]; 2];
    for (kind, options) in [("tmpfs", &[][..]), ("none", &["bind"])] {
        let run = alice.run(&["stat", "-c", "%u %g", "/data"], |v| {
            without_namespace(v, "user");
            for field in ["uidMappings", "gidMappings"] {
                v["linux"].as_object_mut().unwrap().remove(field);
            }
            mapped(v, "/data", (kind, &alice.dir), options, maps);
        });
        match kind {
            "tmpfs" => assert_eq!(run.ok(), "0 0\n"),
            _ => run.fails_with(
                "operation not permitted: that needs CAP_SYS_ADMIN in the user namespace of the file system (mounts[7])",
            ),
        }
    }
    Ok(())
}

/// The same configs, the same output.
fn the_same_as_runc(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    if runc.is_runc_before(1, 3) {
        return Err(Skip("RUNC is before 1.3".into()));
    }
    let top = tree(lab);
    let script = "stat -c '%n %u %g' /data /data/a /data/one/a; touch /data/new 2>&1; stat -c '%u %g' /data/new; \
                  grep -o ' /data.* - ' /proc/self/mountinfo | sed 's/:[0-9]*//g'; rm -f /data/new";
    let one = |first: u32| [(100, first + 1000, 3), (0, first, 50)];
    for (user, first) in [(false, 0), (true, FIRST)] {
        let map = one(first);
        for (options, maps) in [
            (&["rbind"][..], [&map[..], &map[..]]),
            (&["rbind", "idmap", "ro"], [&map, &map[..1]]),
            (&["rbind", "ridmap", "nosuid", "rshared"], [&map, &map]),
            (&["rbind", "ridmap", "rro"], [&map[..1], &map]),
            (&["rbind", "idmap"], [&[], &[]]),
            (&["rbind", "ridmap", "private"], [&[], &[]]),
            (&["rbind"], [&map, &[]]),
            (&["rbind", "noexec"], [&[], &[]]),
        ] {
            let [ours, theirs] = [&lab.tare, &runc].map(|runtime| {
                let mut c = container(lab, runtime, script, user);
                c.edit(|v| {
                    data(v, &top, options, maps);
                    if !user {
                        without_namespace(v, "user");
                    }
                });
                let run = c.run(&[]);
                (run.code, run.out)
            });
            assert_eq!(ours, theirs, "{options:?} {maps:?}, user namespace: {user}");
        }
    }
    without_tree(&top);
    Ok(())
}
