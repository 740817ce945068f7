//! Ordinary users with more than one id, as root of a user namespace, beside each other, and on hosts that forbid
//! what they need.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use crate::harness::bundle::{mount, push, set_namespace, without_namespace};
use crate::harness::helper::becoming;
use crate::harness::settings::program;
use crate::harness::user::{ALICE, BOB, User, possible};
use crate::harness::{Lab, Outcome, Skip, Value, eventually, json, tests};

tests![
    a_range_of_ids,
    ids_of_somebody_else,
    root_of_a_user_namespace,
    namespaces_joined_by_root_of_a_user_namespace,
    what_the_host_forbids_is_named,
    users_do_not_meet,
    planted_directories_are_refused,
];

/// The user's own id and a range of others, of the file of subuid(5).
pub const FIRST: u32 = 2_100_000;

/// Gives the user a range, in a view of `/etc` that this user's calls alone have.
pub fn grant(alice: &mut User) -> Outcome {
    for tool in ["newuidmap", "newgidmap"] {
        program(tool)?;
    }
    let lab = alice.lab;
    let passwd =
        fs::read_to_string("/etc/passwd").unwrap() + &format!("alice:x:{ALICE}:{ALICE}::/:/bin/sh\n");
    let mut script = String::new();
    for (file, text) in [
        ("passwd", passwd),
        ("subuid", format!("alice:{FIRST}:65536\n")),
        ("subgid", format!("{ALICE}:{FIRST}:65536\n")),
    ] {
        if !fs::exists(format!("/etc/{file}")).unwrap() {
            return Err(Skip(format!("there is no /etc/{file}")));
        }
        let own = lab.file(file, &text);
        script += &format!("mount -o bind {own} /etc/{file} && ");
    }
    script += "exec \"$0\" \"$@\"";
    let busybox = lab.settings.busybox.to_str().unwrap();
    alice.within = [busybox, "unshare", "--mount", "--propagation", "private", busybox, "sh", "-c", &script]
        .map(str::to_owned)
        .to_vec();
    alice.within.extend(becoming(alice.uid));
    Ok(())
}

/// Adds a line to each map: `size` ids from 1 on.
pub fn more_ids(v: &mut Value, first: u32, size: u32) {
    for map in ["uidMappings", "gidMappings"] {
        push(&mut v["linux"][map], json!({"containerID": 1, "hostID": first, "size": size}));
    }
}

fn a_range_of_ids(lab: &Lab) -> Outcome {
    possible(lab)?;
    let mut alice = User::new(lab, ALICE);
    grant(&mut alice)?;
    let script =
        "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u; id -g; id -G; exec sleep 100";
    let data = alice.dir.join("out");
    fs::write(&data, "").unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o666)).unwrap();
    let id = alice.up("c", &["sh", "-c", &format!("exec >/out; {script}")], |v| {
        more_ids(v, FIRST, 65536);
        v["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [9]});
        mount(v, "/out", "bind", data.to_str().unwrap(), &["bind"]);
    });
    let out = eventually("the output", || {
        let out = fs::read_to_string(&data).unwrap();
        (out.lines().count() == 8).then_some(out)
    });
    let (own, first) = (ALICE.to_string(), FIRST.to_string());
    let map = ["0", &own, "1", "1", &first, "65536"];
    let words: Vec<_> = out.split_whitespace().collect();
    assert_eq!(words, [&map[..], &map, &["allow", "7", "8", "8", "9"]].concat());
    let pid = alice.state(&id)["pid"].as_u64().unwrap();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), FIRST + 6);
    let out = alice.call(&["exec", "--user", "100:200", &id, "sh", "-c", "id -u; id -g"]);
    assert_eq!(out.ok(), "100\n200\n");
    alice.call(&["kill", &id, "KILL"]).ok();
    eventually("the end", || (alice.state(&id)["status"] == "stopped").then_some(()));
    alice.call(&["delete", &id]).ok();
    Ok(())
}

