//! linux.cgroupsPath: where the control group is, and which ones are not taken.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::harness::bundle::{capabilities, mount, set_namespace, without_mount};
use crate::harness::settings::{cgroup_paths, cgroup_roots, controller, unified};
use crate::harness::{Lab, Outcome, Skip, eventually, json, tests};

tests![
    one_with_processes_is_refused,
    a_frozen_one_is_refused,
    nested_and_not_clean,
    paths_to_no_cgroup_of_its_own,
    below_one_with_processes,
    below_a_threaded_one,
    in_a_container,
];

/// A control group of somebody else in every hierarchy, with those in it, and perhaps a process.
struct Others {
    name: String,
    dirs: Vec<PathBuf>,
    process: Option<Child>,
}

impl Others {
    fn new(lab: &Lab, name: &str) -> Self {
        let name = format!("{}-{name}", lab.name);
        let dirs: Vec<PathBuf> = cgroup_roots().into_iter().map(|root| root.join(&name)).collect();
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
            // A cpuset of version 1 takes no process before it has these.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let above = dir.parent().unwrap().join(file);
                if dir.join(file).exists() && !unified() {
                    fs::write(dir.join(file), fs::read_to_string(above).unwrap()).unwrap();
                }
            }
        }
        Self { name, dirs, process: None }
    }

    fn with_a_process(mut self, lab: &Lab) -> Self {
        let child = lab.clean(Command::new("sleep")).arg("1000").spawn().unwrap();
        for dir in &self.dirs {
            fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        self.process = Some(child);
        self
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        if let Some(child) = &mut self.process {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for dir in &self.dirs {
            for inner in fs::read_dir(dir).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(inner.path());
            }
            let _ = fs::remove_dir(dir);
        }
    }
}

fn one_with_processes_is_refused(lab: &Lab) -> Outcome {
    lab.makes_groups()?;
    lab.newer_than_runc(1, 2)?;
    let others = Others::new(lab, "used").with_a_process(lab);
    let mut c = lab.container(&["true"]);
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(format!("/{}", others.name)));
    for command in ["run", "create"] {
        let text = format!("RT {command} failed: container's cgroup is not empty: 1 process(es) found");
        c.with_bundle(command, &[]).fails(1, &text);
    }
    let pid = u64::from(others.process.as_ref().unwrap().id());
    assert!(cgroup_paths(pid).iter().all(|path| *path == format!("/{}", others.name)), "it is left alone");
    Ok(())
}

