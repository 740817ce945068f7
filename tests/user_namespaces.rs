//! linux.namespaces of type user, linux.uidMappings and linux.gidMappings: containers whose root is somebody else
//! on the host; and every way to put the eight kinds of namespaces together.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::harness::bundle::{mount, set_namespace, without_namespace};
use crate::harness::settings::cgroup_paths;
use crate::harness::{Container, Lab, Outcome, Value, eventually, json, tests};
use crate::idmap::{host_mount, host_unmount};

tests![
    root_is_somebody_else_on_the_host,
    root_owns_what_is_made_for_it,
    files_that_its_user_can_not_look_for,
    bind_mounts_keep_their_options,
    mounts_of_the_host_stay_as_they_are,
    a_mount_of_the_container_is_bound_elsewhere,
    devices_in_the_image_once_more,
    more_than_one_line,
    groups_and_users_are_mapped,
    limits_and_oom_score_from_outside,
    time_offsets,
    host_and_domain_name,
    root_propagation,
    terminal_in_a_user_namespace,
    exec_is_root_of_it,
    exec_of_another_user,
    exec_sees_what_the_container_sees,
    a_pod_shares_its_user_namespace,
    maps_beside_a_path_must_be_the_same,
    wrong_maps_are_told_before_anything_is_made,
    every_combination_of_namespaces,
];

/// Gives the container a user namespace of its own, and its files to whom root is there.
pub fn mapped<'l>(lab: &'l Lab<'l>, args: &[&str]) -> Container<'l> {
    let mut c = lab.container(args);
    give(&c.rootfs(""));
    c.edit(|v| {
        maps(v);
        v["root"]["readonly"] = json!(false);
    });
    c
}

const FIRST: u32 = 100_000;

/// A user namespace in which root is [`FIRST`] on the host.
pub fn maps(v: &mut Value) {
    set_namespace(v, "user", None);
    let map = json!([{"containerID": 0, "hostID": FIRST, "size": 65536}]);
    v["linux"]["uidMappings"] = map.clone();
    v["linux"]["gidMappings"] = map;
}

/// Hands a tree over to that root. Symlinks stay whose they are, and so does the busybox that all tests share.
pub fn give(dir: &Path) {
    chown(dir, Some(FIRST), Some(FIRST)).unwrap();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            give(&entry.path());
        }
    }
}

fn root_is_somebody_else_on_the_host(lab: &Lab) -> Outcome {
    let script = "id -u; id -g; cat /proc/self/uid_map; touch /mine; ls -ln /mine | awk '{print $3, $4}'";
    let c = mapped(lab, &["sh", "-c", script]);
    let out = c.run(&[]).ok().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(out, ["0", "0", "0", "100000", "65536", "0", "0"]);
    let file = fs::metadata(c.rootfs("mine")).unwrap();
    assert_eq!((file.uid(), file.gid()), (FIRST, FIRST));
    Ok(())
}

/// `/dev/mqueue`, the loopback device and network sysctls belong to whoever made their namespaces: made in one
/// clone with the user namespace, they would be nobody's.
fn root_owns_what_is_made_for_it(lab: &Lab) -> Outcome {
    let script = "stat -c '%n %u' /dev/mqueue /dev/shm /dev/pts /sys/class/net/lo /proc/sys/net/ipv4/ip_forward /proc/self/ \
        /dev/pts/ptmx; hostname other; hostname; cat /sys/class/net/lo/operstate; ls -l /dev/null | cut -c1";
    let mut c = mapped(lab, &["sh", "-c", script]);
    c.edit(|v| crate::harness::bundle::capabilities(v, &["CAP_SYS_ADMIN"]));
    let run = c.run(&[]);
    let lines: Vec<_> = run.ok().lines().collect();
    let (owners, rest) = lines.split_at(7);
    assert!(owners.iter().all(|line| line.ends_with(" 0")), "{owners:?}");
    assert_eq!(rest, ["other", "unknown", "c"]);
    Ok(())
}

