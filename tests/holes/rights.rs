//! Holes of rights: users, capabilities, devices, control groups and namespaces that a process gets.

use std::fs;
use std::os::unix::fs::chown;

use crate::exec::{exec, inside, process_file, up};
use crate::features::features;
use crate::harness::bundle::{capabilities, mount, push, set_namespace, without_namespace};
use crate::harness::user::{ALICE, User, possible};
use crate::harness::{Lab, Outcome, json, tests};
use crate::rootless::Delegated;
use crate::spec::spec;

tests![
    cve_2016_3697_a_user_whose_name_is_a_number,
    ghsa_g54h_m393_cpwq_no_list_of_devices,
    cve_2021_43784_a_long_config,
    cve_2022_29162_nothing_is_inheritable,
    cve_2023_25809_control_groups_of_the_user,
    cve_2024_3154_annotations_that_are_not_safe,
    cve_2025_27612_exec_has_no_more_than_the_container,
    cve_2026_30892_users_are_the_numbers_given,
    cve_2026_30892_what_is_no_number_is_refused,
];

/// The image must not say who is root.
fn cve_2016_3697_a_user_whose_name_is_a_number(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sleep", "100"]);
    fs::write(c.rootfs("etc/passwd"), "1000:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(c.rootfs("etc/group"), "1000:x:0:\n").unwrap();
    c.edit(|v| v["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    c.up();
    for user in ["1000", "1000:1000"] {
        assert_eq!(inside(&c, &["--user", user], "id -u"), "1000", "{user}");
    }
    Ok(())
}

/// What no rule allows is denied, also where there are no rules at all.
fn ghsa_g54h_m393_cpwq_no_list_of_devices(lab: &Lab) -> Outcome {
    // The kernel's messages: on every host, and root may read them.
    let script =
        "mknod /tmp/probe c 1 11 && dd if=/tmp/probe bs=1 count=1 2>&1 | grep -o 'not permitted'; true";
    for list in [None, Some(json!([]))] {
        let out = lab.inside(
            |v| {
                match list {
                    None => drop(v["linux"]["resources"].as_object_mut().unwrap().remove("devices")),
                    Some(list) => v["linux"]["resources"]["devices"] = list,
                }
                v["root"]["readonly"] = json!(false);
                capabilities(v, &["CAP_MKNOD", "CAP_SYSLOG", "CAP_SYS_ADMIN"]);
            },
            script,
        );
        assert_eq!(out, "not permitted");
    }
    Ok(())
}

/// More than fits into 16 bits, which once made a length wrap and namespaces vanish.
fn cve_2021_43784_a_long_config(lab: &Lab) -> Outcome {
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let long = "x".repeat(70_000);
    let run = lab.run(&["readlink", "/proc/self/ns/net"], |v| {
        push(&mut v["process"]["env"], json!(format!("LONG={long}")));
        v["annotations"] = json!({"long": long});
        for number in 0..500 {
            mount(v, &format!("/tmp/{number}"), "tmpfs", "x", &[]);
        }
        mount(v, "/tmp", "tmpfs", &long[..200], &[]);
    });
    assert_ne!(run.ok().trim(), own.to_str().unwrap());
    // The kernel takes 340 lines.
    let run = lab.run(&["readlink", "/proc/self/ns/net"], |v| {
        set_namespace(v, "user", None);
        let lines = (0..5000).map(|id| json!({"containerID": id, "hostID": 1_000_000 + 2 * id, "size": 1}));
        v["linux"]["uidMappings"] = lines.collect();
        v["linux"]["gidMappings"] = v["linux"]["uidMappings"].clone();
    });
    assert_ne!(run.code, 0, "{run:?}");
    assert_eq!(run.out, "");
    Ok(())
}

/// Inheritable capabilities survive the execution of any file that asks for them. CAP_NET_RAW is 13.
fn cve_2022_29162_nothing_is_inheritable(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    for flags in [&[][..], &["--cap", "CAP_NET_RAW"], &["-c", "CAP_NET_RAW", "-u", "1000"]] {
        let out = inside(&c, flags, "sed -n 's/^Cap\\(Inh\\|Bnd\\|Amb\\):[ \\t]*//p' /proc/self/status");
        let sets: Vec<_> = out.lines().map(|set| u64::from_str_radix(set, 16).unwrap()).collect();
        let asked = !flags.is_empty();
        assert_eq!((sets[0], sets[1] >> 13 & 1, sets[2]), (0, asked.into(), 0), "{flags:?}: {out}");
    }
    let inheritable = &spec(lab, &[])["process"]["capabilities"]["inheritable"];
    assert!(inheritable.as_array().is_none_or(Vec::is_empty), "of `spec`: {inheritable}");
    Ok(())
}

/// Without a cgroup namespace, the control groups beside the container's own are the user's as well.
fn cve_2023_25809_control_groups_of_the_user(lab: &Lab) -> Outcome {
    possible(lab)?;
    let mut alice = User::new(lab, ALICE);
    let delegated = Delegated::new(&alice);
    delegated.enter(&mut alice);
    let others: Vec<_> = delegated.0.iter().map(|dir| dir.join("other")).collect();
    for other in &others {
        fs::create_dir(other).unwrap();
        chown(other, Some(ALICE), Some(ALICE)).unwrap();
    }
    let script = "for dir in $(find /sys/fs/cgroup -mindepth 1 -type d 2>/dev/null); do
        mkdir $dir/made 2>/dev/null && echo $dir; done; echo end";
    let out = alice.run(&["sh", "-c", script], |v| {
        without_namespace(v, "cgroup");
        v["linux"]["cgroupsPath"] = json!(format!("/tare-test/{}/mine", alice.id("delegated")));
    });
    let out = out.ok().to_owned();
    for other in &others {
        let _ = fs::remove_dir(other.join("made"));
        fs::remove_dir(other).unwrap();
    }
    assert_eq!(out, "end\n", "control groups that could be made");
    Ok(())
}

/// Properties of systemd's units can run programs on the host: an engine must be able to know that it has to ask who
/// wants them.
fn cve_2024_3154_annotations_that_are_not_safe(lab: &Lab) -> Outcome {
    let features = features(lab)?;
    let list = features["potentiallyUnsafeConfigAnnotations"].as_array().unwrap();
    assert!(list.contains(&json!("org.systemd.property.")), "{list:?}");
    Ok(())
}

/// Neither by itself nor for a user, and none at all where the caller asks for none.
fn cve_2025_27612_exec_has_no_more_than_the_container(lab: &Lab) -> Outcome {
    let c = up(lab, |v| capabilities(v, &["CAP_KILL"]));
    let script = "sed -n 's/^Cap\\(...\\):[ \t]*0*/\\1 /p' /proc/self/status | tr '\n' ' '";
    assert_eq!(inside(&c, &[], script), "Inh  Prm 20 Eff 20 Bnd 20 Amb");
    assert_eq!(inside(&c, &["--user", "1000"], script), "Inh  Prm  Eff  Bnd 20 Amb");
    let file = process_file(&c, &["sh", "-c", script], |v| v["capabilities"] = json!({}));
    assert_eq!(exec(&c, &["--process", &file], &[]).ok().trim_end(), "Inh  Prm  Eff  Bnd  Amb");
    Ok(())
}

/// `exec --user`: every number is the one that it says.
fn cve_2026_30892_users_are_the_numbers_given(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    for (user, ids) in [("1", "1 0"), ("1:2", "1 2"), ("1000:5", "1000 5")] {
        assert_eq!(inside(&c, &["-u", user], "echo $(id -u) $(id -g)"), ids, "{user:?}");
    }
    Ok(())
}

/// What is no number is refused, and the highest that is one is taken.
fn cve_2026_30892_what_is_no_number_is_refused(lab: &Lab) -> Outcome {
    lab.only_tare("counts differently in places")?;
    let c = up(lab, |v| v["process"]["user"] = json!({"uid": 0, "gid": 7}));
    for (user, ids) in [("", "0 7"), ("1", "1 7"), ("4294967294:0", "4294967294 0")] {
        assert_eq!(inside(&c, &["--user", user], "echo $(id -u) $(id -g)"), ids, "{user:?}");
    }
    for user in
        [":2", "1:", ":", "-1", "+1", "4294967295", "4294967296", "0x1", "1abc", " 1", "root", "1:root"]
    {
        let output = exec(&c, &[&format!("--user={user}")], &["id"]);
        assert_eq!((output.code, output.errors().len(), output.out.as_str()), (255, 1, ""), "{user:?}");
        assert!(output.err.starts_with("exec failed: bad "), "{user:?}: {}", output.err);
    }
    Ok(())
}
