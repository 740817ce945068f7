//! process.apparmorProfile, process.selinuxLabel, linux.mountLabel and the flags of `exec` for them: the program is
//! confined, by the host's own rules and not by what a container has put in their place.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::exec::{exec, process_file, up};
use crate::harness::bundle::{capabilities, mount, push, set_namespace, without_mount};
use crate::harness::user::{ALICE, User, possible};
use crate::harness::{Lab, Outcome, Output, Runtime, Skip, Value, eventually, json, tests};
use crate::user_namespaces::mapped;

tests![
    a_profile_confines_the_program,
    a_profile_of_its_own_for_exec,
    exec_that_names_none_has_the_containers,
    a_profile_beside_no_new_privileges,
    a_profile_in_a_user_namespace,
    a_profile_for_an_ordinary_users_container,
    a_profile_that_is_not_loaded,
    hooks_in_the_container_are_confined,
    unconfined_is_a_profile,
    without_apparmor_a_profile_is_refused,
    without_selinux_a_label_is_refused,
    empty_names_ask_for_nothing,
    cve_2019_16884_a_volume_over_proc,
    a_joined_mount_namespace_where_proc_is_forged,
    cve_2025_52881_exec_where_proc_is_forged,
    labels_of_the_program_and_its_files,
];

/// Denied by the profile alone.
const SECRET: &str = "/etc/group";

/// A script that says under what it runs, and whether it can read the secret.
const LOOK: &str = "cat /proc/self/attr/current; cat /etc/group >/dev/null && echo read";

/// A profile that is loaded while the test runs.
struct Profile(String);

impl Profile {
    /// Loads one that lets everything but reading [`SECRET`], or gives the reason to ignore the test.
    fn load(lab: &Lab, name: &str) -> Result<Profile, Skip> {
        apparmor()?;
        if !Path::new("/sys/kernel/security/apparmor/.load").exists() {
            return Err(Skip("AppArmor's file system is not in sight: no profile can be loaded".into()));
        }
        let name = format!("{}-{name}", lab.name);
        let rules = "file, capability, network, mount, umount, pivot_root, ptrace, signal, unix,";
        let text = format!("profile {name} flags=(attach_disconnected) {{ {rules} deny {SECRET} r, }}\n");
        let profile = Profile(name);
        profile.parser("--replace", &text)?;
        Ok(profile)
    }

    fn parser(&self, action: &str, text: &str) -> Outcome {
        let missing = |e| Skip(format!("apparmor_parser: {e}"));
        let mut parser = Command::new("apparmor_parser");
        let mut parser = parser
            .args([action, "--quiet", "--skip-cache"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(missing)?;
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(parser.wait().unwrap().success(), "apparmor_parser {action}");
        Ok(())
    }

    /// What a process under it says of itself.
    fn current(&self) -> String {
        format!("{} (enforce)", self.0)
    }

    /// Checks what [`LOOK`] has said.
    #[track_caller]
    fn confines(&self, output: &Output) {
        assert_eq!(output.out.trim_end(), self.current(), "{output:?}");
        assert!(output.code != 0 && output.err.contains("Permission denied"), "{output:?}");
    }

    /// Waits for the program of a process to begin under it.
    #[track_caller]
    fn confines_process(&self, pid: u64) {
        eventually("the program to begin under the profile", || {
            (current(pid) == self.current()).then_some(())
        });
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = self.parser("--remove", &format!("profile {} {{}}\n", self.0));
    }
}

fn has_apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|answer| answer.starts_with(b"Y"))
}

/// The reason to ignore a test that is about a host with AppArmor.
pub fn apparmor() -> Outcome {
    if has_apparmor() { Ok(()) } else { Err(Skip("AppArmor: this host has none".into())) }
}

/// The reason to ignore a test that is about a host without it.
pub fn no_apparmor() -> Outcome {
    if has_apparmor() { Err(Skip("AppArmor: this host has it".into())) } else { Ok(()) }
}

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// The same for SELinux.
pub fn no_selinux() -> Outcome {
    if has_selinux() { Err(Skip("SELinux: this host has it".into())) } else { Ok(()) }
}

fn under(v: &mut Value, profile: &Profile) {
    v["process"]["apparmorProfile"] = json!(profile.0);
}