/// As Docker's data directory, which nobody but root may enter: root file system and sources of bind mounts.
fn files_that_its_user_can_not_look_for(lab: &Lab) -> Outcome {
    let mut c = mapped(lab, &["sh", "-c", "cat /data/file /file; id -u"]);
    let secret = lab.dir.join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("file"), "there\n").unwrap();
    fs::set_permissions(secret.join("file"), fs::Permissions::from_mode(0o644)).unwrap();
    let public = lab.dir.join("public");
    fs::create_dir(&public).unwrap();
    fs::write(public.join("file"), "public\n").unwrap();
    c.edit(|v| {
        mount(v, "/data", "bind", public.to_str().unwrap(), &["rbind"]);
        mount(v, "/file", "bind", secret.join("file").to_str().unwrap(), &["bind"]);
    });
    for dir in [&secret, &c.bundle] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let out = c.run(&[]).ok().to_owned();
    assert_eq!(out, "public\nthere\n0\n");
    let missing = |v: &mut Value| mount(v, "/nope", "bind", "/nope", &["bind"]);
    c.edit(missing);
    c.run(&[]).fails_with("failed to fulfil mount request: open /nope: no such file or directory");
    Ok(())
}

fn bind_mounts_keep_their_options(lab: &Lab) -> Outcome {
    let mut c = mapped(lab, &["sh", "-c", "grep ' /data ' /proc/self/mountinfo; touch /data/x; ls /data"]);
    let data = lab.dir.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "").unwrap();
    c.edit(|v| {
        mount(v, "/data", "bind", data.to_str().unwrap(), &["rbind", "ro", "nosuid", "nodev", "rslave"])
    });
    let run = c.run(&[]);
    assert!(run.ok().contains(" /data ro,nosuid,nodev"), "{run:?}");
    assert!(run.out.ends_with("file\n") && run.err.contains("Read-only file system"), "{run:?}");
    Ok(())
}

/// What the host has mounted read-only stays that, and what it has covered stays covered, even for root of a
/// container that may mount: its user namespace is not the one of these mounts.
fn mounts_of_the_host_stay_as_they_are(lab: &Lab) -> Outcome {
    let script = "mount -o remount,bind,rw,suid /data; umount /data/sub; touch /data/x; ls /data/sub; \
        grep -o '/data r[ow],nosuid' /proc/self/mountinfo";
    let mut c = mapped(lab, &["sh", "-c", script]);
    let (data, shown) = (lab.dir.join("data"), lab.dir.join("shown"));
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::create_dir(&shown).unwrap();
    fs::write(data.join("sub/covered"), "").unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    host_mount(&["--bind", data.to_str().unwrap()], &shown);
    host_mount(&["-t", "tmpfs", "cover"], &shown.join("sub"));
    host_mount(&["-o", "remount,bind,ro,nosuid"], &shown);
    fs::write(shown.join("sub/cover"), "").unwrap();
    c.edit(|v| {
        mount(v, "/data", "bind", shown.to_str().unwrap(), &["rbind"]);
        crate::harness::bundle::capabilities(v, &["CAP_SYS_ADMIN"]);
    });
    let run = c.run(&[]);
    c.edit(|v| v["mounts"].as_array_mut().unwrap().last_mut().unwrap()["options"] = json!(["bind"]));
    let without_its_cover = c.run(&[]);
    host_unmount(&shown);
    assert_eq!(run.out, "cover\n/data ro,nosuid\n", "{run:?}");
    assert_eq!(without_its_cover.code, 1, "{without_its_cover:?}");
    assert!(without_its_cover.err.contains("invalid argument"), "{without_its_cover:?}");
    Ok(())
}

/// The source of the second is a mount that is made for the first.
fn a_mount_of_the_container_is_bound_elsewhere(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let mut c = mapped(lab, &["sh", "-c", "echo one > /first/file; cat /second/file; stat -f -c %T /second"]);
    let source = c.rootfs("first").to_str().unwrap().to_owned();
    fs::create_dir(&source).unwrap();
    c.edit(|v| {
        mount(v, "/first", "tmpfs", "first", &[]);
        mount(v, "/second", "bind", &source, &["bind"]);
    });
    assert_eq!(c.run(&[]).ok(), "one\ntmpfs\n");
    Ok(())
}

