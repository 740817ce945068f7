//! Many containers at once, and the host as it was before.

use std::fs;

use crate::harness::{Lab, Outcome, tests};

tests![hundreds_fifty_at_a_time, many_mounts];

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Each is created, started and deleted, with fifty alive at any time.
fn hundreds_fifty_at_a_time(lab: &Lab) -> Outcome {
    let total = if lab.settings.stress { 1000 } else { 200 };
    let one = lab.container(&["sleep", "100"]);
    let bundle = one.bundle.to_str().unwrap();
    let before = open_files();
    for batch in 0..total / 50 {
        let ids: Vec<String> = (0..50).map(|n| format!("{}-s{batch}-{n}", lab.name)).collect();
        for id in &ids {
            // One bundle serves all; the cgroup is named after the id.
            let mut config = one.config.clone();
            config["linux"]["cgroupsPath"] = lab.settings.driver.path(id).into();
            fs::write(one.bundle.join("config.json"), config.to_string()).unwrap();
            lab.call(&["create", "-b", bundle, id]).ok();
        }
        for id in &ids {
            lab.call(&["start", id]).ok();
        }
        assert_eq!(lab.call(&["list", "-q"]).ok().lines().count(), 50);
        for id in &ids {
            lab.call(&["delete", "--force", id]).ok();
        }
    }
    assert_eq!(lab.call(&["list", "-q"]).ok(), "");
    assert_eq!(lab.leaks(), [""; 0]);
    // Other tests open files at the same time, but not hundreds.
    assert!(open_files() < before + 50, "files are left open");
    Ok(())
}

fn many_mounts(lab: &Lab) -> Outcome {
    let run = lab.run(&["sh", "-c", "grep -c ' /tmp/' /proc/self/mountinfo"], |v| {
        crate::harness::bundle::mount(v, "/tmp", "tmpfs", "x", &[]);
        for number in 0..300 {
            crate::harness::bundle::mount(v, &format!("/tmp/{number}"), "tmpfs", "x", &["size=4k"]);
        }
    });
    assert_eq!(run.ok(), "300\n");
    Ok(())
}
