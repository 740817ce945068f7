//! What happens on an older kernel, or in a sandbox that does not know the newer system calls: the same where there
//! are older ones to do it with, and else an error that names the call.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::bundle::{mount, set_namespace};
use crate::harness::lacking::Lack;
use crate::harness::{Lab, Outcome, Test, Value, json};

/// Linux 5.2 to 5.11: mounts are made attached nowhere, but can't be changed there.
const NO_MOUNT_SETATTR: &[Lack] = &[Lack::of("mount_setattr")];

/// A sandbox that knows mount(2) alone.
const CLASSIC_MOUNTS: &[Lack] = &[
    Lack::of("fsconfig"),
    Lack::of("fsmount"),
    Lack::of("fsopen"),
    Lack::of("mount_setattr"),
    Lack::of("move_mount"),
    Lack::of("open_tree"),
];

/// All that Linux 5.10 has not got and tare asks for: the last two are `CLOSE_RANGE_CLOEXEC` and
/// `MOUNT_ATTR_NOSYMFOLLOW`.
const LINUX_5_10: &[Lack] = &[
    NO_MOUNT_SETATTR[0],
    Lack { call: "close_range", flag: Some((2, 4)) },
    Lack { call: "fsmount", flag: Some((2, 0x20_0000)) },
];

/// What is not there, and the tests that pass all the same: whole files, or single ones.
const THE_SAME: &[(&str, &[Lack], &[&str])] = &[
    (
        "classic_mounts",
        CLASSIC_MOUNTS,
        &[
            "devices::",
            "exec::namespaces_are_the_containers",
            "exec::root_without_a_mount_namespace",
            "holes::paths::",
            "holes::races::",
            "idmap::faults_are_told_before_anything_is_made",
            "inside::a_first_process_sees_what_runcs_sees",
            "mounts::",
            "namespaces::a_pod_shares_all_but_the_mounts",
            "namespaces::each_can_be_joined",
            "notify::what_the_container_sees",
            "rootless::a_process_sees_what_runcs_sees",
            "rootless::a_terminal",
            "rootless::from_spec_to_delete",
            "rootless::processes_of_exec",
            "security::",
            "terminal::console_is_the_terminal",
            "terminal::host_mounts_get_no_console",
            "user_namespaces::a_mount_of_the_container_is_bound_elsewhere",
            "user_namespaces::bind_mounts_keep_their_options",
            "user_namespaces::devices_in_the_image_once_more",
            "user_namespaces::files_that_its_user_can_not_look_for",
            "user_namespaces::mounts_of_the_host_stay_as_they_are",
            "user_namespaces::root_owns_what_is_made_for_it",
            "user_namespaces::root_propagation",
            "user_namespaces::terminal_in_a_user_namespace",
        ],
    ),
    (
        "linux_5_10",
        LINUX_5_10,
        &[
            "descriptors::every_descriptor_is_accounted_for",
            "exec::namespaces_are_the_containers",
            "holes::entering::cve_2019_5736",
            "holes::entering::cve_2024_21626",
            "holes::races::cve_2019_19921",
            "holes::races::cve_2021_30465",
            "mounts::an_overlay_of_long_paths",
            "mounts::bind",
            "mounts::cgroup_mount_in_its_namespace",
            "mounts::every_default_mount_is_there",
            "mounts::masked",
            "mounts::options_reach_the_mount",
            "mounts::propagation_of_one_mount",
            "mounts::readonly_paths",
            "mounts::root_propagation",
            "mounts::tmpfs",
            "process::only_three_files_are_open",
            "rootless::from_spec_to_delete",
            "terminal::console_is_the_terminal",
            "user_namespaces::bind_mounts_keep_their_options",
            "user_namespaces::files_that_its_user_can_not_look_for",
            "user_namespaces::mounts_of_the_host_stay_as_they_are",
            "user_namespaces::root_propagation",
        ],
    ),
];

/// What is refused there: see [`OWN`].
const REFUSED: [&str; 1] = ["mounts::recursive_attributes"];

/// Tests of what is otherwise.
const OWN: &[Test] = &[
    Test {
        name: "a_mount_begins_where_nobody_looks",
        lacks: CLASSIC_MOUNTS,
        run: a_mount_begins_where_nobody_looks,
    },
    Test {
        name: "a_joined_mount_namespace_where_proc_is_forged",
        lacks: CLASSIC_MOUNTS,
        run: proc_is_forged,
    },
    Test {
        name: "a_joined_mount_namespace_of_other_processes",
        lacks: CLASSIC_MOUNTS,
        run: proc_shows_others,
    },
    Test {
        name: "recursive_attributes_without_mount_setattr",
        lacks: NO_MOUNT_SETATTR,
        run: recursive_attributes,
    },
    Test {
        name: "recursive_attributes_without_new_mounts",
        lacks: CLASSIC_MOUNTS,
        run: recursive_attributes,
    },
    Test { name: "id_maps", lacks: NO_MOUNT_SETATTR, run: id_maps },
    Test { name: "without_openat2", lacks: &[Lack::of("openat2")], run: without_openat2 },
    Test { name: "without_clone3", lacks: &[Lack::of("clone3")], run: without_clone3 },
    Test { name: "without_close_range", lacks: &[Lack::of("close_range")], run: without_close_range },
];