/// Without a file system of its own at `/dev`, the files on which devices are mounted are still there the next time.
fn devices_in_the_image_once_more(lab: &Lab) -> Outcome {
    lab.not_runc("makes its links once only")?;
    let mut c = mapped(lab, &["sh", "-c", "test -c /dev/null && test -c /dev/zero && echo well"]);
    c.edit(|v| {
        v["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    });
    for _ in 0..2 {
        assert_eq!(c.run(&[]).ok(), "well\n");
    }
    Ok(())
}

fn more_than_one_line(lab: &Lab) -> Outcome {
    let mut c = mapped(lab, &["cat", "/proc/self/uid_map", "/proc/self/gid_map"]);
    c.edit(|v| {
        v["linux"]["uidMappings"] = json!([
            {"containerID": 0, "hostID": FIRST, "size": 10},
            {"containerID": 10, "hostID": 5, "size": 1},
            {"containerID": 11, "hostID": FIRST + 11, "size": 100},
        ]);
    });
    let out = c.run(&[]).ok().to_owned();
    let numbers: Vec<_> = out.split_whitespace().collect();
    let want = ["0", "100000", "10", "10", "5", "1", "11", "100011", "100", "0", "100000", "65536"];
    assert_eq!(numbers, want);
    Ok(())
}

fn groups_and_users_are_mapped(lab: &Lab) -> Outcome {
    let mut c =
        mapped(lab, &["sh", "-c", "id -u; id -g; id -G; grep Groups /proc/self/status; touch /tmp/mine"]);
    c.edit(|v| v["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [9, 10]}));
    let out = c.run(&[]).ok().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(out, ["7", "8", "8", "9", "10", "Groups:", "9", "10"]);
    let file = fs::metadata(c.rootfs("tmp/mine")).unwrap();
    assert_eq!((file.uid(), file.gid()), (FIRST + 7, FIRST + 8));
    Ok(())
}

/// Both need rights that root of a user namespace has not.
fn limits_and_oom_score_from_outside(lab: &Lab) -> Outcome {
    let mut c = mapped(lab, &["sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"]);
    c.edit(|v| {
        v["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 64}]);
        v["process"]["oomScoreAdj"] = json!(33);
    });
    let out = c.run(&[]).ok().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(out, ["5", "64", "33"]);
    Ok(())
}

fn time_offsets(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let mut c = mapped(lab, &["sh", "-c", "tr -s ' ' < /proc/self/timens_offsets; cut -d. -f1 /proc/uptime"]);
    c.edit(|v| {
        set_namespace(v, "time", None);
        v["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": 7881, "nanosecs": 2_718_281}, "boottime": {"secs": -20}});
    });
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let host: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    let run = c.run(&[]);
    let lines: Vec<_> = run.ok().lines().collect();
    assert_eq!(lines[..2], ["monotonic 7881 2718281", "boottime -20 0"]);
    assert!(lines[2].parse::<u64>().unwrap() < host, "{lines:?} {host}");
    Ok(())
}

fn host_and_domain_name(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let mut c = mapped(lab, &["cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"]);
    c.edit(|v| (v["hostname"], v["domainname"]) = (json!("a-host"), json!("a-domain")));
    assert_eq!(c.run(&[]).ok(), "a-host\na-domain\n");
    Ok(())
}

fn root_propagation(lab: &Lab) -> Outcome {
    for (value, shown) in crate::mounts::ROOT_PROPAGATION {
        let mut c = mapped(lab, &["awk", "$5 == \"/\"", "/proc/self/mountinfo"]);
        c.edit(|v| v["linux"]["rootfsPropagation"] = json!(value));
        let run = c.run(&[]);
        crate::mounts::is_propagated(value, run.ok().lines().last().unwrap(), shown);
    }
    Ok(())
}

fn terminal_in_a_user_namespace(lab: &Lab) -> Outcome {
    let mut c = mapped(lab, &["sh", "-c", "stat -c '%u %g' /dev/pts/0 /dev/console; echo done"]);
    c.edit(|v| {
        v["process"]["terminal"] = json!(true);
        v["process"]["user"] = json!({"uid": 7, "gid": 8});
    });
    let mut terminal = crate::harness::pty::Terminal::open();
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    let child = terminal.spawn(lab, &command);
    let shown = terminal.read_until("done");
    assert_eq!(shown.matches("7 5").count(), 2, "{shown}");
    assert_eq!(crate::harness::runtime::wait(child), 0);
    Ok(())
}

fn exec_is_root_of_it(lab: &Lab) -> Outcome {
    let c = mapped(lab, &["sleep", "100"]);
    c.up();
    let out = c.call(
        "exec",
        &["sh", "-c", "id -u; cat /proc/self/uid_map; touch /mine; readlink /proc/self/ns/user"],
    );
    let words: Vec<_> = out.ok().split_whitespace().collect();
    assert_eq!(words[..4], ["0", "0", "100000", "65536"]);
    let own = fs::read_link(format!("/proc/{}/ns/user", c.pid())).unwrap();
    assert_eq!(Path::new(words[4]), own);
    assert_eq!(fs::metadata(c.rootfs("mine")).unwrap().uid(), FIRST);
    Ok(())
}

fn exec_of_another_user(lab: &Lab) -> Outcome {
    let c = mapped(lab, &["sleep", "100"]);
    c.up();
    let user = ["--user", "7:8", "--additional-gids", "9"];
    let process = ["sh", "-c", "id -u; id -g; id -G; grep CapEff /proc/self/status"];
    let out = lab.call(&[&["exec"][..], &user, &[c.id.as_str()], &process].concat());
    let words: Vec<_> = out.ok().split_whitespace().collect();
    assert_eq!(words, ["7", "8", "8", "9", "CapEff:", "0000000000000000"]);
    Ok(())
}

/// All namespaces are the container's, and so is what procfs shows of it.
fn exec_sees_what_the_container_sees(lab: &Lab) -> Outcome {
    let c = mapped(lab, &["sleep", "100"]);
    c.up();
    let script = "for n in user pid net mnt ipc uts cgroup; do readlink /proc/1/ns/$n; readlink /proc/self/ns/$n; done; \
        cat /proc/self/cgroup > /tmp/a; cat /proc/1/cgroup > /tmp/b; cmp /tmp/a /tmp/b && echo same";
    let out = c.call("exec", &["sh", "-c", script]);
    let lines: Vec<_> = out.ok().lines().collect();
    assert_eq!(lines.last(), Some(&"same"));
    for pair in lines.chunks_exact(2) {
        assert_eq!(pair[0], pair[1]);
    }
    Ok(())
}

/// The pause container of a pod, and one that joins its user namespace with a PID namespace of its own: procfs
/// can be mounted only where both belong together.
fn a_pod_shares_its_user_namespace(lab: &Lab) -> Outcome {
    let pause = mapped(lab, &["sleep", "100"]);
    pause.up();
    let join = |v: &mut Value, kind: &str, file: &str| {
        set_namespace(v, kind, Some(&format!("/proc/{}/ns/{file}", pause.pid())));
    };
    let script = "(id -u; echo $$; stat -c %u /dev/mqueue /proc/self/; echo end) > /tmp/out; sleep 100";
    let mut c = mapped(lab, &["sh", "-c", script]);
    c.edit(|v| {
        join(v, "user", "user");
        join(v, "network", "net");
        join(v, "ipc", "ipc");
        join(v, "uts", "uts");
        v["hostname"] = json!("");
    });
    // Engines give the maps as well.
    c.up();
    let out = eventually("the output", || {
        let out = fs::read_to_string(c.rootfs("tmp/out")).unwrap_or_default();
        out.ends_with("end\n").then_some(out)
    });
    assert_eq!(out, "0\n1\n0\n0\nend\n");
    let user = |c: &Container| fs::read_link(format!("/proc/{}/ns/user", c.pid())).unwrap();
    assert_eq!(user(&c), user(&pause));
    let paths = cgroup_paths(c.pid());
    assert!(paths.iter().all(|path| path.contains(&c.id)), "{paths:?}");
    assert_eq!(c.call("exec", &["id", "-u"]).ok(), "0\n");
    Ok(())
}

fn maps_beside_a_path_must_be_the_same(lab: &Lab) -> Outcome {
    let pause = mapped(lab, &["sleep", "100"]);
    pause.up();
    let mut c = mapped(lab, &["true"]);
    let path = format!("/proc/{}/ns/user", pause.pid());
    c.edit(|v| set_namespace(v, "user", Some(&path)));
    c.run(&[]).ok();
    c.edit(|v| v["linux"]["uidMappings"][0]["size"] = json!(65535));
    c.run(&[])
        .fails_with("both namespace path and non-matching mapping specified -- you may only provide one");
    Ok(())
}

fn wrong_maps_are_told_before_anything_is_made(lab: &Lab) -> Outcome {
    let line = |inside: u32, outside: u32, size: u32| json!({"containerID": inside, "hostID": outside, "size": size});
    for (uids, text) in [
        (json!([]), "user namespaces enabled, but no uid mappings found"),
        (json!([line(1, FIRST, 5)]), "user namespaces enabled, but no mapping found for uid 0"),
        (
            json!([line(0, FIRST, 5), line(4, 7, 1)]),
            "ids of line 0 are mapped once more (linux.uidMappings[1].containerID)",
        ),
        (
            json!([line(0, FIRST, 5), line(5, FIRST + 4, 1)]),
            "ids of line 0 are mapped once more (linux.uidMappings[1].hostID)",
        ),
        (json!([line(0, FIRST, 0)]), "a mapping of no ids (linux.uidMappings[0].size)"),
    ] {
        let mut c = mapped(lab, &["true"]);
        c.edit(|v| v["linux"]["uidMappings"] = uids);
        let run = c.run(&[]);
        assert_eq!(run.code, 1, "{run:?}");
        if run.runtime.name() == "tare" {
            run.fails_with(text);
        }
    }
    let mut c = mapped(lab, &["true"]);
    c.edit(|v| without_namespace(v, "user"));
    c.run(&[])
        .fails_with("user namespace mappings specified, but user namespace isn't enabled in the config");
    Ok(())
}

/// Name in the config, name below /proc/PID/ns.
const KINDS: [(&str, &str); 8] = [
    ("user", "user"),
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn namespaces_of(pid: impl std::fmt::Display) -> Vec<String> {
    let link = |file: &str| fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string();
    KINDS.iter().map(|(_, file)| link(file)).collect()
}

/// Each kind inherited, new or joined: 3^8 containers, or every 37th without `TARE_STRESS`. Those to join are of
/// a container of the host's user namespace, or of the one whose user namespace is joined.
fn every_combination_of_namespaces(lab: &Lab) -> Outcome {
    lab.not_runc("can't do all of them")?;
    let step = if lab.settings.stress { 1 } else { 37 };
    let mut pods = [lab.container(&["sleep", "1000"]), mapped(lab, &["sleep", "1000"])];
    for pod in &mut pods {
        pod.edit(|v| {
            set_namespace(v, "cgroup", None);
            set_namespace(v, "time", None);
        });
        pod.up();
    }
    let host = namespaces_of("self");
    let pods = pods.each_ref().map(|pod| (pod.pid(), namespaces_of(pod.pid())));
    let mut c = mapped(lab, &["true"]);
    let mut seen = 0;
    for n in (0..3u32.pow(8)).step_by(step) {
        let choice = |place: usize| n / 3u32.pow(u32::try_from(place).unwrap()) % 3;
        let (pod, others) = &pods[usize::from(choice(0) == 2)];
        c.edit(|v| combine(v, choice, *pod));
        let made = c.create(&[]);
        let what: Vec<_> = (0..8)
            .map(|place| (KINDS[place].0, ["inherited", "new", "joined"][choice(place) as usize]))
            .collect();
        // A mount namespace of another user namespace: nobody there has a right to it.
        if choice(0) == 1 && choice(3) == 2 {
            assert_ne!(made.code, 0, "{what:?}");
            continue;
        }
        assert_eq!(made.code, 0, "{what:?}: {}", made.err);
        for (place, got) in namespaces_of(c.pid()).iter().enumerate() {
            let want = match choice(place) {
                0 => *got == host[place],
                1 => *got != host[place] && *got != others[place],
                _ => *got == others[place],
            };
            assert!(want, "{}: {got} of {what:?}", KINDS[place].0);
        }
        c.delete(&["--force"]).ok();
        seen += 1;
    }
    println!("{seen} combinations");
    Ok(())
}

fn combine(v: &mut Value, choice: impl Fn(usize) -> u32, pod: u64) {
    for key in ["mounts", "maskedPaths", "readonlyPaths"] {
        v["linux"].as_object_mut().unwrap().remove(key);
    }
    v["mounts"] = json!([]);
    v["hostname"] = json!("");
    // In another mount namespace there is only what was mounted there.
    v["root"]["path"] = json!(if choice(3) == 2 { "/" } else { "rootfs" });
    maps(v);
    if choice(0) != 1 {
        for key in ["uidMappings", "gidMappings"] {
            v["linux"].as_object_mut().unwrap().remove(key);
        }
    }
    for (place, (kind, file)) in KINDS.iter().enumerate() {
        match choice(place) {
            0 => without_namespace(v, kind),
            1 => set_namespace(v, kind, None),
            _ => set_namespace(v, kind, Some(&format!("/proc/{pod}/ns/{file}"))),
        }
    }
}