/// What a process of a container runs under, as the host sees it.
fn current(pid: u64) -> String {
    fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap().trim_end().to_owned()
}

fn a_profile_confines_the_program(lab: &Lab) -> Outcome {
    let profile = Profile::load(lab, "p")?;
    let free = lab.run(&["sh", "-c", LOOK], |_| ());
    assert_eq!(free.ok(), "unconfined\nread\n");
    profile.confines(&lab.run(&["sh", "-c", LOOK], |v| under(v, &profile)));
    // The container's first process, which waits, is the runtime's until the program begins.
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| under(v, &profile)).create(&[]).ok();
    assert_eq!(current(c.pid()), "unconfined");
    c.start();
    profile.confines_process(c.pid());
    Ok(())
}

fn a_profile_of_its_own_for_exec(lab: &Lab) -> Outcome {
    let (first, second) = (Profile::load(lab, "first")?, Profile::load(lab, "second")?);
    let c = up(lab, |v| under(v, &first));
    let look = ["sh", "-c", LOOK];
    first.confines(&exec(&c, &[], &look));
    first.confines(&exec(&c, &["--apparmor", ""], &look));
    second.confines(&exec(&c, &["--apparmor", &second.0], &look));
    let file = process_file(&c, &look, |process| process["apparmorProfile"] = json!(second.0));
    second.confines(&exec(&c, &["--process", &file], &[]));
    // The profile of a single process leaves the others alone.
    let free = up(lab, |_| ());
    second.confines(&exec(&free, &["--apparmor", &second.0], &look));
    first.confines_process(c.pid());
    assert_eq!(current(free.pid()), "unconfined");
    Ok(())
}

/// What a process is under that nothing is said of, in a container with a profile, by a file and by the bundle.
pub fn exec_without_a_profile(lab: &Lab, runtime: &Runtime) -> Result<String, Skip> {
    let profile = Profile::load(lab, "p")?;
    let mut c = lab.container_of(runtime, &["sleep", "100"]);
    c.edit(|v| under(v, &profile)).up();
    let look = ["cat", "/proc/self/attr/current"];
    let file = process_file(&c, &look, |process| process["apparmorProfile"] = json!(""));
    let by_file = exec(&c, &["--process", &file], &[]);
    c.edit(|v| v["process"]["apparmorProfile"] = json!(""));
    let by_bundle = exec(&c, &[], &look);
    assert_eq!(by_file.ok(), by_bundle.ok());
    Ok(if by_file.ok().trim_end() == profile.current() {
        "the container's".into()
    } else {
        by_file.ok().trim_end().into()
    })
}

fn exec_that_names_none_has_the_containers(lab: &Lab) -> Outcome {
    lab.not_runc("leaves such a process unconfined")?;
    assert_eq!(exec_without_a_profile(lab, &lab.tare)?, "the container's");
    Ok(())
}

fn a_profile_beside_no_new_privileges(lab: &Lab) -> Outcome {
    let (first, second) = (Profile::load(lab, "first")?, Profile::load(lab, "second")?);
    for no_new_privileges in [true, false] {
        let c = up(lab, |v| {
            under(v, &first);
            v["process"]["noNewPrivileges"] = json!(no_new_privileges);
        });
        let status = format!("NoNewPrivs:\t{}\n", u8::from(no_new_privileges));
        let script = ["sh", "-c", "cat /proc/self/attr/current; grep NoNewPrivs /proc/self/status"];
        for (flags, profile) in [(&[][..], &first), (&["--apparmor", &second.0], &second)] {
            assert_eq!(exec(&c, flags, &script).ok(), format!("{}\n{status}", profile.current()));
        }
    }
    Ok(())
}

fn a_profile_in_a_user_namespace(lab: &Lab) -> Outcome {
    let profile = Profile::load(lab, "p")?;
    let mut c = mapped(lab, &["sh", "-c", LOOK]);
    profile.confines(&c.edit(|v| under(v, &profile)).run(&[]));
    c.edit(|v| v["process"]["args"] = json!(["sleep", "100"])).up();
    profile.confines(&exec(&c, &[], &["sh", "-c", LOOK]));
    profile.confines(&exec(&c, &["--user", "7"], &["sh", "-c", LOOK]));
    Ok(())
}

