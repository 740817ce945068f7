//! `linux.seccomp`: what becomes of system calls in containers. The calls are done by a small
//! C program, `seccomp.c`. Who is asked is in `seccomp_listeners.rs`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::exec::exec;
use crate::harness::bundle::mount;
use crate::harness::{Container, Lab, Outcome, Output, Skip, Value, json, tests};

tests![
    every_action,
    every_comparison,
    several_conditions,
    errno_of_a_rule_and_of_the_default,
    newer_calls_do_not_exist,
    other_architectures,
    the_same_as_runc,
    with_and_without_no_new_privileges,
    exec_has_the_filter,
    hooks_of_the_container_have_the_filter,
    in_a_user_namespace,
    unknown_names,
    faults_are_told_together,
    too_long,
    what_the_runtime_needs,
    profiles_that_know_no_newer_calls,
    where_nothing_is_allowed,
    features_say_so,
];

/// Where the program is in a container.
pub const CALLS: &str = "/bin/calls";

/// Why a test is not for runc, which a filter stops that lets pass what the program needs.
const NEEDS_MORE: &str = "its own process needs more calls";

/// The program: what `TARE_TEST_CALLS` names, or else compiled once.
pub fn program(lab: &Lab) -> Result<PathBuf, Skip> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        if let Some(program) = std::env::var_os("TARE_TEST_CALLS") {
            return Ok(PathBuf::from(program));
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/seccomp.c");
        let program = lab.settings.dir.join("seccomp-calls");
        let built = Command::new("cc").args(["-static", "-O1", "-o"]).arg(&program).arg(source).output();
        let built = built.map_err(|e| format!("cc: {e}"))?;
        let said = String::from_utf8_lossy(&built.stderr).into_owned();
        if built.status.success() { Ok(program) } else { Err(format!("cc can't build {source}: {said}")) }
    };
    BUILT.get_or_init(build).clone().map_err(Skip)
}

/// Puts the program into a container, and lets it see nothing else of the caller's.
pub fn add(lab: &Lab, config: &mut Value) -> Outcome {
    mount(config, CALLS, "bind", program(lab)?.to_str().unwrap(), &["bind", "ro"]);
    Ok(())
}

pub fn rule(names: &[&str], action: &str) -> Value {
    json!({"names": names, "action": format!("SCMP_ACT_{action}")})
}

