//! process.*: who runs, where, with which rights, limits and files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::bundle::push;
use crate::harness::{Lab, Outcome, Output, Runtime, Value, json, settings, tests};

tests![
    user_groups_and_umask,
    supplementary_groups_are_only_the_given,
    no_id_is_refused,
    environment_is_exact,
    home_comes_from_passwd,
    home_is_found_with_few_files,
    arguments_are_found_on_path,
    an_empty_path_is_no_directory,
    faults_of_the_executable,
    working_directory,
    missing_working_directory_is_made,
    five_capability_sets,
    no_capabilities,
    unknown_capability_is_a_warning,
    no_new_privileges,
    rlimits,
    oom_score,
    only_three_files_are_open,
    preserved_files_stay_open,
    preserving_too_many_is_refused,
    signals_are_reset,
    session_keyring,
    cpu_affinity_is_kept,
    processes_of_init_are_reaped_elsewhere,
];

/// Writes an executable file.
pub fn write_executable(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The value of one line of /proc/self/status inside.
fn status(lab: &Lab, edit: impl FnOnce(&mut Value), key: &str) -> String {
    lab.inside(edit, &format!("sed -n 's/^{key}:[ \\t]*//p' /proc/self/status"))
}

fn user_groups_and_umask(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        v["process"]["user"] = json!({"uid": 1000, "gid": 1001, "umask": 0o77, "additionalGids": [5, 7]})
    };
    let inside = lab
        .inside(edit, "id -u; id -g; id -G; umask; grep -E '^(Uid|Gid)' /proc/self/status | tr -s '\\t' ' '");
    assert_eq!(inside, "1000\n1001\n1001 5 7\n0077\nUid: 1000 1000 1000 1000\nGid: 1001 1001 1001 1001");
    assert_eq!(lab.inside(|_| (), "umask"), "0022");
    Ok(())
}

fn supplementary_groups_are_only_the_given(lab: &Lab) -> Outcome {
    assert_eq!(status(lab, |_| (), "Groups"), "");
    assert_eq!(
        status(lab, |v| v["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [9]}), "Groups")
            .trim(),
        "9"
    );
    Ok(())
}

fn environment_is_exact(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        v["process"]["env"] = json!([
            "PATH=/bin",
            format!("TARE_TEST={}", lab.name),
            "A=1",
            "EMPTY=",
            "B=x=y",
            "C=a b\"c",
            "A=2"
        ]);
    };
    let inside = lab.inside(edit, "tr '\\0' '\\n' < /proc/1/environ | grep -v TARE_TEST | sort");
    let expected = ["A=2", "B=x=y", "C=a b\"c", "EMPTY=", "HOME=/root", "PATH=/bin"];
    assert_eq!(
        inside.lines().collect::<Vec<_>>(),
        expected,
        "the last A counts, and nothing of the caller's environment is there"
    );
    Ok(())
}

fn home_comes_from_passwd(lab: &Lab) -> Outcome {
    for (uid, env, home) in
        [(0, None, "/root"), (1000, None, "/home/user"), (4242, None, "/"), (1000, Some("HOME=/set"), "/set")]
    {
        let edit = |v: &mut Value| {
            v["process"]["user"] = json!({"uid": uid, "gid": 0});
            if let Some(env) = env {
                push(&mut v["process"]["env"], json!(env));
            }
        };
        assert_eq!(lab.inside(edit, "echo $HOME"), home, "uid {uid}, {env:?}");
    }
    Ok(())
}

/// The container's PATH decides, and the runtime's own plays no part.
fn arguments_are_found_on_path(lab: &Lab) -> Outcome {
    for (path, name, code) in [
        (Some("PATH=/odd:/bin"), "tool", 3),
        (Some("PATH=/bin:/odd"), "tool", 3),
        (Some("PATH=/bin"), "/odd/tool", 3),
        (Some("PATH=/bin"), "odd/tool", 3),
        (Some("PATH=/bin"), "tool", 1),
        (None, "tool", 1),
    ] {
        let mut c = lab.container(&[name]);
        fs::create_dir(c.rootfs("odd")).unwrap();
        write_executable(&c.rootfs("odd/tool"), "#!/bin/sh\nexit 3\n");
        c.edit(|v| v["process"]["env"] = path.map_or(json!([]), |p| json!([p])));
        let run = c.run(&[]);
        assert_eq!(run.code, code, "{name} with {path:?}: {}", run.err);
    }
    Ok(())
}

fn faults_of_the_executable(lab: &Lab) -> Outcome {
    for (name, text) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        ("/nope", "exec: \"/nope\": stat /nope: no such file or directory"),
        ("/etc", "exec: \"/etc\": is a directory"),
        ("/etc/passwd/x", "exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory"),
    ] {
        let text = format!("unable to start container process: error during container init: {text}");
        lab.run(&[name], |_| ()).fails(1, &format!("RT run failed: {text}"));
        // It is create that says so, not start.
        lab.container(&[name]).create(&[]).fails(1, &format!("RT create failed: {text}"));
    }
    Ok(())
}

