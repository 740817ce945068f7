//! What is made on the way down to a container's cgroup.
use super::*;

pub const TESTS: &[(&str, Test)] = &[
    ("making::parents_without_a_cpuset_are_filled", parents_without_a_cpuset_are_filled),
    ("making::controllers_are_enabled_on_the_way_down", controllers_are_enabled_on_the_way_down),
    ("making::threaded_parents_are_told", threaded_parents_are_told),
    ("making::a_process_that_moved_is_found", a_process_that_moved_is_found),
];

fn parents_without_a_cpuset_are_filled(lab: &Lab) -> Outcome {
    let cgroup = lab.cgroup();
    let Some(directory) = cgroup.v1("cpuset") else { return Err("only version 1 has such cpusets") };
    let parent = directory.absolute().replace("/leaf", "");
    fs::create_dir_all(&parent).unwrap();
    assert_eq!(fs::read_to_string(format!("{parent}/cpuset.cpus")).unwrap().trim(), "");
    let host = fs::read_to_string(format!("{}/cpuset.cpus", directory.mount)).unwrap();
    cgroup.create().unwrap();
    assert_eq!(content(&cgroup, "cpuset", "cpuset.cpus"), host.trim());
    // What is there already is not touched.
    let first = host.trim().split([',', '-']).next().unwrap();
    fs::write(format!("{}/cpuset.cpus", directory.absolute()), first).unwrap();
    cgroup.create().unwrap();
    assert_eq!(content(&cgroup, "cpuset", "cpuset.cpus"), first);
    Ok(())
}

fn controllers_are_enabled_on_the_way_down(lab: &Lab) -> Outcome {
    if !lab.is_v2() {
        return Err("only version 2 hands controllers down");
    }
    let deep = place(&lab.host, Some(&format!("{}/a/b/leaf", lab.name)), "id", Denied::Error).unwrap();
    deep.create().unwrap();
    let mount = &deep.unified().unwrap().mount;
    let all = fs::read_to_string(format!("{mount}/cgroup.controllers")).unwrap();
    assert_eq!(content(&deep, "", "cgroup.controllers"), all.trim());
    assert_eq!(content(&deep, "", "cgroup.subtree_control"), "");
    Ok(())
}

fn threaded_parents_are_told(lab: &Lab) -> Outcome {
    if !lab.is_v2() || !lab.has("memory") {
        return Err("only version 2 has threaded cgroups, and it needs a controller that is not");
    }
    let cgroup = place(&lab.host, Some(&format!("{}/threaded/leaf", lab.name)), "id", Denied::Error).unwrap();
    let parent = cgroup.unified().unwrap().absolute().replace("/leaf", "");
    fs::create_dir_all(&parent).unwrap();
    fs::write(format!("{parent}/cgroup.type"), "threaded").unwrap();
    let live = cgroup.create().unwrap();
    assert_eq!(content(&cgroup, "", "cgroup.type"), "threaded");
    let text =
        live.apply(&lab.plan(r#"{"memory":{"limit":1048576}}"#), Denied::Error).unwrap_err().to_string();
    assert!(text.starts_with("cannot enter cgroupv2 ") && text.contains("it is in threaded mode"), "{text}");
    let child = start(&live, idle);
    assert_eq!(cgroup.pids().unwrap(), [child.pid]);
    Ok(())
}

fn a_process_that_moved_is_found(lab: &Lab) -> Outcome {
    if !lab.is_v2() {
        return Err("only version 2 closes a cgroup to processes");
    }
    let cgroup = lab.cgroup();
    let child = start(&cgroup.create().unwrap(), idle);
    assert_eq!(cgroup.of_process(child.pid).unwrap(), cgroup);
    let inner = place(&lab.host, Some(&format!("{}/leaf/init", lab.name)), "id", Denied::Error).unwrap();
    inner.create().unwrap();
    let procs = format!("{}/cgroup.procs", inner.unified().unwrap().absolute());
    fs::write(procs, child.pid.to_string()).unwrap();
    assert_eq!(cgroup.of_process(child.pid).unwrap(), inner);
    let second = start(&cgroup.of_process(child.pid).unwrap().open().unwrap(), idle);
    assert_eq!(cgroup.pids().unwrap().len(), 2);
    cgroup.kill(KILL).unwrap();
    ended(&child);
    ended(&second);
    Ok(())
}
