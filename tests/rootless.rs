//! Containers of ordinary users: what works without any right on the host, and what the errors say where it
//! takes one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use crate::harness::bundle::{mount, set_namespace, without_mount, without_namespace};
use crate::harness::helper::becoming;
use crate::harness::settings::{cgroup_roots, controller, unified};
use crate::harness::user::{ALICE, User, possible};
use crate::harness::{Lab, Outcome, Skip, Value, eventually, json, tests};

tests![
    from_spec_to_delete,
    spec_is_what_runc_writes,
    a_process_sees_what_runcs_sees,
    every_command_in_turn,
    processes_of_exec,
    exec_before_the_start,
    exec_before_the_start_finds_nothing_of_the_caller,
    a_terminal,
    hooks_are_the_users,
    files_in_the_root_are_the_users,
    limits_of_a_process,
    wishes_that_take_a_cgroup,
    a_cgroup_that_is_delegated,
    a_cgroup_below_the_callers_own,
    without_cgroup_and_pid_namespace,
    the_session_has_a_state_directory,
];

fn from_spec_to_delete(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let bundle = alice.bundle(&[], |_| {});
    fs::remove_file(bundle.join("config.json")).unwrap();
    alice.call(&["spec", "--rootless", "--bundle", bundle.to_str().unwrap()]).ok();
    let config = bundle.join("config.json");
    assert_eq!(fs::metadata(&config).unwrap().uid(), ALICE);
    let mut v: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    v["process"]["terminal"] = json!(false);
    v["process"]["args"] = json!(["sh", "-c", "id -u; id -g; hostname; cat /proc/self/uid_map"]);
    fs::write(&config, v.to_string()).unwrap();
    let out = alice.call(&["run", "--bundle", bundle.to_str().unwrap(), &alice.id("c")]);
    let words: Vec<_> = out.ok().split_whitespace().collect();
    assert_eq!(words, ["0", "0", "runc", "0", &ALICE.to_string(), "1"]);
    assert!(out.log.is_empty(), "{out:?}");
    assert!(fs::read_dir(alice.root()).unwrap().next().is_none());
    Ok(())
}

fn spec_is_what_runc_writes(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    let mut alice = User::new(lab, ALICE);
    let written = |alice: &User| {
        alice.bare(&["spec", "--rootless"], |_| {}).ok();
        let config = alice.dir.join("config.json");
        let text = fs::read_to_string(&config).unwrap();
        fs::remove_file(config).unwrap();
        text
    };
    let ours = written(&alice);
    if runc.is_runc_before(1, 4) {
        return Err(Skip("runc is older than 1.4".into()));
    }
    alice.runtime = runc;
    assert_eq!(ours, written(&alice));
    Ok(())
}

/// Everything about the container that its process can see, in one with runc and one with us.
fn a_process_sees_what_runcs_sees(lab: &Lab) -> Outcome {
    possible(lab)?;
    let mut alice = User::new(lab, ALICE);
    let look = |alice: &User| {
        let out = alice.run(&["sh", "-c", crate::inside::LOOK], |_| {});
        let lines = out.ok().lines().filter(|line| !differs(line)).map(str::to_owned);
        lines.map(|line| line.replace(" - cgroup systemd rw", " - cgroup cgroup rw")).collect::<Vec<_>>()
    };
    let ours = look(&alice);
    alice.runtime = lab.runc()?;
    if alice.runtime.is_runc_before(1, 4) {
        return Err(Skip("runc is older than 1.4".into()));
    }
    let theirs = look(&alice);
    let only = |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>();
    assert_eq!((only(&ours, &theirs), only(&theirs, &ours)), (vec![], vec![]));
    Ok(())
}

/// What differs for root's containers as well, and what is another in every container.
fn differs(line: &str) -> bool {
    let mount = line.starts_with("mount: ");
    let number = ["fd: ", "status: PPid", "stat: parent", "autogroup", "environ: ", "status: SigIgn"];
    let ns = line.starts_with("ns: ") && !["ns: net", "ns: time"].iter().any(|same| line.starts_with(same));
    let masked = line.contains("nr_inodes=") || line.ends_with(" - tmpfs tmpfs ro");
    ns || number.iter().any(|start| line.starts_with(start))
        || mount && (masked || line.contains("/rootfs / ") || line.contains(" /sys/fs/cgroup "))
}