fn working_directory(lab: &Lab) -> Outcome {
    for cwd in ["/", "/tmp", "/proc/self", "/home/user"] {
        let inside = lab.inside(|v| v["process"]["cwd"] = json!(cwd), "/bin/busybox pwd -P");
        assert!(
            if cwd == "/proc/self" { inside.starts_with("/proc/") } else { inside == cwd },
            "{cwd}: {inside}"
        );
    }
    // A directory that only root may enter is no obstacle: the directory comes before the user.
    let mut c = lab.container(&["sh", "-c", "echo in"]);
    fs::create_dir(c.rootfs("closed")).unwrap();
    fs::set_permissions(c.rootfs("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    c.edit(|v| {
        v["process"]["cwd"] = json!("/closed");
        v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert_eq!(c.run(&[]).ok(), "in\n");
    Ok(())
}

fn missing_working_directory_is_made(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "pwd; stat -c '%a %u' ."]);
    c.edit(|v| v["process"]["cwd"] = json!("/new/place"));
    assert_eq!(c.run(&[]).ok(), "/new/place\n755 0\n");
    Ok(())
}

fn five_capability_sets(lab: &Lab) -> Outcome {
    // CAP_CHOWN 0, CAP_KILL 5, CAP_NET_BIND_SERVICE 10, CAP_SYS_CHROOT 18
    let edit = |v: &mut Value| {
        v["process"]["noNewPrivileges"] = json!(false);
        v["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"],
            "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_KILL"],
        });
    };
    // Root gains what is in bounding when it executes a file; another user keeps only the ambient set.
    let sets = |edit: &dyn Fn(&mut Value)| {
        lab.inside(edit, "grep ^Cap /proc/self/status | cut -c4-6,8- | tr -s '\\t' ' '")
    };
    let as_user = |v: &mut Value| {
        edit(v);
        v["process"]["user"]["uid"] = json!(1000);
    };
    let line = |name: &str, bits: u64| format!("{name} {bits:016x}");
    let common = |eff: u64, prm: u64| {
        [line("Inh", 0x420), line("Prm", prm), line("Eff", eff), line("Bnd", 0x4_0421), line("Amb", 0x20)]
            .join("\n")
    };
    assert_eq!(sets(&edit), common(0x4_0421, 0x4_0421), "root");
    assert_eq!(sets(&as_user), common(0x20, 0x20), "user");
    Ok(())
}

fn no_capabilities(lab: &Lab) -> Outcome {
    for value in [json!({}), json!({"bounding": [], "effective": [], "permitted": []}), Value::Null] {
        let edit = |v: &mut Value| match &value {
            Value::Null => drop(v["process"].as_object_mut().unwrap().remove("capabilities")),
            sets => v["process"]["capabilities"] = sets.clone(),
        };
        let script = "grep -cE '^Cap(Prm|Eff|Bnd|Inh|Amb):[ \t]*0*$' /proc/self/status";
        let inside = lab.inside(edit, script);
        // Without the field newer ones of runc leave the runtime's own rights.
        if !value.is_null() || lab.tare.name() == "tare" {
            assert_eq!(inside, "5", "{value}");
        }
    }
    Ok(())
}

