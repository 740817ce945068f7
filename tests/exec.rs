//! `exec`: what runs, as whom, with which rights, and where. Streams and terminals are in `exec_io.rs`.

use std::fs;

use crate::harness::bundle::{capabilities, push, without_namespace};
use crate::harness::{Container, Lab, Outcome, Output, Skip, Value, eventually, json, settings, tests};

tests![
    the_status_is_the_programs,
    faults_of_the_program,
    refused_in_every_wrong_state,
    a_container_that_ends_meanwhile,
    works_before_the_start,
    flags_end_at_the_id,
    additional_groups,
    environment_and_directory,
    no_new_privileges,
    process_from_a_file,
    what_the_file_lacks_is_the_containers,
    faults_of_the_file_name_it,
    namespaces_are_the_containers,
    cgroup_is_the_containers,
    cgroup_of_a_container_that_moved,
    cgroup_below_the_containers,
    settings_of_the_container_apply,
    settings_of_the_process_apply,
    cpu_affinity,
    root_without_a_mount_namespace,
];

/// `exec FLAGS ID ARGS`.
pub fn exec(c: &Container, flags: &[&str], args: &[&str]) -> Output {
    c.lab.finish(&c.runtime, |call| {
        call.arg("exec").args(flags).arg(&c.id).args(args);
    })
}

/// A container that sleeps.
pub fn up<'l>(lab: &'l Lab, edit: impl FnOnce(&mut Value)) -> Container<'l> {
    let mut c = lab.container(&["sleep", "1000"]);
    c.edit(edit).up();
    c
}

/// Standard output of a shell script, trimmed.
#[track_caller]
pub fn inside(c: &Container, flags: &[&str], script: &str) -> String {
    exec(c, flags, &["sh", "-c", script]).ok().trim_end().to_owned()
}

/// A file for `--process`, with the config's process as a start.
pub fn process_file(c: &Container, args: &[&str], edit: impl FnOnce(&mut Value)) -> String {
    let mut process = c.config["process"].clone();
    process["args"] = json!(args);
    edit(&mut process);
    c.lab.file("process.json", &process.to_string())
}

fn the_status_is_the_programs(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    for (script, code) in [("exit 0", 0), ("exit 9", 9), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        let output = exec(&c, &[], &["sh", "-c", script]);
        assert_eq!((output.code, output.err.as_str(), output.log.len()), (code, "", 0), "{script}");
    }
    assert_eq!(c.status(), "running");
    Ok(())
}

fn faults_of_the_program(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    for (name, text) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        ("/nope", "exec: \"/nope\": stat /nope: no such file or directory"),
        ("/etc", "exec: \"/etc\": is a directory"),
    ] {
        lab.newer_than_runc(1, 2)?;
        let text = format!("exec failed: unable to start container process: {text}");
        exec(&c, &[], &[name]).fails(255, &text);
        exec(&c, &["--detach"], &[name]).fails(255, &text);
    }
    exec(&c, &[], &[]).fails(255, "exec failed: exec args cannot be empty");
    Ok(())
}

/// Freezes or thaws the container's cgroup by hand.
fn freeze(c: &Container, on: bool) -> Outcome {
    let unified = settings::unified();
    let (file, value) = match (unified, on) {
        (true, true) => ("cgroup.freeze", "1"),
        (true, false) => ("cgroup.freeze", "0"),
        (false, true) => ("freezer.state", "FROZEN"),
        (false, false) => ("freezer.state", "THAWED"),
    };
    let root = if unified { "/sys/fs/cgroup".into() } else { settings::controller("freezer")? };
    let dir = root.join(c.place());
    fs::write(dir.join(file), value).unwrap();
    eventually("the freezer", || {
        let state = match unified {
            true => fs::read_to_string(dir.join("cgroup.events")).unwrap().contains("frozen 1"),
            false => fs::read_to_string(dir.join(file)).unwrap().trim() == "FROZEN",
        };
        (state == on).then_some(())
    });
    Ok(())
}