fn every_command_in_turn(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let bundle = alice.bundle(&["sleep", "100"], |_| {});
    let id = alice.id("c");
    alice.call(&["create", "--bundle", bundle.to_str().unwrap(), &id]).ok();
    assert_eq!(alice.state(&id)["status"], "created");
    assert_eq!(alice.call(&["list", "-q"]).ok(), format!("{id}\n"));
    let list: Value = serde_json::from_str(alice.call(&["list", "-f", "json"]).ok()).unwrap();
    assert_eq!(list[0]["owner"], format!("#{ALICE}"));
    alice.call(&["start", &id]).ok();
    assert_eq!(alice.state(&id)["status"], "running");
    let pid = alice.state(&id)["pid"].as_u64().unwrap();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), ALICE);
    assert_eq!(alice.call(&["ps", "-f", "json", &id]).ok(), format!("[{pid}]\n"));
    assert_eq!(alice.call(&["exec", &id, "sh", "-c", "id -u; hostname"]).ok(), "0\nbox\n");
    alice.call(&["delete", &id]).fails_with("that is not stopped");
    alice.call(&["kill", &id, "KILL"]).ok();
    eventually("the end", || (alice.state(&id)["status"] == "stopped").then_some(()));
    alice.call(&["exec", &id, "true"]).fails(255, "exec failed: cannot exec in a stopped container");
    alice.call(&["delete", &id]).ok();
    alice.call(&["state", &id]).fails(1, "container does not exist");
    Ok(())
}

fn processes_of_exec(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let id = alice.up("c", &["sleep", "100"], |_| {});
    let script = "for n in user pid mnt ipc uts; do readlink /proc/self/ns/$n; readlink /proc/1/ns/$n; done; \
        grep -E '^(Cap|NoNewPrivs)' /proc/self/status >/dev/shm/a; grep -E '^(Cap|NoNewPrivs)' /proc/1/status | cmp - /dev/shm/a && \
        echo same; cat /proc/self/oom_score_adj; exit 7";
    let out = alice.call(&["exec", &id, "sh", "-c", script]);
    assert_eq!(out.code, 7, "{out:?}");
    let lines: Vec<_> = out.out.lines().collect();
    let (namespaces, rest) = lines.split_at(10);
    assert!(namespaces.chunks_exact(2).all(|pair| pair[0] == pair[1]), "{namespaces:?}");
    assert_eq!(rest, ["same", "0"]);
    alice.call(&["exec", "--detach", &id, "sleep", "200"]).ok();
    let pids: Vec<u64> = serde_json::from_str(alice.call(&["ps", "-f", "json", &id]).ok()).unwrap();
    assert_eq!(pids.len(), 2, "{pids:?}");
    let group = alice.call(&["exec", "--additional-gids", "0", &id, "true"]);
    group.fails_with("cannot set any additional groups in a rootless container");
    alice
        .call(&["exec", "--user", "7", &id, "true"])
        .fails_with("cannot setuid to unmapped uid 7 in user namespace");
    alice.call(&["delete", "--force", &id]).ok();
    eventually("the end of both", || {
        let alive = |pid: &u64| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        (!pids.iter().any(alive)).then_some(())
    });
    Ok(())
}

/// Its first process still is the runtime's, which others must not look into.
fn exec_before_the_start(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let (bundle, id) = (alice.bundle(&["true"], |_| {}), alice.id("waits"));
    alice.call(&["create", "--bundle", bundle.to_str().unwrap(), &id]).ok();
    assert_eq!(alice.call(&["exec", &id, "id", "-u"]).ok(), "0\n");
    alice.call(&["delete", "--force", &id]).ok();
    Ok(())
}

/// The first process may be looked into by then, and it was the runtime.
fn exec_before_the_start_finds_nothing_of_the_caller(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let bundle = alice.bundle(&["sleep", "100"], |_| ());
    let id = alice.id("c");
    let created = alice.finish(|call| {
        call.env("SECRET", "of-the-caller").args(["create", "--bundle", bundle.to_str().unwrap(), &id]);
    });
    created.ok();
    // All of its memory that can be read. The pattern is not to be found in the shell's own command line.
    let script = "while read range rest; do a=$((0x${range%-*} / 4096)); b=$((0x${range#*-} / 4096))
        dd if=/proc/1/mem bs=4096 skip=$a count=$((b - a)) 2>/dev/null; done </proc/1/maps >/dev/shm/memory
        grep -c of-the-calle[r] /dev/shm/memory; grep -c of-the-calle[r] /proc/1/environ
        grep -q sleep /dev/shm/memory && echo read";
    assert_eq!(alice.call(&["exec", &id, "sh", "-c", script]).out, "0\n0\nread\n");
    alice.call(&["start", &id]).ok();
    Ok(())
}

