//! `update --resources` with rules for devices: which ones change something, and what a container can open then.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use crate::harness::settings::{controller, unified};
use crate::harness::user::{ALICE, User, possible};
use crate::harness::{Container, Lab, Outcome, Skip, Value, eventually, json, tests};
use crate::update::{controllers, update_by, with};

tests![
    rules_take_the_place_of_others,
    every_list_after_every_other,
    rules_that_are_there_change_nothing,
    a_failure_restores_the_rules,
    a_verdict_changes_at_once,
    a_program_of_somebody_else,
    the_unit_changes_too,
    rules_that_cannot_be,
    none_in_effect,
];

/// A rule for the device `10:MINOR`.
fn misc(allow: bool, minor: u32) -> Value {
    json!({"allow": allow, "type": "c", "major": 10, "minor": minor, "access": "rw"})
}

fn all(allow: bool) -> Value {
    json!({"allow": allow, "access": "rwm"})
}

/// Which of the devices `10:229` and `10:237` a container can open. Whether there is a driver behind them makes no
/// difference.
fn opens(c: &Container) -> Vec<u32> {
    let script = "cd /dev; for n in 229 237; do \
        rm -f n; mknod n c 10 $n && (exec 3<>n) 2>&1 | grep -q 'not permitted' || echo $n; done";
    let exec = c.lab.finish(&c.runtime, |call| {
        call.args(["exec", "--cap", "CAP_MKNOD", &c.id, "sh", "-c", script]);
    });
    exec.ok().lines().map(|line| line.parse().unwrap()).collect()
}

/// What the kernel says of a container's devices: the file of version 1, or the numbers of the programs.
fn in_force(c: &Container) -> BTreeSet<String> {
    if unified() {
        return programs(c).iter().map(id).collect();
    }
    let list = fs::read_to_string(devices(c).join("devices.list")).unwrap();
    list.lines().map(str::to_owned).collect()
}

/// The directory whose files, or programs, are about devices.
fn devices(c: &Container) -> PathBuf {
    let of = if unified() { Ok(PathBuf::from("/sys/fs/cgroup")) } else { controller("devices") };
    c.cgroup_dir(&of.unwrap_or_else(|Skip(why)| panic!("{why}")))
}

fn group(c: &Container) -> fs::File {
    fs::File::open(devices(c)).unwrap()
}

fn programs(c: &Container) -> Vec<OwnedFd> {
    sys::bpf::attached_device_programs(group(c).as_fd()).unwrap()
}

/// The kernel's number of a program.
fn id(program: &OwnedFd) -> String {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).unwrap();
    info.lines().find_map(|line| line.strip_prefix("prog_id:")).unwrap().trim().to_owned()
}

fn own(program: BorrowedFd<'_>) -> bool {
    sys::bpf::loader(program).unwrap() == sys::bpf::Loader::Own
}

fn possible_here() -> Outcome {
    if unified() { Ok(()) } else { controller("devices").map(drop) }
}

fn rules_take_the_place_of_others(lab: &Lab) -> Outcome {
    lab.not_runc("leaves them alone")?;
    possible_here()?;
    let c = with(lab, &["sleep", "100"], &json!({"devices": [all(false), misc(true, 229)]}));
    assert_eq!(opens(&c), [229]);
    for (rules, want) in [
        (json!([all(false), misc(true, 229), misc(true, 237)]), &[229, 237][..]),
        (json!([all(false), misc(true, 229), misc(false, 229)]), &[]),
        (json!([misc(true, 237)]), &[237]),
        // The first ones are others by now.
        (json!([all(false), misc(true, 229)]), &[229]),
        (json!([]), &[229]),
        (json!([all(true)]), &[229, 237]),
        (json!([all(true), misc(false, 237)]), &[229]),
        (json!([all(true), misc(false, 229)]), &[237]),
        (json!([all(false), misc(true, 229)]), &[229]),
    ] {
        let output = update_by(&c, &json!({"devices": rules}));
        output.ok();
        assert_eq!(output.messages("warning"), [""; 0], "{output:?}");
        assert_eq!(opens(&c), want, "{rules}");
        // What every container may open.
        c.call("exec", &["sh", "-c", ": </dev/zero >/dev/null"]).ok();
    }
    assert_eq!(programs_of_ours(&c), usize::from(unified()));
    Ok(())
}

