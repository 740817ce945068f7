//! Holes of processes that enter a hostile container, of `exec` above all: what is in it already sees the runtime's
//! process come, and must not get at its files nor at its program.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::crash::strace;
use crate::exec::{exec, up};
use crate::harness::bundle::{capabilities, mount, push, set_namespace};
use crate::harness::runtime::wait;
use crate::harness::{Container, Lab, Outcome, Skip, Value, attacker, eventually, json, tests};
use crate::process::write_executable;
use crate::user_namespaces::{give, maps};

tests![
    cve_2016_9962_processes_look_at_the_one_that_comes,
    cve_2016_9962_processes_look_at_a_container_that_joins,
    nothing_of_the_host_is_read,
    a_change_of_user_opens_nothing,
    cve_2019_5736_entry_point_is_the_runtime,
    cve_2019_5736_opened_by_a_neighbour,
    cve_2019_5736_program_is_the_runtime,
    cve_2024_21626_working_directory_is_a_leaked_file,
    cve_2024_21626_working_directory_of_exec,
    cve_2024_21626_working_directory_is_a_link_to_one,
];

/// A change of the config.
type Edit<'a> = &'a dyn Fn(&mut Value);

/// A container whose first process is the attacker, with the capabilities `caps`, which the processes of
/// `exec` have as well.
fn attacked<'l>(lab: &'l Lab, runtime: &Path, caps: &[String], edit: Edit<'_>) -> Container<'l> {
    let out = lab.dir.join("out");
    fs::remove_dir_all(&out).ok();
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).unwrap();
    let mut c = lab.container(&["/attacker"]);
    c.runtime.program = runtime.to_owned();
    fs::write(c.rootfs("attacker"), "").unwrap();
    c.edit(|v| {
        let own = std::env::current_exe().unwrap();
        mount(v, "/attacker", "bind", own.to_str().unwrap(), &["bind", "ro"]);
        mount(v, "/out", "bind", out.to_str().unwrap(), &["bind"]);
        for set in ["bounding", "effective", "permitted"] {
            v["process"]["capabilities"][set] = json!(caps);
        }
        push(&mut v["process"]["env"], json!(format!("{}={}", attacker::VARIABLE, lab.dir.display())));
        edit(v);
    });
    give(&c.rootfs(""));
    c.up();
    eventually("the attacker", || out.join("ready").exists().then_some(()));
    c
}

/// What engines give when nothing else is asked for.
const USUAL: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Those that are there for looking into others, as the kernel has it, and one that a machine may not give
/// to its own root.
const EXCLUDED: [&str; 4] = ["CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"];

/// All the rest.
const OTHERS: [&str; 23] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_NET_ADMIN",
    "CAP_NET_BROADCAST",
    "CAP_SYSLOG",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_RAWIO",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// As root with what engines give, as root with everything but the capabilities to do just this, as a