fn ids_of_somebody_else(lab: &Lab) -> Outcome {
    possible(lab)?;
    lab.not_runc("says less")?;
    let mut alice = User::new(lab, ALICE);
    alice.run(&["true"], |v| more_ids(v, FIRST, 65536)).fails_with("linux.uidMappings");
    alice
        .run(&["true"], |v| v["linux"]["uidMappings"][0]["hostID"] = json!(0))
        .fails_with("linux.uidMappings");
    grant(&mut alice)?;
    let run = alice.run(&["true"], |v| more_ids(v, FIRST, 65537));
    let text = format!(
        "user alice may not use the uids {FIRST}-{} of the host: /etc/subuid grants {FIRST}-{} (linux.uidMappings[1].hostID)",
        FIRST + 65536,
        FIRST + 65535
    );
    run.fails_with(&text);
    run.fails_with(&format!(
        "\nhint: /etc/subgid needs the line alice:{FIRST}:65537 (as root: usermod --add-subgids"
    ));
    // A tool that has no rights tells so itself.
    let tools = alice.dir.join("tools");
    fs::create_dir(&tools).unwrap();
    for tool in ["newuidmap", "newgidmap"] {
        fs::copy(program(tool)?, tools.join(tool)).unwrap();
        fs::set_permissions(tools.join(tool), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let bundle = alice.bundle(&["true"], |v| more_ids(v, FIRST, 65536));
    let run = |path: &str| {
        alice.finish(|call| {
            call.env("PATH", path).args(["run", "--bundle", bundle.to_str().unwrap(), &alice.id("c")]);
        })
    };
    let powerless = run(tools.to_str().unwrap());
    powerless.fails_with("linux.uidMappings: ");
    powerless.fails_with("newuidmap: write to uid_map failed: Operation not permitted");
    powerless.fails_with("\nhint: newuidmap works with its set-user-ID bit");
    run("/nonexistent").fails_with("need newuidmap, which is not in $PATH");
    assert!(fs::read_dir(alice.root()).unwrap().next().is_none());
    Ok(())
}

/// As rootless engines do it: root of a user namespace, who owns some of the other namespaces or none.
fn root_of_a_user_namespace(lab: &Lab) -> Outcome {
    possible(lab)?;
    let unshare = program("unshare")?.to_str().unwrap().to_owned();
    let inherit = |v: &mut Value| {
        without_namespace(v, "user");
        for map in ["uidMappings", "gidMappings"] {
            v["linux"].as_object_mut().unwrap().remove(map);
        }
    };
    let nested = |v: &mut Value| {
        for map in ["uidMappings", "gidMappings"] {
            v["linux"][map][0]["hostID"] = json!(0);
        }
    };
    let script = "id -u; sleep 100 & kill $!; cat /proc/self/oom_score_adj; hostname";
    for flags in ["-Ur", "-Urm", "-Urmn", "-Urmuinf"] {
        for edit in [&inherit as &dyn Fn(&mut Value), &nested] {
            let mut alice = User::of_few_rights(lab, ALICE);
            alice.within.extend([unshare.clone(), flags.to_owned()]);
            let score = |v: &mut Value| v["process"]["oomScoreAdj"] = json!(300);
            let out = alice.run(&["sh", "-c", script], |v| {
                edit(v);
                score(v);
            });
            assert_eq!(out.ok(), "0\n300\nbox\n", "{flags}");
            // All calls of a container have to come from the same namespace.
            let bundle = alice.bundle(&["sleep", "100"], edit);
            let calls = format!(
                "t() {{ {} --root {} \"$@\"; }}; t run -d -b {} {id} && t exec {id} id -u && t exec -d {id} sleep 101 && \
                 t ps -f json {id} | tr -dc , && t kill {id} KILL; t delete -f {id}; t list -q",
                alice.runtime.program.display(),
                alice.root().display(),
                bundle.display(),
                id = alice.id("c")
            );
            alice.within.extend(["sh".to_owned(), "-c".to_owned(), calls]);
            assert_eq!(alice.bare(&[], |_| {}).ok(), "0\n,", "{flags}");
        }
    }
    Ok(())
}

/// A pod in a user namespace: what is joined belongs to it, what the caller is in does not.
fn namespaces_joined_by_root_of_a_user_namespace(lab: &Lab) -> Outcome {
    possible(lab)?;
    let unshare = program("unshare")?.to_str().unwrap().to_owned();
    let mut alice = User::new(lab, ALICE);
    let kinds = [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("network", "net")];
    let bundle = |edit: &dyn Fn(&mut Value)| {
        alice.bundle(
            &["sh", "-c", "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done; exec sleep 1"],
            |v| {
                without_namespace(v, "user");
                for map in ["uidMappings", "gidMappings"] {
                    v["linux"].as_object_mut().unwrap().remove(map);
                }
                set_namespace(v, "network", None);
                edit(v);
            },
        )
    };
    let pod = bundle(&|v| v["process"]["args"] = json!(["sleep", "100"]));
    let other = bundle(&|v| {
        kinds.iter().for_each(|(kind, file)| set_namespace(v, kind, Some(&format!("/proc/PID/ns/{file}"))));
        v["hostname"] = json!("");
    });
    let (config, id) = (other.join("config.json").display().to_string(), alice.id("c"));
    let calls = format!(
        "t() {{ {} --root {} \"$@\"; }}; t run -d --pid-file /tmp/{id}.pid -b {} {id}-pod >/dev/null </dev/null && \
         p=$(cat /tmp/{id}.pid); rm /tmp/{id}.pid; sed s/PID/$p/g {config} >{config}.new && mv {config}.new {config}; \
         for n in pid ipc uts net; do readlink /proc/$p/ns/$n; done; t run -b {} {id}; t delete -f {id}-pod",
        alice.runtime.program.display(),
        alice.root().display(),
        pod.display(),
        other.display(),
    );
    alice.within = becoming(ALICE).to_vec();
    alice.within.extend([unshare, "-Ur".into(), "sh".into(), "-c".into(), calls]);
    let out = alice.bare(&[], |_| {});
    let lines: Vec<_> = out.ok().lines().collect();
    assert_eq!((lines.len(), &lines[..4]), (8, &lines[4..]));
    Ok(())
}

fn what_the_host_forbids_is_named(lab: &Lab) -> Outcome {
    possible(lab)?;
    lab.not_runc("says less")?;
    let mut alice = User::new(lab, ALICE);
    // Only its own limit can be set without harm.
    let unshare = program("unshare")?.to_str().unwrap().to_owned();
    alice.within = becoming(ALICE).to_vec();
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    alice.within.extend([unshare, "-Ur".into(), "sh".into(), "-c".into(), script.into()]);
    let run = alice.run(&["true"], |v| {
        for map in ["uidMappings", "gidMappings"] {
            v["linux"][map][0]["hostID"] = json!(0);
        }
    });
    run.fails_with("no space left on device");
    run.fails_with("\nhint: user namespaces are switched off on this host: user.max_user_namespaces is 0");

    let alice = User::new(lab, ALICE);
    let secret = lab.dir.join("secret");
    fs::create_dir_all(secret.join("rootfs")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    let run = alice.run(&["true"], |v| v["root"]["path"] = json!(secret.join("rootfs")));
    run.fails_with("permission denied (root.path)");
    run.fails_with(&format!("may not look into {} (mode 0700, of user 0)", secret.display()));
    let run = alice.run(&["true"], |v| without_namespace(v, "user"));
    run.fails_with("rootless container requires user namespaces");
    Ok(())
}

/// Root and two ordinary users, each with a container of the same name, at the same time.
fn users_do_not_meet(lab: &Lab) -> Outcome {
    possible(lab)?;
    let (alice, bob) = (User::new(lab, ALICE), User::new(lab, BOB));
    let (a, b) = (alice.up("c", &["sleep", "100"], |_| {}), bob.up("c", &["sleep", "100"], |_| {}));
    let mut roots = lab.container(&["sleep", "100"]);
    roots.id = alice.id("c");
    roots.edit(|v| drop(v["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    roots.up();
    let pid = |state: &Value| state["pid"].as_u64().unwrap();
    let pids = [pid(&alice.state(&a)), pid(&bob.state(&b)), roots.pid()];
    for user in [&alice, &bob] {
        assert_eq!(user.call(&["list", "-q"]).ok(), format!("{a}\n"));
        assert_eq!(user.call(&["ps", "-f", "json", &a]).ok(), format!("[{}]\n", pid(&user.state(&a))));
    }
    // Even with the other's state directory named, and open.
    fs::set_permissions(alice.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let of_alice = alice.root();
    let of_alice = of_alice.to_str().unwrap();
    let refused = format!("{of_alice}/{a} belongs to user {ALICE}, not to user {BOB}");
    for call in [&["state", &a][..], &["kill", &a, "KILL"], &["exec", &a, "true"], &["delete", "--force", &a]]
    {
        let out = bob.bare(&[&["--root", of_alice][..], call].concat(), |_| {});
        assert_ne!(out.code, 0, "{call:?}");
        if out.runtime.name() == "tare" {
            out.fails_with(&refused);
        }
    }
    let out = bob.bare(&["--root", of_alice, "list", "-q"], |_| {});
    assert_eq!(out.out, "");
    let alive = |pid: u64| fs::exists(format!("/proc/{pid}/ns")).unwrap();
    assert!(pids.into_iter().all(alive));
    // Root sees them, and does nothing that their state says.
    if lab.tare.name() == "tare" {
        assert!(lab.bare(&lab.tare, &["--root", of_alice, "list"]).ok().contains(&format!("#{ALICE}")));
        lab.bare(&lab.tare, &["--root", of_alice, "delete", "--force", &a]).fails_with("belongs to user");
    }
    for user in [&alice, &bob] {
        user.call(&["delete", "--force", &a]).ok();
    }
    assert_eq!(roots.status(), "running");
    roots.delete(&["--force"]).ok();
    Ok(())
}

/// In a directory that everybody may write to, somebody may have been faster.
fn planted_directories_are_refused(lab: &Lab) -> Outcome {
    possible(lab)?;
    lab.not_runc("takes them")?;
    let (alice, bob) = (User::new(lab, ALICE), User::new(lab, BOB));
    let common = lab.dir.join("common");
    fs::create_dir(&common).unwrap();
    fs::set_permissions(&common, fs::Permissions::from_mode(0o1777)).unwrap();
    let bundle = alice.bundle(&["true"], |_| {});
    let create = |root: &PathBuf, id: &str| {
        let root = ["--root", root.to_str().unwrap()];
        alice.bare(&[&root[..], &["create", "--bundle", bundle.to_str().unwrap(), id]].concat(), |_| {})
    };
    let delete =
        |id: &str| alice.bare(&["--root", common.to_str().unwrap(), "delete", "--force", id], |_| {});
    // A directory with a state of Bob's making, whose hooks are Bob's as well.
    let id = alice.id("planted");
    let state = bob.up("planted", &["sleep", "100"], |_| {});
    fs::create_dir(common.join(&id)).unwrap();
    fs::copy(bob.root().join(&state).join("state.json"), common.join(&id).join("state.json")).unwrap();
    fs::set_permissions(common.join(&id).join("state.json"), fs::Permissions::from_mode(0o644)).unwrap();
    for path in [common.join(&id), common.join(&id).join("state.json")] {
        chown(path, Some(BOB), Some(BOB)).unwrap();
    }
    create(&common, &id).fails_with("container with given ID already exists");
    delete(&id).fails_with("belongs to user");
    let root = lab.bare(&lab.tare, &["--root", common.to_str().unwrap(), "delete", "--force", &id]);
    root.fails_with("belongs to user");
    assert!(common.join(&id).join("state.json").exists());
    // A symlink to something of Alice's own.
    let mine = alice.dir.join("mine");
    fs::create_dir(&mine).unwrap();
    fs::copy(common.join(&id).join("state.json"), mine.join("state.json")).unwrap();
    chown(&mine, Some(ALICE), Some(ALICE)).unwrap();
    std::os::unix::fs::symlink(&mine, common.join("link")).unwrap();
    create(&common, "link").fails_with("container with given ID already exists");
    delete("link").ok();
    assert!(mine.join("state.json").exists());
    // The whole state directory, and the default one in a session directory that is not the user's alone.
    create(&bob.root(), "c").fails_with("belongs to user");
    std::os::unix::fs::symlink(&mine, common.join("tare")).unwrap();
    let with = |call: &mut std::process::Command| {
        call.env("XDG_RUNTIME_DIR", &common);
    };
    let out = alice.bare(&["create", "--bundle", bundle.to_str().unwrap(), "c"], with);
    assert_ne!(out.code, 0);
    assert_eq!(fs::metadata(&mine).unwrap().permissions().mode() & 0o7777, 0o755);
    Ok(())
}
