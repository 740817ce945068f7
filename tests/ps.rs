//! `ps`: the processes of a container in the host's table.

use std::fs;
use std::path::Path;

use crate::harness::{Container, Lab, Outcome, Runtime, Skip, eventually, helper, json, settings, tests};

tests![
    json_is_the_list_of_pids,
    table_is_that_of_the_host,
    arguments_go_to_ps,
    counts_children,
    finds_those_in_cgroups_of_the_containers_own,
    counts_processes_and_not_threads,
    is_the_same_while_paused,
    a_stopped_container_has_none,
    refuses_an_unknown_format,
    refuses_unknown,
];

fn json_is_the_list_of_pids(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    for args in [["ps", "-f", "json", &c.id], ["ps", "--format", "json", &c.id]] {
        assert_eq!(lab.call(&args).ok().trim_end(), json!([c.pid()]).to_string());
    }
    Ok(())
}

fn table_is_that_of_the_host(lab: &Lab) -> Outcome {
    crate::harness::settings::program("ps")?;
    let c = lab.container(&["sleep", "1234"]);
    c.up();
    let mark = format!(" {} ", c.pid());
    eventually("a table of one process under its own name", || {
        let ps = lab.call(&["ps", &c.id]);
        let lines: Vec<&str> = ps.ok().lines().collect();
        assert_eq!(lines[0].split_whitespace().take(3).collect::<Vec<_>>(), ["UID", "PID", "PPID"]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        (lines[1].contains(&mark) && lines[1].ends_with("sleep 1234")).then_some(())
    });
    Ok(())
}

fn arguments_go_to_ps(lab: &Lab) -> Outcome {
    crate::harness::settings::program("ps")?;
    let c = lab.container(&["sleep", "1234"]);
    c.up();
    let expected = format!("{} sleep 1234", c.pid());
    eventually("the process under its own name", || {
        let ps = c.call("ps", &["-e", "-o", "pid,args"]);
        let lines: Vec<&str> = ps.ok().lines().skip(1).map(str::trim).collect();
        (lines == [expected.as_str()]).then_some(())
    });
    Ok(())
}

fn counts_children(lab: &Lab) -> Outcome {
    let c = lab.container(&["sh", "-c", "sleep 100 & sleep 100 & wait"]);
    c.up();
    eventually("three processes", || {
        let ps = lab.call(&["ps", "--format=json", &c.id]);
        let pids: Vec<u64> = serde_json::from_str(ps.ok()).unwrap();
        (pids.len() == 3 && pids.contains(&c.pid())).then_some(())
    });
    Ok(())
}

/// What `ps` says, ascending.
#[track_caller]
fn pids(c: &Container) -> Vec<u64> {
    let out = c.lab.call_of(&c.runtime, &["ps", "--format", "json", &c.id]);
    let mut pids: Vec<u64> = serde_json::from_str(out.ok()).unwrap();
    pids.sort_unstable();
    pids
}

/// The children of a process.
fn children(pid: u64) -> Vec<u64> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The container's directory in the hierarchy that is asked for its processes.
fn directory(c: &Container) -> Result<std::path::PathBuf, Skip> {
    let root = if settings::unified() { "/sys/fs/cgroup".into() } else { settings::controller("devices")? };
    Ok(root.join("tare-test").join(&c.id))
}

fn move_to(dir: &Path, file: &str, pid: u64) {
    fs::write(dir.join(file), pid.to_string()).unwrap_or_else(|e| panic!("{pid} to {}: {e}", dir.display()));
}

/// As a container does that is an init system: one in each of three levels.
fn finds_those_in_cgroups_of_the_containers_own(lab: &Lab) -> Outcome {
    let c = lab.container(&["sh", "-c", "sleep 100 & sleep 100 & wait"]);
    c.up();
    let first = c.pid();
    let two = eventually("two children", || Some(children(first)).filter(|list| list.len() == 2));
    let mut all = [&[first], &two[..]].concat();
    all.sort_unstable();
    let deep = directory(&c)?.join("init/deep.service");
    fs::create_dir_all(&deep).unwrap();
    for (dir, pid) in [(deep.clone(), first), (deep.clone(), two[0]), (deep.parent().unwrap().into(), two[1])]
    {
        move_to(&dir, "cgroup.procs", pid);
        assert_eq!(pids(&c), all);
    }
    if settings::program("ps").is_ok() {
        assert_eq!(lab.call(&["ps", &c.id]).ok().lines().count(), 4);
    }
    c.delete(&["--force"]).ok();
    assert!(!deep.exists());
    Ok(())
}

/// A container may put single threads of its processes into cgroups. They are no processes, neither for `ps` nor
/// for signals.
fn counts_processes_and_not_threads(lab: &Lab) -> Outcome {
    if settings::unified() {
        lab.not_runc("takes threads for processes")?;
    }
    let (c, listed) = with_a_thread_apart(lab, &lab.tare)?;
    assert_eq!(listed, [c.pid()]);
    c.stop().delete(&[]).ok();
    Ok(())
}

/// A container of one process, of which a thread is in a cgroup of its own; and what `ps` lists.
pub fn with_a_thread_apart<'l>(lab: &'l Lab, runtime: &Runtime) -> Result<(Container<'l>, Vec<u64>), Skip> {
    let mut c = lab.container_of(runtime, &[helper::PROGRAM, "--threads", "3"]);
    c.edit(helper::add);
    c.up();
    let first = c.pid();
    let threads = eventually("three threads", || {
        let tasks = fs::read_dir(format!("/proc/{first}/task")).ok()?.flatten();
        let mut tasks: Vec<u64> = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
        tasks.sort_unstable();
        (tasks.len() == 3).then_some(tasks)
    });
    assert_eq!(pids(&c), [first]);
    let sub = directory(&c)?.join("threads");
    fs::create_dir(&sub).unwrap();
    if settings::unified() {
        fs::write(sub.join("cgroup.type"), "threaded").unwrap();
        move_to(&sub, "cgroup.threads", threads[2]);
    } else {
        move_to(&sub, "tasks", threads[2]);
    }
    let listed = pids(&c);
    Ok((c, listed))
}

fn is_the_same_while_paused(lab: &Lab) -> Outcome {
    if !settings::unified() {
        settings::controller("freezer")?;
    }
    let c = lab.container(&["sh", "-c", "sleep 100 & wait"]);
    c.up();
    let all = eventually("two processes", || Some(pids(&c)).filter(|all| all.len() == 2));
    c.call("pause", &[]).ok();
    assert_eq!(pids(&c), all);
    c.call("resume", &[]).ok();
    Ok(())
}

fn a_stopped_container_has_none(lab: &Lab) -> Outcome {
    crate::harness::settings::program("ps")?;
    let c = lab.container(&["sleep", "100"]);
    c.up().stop();
    assert_eq!(lab.call(&["ps", "-f", "json", &c.id]).ok(), "null\n");
    let table = lab.call(&["ps", &c.id]);
    assert_eq!(table.ok().lines().count(), 1, "the header alone");
    Ok(())
}

fn refuses_an_unknown_format(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    lab.call(&["ps", "-f", "bogus", &c.id]).fails(1, "invalid format option");
    Ok(())
}

fn refuses_unknown(lab: &Lab) -> Outcome {
    lab.call(&["ps", "nope"]).fails(1, "container does not exist");
    Ok(())
}