fn unknown_capability_is_a_warning(lab: &Lab) -> Outcome {
    let run = lab.run(&["true"], |v| push(&mut v["process"]["capabilities"]["bounding"], json!("CAP_BOGUS")));
    run.ok();
    assert_eq!(run.messages("warning"), ["ignoring unknown or unavailable capabilities: [CAP_BOGUS]"]);
    Ok(())
}

fn no_new_privileges(lab: &Lab) -> Outcome {
    for (value, expected) in [(json!(true), "1"), (json!(false), "0"), (Value::Null, "0")] {
        assert_eq!(
            status(lab, |v| v["process"]["noNewPrivileges"] = value.clone(), "NoNewPrivs"),
            expected,
            "{value}"
        );
    }
    Ok(())
}

fn rlimits(lab: &Lab) -> Outcome {
    let edit = |v: &mut Value| {
        v["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 2_097_152},
            {"type": "RLIMIT_MSGQUEUE", "soft": 1000, "hard": 2000},
            {"type": "RLIMIT_RTPRIO", "soft": 0, "hard": 0},
        ]);
    };
    let limits = lab.inside(
        edit,
        "grep -E '^Max (open files|core|stack|msgqueue|realtime priority)' /proc/self/limits | tr -s ' '",
    );
    let mut lines: Vec<&str> = limits.lines().map(str::trim).collect();
    lines.sort_unstable();
    let expected = [
        "Max core file size 0 0 bytes",
        "Max msgqueue size 1000 2000 bytes",
        "Max open files 77 88 files",
        "Max realtime priority 0 0",
        "Max stack size 1048576 2097152 bytes",
    ];
    assert_eq!(lines, expected);
    Ok(())
}

fn oom_score(lab: &Lab) -> Outcome {
    let host = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    for (value, expected) in [(json!(500), "500"), (json!(1000), "1000"), (Value::Null, host.trim())] {
        let edit = |v: &mut Value| v["process"]["oomScoreAdj"] = value.clone();
        assert_eq!(lab.inside(edit, "cat /proc/self/oom_score_adj"), expected, "{value}");
    }
    Ok(())
}

/// CVE-2024-21626: a leaked descriptor is a way out.
fn only_three_files_are_open(lab: &Lab) -> Outcome {
    for command in ["run", "create"] {
        let c = lab.container(&["sh", "-c", "ls /proc/$$/fd; echo end; sleep 100"]);
        let out = lab.next_file("fds");
        let mut call = lab.command(&c.runtime, &lab.next_file("log"));
        call.arg(command).arg("--bundle").arg(&c.bundle);
        call.args((command == "run").then_some("--detach"))
            .arg(&c.id)
            .stdout(fs::File::create(&out).unwrap());
        assert!(call.status().unwrap().success());
        if command == "create" {
            c.start();
        }
        let list = crate::harness::eventually("the list", || {
            Some(fs::read_to_string(&out).unwrap()).filter(|text| text.ends_with("end\n"))
        });
        assert_eq!(list.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "end"], "{command}");
    }
    Ok(())
}

/// Runs `run --preserve-fds=COUNT` with files open at 3 and 4.
pub fn with_two_files(lab: &Lab, runtime: &Runtime, count: u32) -> Output {
    let c = lab.container_of(runtime, &["sh", "-c", "cat <&3; cat <&4; ls /proc/$$/fd; exit 0"]);
    let (a, b) = (lab.file("a", "first\n"), lab.file("b", "second\n"));
    let log = lab.next_file("log");
    let call = lab.command(&c.runtime, &log);
    let mut shell = lab.clean(std::process::Command::new(&lab.settings.busybox));
    shell.args(["sh", "-c", "a=$1 b=$2; shift 2; exec \"$@\" 3<$a 4<$b", "sh", &a, &b]);
    shell.arg(call.get_program()).args(call.get_args());
    shell.arg("run").arg(format!("--preserve-fds={count}")).arg("-b").arg(&c.bundle).arg(&c.id);
    lab.collect(runtime, shell, &log)
}