fn a_profile_for_an_ordinary_users_container(lab: &Lab) -> Outcome {
    possible(lab)?;
    let profile = Profile::load(lab, "p")?;
    let alice = User::new(lab, ALICE);
    profile.confines(&alice.run(&["sh", "-c", LOOK], |v| under(v, &profile)));
    let id = alice.up("c", &["sleep", "100"], |v| under(v, &profile));
    profile.confines(&alice.call(&["exec", &id, "sh", "-c", LOOK]));
    Ok(())
}

fn a_profile_that_is_not_loaded(lab: &Lab) -> Outcome {
    let other = Profile::load(lab, "other")?;
    let name = format!("{}-none", lab.name);
    let mut runtimes = vec![lab.tare.clone()];
    runtimes.extend(lab.runc().ok());
    for runtime in &runtimes {
        let mut c = lab.container_of(runtime, &["true"]);
        let run = c.edit(|v| v["process"]["apparmorProfile"] = json!(name)).run(&[]);
        run.fails_with("error during container init: unable to apply apparmor profile: ");
        assert_eq!((run.code, run.errors().len()), (1, 1), "{run:?}");
        assert!(run.err.contains("no such file or directory"), "{run:?}");
        assert!(
            runtime.name() == "runc" || run.err.contains(&format!("hint: no profile {name:?} is loaded")),
            "{run:?}"
        );
        let mut c = lab.container_of(runtime, &["sleep", "100"]);
        c.edit(|v| under(v, &other)).up();
        let exec = exec(&c, &["--apparmor", &name], &["true"]);
        assert_eq!((exec.code, exec.errors().len()), (255, 1), "{exec:?}");
        assert!(exec.err.contains("no such file or directory"), "{exec:?}");
    }
    Ok(())
}

/// Hooks of the stage `startContainer` are programs of the image; those before are the host's.
fn hooks_in_the_container_are_confined(lab: &Lab) -> Outcome {
    let profile = Profile::load(lab, "p")?;
    let out = lab.dir.join("out");
    fs::create_dir(&out).unwrap();
    let mut c = lab.container(&["true"]);
    c.edit(|v| {
        under(v, &profile);
        mount(v, "/out", "bind", out.to_str().unwrap(), &["bind"]);
        for (stage, dir) in [("createContainer", out.to_str().unwrap()), ("startContainer", "/out")] {
            let script = format!("cat /proc/self/attr/current >{dir}/{stage}");
            v["hooks"][stage] =
                json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
        }
    });
    c.run(&[]).ok();
    let said = |stage| fs::read_to_string(out.join(stage)).unwrap().trim_end().to_owned();
    assert_eq!((said("createContainer"), said("startContainer")), ("unconfined".into(), profile.current()));
    Ok(())
}

fn unconfined_is_a_profile(lab: &Lab) -> Outcome {
    let profile = Profile::load(lab, "p")?;
    let c = up(lab, |v| under(v, &profile));
    assert_eq!(exec(&c, &["--apparmor", "unconfined"], &["sh", "-c", LOOK]).ok(), "unconfined\nread\n");
    Ok(())
}

/// runc does not look, and fails at the same file in other words.
fn without_apparmor_a_profile_is_refused(lab: &Lab) -> Outcome {
    no_apparmor()?;
    let text = "apparmor profile is specified in config, but apparmor is disabled or not supported";
    let mut runtimes = vec![lab.tare.clone()];
    runtimes.extend(lab.runc().ok());
    for runtime in &runtimes {
        let mut c = lab.container_of(runtime, &["sleep", "100"]);
        let exec = exec(c.up(), &["--apparmor", "any"], &["true"]);
        c.stop().delete(&[]).ok();
        let run = c.edit(|v| v["process"]["apparmorProfile"] = json!("any")).run(&[]);
        assert_eq!((run.code, exec.code), (1, 255), "{run:?} {exec:?}");
        if runtime.name() == "tare" {
            run.fails(1, &format!("RT run failed: {text} (process.apparmorProfile)"));
            exec.fails(255, &format!("exec failed: {text} (process.apparmorProfile)"));
        }
    }
    Ok(())
}