fn refused_in_every_wrong_state(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "1000"]);
    exec(&c, &[], &["true"]).fails(255, "exec failed: container does not exist");
    c.up();
    freeze(&c, true)?;
    let paused = exec(&c, &[], &["true"]);
    let text = "exec failed: cannot exec in a paused container (use --ignore-paused to override)";
    if lab.newer_than_runc(1, 2).is_ok() {
        paused.fails(255, text);
    }
    // It waits for the others to be thawed.
    let mut call = lab.command(&c.runtime, &lab.next_file("log"));
    call.args(["exec", "--ignore-paused", &c.id, "sh", "-c", "exit 4"]);
    let mut child = call.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "nothing runs in a frozen cgroup");
    freeze(&c, false)?;
    assert_eq!(crate::harness::runtime::wait(child), 4);
    c.stop();
    exec(&c, &[], &["true"]).fails(255, "exec failed: cannot exec in a stopped container");
    Ok(())
}

/// Whatever the moment at which the container ends: there is one text for it.
fn a_container_that_ends_meanwhile(lab: &Lab) -> Outcome {
    lab.not_runc("names what it ran into")?;
    for (own_pids, round) in [true, false].into_iter().flat_map(|own| (0..12).map(move |n| (own, n))) {
        let mut c = lab.container(&["usleep", &(1000 * round).to_string()]);
        if !own_pids {
            c.edit(|v| without_namespace(v, "pid"));
        }
        c.up();
        let last = eventually("exec to be refused", || {
            let output = exec(&c, &[], &["true"]);
            // What runs already dies with the container.
            (![0, 137].contains(&output.code)).then_some(output)
        });
        last.fails(255, "exec failed: cannot exec in a stopped container");
        c.wait_for("stopped").delete(&[]).ok();
    }
    Ok(())
}

fn works_before_the_start(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "1000"]);
    c.create(&[]).ok();
    assert_eq!(inside(&c, &[], "hostname; exit 0"), "box");
    assert_eq!(c.status(), "created");
    c.start();
    assert_eq!(c.status(), "running");
    Ok(())
}

fn flags_end_at_the_id(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    assert_eq!(exec(&c, &[], &["echo", "-t", "--help", "--", "-e"]).ok(), "-t --help -- -e\n");
    assert_eq!(exec(&c, &["-e", "A=1", "-e=B=2"], &["sh", "-c", "echo $A$B"]).ok(), "12\n");
    Ok(())
}

fn additional_groups(lab: &Lab) -> Outcome {
    let c = up(lab, |v| v["process"]["user"] = json!({"uid": 0, "gid": 1, "additionalGids": [5]}));
    assert_eq!(inside(&c, &["--additional-gids", "8", "--additional-gids=9"], "id -G"), "1 5 8 9");
    assert_eq!(inside(&c, &[], "id -G"), "1 5");
    assert_eq!(exec(&c, &["-g", "x"], &["id"]).code, 1);
    assert_eq!(exec(&c, &["-g", "-1"], &["id"]).code, 255);
    Ok(())
}

fn environment_and_directory(lab: &Lab) -> Outcome {
    let c = up(lab, |v| {
        push(&mut v["process"]["env"], json!("A=config"));
        v["process"]["cwd"] = json!("/etc");
    });
    assert_eq!(inside(&c, &[], "echo $A $HOME $PWD"), "config /root /etc");
    let flags = ["--env", "A=first", "--env=A=last", "--env", "B=", "--cwd", "/tmp", "-u", "1000"];
    assert_eq!(inside(&c, &flags, "echo $A ${B-unset} $HOME; pwd -P"), "last /home/user\n/tmp");
    // Nothing of the caller's environment.
    let own = lab.finish(&c.runtime, |call| {
        call.env("SECRET", "x").args(["exec", &c.id, "env"]);
    });
    assert!(!own.ok().contains("SECRET"), "{}", own.out);
    Ok(())
}

fn no_new_privileges(lab: &Lab) -> Outcome {
    let c = up(lab, |v| v["process"]["noNewPrivileges"] = json!(false));
    let flag = |flags: &[&str]| inside(&c, flags, "sed -n 's/^NoNewPrivs:[ \\t]*//p' /proc/self/status");
    assert_eq!((flag(&[]).as_str(), flag(&["--no-new-privs"]).as_str()), ("0", "1"));
    assert_eq!(flag(&["--no-new-privs=false"]), "0");
    Ok(())
}