/// The tests, of which some are those of other files, with other names: who asks for those files does not mean these.
pub fn tests(all: &[Test]) -> Vec<Test> {
    let mut tests: Vec<Test> = OWN.iter().map(|&test| Test { name: full(test.name), ..test }).collect();
    for &(row, lacks, same) in THE_SAME {
        for wanted in same {
            let before = tests.len();
            tests.extend(all.iter().filter_map(|test| {
                let (_, short) = test.name.split_once("::")?;
                let is_meant = short.starts_with(wanted) && !REFUSED.contains(&short);
                let name = format!("{row}.{}", short.replace("::", "."));
                is_meant.then(|| Test { name: full(&name), run: test.run, lacks })
            }));
            assert!(tests.len() > before, "{row}: there is no test {wanted}");
        }
    }
    tests
}

fn full(name: &str) -> &'static str {
    format!("{}::{name}", module_path!()).leak()
}

/// The place is in the container's mount namespace, nothing of it comes to the host, and it is gone in the container.
fn a_mount_begins_where_nobody_looks(lab: &Lab) -> Outcome {
    let seen = lab.dir.join("seen");
    let looks = format!("grep ' /proc/fs ' /proc/self/mountinfo > {}", seen.display());
    let mut c = lab.container(&["sh", "-c", "grep -c ' /proc/fs ' /proc/self/mountinfo; ls /proc/fs"]);
    c.edit(|v| {
        v["linux"]["rootfsPropagation"] = json!("rshared");
        v["linux"]["readonlyPaths"] = json!([]);
        v["hooks"] = json!({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", looks]}]});
    });
    let run = c.run(&[]);
    assert!(run.out.starts_with("0\n"), "{run:?}");
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains(" - tmpfs ") && !seen.contains("shared:"), "{seen}");
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" /proc/fs "));
    Ok(())
}

/// Runs `script` in a new mount namespace, and `test` of a container that joins it.
fn joined(lab: &Lab, flags: &[&str], script: &str, test: impl FnOnce(&mut dyn FnMut(&mut Value))) {
    let mut other = lab.clean(Command::new(&lab.settings.busybox));
    let script = format!("{script} && echo ready && exec sleep 100");
    other.arg("unshare").arg("--mount").args(flags).args(["sh", "-c", &script]).stdout(Stdio::piped());
    let mut other = other.spawn().unwrap();
    other.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    let path = format!("/proc/{}/ns/mnt", first_process(other.id()));
    test(&mut |v| set_namespace(v, "mount", Some(&path)));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(first_process(other.id()).try_into().unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    other.kill().ok();
    other.wait().unwrap();
}

/// The child of `unshare --fork`, or the process itself.
fn first_process(id: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.split_whitespace().next().map_or(id, |child| child.parse().unwrap())
}

fn proc_is_forged(lab: &Lab) -> Outcome {
    let forged = lab.dir.join("forged");
    fs::create_dir(&forged).unwrap();
    let script = format!("mount --bind {} /proc", forged.display());
    joined(lab, &[], &script, |edit| {
        let mut c = lab.container(&["true"]);
        c.edit(edit);
        c.create(&[]).fails_with("openat2 /proc (it is not a procfs): not a directory");
    });
    assert_eq!(fs::read_dir(forged).unwrap().count(), 0);
    Ok(())
}

/// A process that is not in the PID namespace whose procfs is mounted has no descriptors there.
fn proc_shows_others(lab: &Lab) -> Outcome {
    joined(lab, &["--pid", "--fork", "--mount-proc"], "true", |edit| {
        let mut c = lab.container(&["true"]);
        c.edit(edit);
        let text =
            "mount by descriptor, as /proc shows other processes than this one: no such file or directory";
        c.create(&[]).fails_with(text);
    });
    Ok(())
}

/// They are not set for the topmost mount alone.
fn recursive_attributes(lab: &Lab) -> Outcome {
    let source = lab.dir.to_str().unwrap();
    for option in ["rro", "rnosuid", "ratime"] {
        let run = lab.run(&["true"], |v| mount(v, "/tmp", "bind", source, &["rbind", option]));
        run.fails_with("to rootfs at \"/tmp\": recursive options (such as rro): mount_setattr ");
        run.fails_with("function not implemented (it takes Linux 5.12)");
    }
    Ok(())
}

fn id_maps(lab: &Lab) -> Outcome {
    let source = lab.dir.to_str().unwrap();
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    let run = lab.run(&["true"], |v| {
        mount(v, "/tmp", "bind", source, &["rbind"]);
        let last = v["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["uidMappings"] = map.clone();
        last["gidMappings"] = map;
    });
    run.fails_with("failed to set MOUNT_ATTR_IDMAP on");
    run.fails_with("function not implemented: that needs Linux 5.12");
    Ok(())
}

/// Nothing has been made when it turns out that paths in the root can't be looked up.
fn without_openat2(lab: &Lab) -> Outcome {
    let c = lab.container(&["true"]);
    let text = format!(
        "RT create failed: openat2 {}: function not implemented (it takes Linux 5.6) (root.path)",
        c.rootfs("").display().to_string().trim_end_matches('/')
    );
    c.create(&[]).fails(1, &text);
    assert!(!Path::new(&lab.root()).join(&c.id).exists());
    Ok(())
}

fn without_clone3(lab: &Lab) -> Outcome {
    let run = lab.run(&["true"], |_| ());
    run.fails_with(": clone3 flags=");
    run.fails_with("function not implemented (it takes Linux 5.3)");
    Ok(())
}

fn without_close_range(lab: &Lab) -> Outcome {
    lab.run(&["true"], |_| ()).fails_with("close_range 3: function not implemented (it takes Linux 5.9)");
    Ok(())
}
