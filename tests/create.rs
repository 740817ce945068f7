//! `create`: the container waits, its files are in place, and wrong calls are refused.

use std::fs;
use std::os::fd::AsRawFd;

use crate::harness::bundle::push;
use crate::harness::{Lab, Outcome, eventually, json, tests};

tests![
    walk_of_a_newcomer,
    waits_until_start,
    nothing_of_the_host_is_open_while_it_waits,
    pid_file_is_a_bare_integer,
    pid_file_is_relative_to_the_working_directory,
    pid_file_is_a_new_file,
    pidfd_socket_receives_the_process,
    takes_the_working_directory_as_bundle,
    follows_a_relative_bundle,
    refuses_an_id_that_exists,
    refuses_a_wrong_id,
    accepts_every_letter_of_an_id,
    failure_leaves_nothing,
    failure_writes_no_pid_file,
    name_of_the_root_is_free,
    makes_a_missing_root,
    refuses_the_root_directory_as_root,
];

/// The first thing a user tries.
fn walk_of_a_newcomer(lab: &Lab) -> Outcome {
    let c = lab.container(&[]);
    let (bundle, id) = (c.bundle.to_str().unwrap(), c.id.as_str());
    fs::remove_file(c.bundle.join("config.json")).unwrap();
    lab.call(&["spec", "--bundle", bundle]).ok();

    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(c.bundle.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["args"], json!(["sh"]));
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sleep", "1"]);
    push(&mut config["process"]["env"], json!(format!("TARE_TEST={}", lab.name)));
    config["linux"]["cgroupsPath"] = json!(lab.settings.driver.path(id));
    fs::write(c.bundle.join("config.json"), config.to_string()).unwrap();

    lab.call(&["create", "--bundle", bundle, id]).ok();
    let listed = |status: &str| {
        let list = lab.call(&["list"]);
        list.ok()
            .lines()
            .any(|l| l.starts_with(id) && l.split_whitespace().nth(2) == Some(status))
            .then_some(())
    };
    assert!(listed("created").is_some());
    lab.call(&["start", id]).ok();
    assert!(listed("running").is_some());
    eventually("the list to say stopped", || listed("stopped"));
    lab.call(&["delete", id]).ok();
    assert_eq!(lab.call(&["list", "--quiet"]).ok(), "");
    Ok(())
}

fn waits_until_start(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "echo ran > /out/ran"]);
    fs::create_dir(lab.dir.join("out")).unwrap();
    let out = lab.dir.join("out").to_str().unwrap().to_owned();
    c.edit(|v| crate::harness::bundle::mount(v, "/out", "bind", &out, &["bind"]));
    c.create(&[]).ok();
    assert_eq!(c.status(), "created");
    assert!(!lab.dir.join("out/ran").exists(), "the process ran before start");
    c.start();
    eventually("the process to run", || lab.dir.join("out/ran").exists().then_some(()));
    c.wait_for("stopped");
    Ok(())
}

/// Whoever may look into the waiting process, such as a process of `exec` with CAP_SYS_PTRACE, finds nothing
/// there that leads to the host.
fn nothing_of_the_host_is_open_while_it_waits(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    let c = lab.container(&["sleep", "100"]);
    let file = lab.file("inherited", "");
    let mut shell = lab.clean(std::process::Command::new(&lab.settings.busybox));
    shell.args(["sh", "-c", "file=$1; shift; exec \"$@\" 9<$file", "sh", &file]);
    shell.arg(&c.runtime.program).arg("--root").arg(lab.root());
    shell.args(["create", "--bundle"]).arg(&c.bundle).arg(&c.id);
    lab.collect(&c.runtime, shell, "/nonexistent".as_ref()).ok();
    let dir = format!("/proc/{}/fd", c.pid());
    let mut open: Vec<(u32, String)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?.to_str()?.to_owned();
            Some((entry.file_name().to_str()?.parse().ok()?, target))
        })
        .filter(|(number, _)| *number > 2)
        .collect();
    open.sort();
    let harmless = |target: &str| {
        ["socket:[", "pipe:[", "anon_inode:["].iter().any(|kind| target.starts_with(kind))
            || target.ends_with(&format!("/{}/exec.fifo", c.id))
            // runc's own program, and its handle of the container's procfs.
            || lab.tare.name() == "runc" && ["/runc", "/", "/proc", "/1/task/1/fd"].contains(&target)
            || lab.tare.name() == "runc" && target.contains("cpu.cfs_")
    };
    open.retain(|(_, target)| !harmless(target));
    assert!(open.is_empty(), "{open:?}");
    c.start();
    Ok(())
}