fn programs_of_ours(c: &Container) -> usize {
    if unified() { programs(c).iter().filter(|program| own(program.as_fd())).count() } else { 0 }
}

/// On version 1 it is brought about in steps, of which none may be missing.
fn every_list_after_every_other(lab: &Lab) -> Outcome {
    lab.not_runc("leaves them alone")?;
    possible_here()?;
    if unified() {
        return Err(Skip("version 2 has a whole program each time".into()));
    }
    let lists = [
        json!([all(false)]),
        json!([all(true)]),
        json!([misc(true, 229), {"allow": true, "type": "b", "major": 7, "access": "rwm"}]),
        json!([{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}, misc(true, 237)]),
        json!([all(true), misc(false, 229), {"allow": false, "type": "b", "access": "r"}]),
        json!([all(true), misc(false, 237)]),
    ];
    let seen = |c: &Container| (in_force(c), opens(c));
    let fresh: Vec<_> =
        lists.iter().map(|list| seen(&with(lab, &["sleep", "100"], &json!({"devices": list})))).collect();
    let c = with(lab, &["sleep", "100"], &json!({"devices": lists[0]}));
    for first in 0..lists.len() {
        for second in 0..lists.len() {
            for n in [first, second] {
                update_by(&c, &json!({"devices": lists[n]})).ok();
                assert_eq!(seen(&c), fresh[n], "{} after {}", lists[n], lists[first]);
            }
        }
    }
    Ok(())
}

/// A program that lets the container open `10:237` and `10:229`, and is not ours: that of a service.
struct Service(String);

impl Service {
    fn start(lab: &Lab) -> Result<Service, Skip> {
        if !std::path::Path::new("/run/systemd/system").exists() {
            return Err(Skip(
                "the program of somebody else is one of systemd's, which does not run here".into(),
            ));
        }
        let name = format!("{}.service", lab.name);
        let status = Command::new("systemd-run")
            .args([
                "--quiet",
                "--unit",
                &name,
                "-p",
                "DevicePolicy=closed",
                "-p",
                "DeviceAllow=char-misc rwm",
            ])
            .args(["sleep", "100"])
            .status();
        assert!(status.unwrap().success());
        Ok(Service(name))
    }

    fn program(&self) -> OwnedFd {
        let dir = fs::File::open(format!("/sys/fs/cgroup/system.slice/{}", self.0)).unwrap();
        eventually("its program", || sys::bpf::attached_device_programs(dir.as_fd()).unwrap().pop())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = Command::new("systemctl").args(["stop", &self.0]).status();
    }
}

/// Engines send the rules of the config that they have made, as does whoever has none to say.
fn rules_that_are_there_change_nothing(lab: &Lab) -> Outcome {
    possible_here()?;
    controllers(&["pids"])?;
    let mut gpu = misc(true, 237);
    gpu["major"] = json!(195);
    let config = json!([all(false), misc(true, 229), gpu]);
    let c = with(lab, &["sleep", "100"], &json!({"devices": config}));
    let before = if unified() {
        let service = Service::start(lab)?;
        sys::bpf::attach_device_program(group(&c).as_fd(), service.program().as_fd()).unwrap();
        in_force(&c)
    } else {
        fs::write(devices(&c).join("devices.allow"), "c 195:* rw").unwrap();
        in_force(&c)
    };
    let same = json!([{"allow": false, "type": "a", "major": -1, "access": "mwr"}, misc(true, 229), gpu]);
    for (rules, told) in [
        (config.clone(), 0),
        (same, 0),
        (json!([]), 0),
        // From before a wrapper has added the graphics card.
        (json!([all(false), misc(true, 229)]), 1),
        (json!([all(false)]), 1),
    ] {
        let output = update_by(&c, &json!({"devices": rules, "pids": {"limit": 40}}));
        output.ok();
        if lab.tare.name() == "tare" {
            assert_eq!(output.messages("warning").len(), told, "{output:?}");
        }
        // systemd attaches its own anew at each change.
        assert!(
            in_force(&c).is_superset(&before) && (lab.makes_groups().is_err() || in_force(&c) == before),
            "{rules}"
        );
    }
    assert_eq!(opens(&c), [229]);
    Ok(())
}