fn a_terminal(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let id = alice.up("c", &["sleep", "100"], |_| {});
    let bundle = alice.bundle(&["sh", "-c", "tty; stat -c %u /dev/console; echo done"], |v| {
        v["process"]["terminal"] = json!(true);
    });
    let run = ["run", "--bundle", bundle.to_str().unwrap(), &alice.id("t")];
    let exec = ["exec", "--tty", &id, "sh", "-c", "tty; stat -c %u /dev/pts/0; echo done"];
    for args in [&run[..], &exec[..]] {
        let mut terminal = crate::harness::pty::Terminal::open();
        let [helper, become_alice, uid] = becoming(ALICE);
        let mut call = lab.clean(std::process::Command::new(helper));
        call.args([become_alice, uid]).arg(&alice.runtime.program);
        call.arg("--root").arg(alice.root()).args(args);
        let child = terminal.spawn(lab, &call);
        let shown = terminal.read_until("done");
        assert!(shown.contains("/dev/pts/0") && shown.contains("\n0\r"), "{shown}");
        assert_eq!(crate::harness::runtime::wait(child), 0);
    }
    Ok(())
}

fn hooks_are_the_users(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let hook = |stage: &str| {
        let script = format!("id -u >{}/{stage}; grep -c . /proc/self/uid_map", alice.dir.display());
        json!([{"path": lab.settings.busybox, "args": ["sh", "-c", script], "env": ["PATH=/bin"]}])
    };
    let stages = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    alice.run(&["true"], |v| stages.iter().for_each(|stage| v["hooks"][stage] = hook(stage))).ok();
    let uid = |stage: &str| fs::read_to_string(alice.dir.join(stage)).unwrap().trim().to_owned();
    let got = stages.map(uid);
    let user = ALICE.to_string();
    assert_eq!(got, [&user, &user, "0", &user, &user]);
    Ok(())
}

fn files_in_the_root_are_the_users(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let data = alice.dir.join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(ALICE), Some(ALICE)).unwrap();
    let out = alice.run(&["sh", "-c", "touch /mine /data/mine; stat -c %u /mine; echo x >/dev/null"], |v| {
        v["root"]["readonly"] = json!(false);
        mount(v, "/data", "bind", data.to_str().unwrap(), &["rbind", "nosuid"]);
    });
    assert_eq!(out.ok(), "0\n");
    assert_eq!(fs::metadata(data.join("mine")).unwrap().uid(), ALICE);
    Ok(())
}

/// Lower limits and a higher oom score need no right; the other way round is the host's to refuse.
fn limits_of_a_process(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let rlimit = |soft: u64, hard: u64| json!([{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}]);
    let out = alice.run(&["sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"], |v| {
        v["process"]["rlimits"] = rlimit(60, 64);
        v["process"]["oomScoreAdj"] = json!(500);
    });
    assert_eq!(out.ok(), "60\n64\n500\n");
    alice
        .run(&["true"], |v| v["process"]["rlimits"] = rlimit(60, 1 << 40))
        .fails_with("error setting rlimit type RLIMIT_NOFILE");
    Ok(())
}