fn without_selinux_a_label_is_refused(lab: &Lab) -> Outcome {
    no_selinux()?;
    let text = "selinux label is specified in config, but selinux is disabled or not supported";
    let mut runtimes = vec![lab.tare.clone()];
    runtimes.extend(lab.runc().ok());
    for runtime in &runtimes {
        let mut c = lab.container_of(runtime, &["sleep", "100"]);
        let exec = exec(c.up(), &["--process-label", "a:b:c:d"], &["true"]);
        exec.fails(255, &format!("exec failed: {text} (process.selinuxLabel)"));
        c.stop().delete(&[]).ok();
        let run = c.edit(|v| v["process"]["selinuxLabel"] = json!("a:b:c:d")).run(&[]);
        run.fails(1, &format!("RT run failed: {text} (process.selinuxLabel)"));
    }
    let run = lab.run(&["true"], |v| v["linux"]["mountLabel"] = json!("a:b:c:d"));
    if lab.tare.name() == "tare" {
        run.fails(1, &format!("RT run failed: {text} (linux.mountLabel)"));
    }
    Ok(())
}

fn empty_names_ask_for_nothing(lab: &Lab) -> Outcome {
    let c = up(lab, |v| {
        v["process"]["apparmorProfile"] = json!("");
        v["process"]["selinuxLabel"] = json!("");
        v["linux"]["mountLabel"] = json!("");
    });
    exec(&c, &["--apparmor", "", "--process-label", ""], &["true"]).ok();
    Ok(())
}

/// Makes files in `dir` that look like the ones of procfs.
fn forge(dir: &Path) {
    for process in ["self", "thread-self"] {
        fs::create_dir_all(dir.join(process).join("attr/apparmor")).unwrap();
        for file in ["current", "exec", "apparmor/current", "apparmor/exec"] {
            fs::write(dir.join(process).join("attr").join(file), "").unwrap();
        }
    }
}

/// Nothing was written into those files.
#[track_caller]
fn untouched(dir: &Path) {
    for process in ["self", "thread-self"] {
        for file in ["current", "exec", "apparmor/current", "apparmor/exec"] {
            let path = dir.join(process).join("attr").join(file);
            assert_eq!(fs::read_to_string(&path).unwrap(), "", "{}", path.display());
        }
    }
}

/// The image has a /proc of its own, or a hook mounts one, and no procfs covers it.
fn cve_2019_16884_a_volume_over_proc(lab: &Lab) -> Outcome {
    lab.not_runc("reads other files of the container's /proc before")?;
    let profile = Profile::load(lab, "p")?;
    let forged = lab.dir.join("forged");
    forge(&forged);
    for by_hook in [false, true] {
        let mut c = lab.container(&["sleep", "100"]);
        if !by_hook {
            forge(&c.rootfs("proc"));
        }
        c.edit(|v| {
            under(v, &profile);
            v["root"]["readonly"] = json!(false);
            for paths in ["maskedPaths", "readonlyPaths"] {
                v["linux"][paths] = json!([]);
            }
            if by_hook {
                // It begins in the container's root directory, on the host's side.
                let script = format!("/bin/mount --bind {} proc", forged.display());
                let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
                push(&mut v["hooks"]["createContainer"], hook);
            } else {
                without_mount(v, "/proc");
            }
        });
        c.up();
        profile.confines_process(c.pid());
        let forgery = if by_hook { &forged } else { &c.rootfs("proc") };
        // That is what the container has at /proc.
        let inside = Path::new("/proc").join(c.pid().to_string()).join("root/proc");
        assert!(inside.join("self/attr/exec").exists());
        untouched(&inside);
        untouched(forgery);
    }
    Ok(())
}