/// What engines send: the file is all there is, and no flag and nothing of the bundle is added.
fn process_from_a_file(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let script = "id -u; id -g; id -G; pwd; echo $A $PATH; umask; ulimit -n; \
        grep -E '^(CapEff|NoNewPrivs)' /proc/self/status | tr -d '\\t'; cat /proc/self/oom_score_adj; exit 6";
    let file = process_file(&c, &["sh", "-c", script], |v| {
        v["user"] = json!({"uid": 0, "gid": 3, "additionalGids": [4]});
        v["cwd"] = json!("/home");
        v["env"] = json!(["A=file", "PATH=/bin", format!("TARE_TEST={}", lab.name)]);
        v["capabilities"] =
            json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]});
        v["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 55, "hard": 66}]);
        v["noNewPrivileges"] = json!(false);
        if lab.tare.name() == "tare" {
            v["oomScoreAdj"] = json!(321);
        }
    });
    let output = exec(&c, &["--process", &file], &[]);
    // runc takes the oom score of the container.
    let oom = if lab.tare.name() == "tare" { "321" } else { "0" };
    let expected =
        format!("0\n3\n3 4\n/home\nfile /bin\n0022\n55\nCapEff:0000000000000020\nNoNewPrivs:0\n{oom}\n");
    assert_eq!((output.code, output.out.as_str()), (6, expected.as_str()), "{}", output.err);
    // A relative name is one of the caller's directory.
    let output = exec(&c, &["-p", "process.json"], &[]);
    assert_eq!((output.code, output.out.as_str()), (6, expected.as_str()), "{}", output.err);
    Ok(())
}