pub fn condition(index: u32, op: &str, value: u64, two: u64) -> Value {
    json!({"index": index, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{op}")})
}

/// A profile that lets everything pass but what the rules are about.
pub fn but(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

/// What comes of calls in a container with a profile, a line each.
pub fn calls_of(lab: &Lab, c: &mut Container, profile: Value, calls: &[&str]) -> Result<Output, Skip> {
    let mut ready = Ok(());
    c.edit(|v| {
        v["linux"]["seccomp"] = profile;
        v["process"]["args"] = json!([&[CALLS, "calls"], calls].concat());
        ready = add(lab, v);
    });
    ready?;
    Ok(c.run(&[]))
}

/// The same, where the container runs.
#[track_caller]
fn calls(lab: &Lab, profile: Value, calls: &[&str]) -> Result<Vec<String>, Skip> {
    let output = calls_of(lab, &mut lab.container(&[]), profile, calls)?;
    Ok(output.ok().lines().map(str::to_owned).collect())
}

fn every_action(lab: &Lab) -> Outcome {
    let rules = json!([
        rule(&["getppid"], "ERRNO"),
        rule(&["getpgid"], "KILL"),
        rule(&["getsid"], "KILL_THREAD"),
        rule(&["getuid"], "KILL_PROCESS"),
        rule(&["sched_yield"], "TRAP"),
        rule(&["getpriority"], "TRACE"),
        rule(&["getcwd"], "LOG"),
        rule(&["personality"], "ALLOW"),
    ]);
    let names =
        ["getppid", "getpgid", "getsid", "getuid", "sched_yield", "getpriority", "getcwd:0:0", "personality"];
    let want = [
        "getppid errno 1",
        "getpgid killed 31",
        "getsid killed 31",
        "getuid killed 31",
        "sched_yield trapped",
        // Nobody traces.
        "getpriority errno 38",
        "getcwd:0:0 errno 34",
        "personality ok",
    ];
    assert_eq!(calls(lab, but(rules), &names)?, want);
    Ok(())
}

fn every_comparison(lab: &Lab) -> Outcome {
    // The argument is a pid or what else does no harm: what counts is who answers.
    for (op, value, two, forbidden, let_pass) in [
        ("NE", 0, 0, "1", "0"),
        ("LT", 5, 0, "4", "5"),
        ("LE", 5, 0, "5", "6"),
        ("EQ", 0x1_0000_0005, 0, "0x100000005", "5"),
        ("GE", 0x1_0000_0000, 0, "0x100000000", "0xffffffff"),
        ("GT", 5, 0, "0x100000000", "5"),
        ("MASKED_EQ", 0xff00_0000_0000_00f0, 0x0100_0000_0000_0010, "0x0100ffff0000001f", "0x10"),
    ] {
        let mut forbid = rule(&["getpgid"], "ERRNO");
        forbid["errnoRet"] = json!(99);
        forbid["args"] = json!([condition(0, op, value, two)]);
        let lines = calls(
            lab,
            but(json!([forbid])),
            &[&format!("getpgid:{forbidden}"), &format!("getpgid:{let_pass}")],
        )?;
        assert_eq!(lines[0], format!("getpgid:{forbidden} errno 99"), "{op}");
        assert_ne!(lines[1], format!("getpgid:{let_pass} errno 99"), "{op}");
    }
    Ok(())
}

fn several_conditions(lab: &Lab) -> Outcome {
    let with = |args: Value| {
        let mut forbid = rule(&["getpriority"], "ERRNO");
        forbid["errnoRet"] = json!(99);
        forbid["args"] = args;
        but(json!([forbid]))
    };
    let asked = ["getpriority:7:8", "getpriority:7:9", "getpriority:6:8"];
    let both = calls(lab, with(json!([condition(0, "EQ", 7, 0), condition(1, "EQ", 8, 0)])), &asked)?;
    let [first, second, third] = asked;
    let lines = |errnos: [u8; 3]| {
        [(first, errnos[0]), (second, errnos[1]), (third, errnos[2])]
            .map(|(call, errno)| format!("{call} errno {errno}"))
    };
    assert_eq!(both, lines([99, 22, 22]));
    // Two on the same argument are two rules, as with runc.
    let either = calls(lab, with(json!([condition(1, "EQ", 8, 0), condition(1, "EQ", 9, 0)])), &asked)?;
    assert_eq!(either, lines([99, 99, 99]));
    Ok(())
}

/// A profile that allows these calls, and what every program here needs.
pub fn only(names: &[&str]) -> Value {
    let needed = [
        "arch_prctl",
        "brk",
        "clone",
        "close",
        "dup",
        "execve",
        "exit",
        "exit_group",
        "fcntl",
        "fork",
        "fstat",
        "getrandom",
        "ioctl",
        "lseek",
        "mmap",
        "mprotect",
        "munmap",
        "newfstatat",
        "openat",
        "prctl",
        "pread64",
        "prlimit64",
        "read",
        "readlink",
        "readlinkat",
        "restart_syscall",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "set_robust_list",
        "set_tid_address",
        "statx",
        "uname",
        "vfork",
        "wait4",
        "write",
        "writev",
        "futex",
        "gettid",
        "getpid",
        "tgkill",
    ];
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule(&[&needed[..], names].concat(), "ALLOW")]})
}

fn errno_of_a_rule_and_of_the_default(lab: &Lab) -> Outcome {
    lab.not_runc(NEEDS_MORE)?;
    let mut profile = only(&["getsid"]);
    profile["defaultErrnoRet"] = json!(71);
    let mut silent = rule(&["getppid"], "ERRNO");
    silent["errnoRet"] = json!(0);
    profile["syscalls"].as_array_mut().unwrap().push(silent);
    let lines = calls(lab, profile, &["getsid", "getpgid", "getppid"])?;
    assert_eq!(lines, ["getsid ok", "getpgid errno 71", "getppid ok"]);
    Ok(())
}

