//! `kill`: names, numbers, states, and every process of the container.

use crate::harness::bundle::without_namespace;
use crate::harness::{Lab, Outcome, eventually, tests};

tests![
    takes_names_and_numbers,
    default_is_term,
    signal_zero_only_asks,
    reaches_the_process,
    refuses_an_unknown_signal,
    refuses_in_every_wrong_state,
    created_container_can_be_killed,
    created_container_can_be_asked_to_end,
    all_is_accepted_in_every_state,
    kill_without_a_pid_namespace_reaches_all,
];

fn takes_names_and_numbers(lab: &Lab) -> Outcome {
    for signal in ["KILL", "SIGKILL", "9", "kill", "sigkill"] {
        let c = lab.container(&["sleep", "100"]);
        c.up().kill(signal).ok();
        c.wait_for("stopped").delete(&[]).ok();
    }
    Ok(())
}

fn default_is_term(lab: &Lab) -> Outcome {
    let c = lab.container(&["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]);
    c.up();
    // The shell has to set its trap first: a signal without a handler does not reach PID 1.
    eventually("TERM to end the shell", || {
        c.call("kill", &[]);
        (c.status() == "stopped").then_some(())
    });
    Ok(())
}

fn signal_zero_only_asks(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up().kill("0").ok();
    assert_eq!(c.status(), "running");
    Ok(())
}

/// Real-time signals and the odd names arrive as what they are.
fn reaches_the_process(lab: &Lab) -> Outcome {
    for (signal, trap) in [("USR1", "USR1"), ("12", "USR2"), ("HUP", "HUP"), ("SIGWINCH", "WINCH")] {
        let script = format!("trap 'exit 3' {trap}; touch /tmp/ready; while :; do sleep 0.05; done");
        let mut c = lab.container(&["sh", "-c", &script]);
        c.edit(|v| v["root"]["readonly"] = false.into());
        c.up();
        eventually("the trap", || c.rootfs("tmp/ready").exists().then_some(()));
        c.kill(signal).ok();
        c.wait_for("stopped");
    }
    Ok(())
}

fn refuses_an_unknown_signal(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    for signal in ["BOGUS", "SIGBOGUS", "1x"] {
        c.kill(signal).fails(1, &format!("unknown signal \"{signal}\""));
    }
    assert_eq!(c.status(), "running");
    Ok(())
}

fn refuses_in_every_wrong_state(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.kill("KILL").fails(1, "container does not exist");
    c.up().stop();
    c.kill("KILL").fails(1, "container not running");
    c.kill("0").fails(1, "container not running");
    Ok(())
}

fn created_container_can_be_killed(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    c.stop().delete(&[]).ok();
    Ok(())
}

/// Its first process is one that signals don't reach by themselves, and its program is not there yet.
fn created_container_can_be_asked_to_end(lab: &Lab) -> Outcome {
    for own_pids in [true, false] {
        for signal in ["TERM", "INT", "HUP", "QUIT", "ABRT"] {
            let mut c = lab.container(&["sleep", "100"]);
            if !own_pids {
                c.edit(|v| without_namespace(v, "pid"));
            }
            c.create(&[]).ok();
            c.kill(signal).ok();
            c.wait_for("stopped").delete(&[]).ok();
        }
        // What was for nobody does not wait for the program.
        let mut c = lab.container(&["sleep", "100"]);
        if !own_pids {
            c.edit(|v| without_namespace(v, "pid"));
        }
        c.create(&[]).ok();
        for signal in ["USR1", "ALRM", "WINCH"] {
            c.kill(signal).ok();
        }
        c.start();
        assert_eq!(c.status(), "running");
        c.stop();
    }
    Ok(())
}

/// Engines send `kill --all` before `delete`, also to a container that has stopped.
fn all_is_accepted_in_every_state(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    lab.call(&["kill", "--all", &c.id, "0"]).ok();
    lab.call(&["kill", "-a", &c.id, "9"]).ok();
    c.wait_for("stopped");
    lab.newer_than_runc(1, 5)?;
    lab.call(&["kill", "--all", &c.id, "KILL"]).ok();
    Ok(())
}

/// Without a PID namespace of its own the death of init ends nobody else: the cgroup names them.
fn kill_without_a_pid_namespace_reaches_all(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "sleep 100 & sleep 100 & wait"]);
    c.edit(|v| without_namespace(v, "pid"));
    c.up();
    let count = || crate::harness::leaks::processes(&lab.name).len();
    eventually("three processes", || (count() == 3).then_some(()));
    lab.call(&["kill", "--all", &c.id, "KILL"]).ok();
    eventually("no process", || (count() == 0).then_some(()));
    c.wait_for("stopped").delete(&[]).ok();
    Ok(())
}