fn pid_file_is_a_bare_integer(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    let file = lab.dir.join("pid");
    c.create(&["--pid-file", file.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(file).unwrap(), c.pid().to_string());
    Ok(())
}

fn pid_file_is_relative_to_the_working_directory(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&["--pid-file", "relative.pid"]).ok();
    assert_eq!(fs::read_to_string(lab.dir.join("relative.pid")).unwrap(), c.pid().to_string());
    Ok(())
}

/// Somebody else may write where the pid file goes, and know its temporary name.
fn pid_file_is_a_new_file(lab: &Lab) -> Outcome {
    lab.not_runc("refuses when there is one")?;
    let victim = lab.file("victim", "precious");
    fs::hard_link(&victim, lab.dir.join(".planted.pid")).unwrap();
    lab.container(&["sleep", "100"]).create(&["--pid-file", "planted.pid"]).ok();
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
    Ok(())
}

fn pidfd_socket_receives_the_process(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 2)?;
    for command in [&["create"][..], &["run", "--detach"]] {
        let path = lab.next_file("pidfd.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let c = lab.container(&["sleep", "100"]);
        let flags: Vec<&str> =
            command[1..].iter().copied().chain(["--pidfd-socket", path.to_str().unwrap()]).collect();
        c.with_bundle(command[0], &flags).ok();
        let (fd, _) = crate::harness::pty::receive(&listener);
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        assert!(info.contains(&format!("\nPid:\t{}\n", c.pid())), "{command:?}: {info}");
    }
    Ok(())
}

fn takes_the_working_directory_as_bundle(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    let create = lab.finish(&lab.tare, |call| {
        call.current_dir(&c.bundle).args(["create", &c.id]);
    });
    create.ok();
    assert_eq!(c.state()["bundle"], json!(c.bundle));
    Ok(())
}

fn follows_a_relative_bundle(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    let name = c.bundle.file_name().unwrap().to_str().unwrap();
    lab.call(&["create", "-b", name, &c.id]).ok();
    assert_eq!(c.state()["bundle"], json!(c.bundle));
    assert_eq!(c.state()["rootfs"], json!(c.rootfs("")).as_str().unwrap().trim_end_matches('/'));
    Ok(())
}

fn refuses_an_id_that_exists(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    c.create(&[]).fails(1, "RT create failed: container with given ID already exists");
    assert_eq!(c.status(), "created", "the first container is untouched");
    Ok(())
}

fn refuses_a_wrong_id(lab: &Lab) -> Outcome {
    let c = lab.container(&["true"]);
    let bundle = c.bundle.to_str().unwrap();
    for id in ["a/b", "..", ".", "a b", "/", "ä", "a*"] {
        lab.call(&["create", "-b", bundle, id]).fails(1, "RT create failed: invalid container ID format");
    }
    lab.call(&["create", "-b", bundle, ""]).fails(1, "RT create failed: container id cannot be empty");
    Ok(())
}

fn accepts_every_letter_of_an_id(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["true"]);
    c.id = format!("{}-A_b+c-d.e", lab.name);
    c.run(&[]).ok();
    Ok(())
}

fn failure_leaves_nothing(lab: &Lab) -> Outcome {
    let c = lab.container(&["/nope"]);
    c.create(&[]).fails(
        1,
        r#"RT create failed: unable to start container process: error during container init: exec: "/nope": stat /nope: no such file or directory"#,
    );
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn failure_writes_no_pid_file(lab: &Lab) -> Outcome {
    let c = lab.container(&["/nope"]);
    assert_eq!(c.create(&["--pid-file", "pid"]).code, 1);
    assert!(!lab.dir.join("pid").exists());
    Ok(())
}

/// Two roots are two worlds.
fn name_of_the_root_is_free(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    let other = lab.dir.join("other");
    fs::create_dir(&other).unwrap();
    let list = lab.call(&["--root", other.to_str().unwrap(), "list", "-q"]);
    assert_eq!(list.ok(), "");
    Ok(())
}

fn makes_a_missing_root(lab: &Lab) -> Outcome {
    let c = lab.container(&["true"]);
    let root = lab.dir.join("new/root");
    let bundle = c.bundle.to_str().unwrap();
    lab.call(&["--root", root.to_str().unwrap(), "run", "-b", bundle, &c.id]).ok();
    assert!(root.is_dir());
    Ok(())
}

fn refuses_the_root_directory_as_root(lab: &Lab) -> Outcome {
    let c = lab.container(&["true"]);
    let bundle = c.bundle.to_str().unwrap();
    let create = lab.call(&["--root", "/", "create", "-b", bundle, &c.id]);
    assert_eq!(create.code, 1, "{}", create.err);
    Ok(())
}