fn a_frozen_one_is_refused(lab: &Lab) -> Outcome {
    lab.makes_groups()?;
    let others = Others::new(lab, "frozen");
    let (file, on, off) =
        if unified() { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
    let Some(freezer) = others.dirs.iter().map(|dir| dir.join(file)).find(|path| path.exists()) else {
        return Err(Skip("the host has no freezer".into()));
    };
    fs::write(&freezer, on).unwrap();
    let mut c = lab.container(&["true"]);
    c.edit(|v| v["linux"]["cgroupsPath"] = json!(format!("/{}", others.name)));
    c.run(&[]).fails(1, "RT run failed: container's cgroup unexpectedly frozen");
    assert!(freezer.exists(), "it is left alone");
    fs::write(&freezer, off).unwrap();
    c.run(&[]).ok();
    Ok(())
}

fn nested_and_not_clean(lab: &Lab) -> Outcome {
    lab.makes_groups()?;
    let name = format!("{}-nested", lab.name);
    for (path, place) in [
        (format!("/{name}/a/b/c"), "a/b/c"),
        (format!("/../{name}//x/./../d"), "d"),
        (format!("{name}/e/f"), "e/f"),
        (format!("./../../{name}/g/"), "g"),
    ] {
        let mut c = lab.container(&["sleep", "100"]);
        c.edit(|v| v["linux"]["cgroupsPath"] = json!(path));
        c.up();
        let paths = cgroup_paths(c.pid());
        assert!(paths.iter().all(|seen| seen.ends_with(&format!("/{name}/{place}"))), "{path}: {paths:?}");
        // The caller's own cgroup, where the relative ones begin, need not be the same in every hierarchy.
        let places = cgroup_roots().into_iter().flat_map(|root| {
            paths.iter().map(move |path| root.join(path.trim_start_matches('/'))).collect::<Vec<_>>()
        });
        let made: BTreeSet<PathBuf> = places.filter(|dir| dir.exists()).collect();
        assert_eq!(made.len(), cgroup_roots().len(), "{made:?}");
        c.delete(&["-f"]).ok();
        // The container's own go with it; those above may be somebody else's by now.
        for dir in made {
            assert!(!dir.exists(), "{}", dir.display());
            for above in dir.ancestors().skip(1).take_while(|above| above.to_string_lossy().contains(&name)) {
                fs::remove_dir(above).unwrap();
            }
        }
    }
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

fn paths_to_no_cgroup_of_its_own(lab: &Lab) -> Outcome {
    lab.makes_groups()?;
    lab.not_runc("takes the root of every hierarchy, or the cgroup of its caller")?;
    for path in ["/", "..", "./.", "/x/.."] {
        let run = lab.run(&["true"], |v| v["linux"]["cgroupsPath"] = json!(path));
        let text =
            format!("RT run failed: {path:?} leads to no cgroup of the container's own (linux.cgroupsPath)");
        run.fails(1, &text);
    }
    Ok(())
}

/// Where processes are, the kernel hands down only the controllers that can tell threads apart.
fn below_one_with_processes(lab: &Lab) -> Outcome {
    lab.makes_groups()?;
    if !unified() {
        return Err(Skip("on cgroup version 1 processes may be anywhere".into()));
    }
    let others = Others::new(lab, "inner").with_a_process(lab);
    let path = format!("/{}/c", others.name);
    lab.run(&["true"], |v| v["linux"]["cgroupsPath"] = json!(path)).ok();
    domain_controllers(lab, &path)
}

fn below_a_threaded_one(lab: &Lab) -> Outcome {
    lab.makes_groups()?;
    if !unified() {
        return Err(Skip("cgroup version 1 has no threaded cgroups".into()));
    }
    let others = Others::new(lab, "threads");
    fs::create_dir(others.dirs[0].join("t")).unwrap();
    fs::write(others.dirs[0].join("t/cgroup.type"), "threaded").unwrap();
    let path = format!("/{}/t/c", others.name);
    lab.run(&["true"], |v| v["linux"]["cgroupsPath"] = json!(path)).ok();
    let done = domain_controllers(lab, &path);
    eventually("the cgroups to be gone", || {
        let _ = fs::remove_dir(others.dirs[0].join("t"));
        (!others.dirs[0].join("t").exists()).then_some(())
    });
    done
}

/// Limits of processes can be set there, limits of memory cannot, and the error says why.
fn domain_controllers(lab: &Lab, path: &str) -> Outcome {
    controller("memory")?;
    controller("pids")?;
    let run = |resources: crate::harness::Value| {
        let mut c = lab.container(&["true"]);
        c.edit(|v| {
            v["linux"]["cgroupsPath"] = json!(path);
            for (name, value) in resources.as_object().unwrap() {
                v["linux"]["resources"][name] = value.clone();
            }
        });
        c.run(&[])
    };
    run(json!({"pids": {"limit": 5}})).ok();
    let refused = run(json!({"memory": {"limit": 33_554_432}}));
    refused.fails_with("cannot enter cgroupv2 \"/sys/fs/cgroup/");
    refused.fails_with("with domain controllers -- it is in ");
    assert_eq!(refused.errors().len(), 1);
    Ok(())
}

const PRIVILEGED: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
];

/// What has root of a container with a cgroup namespace of its own: a part of every hierarchy, delegated.
fn in_a_container(lab: &Lab) -> Outcome {
    let mut inner = lab.container(&["cat", "/proc/self/cgroup"]);
    inner.edit(|v| {
        v["linux"]["cgroupsPath"] = json!("/inner/most");
        set_namespace(v, "cgroup", None);
        without_mount(v, "/sys/fs/cgroup");
        if controller("pids").is_ok() {
            v["linux"]["resources"]["pids"] = json!({"limit": 7});
        }
    });
    let tare = lab.tare.program.to_str().unwrap();
    // Version 2 hands no controllers down from where processes are.
    let script = format!(
        "cd /sys/fs/cgroup; ! test -e cgroup.procs || (mkdir own && echo $$ > own/cgroup.procs) || exit
        cd /bundle && /tare --root /run/state run -b /bundle {} && find /sys/fs/cgroup -name most",
        inner.id
    );
    let mut outer = lab.container(&["sh", "-c", &script]);
    outer.edit(|v| {
        set_namespace(v, "cgroup", None);
        for mount in v["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "cgroup" || mount["type"] == "sysfs" {
                mount["options"] = json!(["nosuid", "noexec", "nodev"]);
            }
        }
        mount(v, "/run", "tmpfs", "tmpfs", &[]);
        mount(v, "/tare", "bind", tare, &["bind", "ro"]);
        mount(v, "/bundle", "bind", inner.bundle.to_str().unwrap(), &["rbind"]);
        v["root"]["readonly"] = json!(false);
        v["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
        v["linux"]["maskedPaths"] = json!([]);
        v["linux"]["readonlyPaths"] = json!([]);
        capabilities(v, &PRIVILEGED);
    });
    let out = outer.run(&[]).ok().to_owned();
    assert!(!out.is_empty() && out.lines().all(|line| line.ends_with(":/")), "{out}");
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}