/// Without a cgroup there are no limits: what asks for one must not be ignored.
fn wishes_that_take_a_cgroup(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let limited = |v: &mut Value| v["linux"]["resources"] = json!({"pids": {"limit": 5}});
    let run = alice.run(&["true"], limited);
    run.fails_with(if unified() {
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
    } else {
        "cannot set pids limit: container could not join or create cgroup"
    });
    let named = |v: &mut Value| v["linux"]["cgroupsPath"] = json!("/tare-test-nobodys/c");
    let run = alice.run(&["true"], named);
    run.fails_with("unable to apply cgroup configuration: mkdir /sys/fs/cgroup");
    run.fails_with("permission denied");
    assert!(run.err.contains("\nhint: "), "{run:?}");
    // Devices are only those that are bound, whatever the rules say.
    let devices = |v: &mut Value| {
        v["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    };
    alice.run(&["sh", "-c", "echo x >/dev/null"], devices).ok();
    let bundle = alice.bundle(&["true"], |_| {});
    let run = ["run", "--bundle", bundle.to_str().unwrap(), &alice.id("strict")];
    alice.call(&[&["--rootless=false"][..], &run].concat()).fails_with("unable to apply cgroup");
    alice.call(&[&["--rootless=true"][..], &run].concat()).ok();
    let id = alice.up("c", &["sleep", "100"], |_| {});
    alice.call(&["exec", "--cgroup", "/x", &id, "true"]).fails_with("the container has no cgroup");
    Ok(())
}

/// Cgroups in which a user may do as they like, in every hierarchy, and the name of the one below where calls come
/// from.
pub struct Delegated(pub Vec<PathBuf>, String);

impl Delegated {
    pub fn new(alice: &User) -> Self {
        let made = cgroup_roots().into_iter().map(|root| {
            let dir = root.join("tare-test").join(alice.id("delegated"));
            fs::create_dir_all(&dir).unwrap();
            if unified() {
                for above in [&root, &root.join("tare-test")] {
                    let _ = fs::write(above.join("cgroup.subtree_control"), "+memory +pids");
                }
            }
            for name in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read(root.join(name)) {
                    let _ = fs::write(root.join("tare-test").join(name), &value);
                    let _ = fs::write(dir.join(name), &value);
                }
            }
            for file in ["", "cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"] {
                let path = if file.is_empty() { dir.clone() } else { dir.join(file) };
                if path.exists() {
                    chown(path, Some(alice.uid), Some(alice.uid)).unwrap();
                }
            }
            dir
        });
        Delegated(made.collect(), alice.id("caller"))
    }

    /// Calls come from a cgroup below, as from a service of the user.
    pub fn enter(&self, alice: &mut User) {
        let mut script = String::new();
        for dir in &self.0 {
            let caller = dir.join(&self.1);
            fs::create_dir_all(&caller).unwrap();
            for name in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read(dir.join(name)) {
                    let _ = fs::write(caller.join(name), value);
                }
            }
            for file in ["cgroup.procs", "tasks", ""] {
                let path = if file.is_empty() { caller.clone() } else { caller.join(file) };
                if path.exists() {
                    chown(path, Some(alice.uid), Some(alice.uid)).unwrap();
                }
            }
            script += &format!("echo $$ >{}/cgroup.procs; ", caller.display());
        }
        script += "exec \"$0\" \"$@\"";
        alice.within = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        alice.within.extend(becoming(alice.uid));
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // The first failure is the one to be told. What is left goes with the lab.
        if std::thread::panicking() {
            return;
        }
        for dir in &self.0 {
            for path in [dir.join(&self.1), dir.clone()] {
                eventually("an empty cgroup", || {
                    (!path.exists() || fs::remove_dir(&path).is_ok()).then_some(())
                });
            }
        }
    }
}

fn value(dirs: &[PathBuf], below: &str, file: &str) -> Option<String> {
    let read = |dir: &PathBuf| fs::read_to_string(dir.join(below).join(file)).ok();
    dirs.iter().find_map(read).map(|text| text.trim().to_owned())
}

fn a_cgroup_that_is_delegated(lab: &Lab) -> Outcome {
    possible(lab)?;
    controller("pids")?;
    let mut alice = User::new(lab, ALICE);
    let delegated = Delegated::new(&alice);
    delegated.enter(&mut alice);
    let mine = alice.id("mine");
    let path = format!("/tare-test/{}/{mine}", alice.id("delegated"));
    let limited = |v: &mut Value| {
        v["linux"]["cgroupsPath"] = json!(path);
        v["linux"]["resources"] = json!({"pids": {"limit": 7}, "memory": {"limit": 64 << 20}});
    };
    let id = alice.up("c", &["sleep", "100"], limited);
    assert_eq!(value(&delegated.0, &mine, "pids.max").as_deref(), Some("7"));
    let memory = if unified() { "memory.max" } else { "memory.limit_in_bytes" };
    assert_eq!(value(&delegated.0, &mine, memory).as_deref(), Some("67108864"));
    assert_eq!(alice.call(&["exec", "--detach", &id, "sleep", "100"]).code, 0);
    let pids = alice.call(&["ps", "-f", "json", &id]).ok().to_owned();
    assert_eq!(pids.split(',').count(), 2, "{pids}");
    // From where the caller may not move processes away the new one stays there, and never without a word.
    let inside = std::mem::replace(&mut alice.within, becoming(ALICE).to_vec());
    let out = alice.call(&["exec", &id, "cat", "/proc/self/cgroup"]);
    let warnings = out.messages("warning");
    let told = warnings.iter().any(|text| text.contains("the process is not in the container's cgroup"));
    assert_eq!((out.code, told || out.runtime.name() == "runc" || !unified()), (0, true), "{out:?}");
    let other = alice.run(&["true"], |v| v["linux"]["cgroupsPath"] = json!(format!("{path}-2")));
    if unified() {
        other.fails_with("unable to apply cgroup configuration");
        other.fails_with("permission denied");
    }
    alice.within = inside;
    let out = alice.call(&["exec", &id, "sh", "-c", "for n in 1 2 3 4 5 6 7 8; do sleep 3 & done; wait"]);
    assert!(out.err.contains("can't fork"), "{out:?}");
    // Where its limit is reached there is no way around it.
    let out = alice.call(&["exec", &id, "sh", "-c", "sleep 1 & sleep 1 & sleep 1 & wait"]);
    assert!(out.code != 0, "{out:?}");
    // Their limits are theirs to change.
    alice.call(&["update", "--pids-limit", "9", "--memory", "32M", &id]).ok();
    assert_eq!(value(&delegated.0, &mine, "pids.max").as_deref(), Some("9"));
    assert_eq!(value(&delegated.0, &mine, memory).as_deref(), Some("33554432"));
    if unified() || controller("freezer").is_ok() {
        alice.call(&["pause", &id]).ok();
        assert_eq!(alice.state(&id)["status"], "paused");
        alice.call(&["resume", &id]).ok();
        assert_eq!(alice.state(&id)["status"], "running");
    }
    alice.call(&["delete", "--force", &id]).ok();
    assert_eq!(value(&delegated.0, &mine, "cgroup.procs"), None);
    Ok(())
}

