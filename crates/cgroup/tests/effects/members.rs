//! Processes in a cgroup, and its removal.
use super::*;

pub const TESTS: &[(&str, Test)] = &[
    ("members::a_process_joins_every_hierarchy", a_process_joins_every_hierarchy),
    ("members::a_used_cgroup_is_refused", a_used_cgroup_is_refused),
    ("members::a_frozen_cgroup_is_told_and_can_be_killed", a_frozen_cgroup_is_told_and_can_be_killed),
    ("members::nested_cgroups_are_seen_and_removed", nested_cgroups_are_seen_and_removed),
    ("members::removal_waits_and_then_says_who_is_left", removal_waits_and_then_says_who_is_left),
    ("members::removal_works_from_any_half_state", removal_works_from_any_half_state),
    ("members::a_fork_bomb_is_killed", a_fork_bomb_is_killed),
];

fn a_process_joins_every_hierarchy(lab: &Lab) -> Outcome {
    let cgroup = lab.cgroup();
    cgroup.check_unused().unwrap();
    let live = cgroup.create().unwrap();
    live.apply(&lab.plan("{}"), Denied::Error).unwrap();
    let child = start(&live, idle);
    let found = fs::read_to_string(format!("/proc/{}/cgroup", child.pid)).unwrap();
    for directory in &cgroup.directories {
        let line = format!(":{}:{}/leaf", directory.controllers.join(","), lab.name);
        assert!(found.lines().any(|found| found.ends_with(&line)), "{line} in {found}");
    }
    assert_eq!(cgroup.pids().unwrap(), [child.pid]);
    // A second process, as exec starts it.
    let second = start(&cgroup.open().unwrap(), idle);
    assert_eq!(cgroup.pids().unwrap().len(), 2);
    cgroup.kill(KILL).unwrap();
    assert_eq!((ended(&child), ended(&second)), (Ended::Killed(KILL), Ended::Killed(KILL)));
    assert_eq!(cgroup.pids().unwrap(), [0; 0]);
    cgroup.remove().unwrap();
    assert!(!exists(&cgroup).contains(&true));
    assert!(!exists(&lab.parent()).contains(&false), "parents stay");
    Ok(())
}

fn a_used_cgroup_is_refused(lab: &Lab) -> Outcome {
    let cgroup = lab.cgroup();
    cgroup.check_unused().unwrap();
    let child = start(&cgroup.create().unwrap(), idle);
    for used in [&cgroup, &lab.parent()] {
        let error = used.check_unused().unwrap_err();
        assert_eq!(error.kind, Kind::InUse);
        assert_eq!(error.to_string(), "container's cgroup is not empty: 1 process(es) found");
    }
    cgroup.kill(15).unwrap();
    assert_eq!(ended(&child), Ended::Killed(15));
    cgroup.check_unused().unwrap();
    // What a killed process left is used again.
    cgroup.create().unwrap();
    Ok(())
}

fn freeze(cgroup: &Cgroup) {
    let (directory, file, value) = match cgroup.layout {
        Layout::V2 => (cgroup.unified().unwrap(), "cgroup.freeze", "1"),
        Layout::V1 | Layout::Hybrid => (cgroup.v1("freezer").unwrap(), "freezer.state", "FROZEN"),
    };
    fs::write(format!("{}/{file}", directory.absolute()), value).unwrap();
}

fn a_frozen_cgroup_is_told_and_can_be_killed(lab: &Lab) -> Outcome {
    let (cgroup, parent) = (lab.cgroup(), lab.parent());
    assert!(!cgroup.frozen().unwrap(), "absent");
    let live = cgroup.create().unwrap();
    assert!(!cgroup.frozen().unwrap());
    freeze(&cgroup);
    assert!(cgroup.frozen().unwrap());
    assert_eq!(cgroup.check_unused().unwrap_err().to_string(), "container's cgroup unexpectedly frozen");
    cgroup.remove().unwrap();
    drop(live);

    let child = start(&cgroup.create().unwrap(), idle);
    freeze(&parent);
    let until = Instant::now() + Duration::from_secs(5);
    while !parent.frozen().unwrap() && Instant::now() < until {
        sleep(Duration::from_millis(1));
    }
    assert!(parent.frozen().unwrap() && !cgroup.frozen().unwrap(), "only the parent was frozen");
    parent.kill(KILL).unwrap();
    assert_eq!(ended(&child), Ended::Killed(KILL));
    Ok(())
}