fn what_the_file_lacks_is_the_containers(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let c = up(lab, |v| {
        v["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        v["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        capabilities(v, &["CAP_SYS_NICE"]);
    });
    // Whatever has become of the file meanwhile.
    fs::remove_file(c.bundle.join("config.json")).unwrap();
    let script =
        "grep ^CapEff /proc/self/status; sed 's/.*) //' /proc/self/stat | cut -d' ' -f17,39; ionice -p $$";
    let fields = ["capabilities", "scheduler", "ioPriority"];
    let file = process_file(&c, &["sh", "-c", script], |v| {
        for field in fields {
            v.as_object_mut().unwrap().remove(field);
        }
    });
    let expected = "CapEff:\t0000000000800000\n5 3\nbest-effort: prio 6\n";
    assert_eq!(exec(&c, &["--process", &file], &[]).ok(), expected);
    let file = process_file(&c, &["sh", "-c", script], |v| v["capabilities"] = json!({}));
    assert!(exec(&c, &["--process", &file], &[]).out.starts_with("CapEff:\t0000000000000000\n"));
    Ok(())
}

fn faults_of_the_file_name_it(lab: &Lab) -> Outcome {
    lab.not_runc("names no file")?;
    let c = up(lab, |_| ());
    let fault = |file: &str, part: &str| {
        let output = exec(&c, &["--process", file], &[]);
        assert_eq!((output.code, output.errors().len()), (255, 1), "{file}: {output:?}");
        output.fails_with(part);
    };
    fault("/nope.json", "exec failed: open /nope.json: no such file or directory");
    let file = lab.file("torn.json", "{\"args\":[");
    fault(&file, &format!("exec failed: --process {file}: args: unexpected EOF"));
    let file = lab.file("wrong.json", "{\"args\": [\"true\"], \"cwd\": 7}");
    fault(&file, &format!("exec failed: --process {file}: cwd: "));
    let file = process_file(&c, &[], |_| ());
    fault(&file, "args must not be empty");
    let file = process_file(&c, &["true"], |v| v["cwd"] = json!("rel"));
    fault(&file, "Cwd must be an absolute path");
    fault(&lab.file("null.json", "null"), "process property must not be empty");
    Ok(())
}

fn namespaces_are_the_containers(lab: &Lab) -> Outcome {
    let of = |pid: &str| {
        format!("for n in /proc/{pid}/ns/*; do case $n in *_for_children) ;; *) readlink $n ;; esac; done")
    };
    let each = ["pid", "network", "ipc", "uts", "mount", "cgroup", "time"];
    for kinds in [&each[..], &each[..5], &each[4..5], &["pid", "mount", "cgroup"]] {
        if kinds.contains(&"time") && lab.tare.is_runc_before(1, 2) {
            continue;
        }
        let c = up(lab, |v| {
            v["linux"]["namespaces"] = kinds.iter().map(|kind| json!({"type": kind})).collect();
            if !kinds.contains(&"uts") {
                v["hostname"] = json!("");
            }
            if !kinds.contains(&"network") {
                crate::harness::bundle::without_mount(v, "/sys/fs/cgroup");
                crate::harness::bundle::without_mount(v, "/sys");
            }
            // Without it another PID namespace's processes cannot be looked at.
            v["process"].as_object_mut().unwrap().remove("capabilities");
        });
        let init = if kinds.contains(&"pid") { "1".to_owned() } else { c.pid().to_string() };
        // The kernel lets others look into a process some moments after it has closed what `start` waits for.
        let may_look = || exec(&c, &[], &["readlink", &format!("/proc/{init}/ns/mnt")]).code == 0;
        eventually("init to be looked into", || may_look().then_some(()));
        let (init, own) = (inside(&c, &[], &of(&init)), inside(&c, &[], &of("self")));
        assert_eq!(own, init, "{kinds:?}");
        assert_eq!(own.lines().count(), fs::read_dir("/proc/self/ns").unwrap().count() - 2, "{own}");
    }
    Ok(())
}

fn cgroup_is_the_containers(lab: &Lab) -> Outcome {
    for own in [false, true] {
        let c = up(lab, |v| {
            if own {
                push(&mut v["linux"]["namespaces"], json!({"type": "cgroup"}));
            }
        });
        assert_eq!(inside(&c, &[], "cat /proc/self/cgroup"), inside(&c, &[], "cat /proc/1/cgroup"));
        let file = lab.next_file("pid");
        exec(&c, &["--detach", "--pid-file", file.to_str().unwrap()], &["sleep", "1000"]).ok();
        let pid: u64 = fs::read_to_string(file).unwrap().parse().unwrap();
        assert_eq!(settings::cgroup_paths(pid), settings::cgroup_paths(c.pid()));
        let place = c.place();
        assert!(settings::cgroup_paths(pid).iter().all(|p| p.ends_with(&place)));
    }
    Ok(())
}

/// A container such as Docker in Docker moves its processes down and gives its controllers away: its own
/// cgroup then takes no process any more. Where its first process is, others may be.
fn cgroup_of_a_container_that_moved(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let pid = c.pid();
    for dir in c.cgroups() {
        fs::create_dir(dir.join("below")).unwrap();
        if let Ok(cpus) = fs::read_to_string(dir.join("cpuset.cpus")).map(|t| t.trim().to_owned())
            && !settings::unified()
        {
            let mems = fs::read_to_string(dir.join("cpuset.mems")).unwrap();
            fs::write(dir.join("below/cpuset.cpus"), cpus).unwrap();
            fs::write(dir.join("below/cpuset.mems"), mems.trim()).unwrap();
        }
        fs::write(dir.join("below/cgroup.procs"), pid.to_string()).unwrap();
        if settings::unified() {
            fs::write(dir.join("cgroup.subtree_control"), "+pids")
                .map_err(|e| Skip(format!("+pids: {e}")))?;
        }
    }
    let own = inside(&c, &[], "cat /proc/self/cgroup");
    if settings::unified() {
        assert_eq!(own, inside(&c, &[], "cat /proc/1/cgroup"));
        lab.not_runc("goes where init is, too")?;
        exec(&c, &["--cgroup", "/"], &["true"]).fails_with("its cgroup has given its controllers");
    }
    assert!(own.contains(&c.id), "{own}");
    c.stop();
    for dir in c.cgroups() {
        eventually("the cgroup to be empty", || fs::remove_dir(dir.join("below")).ok());
    }
    Ok(())
}

fn cgroup_below_the_containers(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    let below = exec(&c, &["--cgroup", "below"], &["true"]);
    assert_eq!((below.code, below.errors().len()), (255, 1), "it is not made: {}", below.err);
    for dir in c.cgroups() {
        fs::create_dir(dir.join("below")).unwrap();
        if !settings::unified() && dir.join("cpuset.cpus").exists() {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(dir.join("below").join(file), fs::read(dir.join(file)).unwrap()).unwrap();
            }
        }
    }
    let inside = |flag: &str| inside(&c, &["--cgroup", flag], "cat /proc/self/cgroup");
    let place = c.place();
    let marked = format!("/{place}/below");
    if settings::unified() {
        assert!(inside("below").ends_with(&marked));
        assert!(inside("/below").ends_with(&marked));
        assert!(!inside("/").contains("below"));
    } else {
        settings::controller("pids")?;
        let of = |text: &str, name: &str| text.lines().find(|l| l.contains(name)).unwrap().to_owned();
        let text = inside("pids:below");
        assert!(of(&text, "pids").ends_with(&marked), "{text}");
        assert!(of(&text, ":freezer:").ends_with(&place), "{text}");
    }
    for bad in [":below", "bogus:below", "pids,pids:below", "../../..", "below/../../x"] {
        // runc 1.1 takes an empty controller for all of them, and the same one twice.
        if !bad.contains("..") && lab.tare.is_runc_before(1, 2) {
            continue;
        }
        let output = exec(&c, &["--cgroup", bad], &["cat", "/proc/self/cgroup"]);
        assert_eq!((output.code, output.errors().len()), (255, 1), "{bad}: {output:?}");
    }
    c.stop();
    for dir in c.cgroups() {
        eventually("the cgroup to be empty", || fs::remove_dir(dir.join("below")).ok());
    }
    Ok(())
}

