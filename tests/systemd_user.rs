//! `--systemd-cgroup` of ordinary users, by the systemd of their own, and of root of a user namespace.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::harness::bundle::{set_namespace, without_namespace};
use crate::harness::helper::becoming;
use crate::harness::settings::{program, unified};
use crate::harness::user::{User, possible};
use crate::harness::{Lab, Outcome, Output, Skip, Value, eventually, json, tests};
use crate::systemd::booted;

tests![
    from_outside_of_their_cgroups,
    within_their_cgroups,
    root_of_a_user_namespace,
    without_a_session,
    nothing_is_delegated_on_version_1,
];

/// The same where users can have cgroups of their systemd.
fn delegated<'l>(lab: &'l Lab<'_>) -> Result<(User<'l>, String), Skip> {
    if unified() { user(lab) } else { Err(Skip("systemd delegates nothing of version 1".into())) }
}

/// A user who has a systemd, with the directory of its session.
fn user<'l>(lab: &'l Lab<'_>) -> Result<(User<'l>, String), Skip> {
    booted()?;
    possible(lab)?;
    let users = fs::read_dir("/run/user").into_iter().flatten().flatten();
    let own = |dir: &std::path::PathBuf| dir.join("systemd/private").exists();
    let uid = |dir: &Path| fs::metadata(dir).map_or(0, |data| data.uid());
    let found = users.map(|entry| entry.path()).filter(own).find(|dir| uid(dir) != 0);
    let dir = found.ok_or_else(|| Skip("no ordinary user has a systemd here".into()))?;
    Ok((User::new(lab, uid(&dir)), dir.to_str().unwrap().to_owned()))
}

/// A bundle of the user's with limits, in a scope whose name is the test's.
fn bundle(user: &User<'_>, args: &[&str]) -> String {
    let bundle = user.bundle(args, |v| {
        set_namespace(v, "cgroup", None);
        v["linux"]["cgroupsPath"] = json!(format!(":{}:u", user.lab.name));
        v["linux"]["resources"] = json!({"memory": {"limit": 33_554_432}, "pids": {"limit": 30}});
    });
    bundle.to_str().unwrap().to_owned()
}

/// Where the scope is, and what it allows.
fn check(user: &User<'_>, id: &str) {
    let pid = user.state(id)["pid"].as_u64().unwrap();
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let (uid, name) = (user.uid, &user.lab.name);
    let place = format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/{name}-u.scope");
    assert_eq!(cgroup.trim(), format!("0::{place}"));
    for (file, want) in [("memory.max", "33554432"), ("pids.max", "30")] {
        assert_eq!(
            fs::read_to_string(format!("/sys/fs/cgroup{place}/{file}")).unwrap().trim(),
            want,
            "{file}"
        );
    }
}