/// Limits of memory come after devices.
fn a_failure_restores_the_rules(lab: &Lab) -> Outcome {
    lab.not_runc("leaves them alone")?;
    possible_here()?;
    controllers(&["memory", "pids"])?;
    let bad = if unified() {
        json!({"unified": {"memory.max": "many"}})
    } else if controller("memory")?.join("memory.memsw.limit_in_bytes").exists() {
        json!({"memory": {"limit": 32 << 20, "swap": 16 << 20}})
    } else {
        return Err(Skip("no limit of memory that is refused late".into()));
    };
    let config = json!([all(false), misc(true, 229)]);
    let c = with(lab, &["sleep", "100"], &json!({"devices": config, "memory": {"limit": 64 << 20}}));
    if !unified() {
        fs::write(devices(&c).join("devices.allow"), "c 195:* rw").unwrap();
    }
    for others in
        [json!([all(false), misc(true, 237)]), json!([all(true)]), json!([all(true), misc(false, 229)])]
    {
        let before = in_force(&c);
        let mut change = json!({"devices": others, "pids": {"limit": 7}});
        change.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let output = update_by(&c, &change);
        output.fails_with("invalid argument (linux.resources.");
        assert_eq!(output.errors().len(), 1, "{output:?}");
        assert_eq!((in_force(&c), opens(&c)), (before.clone(), vec![229]), "{others}");
        // Nor is it remembered: the former rules are the container's.
        update_by(&c, &json!({"devices": config})).ok();
        assert_eq!(in_force(&c), before);
    }
    assert_eq!(c.status(), "running");
    update_by(&c, &json!({"devices": [all(false), misc(true, 237)]})).ok();
    assert_eq!(opens(&c), [237]);
    Ok(())
}

/// On version 1 the kernel forgets all exceptions together: nobody may be there to use that.
fn a_verdict_changes_at_once(lab: &Lab) -> Outcome {
    lab.not_runc("leaves them alone")?;
    possible_here()?;
    if !unified() {
        controller("freezer")?;
    }
    let script = "cd /dev; mknod n c 10 237; touch /tmp/ready; while :; do \
        (exec 3<>n) 2>&1 | grep -q 'not permitted' || touch /tmp/opened; : 2>/dev/null </dev/zero || touch /tmp/denied; done";
    let mut c = lab.container(&["sh", "-c", script]);
    c.edit(|v| {
        v["root"]["readonly"] = json!(false);
        crate::harness::bundle::capabilities(v, &["CAP_MKNOD"]);
    });
    c.up();
    eventually("it to begin", || c.rootfs("tmp/ready").exists().then_some(()));
    for n in 0..20 {
        let verdict = json!([all(n % 2 == 0), misc(false, 237), misc(n % 3 == 0, 229)]);
        update_by(&c, &json!({"devices": verdict})).ok();
        assert_eq!(c.status(), "running");
    }
    assert!(!c.rootfs("tmp/opened").exists() && !c.rootfs("tmp/denied").exists());
    // Who stands still anyway goes on doing so.
    c.call("pause", &[]).ok();
    update_by(&c, &json!({"devices": [all(true)]})).ok();
    assert_eq!(c.status(), "paused");
    c.call("resume", &[]).ok();
    eventually("it to open", || c.rootfs("tmp/opened").exists().then_some(()));
    Ok(())
}