fn preserved_files_stay_open(lab: &Lab) -> Outcome {
    assert_eq!(with_two_files(lab, &lab.tare, 2).ok(), "first\nsecond\n0\n1\n2\n3\n4\n");
    Ok(())
}

/// runc#5026: files that the caller has not opened would be the runtime's own.
fn preserving_too_many_is_refused(lab: &Lab) -> Outcome {
    lab.not_runc("takes files of its own for the caller's")?;
    let run = with_two_files(lab, &lab.tare, 3);
    assert_eq!(run.code, 1, "{}", run.out);
    run.fails_with("unable to stat preserved-fd 2 (of 3): ");
    Ok(())
}

/// Rust leaves SIGPIPE ignored, and an ignored signal survives execve.
fn signals_are_reset(lab: &Lab) -> Outcome {
    for key in ["SigIgn", "SigBlk"] {
        let run = lab.run(&["grep", key, "/proc/self/status"], |_| ());
        assert_eq!(run.ok(), format!("{key}:\t{}\n", "0".repeat(16)));
    }
    Ok(())
}

fn session_keyring(lab: &Lab) -> Outcome {
    if !Path::new("/proc/keys").exists() {
        return Err(crate::harness::Skip("the kernel has no keyrings".into()));
    }
    let keys = |lab: &Lab, flags: &[&str]| {
        let mut c = lab.container(&["cat", "/proc/keys"]);
        c.edit(|v| v["linux"]["maskedPaths"] = json!([]));
        (c.run(flags).ok().to_owned(), format!("_ses.{}", c.id))
    };
    let (text, name) = keys(lab, &[]);
    assert!(text.contains(&name), "the session keyring has the name of the container: {text}");
    let (text, name) = keys(lab, &["--no-new-keyring"]);
    assert!(!text.contains(&name), "{text}");
    Ok(())
}

fn cpu_affinity_is_kept(lab: &Lab) -> Outcome {
    let all = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    assert_eq!(status(lab, |_| (), "Cpus_allowed_list"), all.trim());
    // Not the caller's, who may be bound to one processor.
    lab.newer_than_runc(1, 4)?;
    let c = lab.container(&["sed", "-n", "s/^Cpus_allowed_list:[ \t]*//p", "/proc/self/status"]);
    let mut bound = lab.clean(std::process::Command::new(settings::program("taskset")?));
    bound.args(["-c", "0"]).arg(&c.runtime.program).arg("--root").arg(lab.root());
    bound.args(["run", "--bundle"]).arg(&c.bundle).arg(&c.id);
    assert_eq!(lab.collect(&c.runtime, bound, "/nonexistent".as_ref()).ok(), all);
    Ok(())
}

/// A container that leaves children behind ends all of them with its PID 1.
fn processes_of_init_are_reaped_elsewhere(lab: &Lab) -> Outcome {
    lab.run(&["sh", "-c", "sleep 100 & sleep 100 & exit 0"], |_| ()).ok();
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn home_is_found_with_few_files(lab: &Lab) -> Outcome {
    lab.not_runc("opens more files itself")?;
    let few = json!([{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]);
    assert_eq!(lab.inside(|v| v["process"]["rlimits"] = few, "echo $HOME"), "/root");
    Ok(())
}

fn an_empty_path_is_no_directory(lab: &Lab) -> Outcome {
    for env in [json!([]), json!(["PATH="])] {
        let mut c = lab.container(&["here"]);
        write_executable(&c.rootfs("here"), "#!/bin/sh\n");
        c.edit(|v| v["process"]["env"] = env.clone());
        c.run(&[]).fails_with("exec: \"here\": executable file not found in $PATH");
    }
    Ok(())
}

/// The number that the kernel takes for "leave it".
fn no_id_is_refused(lab: &Lab) -> Outcome {
    lab.not_runc("takes it, or has other words")?;
    let none = json!(4_294_967_295_u32);
    let run = lab.run(&["true"], |v| v["process"]["user"]["additionalGids"] = json!([1, none]));
    run.fails_with("(process.user.additionalGids[1])");
    let device = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": none}]);
    lab.run(&["true"], |v| v["linux"]["devices"] = device).fails_with("(linux.devices[0].uid)");
    Ok(())
}