fn newer_calls_do_not_exist(lab: &Lab) -> Outcome {
    lab.not_runc(NEEDS_MORE)?;
    // The highest number of which the profile speaks is that of openat2, though it does not allow it.
    let mut profile = only(&[]);
    profile["syscalls"].as_array_mut().unwrap().push(rule(&["openat2"], "ERRNO"));
    let asked = ["getsid", "clone3", "nr:437", "nr:438", "nr:1000"];
    let want = ["getsid errno 1", "clone3 errno 1", "nr:437 errno 1", "nr:438 errno 38", "nr:1000 errno 38"];
    assert_eq!(calls(lab, profile.clone(), &asked)?, want);
    // A default that lets calls pass, or asks a tracer, decides about new ones as well.
    profile["defaultAction"] = json!("SCMP_ACT_TRAP");
    assert_eq!(calls(lab, profile.clone(), &asked)?[3..], want[3..]);
    profile["defaultAction"] = json!("SCMP_ACT_LOG");
    assert_eq!(calls(lab, profile, &["getsid", "nr:1000"])?, ["getsid ok", "nr:1000 errno 38"]);
    Ok(())
}

fn other_architectures(lab: &Lab) -> Outcome {
    if !cfg!(target_arch = "x86_64") {
        return Err(Skip("the machine is none with calls of x86".into()));
    }
    // Without any filter, 20 being getpid there: User-Mode Linux takes the numbers for those of x86_64.
    let outside = Command::new(program(lab)?).args(["calls", "x86:20"]).output().unwrap();
    if outside.stdout != b"x86:20 ok\n" {
        return Err(Skip("the kernel has no calls of x86".into()));
    }
    // 147 is getsid there, 20 getpid, 102 socketcall.
    let asked = ["x86:147", "x86:20", "x86:102:1", "x86:102:3", "getsid"];
    let mut profile = but(json!([rule(&["getsid", "connect"], "ERRNO")]));
    let lines = calls(lab, profile.clone(), &asked)?;
    let killed = ["x86:147 killed 31", "x86:20 killed 31", "x86:102:1 killed 31", "x86:102:3 killed 31"];
    assert_eq!(lines, [&killed[..], &["getsid errno 1"]].concat());
    profile["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]);
    let lines = calls(lab, profile, &asked)?;
    let want = ["x86:147 errno 1", "x86:20 ok", "x86:102:1 errno 14", "x86:102:3 errno 1", "getsid errno 1"];
    assert_eq!(lines, want);
    Ok(())
}

/// What the bench's docker profile forbids and what it lets pass, and what depends on arguments.
const MANY: [&str; 62] = [
    "acct",
    "add_key",
    "bpf:99",
    "capset",
    "chdir",
    "chroot",
    "clock_settime",
    "clone3",
    "close:999",
    "delete_module",
    "fchdir:999",
    "fsopen",
    "getcwd",
    "getpgid",
    "getpid",
    "getsid",
    "getpriority",
    "getppid",
    "getuid",
    "init_module",
    "ioctl:999",
    "kexec_load",
    "keyctl:99",
    "mkdirat:999",
    "mount",
    "move_pages",
    "name_to_handle_at:999",
    "open_by_handle_at:999",
    "open_tree:999",
    "openat:999",
    "perf_event_open",
    "personality:0",
    "personality:8",
    "personality:0x20000",
    "personality:0x20008",
    "personality:0xffffffff",
    "personality:0x100000000",
    "personality:1",
    "pidfd_open:999999",
    "pivot_root",
    "process_vm_readv",
    "quotactl",
    "read:999",
    "recvmsg:999",
    "request_key",
    "sendmsg:999",
    "set_mempolicy:99",
    "setns:999",
    "settimeofday",
    "socket:37",
    "socket:38",
    "socket:39",
    "socket:40",
    "socket:41",
    "statx",
    "swapon",
    "syslog:99",
    "umount2",
    "unshare:0x10000000",
    "userfaultfd",
    "nr:470",
    "nr:1000",
];

fn the_same_as_runc(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    let config = include_str!("../bench/bundles/docker-seccomp/config.json");
    let config: Value = serde_json::from_str(config).unwrap();
    let mut kill = config["linux"]["seccomp"].clone();
    kill["defaultAction"] = json!("SCMP_ACT_TRAP");
    kill.as_object_mut().unwrap().remove("defaultErrnoRet");
    let mut trace = kill.clone();
    trace["defaultAction"] = json!("SCMP_ACT_LOG");
    for profile in [config["linux"]["seccomp"].clone(), kill, trace] {
        for no_new_privileges in [true, false] {
            let of = |runtime| {
                let mut c = lab.container_of(runtime, &[]);
                c.edit(|v| v["process"]["noNewPrivileges"] = json!(no_new_privileges));
                calls_of(lab, &mut c, profile.clone(), &MANY)
            };
            let (ours, theirs) = (of(&lab.tare)?, of(&runc)?);
            assert_eq!(ours.ok(), theirs.ok(), "{} {no_new_privileges}", profile["defaultAction"]);
            assert_eq!(ours.out.lines().count(), MANY.len());
        }
    }
    Ok(())
}

fn with_and_without_no_new_privileges(lab: &Lab) -> Outcome {
    let profile = but(json!([rule(&["getsid"], "ERRNO")]));
    for no_new_privileges in [true, false] {
        for uid in [0, 1000] {
            let mut c = lab.container(&[]);
            c.edit(|v| {
                v["process"]["noNewPrivileges"] = json!(no_new_privileges);
                v["process"]["user"] = json!({"uid": uid, "gid": uid});
            });
            let output = calls_of(lab, &mut c, profile.clone(), &["getsid", "getuid"])?;
            assert_eq!(output.ok(), "getsid errno 1\ngetuid ok\n", "{no_new_privileges} {uid}");
        }
    }
    // It has not left more rights to the program than the config gives.
    let status = lab.inside(
        |v| {
            v["process"]["noNewPrivileges"] = json!(false);
            v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            v["linux"]["seccomp"] = profile.clone();
        },
        "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status",
    );
    assert_eq!(
        status.split_whitespace().collect::<Vec<_>>(),
        ["CapEff:", "0000000000000000", "NoNewPrivs:", "0", "Seccomp:", "2"]
    );
    Ok(())
}

fn exec_has_the_filter(lab: &Lab) -> Outcome {
    for no_new_privileges in [true, false] {
        let mut c = lab.container(&["sleep", "1000"]);
        let mut ready = Ok(());
        c.edit(|v| {
            v["process"]["noNewPrivileges"] = json!(no_new_privileges);
            v["linux"]["seccomp"] = but(json!([rule(&["getsid"], "ERRNO"), rule(&["getpgid"], "KILL")]));
            ready = add(lab, v);
        });
        ready?;
        c.create(&[]).ok();
        // The config that counts is the one of the beginning.
        c.edit(|v| v["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"}));
        for started in [false, true] {
            if started {
                c.start();
            }
            let output = exec(&c, &[], &[CALLS, "calls", "getsid", "getpgid", "getppid"]);
            assert_eq!(output.ok(), "getsid errno 1\ngetpgid killed 31\ngetppid ok\n");
        }
        let output = exec(&c, &["--user", "1000"], &[CALLS, "calls", "getsid", "getuid"]);
        assert_eq!(output.ok(), "getsid errno 1\ngetuid ok\n");
    }
    Ok(())
}

