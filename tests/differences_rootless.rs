//! The rows of the table in `differences.rs` that are about containers of ordinary users.

use std::fs;

use crate::differences::Difference;
use crate::harness::bundle::{mount, without_mount, without_namespace};
use crate::harness::user::{ALICE, User};
use crate::harness::{Lab, Output, Runtime, Skip, Value, eventually, json};
use crate::users::{grant, more_ids};

pub const ROWS: &[Difference] = &[
    Difference {
        what: "A limit that a user has no right to set",
        runc: "…cannot set pids limit: container could not join or create cgroup",
        tare: "tare run failed: cannot set pids limit: container could not join or create cgroup: …: permission denied \
               (linux.resources.pids.limit)",
        why: "It is told before anything is made, with the directory and the field, and a hint about delegation. On \
              version 2 the words are `rootless needs no limits + no cgrouppath when no permission is granted for \
              cgroups`, as runc's.",
        probe: |lab, runtime| {
            let pids = json!({"pids": {"limit": 5}});
            let run = of(lab, runtime).run(&["true"], |v| v["linux"]["resources"] = pids);
            let line = run.err.lines().find(|line| line.contains("run failed")).unwrap_or_default();
            // The words of version 1 stand for both.
            let (v1, v2) = (
                "cannot set pids limit: container could not join or create cgroup",
                "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
            );
            let line = line.replace(v2, v1);
            if runtime.name() == "runc" {
                format!("…{}", &line[..line.find(v1).map_or(0, |at| at + v1.len())])
            } else {
                line
            }
        },
    },
    Difference {
        what: "`ps` of a container without a cgroup",
        runc: "unable to get all container pids: …",
        tare: "[…]",
        why: "Its processes are found by its PID namespace, or by its user namespace.",
        probe: |lab, runtime| {
            let alice = of(lab, runtime);
            let id = alice.up("c", &["sleep", "100"], |_| {});
            let ps = alice.call(&["ps", "-f", "json", &id]);
            alice.call(&["delete", "--force", &id]);
            format!("{}{}", ps.out, ps.err).trim_end().to_owned()
        },
    },
    Difference {
        what: "Processes that are left of a container without a cgroup and a PID namespace after `kill KILL`",
        runc: "2",
        tare: "0",
        why: "They are found by its user namespace, as long as its first process lives.",
        probe: left_after_kill,
    },
    Difference {
        what: "`additionalGids` of a user whose range of ids has them",
        runc: "…cannot set any additional groups in a rootless container",
        tare: "0 3",
        why: "`newgidmap` leaves setgroups(2) allowed. With the own group alone both refuse them.",
        probe: |lab, runtime| {
            let mut alice = of(lab, runtime);
            if let Err(Skip(why)) = grant(&mut alice) {
                return why;
            }
            said(&alice.run(&["id", "-G"], |v| {
                more_ids(v, crate::users::FIRST, 65536);
                v["process"]["user"]["additionalGids"] = json!([3]);
            }))
        },
    },
    Difference {
        what: "`delete` by root of a container of somebody else, whose state directory is named by `--root`",
        runc: "",
        tare: "…/state/… belongs to user 2047001, not to user 0",
        why: "Its state says which hooks to run and which cgroup to empty. `list`, `state` and `ps` only read it.",
        probe: |lab, runtime| {
            let alice = of(lab, runtime);
            let id = alice.up("c", &["sleep", "100"], |_| {});
            let root = alice.root();
            said(&lab.bare(runtime, &["--root", root.to_str().unwrap(), "delete", "--force", &id]))
        },
    },
];

fn of<'l>(lab: &'l Lab<'l>, runtime: &Runtime) -> User<'l> {
    let mut alice = User::new(lab, ALICE);
    alice.runtime = runtime.clone();
    alice
}

/// The output, or the first line of an error, without time and level.
fn said(out: &Output) -> String {
    let line = out.err.lines().next().unwrap_or_default();
    let text = line.split_once("msg=\"").map_or(line, |(_, text)| text.trim_end_matches('"'));
    format!("{}{text}", out.out).trim_end().to_owned()
}

fn left_after_kill(lab: &Lab, runtime: &Runtime) -> String {
    let alice = of(lab, runtime);
    let edit = |v: &mut Value| {
        without_namespace(v, "pid");
        without_mount(v, "/proc");
        mount(v, "/proc", "bind", "/proc", &["rbind"]);
        v["root"]["readonly"] = json!(false);
    };
    let script = "sleep 100 & echo $! >/tmp/pids; sleep 101 & echo $! >>/tmp/pids; echo >>/tmp/pids; wait";
    let bundle = alice.bundle(&["sh", "-c", script], edit);
    let id = alice.id("c");
    alice.call(&["run", "--detach", "--bundle", bundle.to_str().unwrap(), &id]).ok();
    let pids = eventually("two processes", || {
        let text = fs::read_to_string(bundle.join("rootfs/tmp/pids")).unwrap_or_default();
        text.ends_with("\n\n").then(|| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    });
    alice.call(&["kill", &id, "KILL"]);
    eventually("the end", || (alice.state(&id)["status"] == "stopped").then_some(()));
    // A process that has been killed may take a moment to go.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let alive = |pid: &&String| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    };
    let left: Vec<_> = pids.iter().filter(alive).collect();
    for pid in &left {
        let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    left.len().to_string()
}