/// It has a say as before, and where it is in the place of ours there is none that could be another one.
fn a_program_of_somebody_else(lab: &Lab) -> Outcome {
    lab.not_runc("leaves them alone")?;
    if !unified() {
        return Err(Skip("version 1 has no programs".into()));
    }
    // With its driver systemd's program is not somebody else's.
    lab.makes_groups()?;
    let service = Service::start(lab)?;
    let foreign = service.program();
    let c = with(
        lab,
        &["sleep", "100"],
        &json!({"devices": [all(false), misc(true, 229)], "pids": {"limit": 20}}),
    );
    sys::bpf::attach_device_program(group(&c).as_fd(), foreign.as_fd()).unwrap();
    let stays = |c: &Container| in_force(c).contains(&id(&foreign));
    let ours = |c: &Container| programs(c).into_iter().find(|program| own(program.as_fd()));
    let before = id(&ours(&c).unwrap());
    update_by(&c, &json!({"devices": [all(false), misc(true, 237)]})).ok();
    assert_eq!((stays(&c), programs_of_ours(&c)), (true, 1));
    assert_ne!(id(&ours(&c).unwrap()), before);
    assert_eq!(opens(&c), [237]);

    sys::bpf::detach_device_program(group(&c).as_fd(), foreign.as_fd()).unwrap();
    let replaced = ours(&c).unwrap();
    sys::bpf::replace_device_program(group(&c).as_fd(), foreign.as_fd(), replaced.as_fd()).unwrap();
    update_by(&c, &json!({"devices": [all(false), misc(true, 229)], "pids": {"limit": 9}}))
        .fails_with("somebody has put another program in the place of the device program of ");
    assert_eq!((stays(&c), programs_of_ours(&c)), (true, 0));
    assert_eq!(c.cgroup("pids", "pids.max")?, "20");
    update_by(&c, &json!({"devices": [all(false), misc(true, 237)], "pids": {"limit": 9}})).ok();
    assert_eq!((stays(&c), programs_of_ours(&c)), (true, 0));
    assert_eq!(c.cgroup("pids", "pids.max")?, "9");
    Ok(())
}

fn the_unit_changes_too(lab: &Lab) -> Outcome {
    lab.not_runc("leaves them alone")?;
    crate::systemd::booted()?;
    let mut c = crate::systemd::scope(lab, &["sleep", "100"]);
    c.edit(|v| v["linux"]["resources"]["devices"] = json!([all(false), misc(true, 229)]));
    crate::systemd::make(&c, "run", &["-d"]).ok();
    let shown =
        |c: &Container| crate::systemd::show(&crate::systemd::unit(c), &["DeviceAllow", "DevicePolicy"]);
    assert!(shown(&c).contains(&"DeviceAllow=/dev/char/10:229 rw".to_owned()), "{:?}", shown(&c));
    update_by(&c, &json!({"devices": [all(false), misc(true, 237)]})).ok();
    let now = shown(&c);
    assert!(now.contains(&"DeviceAllow=/dev/char/10:237 rw".to_owned()), "{now:?}");
    assert!(!now.contains(&"DeviceAllow=/dev/char/10:229 rw".to_owned()), "{now:?}");
    assert_eq!(opens(&c), [237]);
    // What systemd does by itself undoes none of it.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    assert_eq!(opens(&c), [237]);
    update_by(&c, &json!({"devices": [all(true)]})).ok();
    assert_eq!((shown(&c), opens(&c)), (vec!["DevicePolicy=auto".to_owned()], vec![229, 237]));
    Ok(())
}

fn rules_that_cannot_be(lab: &Lab) -> Outcome {
    lab.not_runc("does not look at them")?;
    possible_here()?;
    let c = with(lab, &["sleep", "100"], &json!({"devices": [all(false)], "pids": {"limit": 20}}));
    let before = in_force(&c);
    let rules = json!([{"allow": true, "type": "c", "major": 10, "access": "rx"}, {"allow": true, "type": "p", "access": "r"}]);
    let output = update_by(&c, &json!({"devices": rules, "pids": {"limit": 9}}));
    output.fails_with("invalid device access \"rx\" (linux.resources.devices[0])");
    output.fails_with("invalid cgroup device type \"p\" (linux.resources.devices[1])");
    assert_eq!(in_force(&c), before);
    assert_eq!(c.cgroup("pids", "pids.max")?, "20");
    Ok(())
}

/// An ordinary user's container opens what its user could open.
fn none_in_effect(lab: &Lab) -> Outcome {
    possible(lab)?;
    lab.not_runc("says nothing")?;
    let alice = User::of_few_rights(lab, ALICE);
    let id = alice.up("c", &["sleep", "100"], |_| {});
    let file = lab.file("rules", &json!({"devices": [all(true)]}).to_string());
    let output = alice.call(&["update", "--resources", &file, &id]);
    output.ok();
    let told = "rules for devices are not changed, as none are in effect: only root may set them";
    assert_eq!(output.messages("warning"), [told], "{output:?}");
    Ok(())
}