/// What the config says of the container and not of a process holds for this process too.
fn settings_of_the_container_apply(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 4)?;
    let numa = fs::exists("/proc/self/numa_maps").unwrap();
    let c = up(lab, |v| {
        v["process"]["oomScoreAdj"] = json!(234);
        v["process"]["user"]["umask"] = json!(0o27);
        if cfg!(target_arch = "x86_64") {
            v["linux"]["personality"] = json!({"domain": "LINUX32"});
        }
        if numa {
            v["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
        }
    });
    assert_eq!(inside(&c, &[], "cat /proc/self/oom_score_adj; umask"), "234\n0027");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(inside(&c, &[], "cat /proc/self/personality"), "00000008");
    }
    if numa {
        let maps = inside(&c, &[], "cat /proc/self/numa_maps");
        assert!(maps.lines().all(|l| l.contains(" bind:0")), "{maps}");
    }
    Ok(())
}

fn settings_of_the_process_apply(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let c = up(lab, |v| {
        v["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        v["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        v["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}]);
        capabilities(v, &["CAP_SYS_NICE"]);
    });
    let script = "sed 's/.*) //' /proc/self/stat | cut -d' ' -f17,39; ionice -p $$; ulimit -n";
    assert_eq!(inside(&c, &[], script), "5 3\nbest-effort: prio 6\n99");
    assert_eq!(
        inside(&c, &[], "grep -E '^Sig(Ign|Blk)' /proc/self/status | cut -f2 | sort -u"),
        "0".repeat(16)
    );
    Ok(())
}

fn cpu_affinity(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 3)?;
    let c = up(lab, |_| ());
    let all = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let of = |edit: Value| {
        let script = "sed -n 's/^Cpus_allowed_list:[ \\t]*//p' /proc/self/status";
        let file = process_file(&c, &["sh", "-c", script], |v| v["execCPUAffinity"] = edit);
        exec(&c, &["--process", &file], &[])
    };
    assert_eq!(of(json!({"initial": "0", "final": "0"})).ok(), "0\n");
    assert_eq!(of(json!({"initial": "0"})).ok(), "0\n");
    assert_eq!(of(Value::Null).ok(), all);
    of(json!({"initial": "zero"})).fails_with("bad CPUAffinity.Initial: ");
    // Not the caller's, who may be bound to one processor.
    let taskset = settings::program("taskset")?;
    let mut bound = lab.clean(std::process::Command::new(taskset));
    bound.args(["-c", "0"]).arg(&c.runtime.program).arg("--root").arg(lab.root());
    bound.args(["exec", &c.id, "sed", "-n", "s/^Cpus_allowed_list:[ \\t]*//p", "/proc/self/status"]);
    assert_eq!(lab.collect(&c.runtime, bound, "/nonexistent".as_ref()).ok(), all);
    Ok(())
}

/// Without a mount namespace of its own a container may still have a root of its own.
fn root_without_a_mount_namespace(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sleep", "1000"]);
    c.edit(|v| {
        without_namespace(v, "mount");
        for field in ["maskedPaths", "readonlyPaths"] {
            v["linux"][field] = json!([]);
        }
        v["mounts"] = json!([]);
        v["root"]["readonly"] = json!(false);
    });
    let create = c.create(&[]);
    if create.code != 0 && lab.tare.name() == "runc" {
        return Err(Skip(format!("runc refuses such a container: {}", create.err.trim_end())));
    }
    if create.err.contains("reopening /dev/null") {
        return Err(Skip("the file system of the bundles is mounted without devices".into()));
    }
    create.ok();
    c.start();
    fs::write(c.rootfs("marker"), "inside").unwrap();
    assert_eq!(exec(&c, &[], &["cat", "/marker"]).ok(), "inside");
    assert_eq!(inside(&c, &[], "cd /; cd ../..; ls -d bin marker"), "bin\nmarker");
    Ok(())
}