fn hooks_of_the_container_have_the_filter(lab: &Lab) -> Outcome {
    for no_new_privileges in [true, false] {
        let mut c = lab.container(&["cat", "/tmp/said"]);
        c.edit(|v| {
            v["process"]["noNewPrivileges"] = json!(no_new_privileges);
            mount(v, "/tmp", "tmpfs", "tmpfs", &[]);
            v["linux"]["seccomp"] = but(json!([rule(&["mkdir", "mkdirat"], "ERRNO")]));
            let script = "mkdir /tmp/d 2>/tmp/said; grep Seccomp: /proc/self/status >>/tmp/said";
            v["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        });
        let said = c.run(&[]);
        assert!(
            said.ok().contains("Operation not permitted") && said.out.contains("Seccomp:\t2"),
            "{}",
            said.out
        );
    }
    Ok(())
}

fn in_a_user_namespace(lab: &Lab) -> Outcome {
    for no_new_privileges in [true, false] {
        let mut c = lab.container(&[]);
        c.edit(|v| {
            v["process"]["noNewPrivileges"] = json!(no_new_privileges);
            crate::harness::bundle::set_namespace(v, "user", None);
            for kind in ["uidMappings", "gidMappings"] {
                v["linux"][kind] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            }
        });
        let output = calls_of(lab, &mut c, but(json!([rule(&["getsid"], "ERRNO")])), &["getsid", "getppid"])?;
        assert_eq!(output.ok(), "getsid errno 1\ngetppid ok\n");
    }
    Ok(())
}

fn unknown_names(lab: &Lab) -> Outcome {
    let profile = but(json!([rule(&["getsid", "nope", "also_not"], "ERRNO"), rule(&["nope"], "KILL")]));
    let mut c = lab.container(&[]);
    let output = calls_of(lab, &mut c, profile, &["getsid"])?;
    assert_eq!(output.ok(), "getsid errno 1\n");
    if lab.not_runc("it says nothing").is_ok() {
        let warning =
            "linux.seccomp.syscalls: unknown system calls: nope, also_not; nothing is done about them";
        assert_eq!(output.messages("warning"), [warning]);
        c.edit(|v| v["annotations"] = json!({"run.oci.seccomp_fail_unknown_syscall": "1"}));
        let text = "RT run failed: unknown system calls: nope, also_not (linux.seccomp.syscalls)";
        c.run(&[]).fails(1, text);
    }
    Ok(())
}

fn faults_are_told_together(lab: &Lab) -> Outcome {
    lab.not_runc("tells one at a time")?;
    let run = lab.run(&["true"], |v| {
        v["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_NOTIFY",
            "flags": ["SECCOMP_FILTER_FLAG_NOPE"],
            "architectures": ["SCMP_ARCH_NOPE"],
            "syscalls": [
                {"names": ["write"], "action": "SCMP_ACT_NOTIFY"},
                {"names": ["read"], "action": "nope"},
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [condition(0, "NOPE", 0, 0)]},
            ],
        });
    });
    run.fails(
        1,
        "RT run failed: seccomp flag SECCOMP_FILTER_FLAG_NOPE is not known (linux.seccomp.flags[0]); \
         SCMP_ACT_NOTIFY cannot be used as default action (linux.seccomp.defaultAction); \
         string SCMP_ARCH_NOPE is not a valid arch for seccomp (linux.seccomp.architectures[0]); \
         SCMP_ACT_NOTIFY cannot be used for the write syscall (linux.seccomp.syscalls[0].names); \
         string nope is not a valid action for seccomp (linux.seccomp.syscalls[1].action); \
         string SCMP_CMP_NOPE is not a valid operator for seccomp (linux.seccomp.syscalls[2].args[0].op)",
    );
    lab.run(&["true"], |v| v["linux"]["seccomp"] = but(json!([rule(&["getsid"], "NOTIFY")])))
        .fails(1, "RT run failed: seccomp listenerPath is not set (linux.seccomp.listenerPath)");
    Ok(())
}

fn too_long(lab: &Lab) -> Outcome {
    lab.not_runc("has other words")?;
    let rules: Vec<Value> = (0..2000)
        .map(|n| {
            let mut forbid = rule(&["getpgid"], "ERRNO");
            forbid["args"] = json!([condition(0, "EQ", n, 0), condition(1, "EQ", n, 0)]);
            forbid
        })
        .collect();
    let run = lab.run(&["true"], |v| v["linux"]["seccomp"] = but(json!(rules)));
    assert!(run.err.contains("the kernel takes 4096 (linux.seccomp.syscalls)"), "{}", run.err);
    assert_eq!(run.code, 1);
    Ok(())
}

/// With no_new_privs the runtime only has to execute the program under the filter; without, it says what may be wrong.
fn what_the_runtime_needs(lab: &Lab) -> Outcome {
    lab.not_runc(NEEDS_MORE)?;
    let mut profile = only(&["getsid"]);
    profile["defaultAction"] = json!("SCMP_ACT_KILL_PROCESS");
    let mut c = lab.container(&[]);
    let output = calls_of(lab, &mut c, profile, &["getsid", "getppid"])?;
    assert_eq!(output.ok(), "getsid ok\ngetppid killed 31\n");
    c.edit(|v| v["process"]["noNewPrivileges"] = json!(false));
    let run = c.run(&[]);
    let text = "init ended before the program began: signal 31";
    assert!(
        run.err.contains(text)
            && run.err.contains("linux.seccomp may forbid what the runtime itself still calls"),
        "{}",
        run.err
    );
    Ok(())
}

/// Profiles are copied and live on for years: what was added to the kernel since 2019 is not for the runtime to need
/// under one. What is newer than all that a profile names fails in another way than the rest.
fn profiles_that_know_no_newer_calls(lab: &Lab) -> Outcome {
    let newer = ["clone3", "close_range", "faccessat2", "openat2", "pidfd_getfd", "pidfd_open"];
    let newest = [&newer[..], &["epoll_pwait2", "mount_setattr", "memfd_secret"]].concat();
    for (forbidden, errno) in [(&newer[..], 1), (&newest[..], 38)] {
        let mut refused = rule(forbidden, "ERRNO");
        refused["errnoRet"] = json!(errno);
        let profile = but(json!([refused]));
        for no_new_privileges in [false, true] {
            let mut c = lab.container(&["sleep", "1000"]);
            c.edit(|v| {
                v["process"]["noNewPrivileges"] = json!(no_new_privileges);
                v["linux"]["seccomp"] = profile.clone();
            });
            c.create(&[]).ok();
            exec(&c, &[], &["true"]).ok();
            c.start();
            exec(&c, &["--user", "1000"], &["true"]).ok();
            c.edit(|v| v["process"]["args"] = json!(["true"]));
            c.delete(&["--force"]).ok();
            c.run(&[]).ok();
        }
    }
    Ok(())
}

/// Neither the program can be executed then, nor the runtime's own process end in the usual way. It used to try that
/// for ever.
fn where_nothing_is_allowed(lab: &Lab) -> Outcome {
    lab.not_runc(NEEDS_MORE)?;
    for action in ["ERRNO", "TRACE", "KILL", "KILL_PROCESS", "TRAP"] {
        let profile = json!({"defaultAction": format!("SCMP_ACT_{action}")});
        let output = lab.run(&["true"], |v| v["linux"]["seccomp"] = profile);
        assert!(output.code > 128, "{action}: {output:?}");
    }
    Ok(())
}

fn features_say_so(lab: &Lab) -> Outcome {
    let features: Value = serde_json::from_str(lab.call(&["features"]).ok()).unwrap();
    let seccomp = &features["linux"]["seccomp"];
    assert_eq!(seccomp["enabled"], true);
    let list = |key: &str| seccomp[key].as_array().unwrap_or_else(|| panic!("{key}")).clone();
    // What it names can be asked for.
    for action in list("actions").iter().filter(|action| **action != "SCMP_ACT_NOTIFY") {
        let rules = json!([{"names": ["getsid"], "action": action}]);
        lab.run(&["true"], |v| v["linux"]["seccomp"] = but(rules)).ok();
    }
    for op in list("operators") {
        let rules = json!([{"names": ["getsid"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": op}]}]);
        lab.run(&["true"], |v| v["linux"]["seccomp"] = but(rules)).ok();
    }
    let known = list("knownFlags");
    for flag in list("supportedFlags") {
        assert!(known.contains(&flag), "{flag}");
        if flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
            continue;
        }
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag]});
        lab.run(&["true"], |v| v["linux"]["seccomp"] = profile).ok();
    }
    Ok(())
}