/// The mount namespace is another's, who has put something else at /proc, and at the files.
fn a_joined_mount_namespace_where_proc_is_forged(lab: &Lab) -> Outcome {
    let profile = Profile::load(lab, "p")?;
    let forged = lab.dir.join("forged");
    forge(&forged);
    let script = format!("mount --bind {} /proc && echo ready && exec sleep 100", forged.display());
    let mut other = lab.clean(Command::new("unshare"));
    let mut other = other.args(["--mount", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    other.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| {
        under(v, &profile);
        set_namespace(v, "mount", Some(&format!("/proc/{}/ns/mnt", other.id())));
    });
    let made = c.create(&[]);
    if made.code == 0 {
        c.start();
    }
    untouched(&forged);
    if made.code == 0 {
        profile.confines_process(c.pid());
    }
    other.kill().unwrap();
    other.wait().unwrap();
    made.ok();
    Ok(())
}

/// The container has put something else at /proc before a process comes in: files, or links to others.
fn cve_2025_52881_exec_where_proc_is_forged(lab: &Lab) -> Outcome {
    lab.not_runc("reads other files of the container's /proc before")?;
    let profile = Profile::load(lab, "p")?;
    let files = "mount --bind /forged /proc";
    let links = "mount -t tmpfs x /proc && mkdir -p /proc/self/attr/apparmor && cd /proc && ln -s self thread-self && \
                 ln -s /forged/self/attr/exec self/attr/exec && ln -s /forged/self/attr/exec self/attr/apparmor/exec";
    for attack in [files, links] {
        let mut c = lab.container(&["sleep", "100"]);
        forge(&c.rootfs("forged"));
        c.edit(|v| {
            v["root"]["readonly"] = json!(false);
            capabilities(v, &["CAP_SYS_ADMIN"]);
        });
        exec(c.up(), &[], &["sh", "-c", attack]).ok();
        let pid_file = lab.dir.join("pid");
        let flags = ["--detach", "--pid-file", pid_file.to_str().unwrap(), "--apparmor", &profile.0];
        exec(&c, &flags, &["sleep", "100"]).ok();
        let pid = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
        profile.confines_process(pid);
        untouched(&c.rootfs("forged"));
    }
    Ok(())
}

fn labels_of_the_program_and_its_files(lab: &Lab) -> Outcome {
    if !has_selinux() {
        return Err(Skip("SELinux: this host has none".into()));
    }
    if fs::read_to_string("/sys/fs/selinux/enforce").unwrap() != "0" {
        return Err(Skip("SELinux is enforced: the labels of this test would need rules".into()));
    }
    let own = |pid: &str| fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap().replace('\0', "");
    // Labels that every policy has.
    let label = "system_u:system_r:init_t:s0";
    let files = "system_u:object_r:tmp_t:s0";
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| {
        v["process"]["selinuxLabel"] = json!(label);
        v["linux"]["mountLabel"] = json!(files);
    });
    c.up();
    let pid = c.pid().to_string();
    assert_eq!(own(&pid).trim_end(), label);
    let of = |path: &str| {
        let mut value = [0u8; 256];
        let path = format!("/proc/{pid}/root{path}");
        let length = rustix::fs::getxattr(&path, "security.selinux", &mut value[..]).unwrap();
        String::from_utf8_lossy(&value[..length]).trim_end_matches('\0').to_owned()
    };
    for path in ["/dev", "/dev/null", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/firmware"] {
        assert_eq!(of(path), files, "{path}");
    }
    for path in ["/proc", "/sys", "/bin"] {
        assert!(of(path) != files, "{path}");
    }
    let same = exec(&c, &[], &["cat", "/proc/self/attr/current"]);
    assert_eq!(same.ok().trim_end_matches(['\0', '\n']), label);
    let other = own("self").trim_end().to_owned();
    let output = exec(&c, &["--process-label", &other], &["cat", "/proc/self/attr/current"]);
    assert_eq!(output.ok().trim_end_matches(['\0', '\n']), other);
    let refused = exec(&c, &["--process-label", "no:such:label:s0"], &["true"]);
    refused.fails_with("/attr/keycreate");
    let alone = ["--no-new-keyring"];
    let mut c = lab.container(&["cat", "/proc/self/attr/current", "/proc/mounts"]);
    c.edit(|v| {
        v["process"]["selinuxLabel"] = json!(label);
        // Engines give single mounts labels of their own, in quotes for the commas.
        mount(v, "/tmp", "tmpfs", "x", &[&format!("context=\"{files}:c1,c2\"")]);
    });
    let output = c.run(&alone);
    assert!(output.ok().starts_with(label) && output.out.contains(&format!("{files}:c1,c2")), "{output:?}");
    let refused = c.edit(|v| v["process"]["selinuxLabel"] = json!("no:such:label:s0")).run(&alone);
    assert_eq!((refused.code, refused.errors().len()), (1, 1));
    refused.fails_with("can't set process label: write /proc/");
    Ok(())
}