/// user, whose capabilities the process of `exec` does not exceed either in the end, and as the root of a
/// user namespace, who has every capability in there.
fn cve_2016_9962_processes_look_at_the_one_that_comes(lab: &Lab) -> Outcome {
    let _held = unchanged();
    // A copy, so that a hole does no harm.
    let copy = lab.dir.join("runtime");
    fs::copy(&lab.tare.program, &copy).unwrap();
    let original = fs::read(&copy).unwrap();
    lab.file("host-marker", "host");
    let names = |lists: &[&[&str]]| lists.concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (others, all) = (names(&[&USUAL, &OTHERS]), names(&[&USUAL, &OTHERS, &EXCLUDED]));
    let user = |v: &mut Value| v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let attackers: [(&str, &[String], Edit<'_>); 4] = [
        ("root", &USUAL.map(str::to_owned), &|_| ()),
        ("root with nearly everything", &others, &|_| ()),
        ("a user", &[], &user),
        ("root of a user namespace", &all, &maps),
    ];
    for (who, caps, edit) in attackers {
        let c = attacked(lab, &copy, caps, edit);
        let lines = |name: &str| fs::read_to_string(lab.dir.join("out").join(name)).unwrap_or_default();
        let attack = |calls: u32| {
            for _ in 0..calls {
                exec(&c, &[], &[attacker::PROGRAM, "2000"]).ok();
            }
        };
        let calls = if lab.settings.stress { 1000 } else { 50 };
        attack(calls);
        eventually("the attacker to see the runtime", || {
            let seen = !lines("seen").is_empty();
            if !seen {
                attack(10);
            }
            seen.then_some(())
        });
        if lab.settings.stress {
            println!("{calls} calls, attacked by {who}: {} looks", lines("seen").lines().count());
        }
        let leaks = lines("leaks");
        let leaks: BTreeSet<_> = leaks.lines().collect();
        assert!(leaks.is_empty(), "opened by {who}: {leaks:?}");
        c.delete(&["--force"]).ok();
        lab.transcript.borrow_mut().clear();
    }
    assert!(fs::read(&copy).unwrap() == original, "the runtime was changed");
    Ok(())
}

/// Another container of the pod: its first process appears in there as well.
fn cve_2016_9962_processes_look_at_a_container_that_joins(lab: &Lab) -> Outcome {
    let _held = unchanged();
    lab.file("host-marker", "host");
    let hostile = attacked(lab, &lab.tare.program, &USUAL.map(str::to_owned), &|_| ());
    let mut c = lab.container(&[attacker::PROGRAM, "2000"]);
    let namespace = format!("/proc/{}/ns/pid", hostile.pid());
    c.edit(|v| {
        set_namespace(v, "pid", Some(&namespace));
        v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let lines = |name: &str| fs::read_to_string(lab.dir.join("out").join(name)).unwrap_or_default();
    for _ in 0..if lab.settings.stress { 200 } else { 20 } {
        c.run(&[]).ok();
    }
    assert_ne!(lines("seen"), "", "the attacker has seen it");
    assert_eq!(lines("leaks"), "");
    Ok(())
}

/// What anybody may read in procfs of a process that they see: the caller's command line, which paths of the host and
/// values of `--env` are in, the host's mounts and the sockets in its network. A new container's mounts begin as a copy of the
/// host's, whatever the runtime, but `exec` has no need to be among the host's.
fn nothing_of_the_host_is_read(lab: &Lab) -> Outcome {
    let _held = unchanged();
    let _socket = UnixListener::bind(lab.dir.join("host-socket")).unwrap();
    let reads = || {
        let lines = fs::read_to_string(lab.dir.join("out/reads")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let seen = || fs::read_to_string(lab.dir.join("out/seen")).unwrap_or_default().lines().count();
    let user: Edit<'_> = &|v| v["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    for (who, edit) in [("a user", user), ("root of a user namespace", &maps)] {
        let hostile = attacked(lab, &lab.tare.program, &[], edit);
        eventually("the attacker to see exec", || {
            (0..50).for_each(|_| drop(exec(&hostile, &[], &[attacker::PROGRAM, "2000"])));
            (seen() > 20).then_some(())
        });
        assert_eq!(reads(), BTreeSet::new(), "by {who}, of exec");
        let before = seen();
        let mut c = lab.container(&[attacker::PROGRAM, "2000"]);
        let namespaces = format!("/proc/{}/ns", hostile.pid());
        c.edit(|v| {
            edit(v);
            for kind in ["pid", "net"] {
                let name = if kind == "net" { "network" } else { kind };
                set_namespace(v, name, Some(&format!("{namespaces}/{kind}")));
            }
            if v["linux"]["uidMappings"].is_array() {
                set_namespace(v, "user", Some(&format!("{namespaces}/user")));
            }
        });
        give(&c.rootfs(""));
        eventually("the attacker to see a container that joins", || {
            for _ in 0..10 {
                c.run(&[]).ok();
            }
            (seen() > before).then_some(())
        });
        let mut reads = reads();
        reads.retain(|line| !line.starts_with("mounts"));
        assert_eq!(reads, BTreeSet::new(), "by {who}, of a container that joins");
        hostile.delete(&["--force"]).ok();
        lab.transcript.borrow_mut().clear();
    }
    Ok(())
}

/// `fs.suid_dumpable` is the whole host's: while one test has changed it, no other attacks.
static SUID_DUMPABLE_IS_CHANGED: RwLock<()> = RwLock::new(());

/// Keeps `fs.suid_dumpable` as it is.
fn unchanged<'l>() -> RwLockReadGuard<'l, ()> {
    SUID_DUMPABLE_IS_CHANGED.read().unwrap_or_else(PoisonError::into_inner)
}

/// `fs.suid_dumpable`, which is as it was when this is dropped.
struct SuidDumpable(String, #[expect(dead_code, reason = "it is held")] RwLockWriteGuard<'static, ()>);

const SUID_DUMPABLE: &str = "/proc/sys/fs/suid_dumpable";

impl SuidDumpable {
    fn set(value: &str) -> Result<Self, Skip> {
        let held = SUID_DUMPABLE_IS_CHANGED.write().unwrap_or_else(PoisonError::into_inner);
        let before = fs::read_to_string(SUID_DUMPABLE).unwrap();
        fs::write(SUID_DUMPABLE, value).map_err(|e| Skip(format!("{SUID_DUMPABLE}: {e}")))?;
        Ok(Self(before, held))
    }
}

impl Drop for SuidDumpable {
    fn drop(&mut self) {
        let _ = fs::write(SUID_DUMPABLE, &self.0);
    }
}

/// With fs.suid_dumpable=1, the kernel lets whoever has the same user look into a process that has
/// changed its own. One that is not the program yet still has files of the host open.
fn a_change_of_user_opens_nothing(lab: &Lab) -> Outcome {
    lab.only_tare("does not look at fs.suid_dumpable")?;
    let _setting = SuidDumpable::set("1")?;
    // The kernel gives the files in there to root when nobody may look into the process.
    let owner = |pid: u64| fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    let mut c = lab.container(&["sleep", "1000"]);
    c.edit(|v| v["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    c.create(&[]).ok();
    assert_eq!(owner(c.pid()), 0, "the first process, before the start");
    c.start();
    eventually("the program", || (owner(c.pid()) == 1000).then_some(()));

    // The process of exec waits while the runtime is held up where it writes the pid file.
    let strace = strace(lab)?;
    let mut command = lab.clean(std::process::Command::new(strace));
    let log = lab.next_file("log");
    let call = lab.command(&c.runtime, &log);
    command.args([
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=rename,renameat,renameat2:delay_enter=1500000",
        "--",
    ]);
    command.arg(call.get_program()).args(call.get_args()).args(["exec", "--pid-file", "pid", &c.id, "true"]);
    let child = command.spawn().unwrap();
    let members = || fs::read_to_string(c.cgroups()[0].join("cgroup.procs")).unwrap();
    let pid = eventually("the process of exec as its user", || {
        let pid = members().lines().filter_map(|pid| pid.parse().ok()).find(|pid| *pid != c.pid())?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        (status.contains("\nUid:\t1000\t") && status.contains("\nState:\tS")).then_some(pid)
    });
    assert_eq!(owner(pid), 0, "a process of exec, before it is the program");
    assert_eq!(wait(child), 0);
    Ok(())
}

/// A script whose interpreter is the runtime that starts it.
fn cve_2019_5736_program_is_the_runtime(lab: &Lab) -> Outcome {
    let before = fs::read(&lab.tare.program).unwrap();
    let c = up(lab, |v| v["root"]["readonly"] = json!(false));
    write_executable(&c.rootfs("bin/evil"), "#!/proc/self/exe\n");
    for flags in [&[][..], &["--detach"]] {
        exec(&c, flags, &["/bin/evil"]);
    }
    exec(&c, &[], &["/proc/self/exe", "--version"]);
    assert!(fs::read(&lab.tare.program).unwrap() == before, "the binary was changed");
    Ok(())
}

fn cve_2024_21626_working_directory_of_exec(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    for number in 3..=100 {
        let cwd = format!("/proc/self/fd/{number}");
        let output = exec(&c, &["--cwd", &cwd], &["sh", "-c", "pwd; ls"]);
        assert!(output.code != 0 && output.out.is_empty(), "{cwd} was taken: {output:?}");
    }
    Ok(())
}

/// The same by a link in the image.
fn cve_2024_21626_working_directory_is_a_link_to_one(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    for number in 3..=20 {
        let link = c.rootfs("tmp/link");
        fs::remove_file(&link).ok();
        std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), &link).unwrap();
        let output = exec(&c, &["--cwd", "/tmp/link"], &["sh", "-c", "pwd; ls"]);
        assert!(output.code != 0 && output.out.is_empty(), "{number} was taken: {output:?}");
    }
    Ok(())
}

/// A script whose interpreter is the runtime that starts it.
fn cve_2019_5736_entry_point_is_the_runtime(lab: &Lab) -> Outcome {
    let before = fs::read(&lab.tare.program).unwrap();
    let mut c = lab.container(&["/bin/evil"]);
    write_executable(&c.rootfs("bin/evil"), "#!/proc/self/exe\n");
    c.edit(|v| v["root"]["readonly"] = json!(false));
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.arg("run").arg("-b").arg(&c.bundle).arg(&c.id);
    let child = command.spawn().unwrap();
    crate::harness::runtime::wait(child);
    assert!(fs::read(&lab.tare.program).unwrap() == before, "the binary was changed");
    Ok(())
}

/// A member of a pod opens the executable of every process that appears beside it, and writes into it as
/// soon as nobody runs it any more. A decoy shows that the attack works.
const OVERWRITE: &str = "
cp /bin/busybox /out/busybox; /out/busybox sleep 0.3 &
while :; do for p in /proc/[0-9]*; do
    case $(readlink $p/exe) in /bin/busybox | '') continue ;; esac
    [ -e /tmp/${p##*/} ] && continue
    touch /tmp/${p##*/}; echo seen >> /out/seen
    ( exec 7< $p/exe; i=0; while [ $i -lt 300 ]; do i=$((i+1)); usleep 10000; echo OVERWRITTEN > /proc/self/fd/7; done ) 2>/dev/null &
done; done";

fn cve_2019_5736_opened_by_a_neighbour(lab: &Lab) -> Outcome {
    // A copy, so that a hole does no harm; it is writable, as the installed one is for root.
    let copy = lab.dir.join("runtime");
    fs::copy(&lab.tare.program, &copy).unwrap();
    let original = fs::read(&copy).unwrap();
    let runtime = crate::harness::Runtime { program: copy.clone(), kind: lab.tare.kind };
    let mut c = lab.container(&["sh", "-c", OVERWRITE]);
    let out = lab.dir.join("out");
    fs::create_dir(&out).unwrap();
    c.edit(|v| {
        mount(v, "/out", "bind", out.to_str().unwrap(), &["bind"]);
        mount(v, "/tmp", "tmpfs", "x", &[]);
        capabilities(v, &["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]);
    });
    c.up();
    let seen = || fs::read_to_string(out.join("seen")).unwrap_or_default().lines().count();
    for _ in 0..3 {
        let mut victim = lab.container_of(&runtime, &["true"]);
        victim.edit(|v| set_namespace(v, "pid", Some(&format!("/proc/{}/ns/pid", c.pid()))));
        let before = seen();
        // Our own process waits here in the attacker's PID namespace.
        victim.create(&[]).ok();
        eventually("the attacker to see the runtime", || (seen() > before).then_some(()));
        victim.start();
        victim.wait_for("stopped").delete(&[]).ok();
        victim.run(&[]).ok();
    }
    eventually("the decoy to be overwritten", || {
        fs::read(out.join("busybox")).unwrap().starts_with(b"OVER").then_some(())
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(fs::read(&copy).unwrap() == original, "the runtime was overwritten");
    Ok(())
}

/// `/proc/self/fd/N` as working directory: one of the runtime's own directories must not be open there.
fn cve_2024_21626_working_directory_is_a_leaked_file(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "pwd; ls"]);
    for number in 3..=100 {
        for base in ["/proc/self/fd", "/proc/1/fd"] {
            c.edit(|v| v["process"]["cwd"] = json!(format!("{base}/{number}")));
            let run = c.run(&[]);
            assert_ne!(run.code, 0, "{base}/{number} was taken: {}", run.out);
        }
    }
    Ok(())
}