/// Without `cgroupsPath` the place is beside (version 2) or below (version 1) the caller's own.
fn a_cgroup_below_the_callers_own(lab: &Lab) -> Outcome {
    possible(lab)?;
    controller("pids")?;
    let mut alice = User::new(lab, ALICE);
    let delegated = Delegated::new(&alice);
    delegated.enter(&mut alice);
    let limited = |v: &mut Value| v["linux"]["resources"] = json!({"pids": {"limit": 9}});
    let id = alice.up("c", &["sleep", "100"], limited);
    let place = if unified() { id.clone() } else { format!("{}/{id}", delegated.1) };
    assert_eq!(value(&delegated.0, &place, "pids.max").as_deref(), Some("9"));
    alice.call(&["delete", "--force", &id]).ok();
    assert_eq!(value(&delegated.0, &place, "pids.max"), None);
    Ok(())
}

/// Nothing holds its processes together but the user namespace.
fn without_cgroup_and_pid_namespace(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let edit = |v: &mut Value| {
        without_namespace(v, "pid");
        without_mount(v, "/proc");
        mount(v, "/proc", "bind", "/proc", &["rbind"]);
    };
    let alive = |pids: &str| {
        let pids: Vec<u32> = serde_json::from_str(pids).unwrap();
        let lives = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        pids.iter().filter(|pid| lives(pid)).count()
    };
    for end in [&["kill", "KILL"][..], &["delete", "--force"]] {
        let id = alice.up("c", &["sh", "-c", "sleep 100 & sleep 101 & wait"], edit);
        let pids = eventually("three processes", || {
            let pids = alice.call(&["ps", "-f", "json", &id]).ok().to_owned();
            (pids.split(',').count() == 3).then_some(pids)
        });
        match end {
            ["kill", signal] => alice.call(&["kill", &id, signal]).ok(),
            _ => alice.call(&["delete", "--force", &id]).ok(),
        };
        eventually("their end", || (alive(&pids) == 0).then_some(()));
        alice.call(&["delete", "--force", &id]).ok();
    }
    Ok(())
}

fn the_session_has_a_state_directory(lab: &Lab) -> Outcome {
    possible(lab)?;
    let alice = User::new(lab, ALICE);
    let session = alice.dir.join("session");
    fs::create_dir(&session).unwrap();
    chown(&session, Some(ALICE), Some(ALICE)).unwrap();
    let bundle = alice.bundle(&["true"], |v| set_namespace(v, "network", None));
    let id = alice.id("c");
    let with = |call: &mut std::process::Command| {
        call.env("XDG_RUNTIME_DIR", &session);
    };
    alice.bare(&["create", "--bundle", bundle.to_str().unwrap(), &id], with).ok();
    let name = alice.runtime.name();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(session.join(name)), 0o1700);
    assert_eq!(mode(session.join(name).join(&id)), 0o711);
    assert!(alice.bare(&["list"], with).ok().contains(&id));
    alice.bare(&["delete", "--force", &id], with).ok();
    // Without a session there is nowhere that the user may write to.
    alice
        .bare(&["create", "--bundle", bundle.to_str().unwrap(), &id], |_| {})
        .fails_with("permission denied");
    Ok(())
}