fn nested_cgroups_are_seen_and_removed(lab: &Lab) -> Outcome {
    let cgroup = lab.cgroup();
    let live = cgroup.create().unwrap();
    let directory = cgroup.v1("devices").or_else(|| cgroup.unified()).unwrap();
    // Deeper than a path can be long.
    let name = "n".repeat(200);
    let open = |dir: BorrowedFd<'_>, name: &str| {
        rustix::fs::openat(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .unwrap()
    };
    let mut here = open(CWD, &directory.absolute());
    for _ in 0..40 {
        for sibling in [&name[1..], &name] {
            rustix::fs::mkdirat(&here, sibling, Mode::RWXU).unwrap();
        }
        here = open(here.as_fd(), &name);
    }
    let child = start(&live, idle);
    let procs = rustix::fs::openat(&here, "cgroup.procs", OFlags::WRONLY, Mode::empty()).unwrap();
    rustix::io::write(&procs, child.pid.to_string().as_bytes()).unwrap();
    assert_eq!(cgroup.pids().unwrap(), [child.pid]);
    cgroup.kill(KILL).unwrap();
    ended(&child);
    cgroup.remove().unwrap();
    assert!(!exists(&cgroup).contains(&true));
    Ok(())
}

fn removal_waits_and_then_says_who_is_left(lab: &Lab) -> Outcome {
    let cgroup = lab.cgroup();
    let child = start(&cgroup.create().unwrap(), idle);
    let error = cgroup.remove().unwrap_err();
    assert_eq!(error.kind, Kind::InUse);
    let text = error.to_string();
    let expected = format!("device or resource busy (processes in it: {})", child.pid);
    assert!(text.starts_with("rmdir /") && text.ends_with(&expected), "{text}");
    // Ends while it is waited for.
    let child = start(&cgroup.open().unwrap(), || {
        sleep(Duration::from_millis(300));
        0
    });
    sys::signal::send(child.pidfd.as_fd(), 0).unwrap();
    for pid in cgroup.pids().unwrap().into_iter().filter(|pid| *pid != child.pid) {
        sys::signal::send(sys::signal::open_process(pid).unwrap().as_fd(), KILL).unwrap();
    }
    cgroup.remove().unwrap();
    Ok(())
}

fn removal_works_from_any_half_state(lab: &Lab) -> Outcome {
    let cgroup = lab.cgroup();
    cgroup.remove().unwrap();
    for made in 0..=cgroup.directories.len() {
        let mut part = cgroup.clone();
        part.directories.truncate(made);
        part.create().unwrap();
        assert_eq!(cgroup.pids().unwrap(), [0; 0]);
        assert!(!cgroup.frozen().unwrap());
        cgroup.kill(KILL).unwrap();
        cgroup.remove().unwrap();
        assert!(!exists(&cgroup).contains(&true));
    }
    Ok(())
}

fn a_fork_bomb_is_killed(lab: &Lab) -> Outcome {
    let cgroup = lab.cgroup();
    let live = cgroup.create().unwrap();
    if lab.has("pids") {
        live.apply(&lab.plan(r#"{"pids":{"limit":60}}"#), Denied::Error).unwrap();
    }
    // Every process is replaced by another one all the time, too fast to be listed and then killed.
    fn bomb() -> i32 {
        for _ in 0..20 {
            let _ =
                clone_process(Alone::check().unwrap(), Setting::default(), &mut (), |(), _| -> Infallible {
                    sys::process::exit(leap())
                });
        }
        idle()
    }
    fn leap() -> i32 {
        let _ = clone_process(Alone::check().unwrap(), Setting::default(), &mut (), |(), _| -> Infallible {
            sys::process::exit(leap())
        });
        0
    }
    let child = start(&live, bomb);
    sleep(Duration::from_millis(200));
    cgroup.kill(KILL).unwrap();
    ended(&child);
    cgroup.remove().unwrap();
    Ok(())
}