/// The units of the test that the user's systemd has.
fn units(user: &User<'_>, session: &str) -> String {
    let mut call = Command::new("systemctl");
    call.args(["--user", "list-units", "--all", "--plain", "--no-legend", &format!("{}*", user.lab.name)]);
    let out = call.uid(user.uid).gid(user.uid).env("XDG_RUNTIME_DIR", session).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// The caller is where the user may move no process from, as in a session of ssh: systemd moves them.
fn from_outside_of_their_cgroups(lab: &Lab) -> Outcome {
    let (user, session) = delegated(lab)?;
    let call = |args: &[&str]| -> Output {
        user.finish(|call| {
            call.env("XDG_RUNTIME_DIR", &session).args(args);
        })
    };
    let (bundle, id) = (bundle(&user, &["sleep", "100"]), user.id("c"));
    call(&["--systemd-cgroup", "run", "--detach", "--bundle", &bundle, &id]).ok();
    check(&user, &id);
    let ps = call(&["ps", "-f", "json", &id]);
    assert_eq!(ps.ok().trim(), format!("[{}]", user.state(&id)["pid"]));
    lab.not_runc("leaves processes of exec where its caller is")?;
    let exec = call(&["exec", &id, "cat", "/proc/self/cgroup"]);
    assert_eq!((exec.ok(), exec.log.len()), ("0::/\n", 0), "{exec:?}");
    // Without the user's systemd it is outside, and that is said.
    let exec = user.call(&["exec", &id, "cat", "/proc/self/cgroup"]);
    assert_ne!(exec.ok(), "0::/\n");
    assert!(exec.messages("warning")[0].contains("is not in the container's cgroup"), "{exec:?}");
    call(&["update", "--pids-limit", "20", &id]).ok();
    assert_eq!(call(&["exec", &id, "cat", "/sys/fs/cgroup/pids.max"]).ok(), "20\n");
    call(&["delete", "--force", &id]).ok();
    assert_eq!(units(&user, &session), "");
    Ok(())
}

/// The caller is among the user's own cgroups, from where the user may move processes without systemd.
fn within_their_cgroups(lab: &Lab) -> Outcome {
    let (mut user, session) = delegated(lab)?;
    let (bundle, id) = (bundle(&user, &["sleep", "100"]), user.id("c"));
    let uid = user.uid;
    let place = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/{}-caller", lab.name);
    fs::create_dir(&place).unwrap();
    let script = format!("echo $$ >{place}/cgroup.procs; exec \"$0\" \"$@\"");
    user.within = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    user.within.extend(becoming(uid));
    let call = |args: &[&str]| -> Output {
        user.finish(|call| {
            call.env("XDG_RUNTIME_DIR", &session).args(args);
        })
    };
    call(&["--systemd-cgroup", "create", "--bundle", &bundle, &id]).ok();
    call(&["start", &id]).ok();
    check(&user, &id);
    // This takes no systemd.
    let exec = user.call(&["exec", &id, "cat", "/proc/self/cgroup"]);
    assert_eq!((exec.ok(), exec.log.len()), ("0::/\n", 0), "{exec:?}");
    call(&["delete", "--force", &id]).ok();
    assert_eq!(units(&user, &session), "");
    eventually("an empty cgroup", || fs::remove_dir(&place).is_ok().then_some(()));
    Ok(())
}

/// Root there is the user, and the user's systemd has another number for them.
fn root_of_a_user_namespace(lab: &Lab) -> Outcome {
    let unshare = program("unshare")?;
    let (user, session) = delegated(lab)?;
    let call = |args: &[&str]| -> Output {
        let log = user.dir.join(lab.next_file("log").file_name().unwrap());
        let mut call = lab.clean(Command::new(&unshare));
        call.args(["--user", "--map-root-user"]).arg(&user.runtime.program);
        call.arg("--root").arg(user.root()).arg("--log").arg(&log).args(["--log-format", "json"]).args(args);
        call.env("XDG_RUNTIME_DIR", &session).uid(user.uid).gid(user.uid);
        lab.collect(&user.runtime, call, &log)
    };
    let bundle = bundle(&user, &["cat", "/proc/self/cgroup", "/sys/fs/cgroup/pids.max"]);
    let config = Path::new(&bundle).join("config.json");
    let mut v: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    without_namespace(&mut v, "user");
    for key in ["uidMappings", "gidMappings"] {
        v["linux"].as_object_mut().unwrap().remove(key);
    }
    fs::write(&config, v.to_string()).unwrap();
    assert_eq!(call(&["--systemd-cgroup", "run", "--bundle", &bundle, &user.id("c")]).ok(), "0::/\n30\n");
    assert_eq!(units(&user, &session), "");
    Ok(())
}

fn without_a_session(lab: &Lab) -> Outcome {
    let (user, _) = user(lab)?;
    lab.not_runc("says something else")?;
    let bundle = bundle(&user, &["true"]);
    let out = user.call(&["--systemd-cgroup", "run", "--bundle", &bundle, &user.id("c")]);
    let why = "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set";
    out.fails(1, &format!("RT run failed: cannot reach the user's systemd over D-Bus: {why}"));
    assert!(out.err.contains("loginctl enable-linger"), "{out:?}");
    Ok(())
}

/// No limit can be had from systemd there, so the user is refused, with or without one, and told of it in runc's words.
fn nothing_is_delegated_on_version_1(lab: &Lab) -> Outcome {
    if unified() {
        return Err(Skip("control groups are version 2 alone".into()));
    }
    let (user, session) = user(lab)?;
    let bundle = bundle(&user, &["true"]);
    let id = user.id("c");
    let out = user.finish(|call| {
        call.env("XDG_RUNTIME_DIR", &session).args(["--systemd-cgroup", "run", "--bundle", &bundle, &id]);
    });
    out.fails_with("cannot use rootless systemd cgroups manager on cgroup v1");
    assert_eq!(units(&user, &session), "");
    // Without systemd there is none to make either; without a limit it runs.
    user.run(&["true"], |_| {}).ok();
    Ok(())
}
