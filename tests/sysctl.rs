//! linux.sysctl: kernel parameters, each of which belongs to a kind of namespace that the container must have for
//! itself.

use std::fs;

use crate::harness::bundle::{set_namespace, without_namespace};
use crate::harness::{Lab, Outcome, Value, json, tests};
use crate::user_namespaces::mapped;

tests![
    written_in_the_containers_namespaces,
    of_the_user_namespace,
    of_the_host_names,
    of_namespaces_that_are_the_hosts,
    of_a_joined_network_namespace,
    of_no_namespace,
];

fn set(v: &mut Value, values: &[(&str, &str)]) {
    for (name, value) in values {
        v["linux"]["sysctl"][name] = json!(value);
    }
}

/// Those of IPC and network namespaces; a slash as the first separator changes the meaning of both.
fn written_in_the_containers_namespaces(lab: &Lab) -> Outcome {
    let values = [
        ("kernel.msgmax", "9000"),
        ("kernel.msgmnb", "17000"),
        ("kernel.msgmni", "100"),
        ("kernel.sem", "251\t32000\t32\t128"),
        ("kernel.shmall", "100000"),
        ("kernel.shmmax", "1000000"),
        ("kernel.shmmni", "99"),
        ("kernel.shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "21"),
        ("net.ipv4.ip_forward", "1"),
        ("net/ipv4/ip_local_port_range", "2000\t3000"),
    ];
    let files: Vec<_> =
        values.iter().map(|(name, _)| format!("/proc/sys/{}", name.replace('.', "/"))).collect();
    let args: Vec<_> = std::iter::once("cat").chain(files.iter().map(String::as_str)).collect();
    let host: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for mut c in [lab.container(&args), mapped(lab, &args)] {
        let run = c.edit(|v| set(v, &values)).run(&[]);
        assert_eq!(run.ok().lines().collect::<Vec<_>>(), values.map(|(_, value)| value));
    }
    let after: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert_eq!(host, after);
    Ok(())
}

fn of_the_user_namespace(lab: &Lab) -> Outcome {
    let name = "user.max_user_namespaces";
    let file = "/proc/sys/user/max_user_namespaces";
    let host = fs::read_to_string(file).unwrap();
    let mut c = mapped(lab, &["cat", file]);
    assert_eq!(c.edit(|v| set(v, &[(name, "7")])).run(&[]).ok(), "7\n");
    assert_eq!(host, fs::read_to_string(file).unwrap());
    let refused = lab.run(&["true"], |v| set(v, &[(name, "7")]));
    let text = format!("setting ucounts without a user namespace not allowed: {name}");
    refused.fails(1, &format!("RT run failed: {text} (linux.sysctl.{name})"));
    Ok(())
}

fn of_the_host_names(lab: &Lab) -> Outcome {
    let domain = |v: &mut Value| set(v, &[("kernel.domainname", "a-domain")]);
    assert_eq!(lab.inside(domain, "cat /proc/sys/kernel/domainname"), "a-domain");
    let host = lab.run(&["true"], |v| set(v, &[("kernel.hostname", "x")]));
    host.fails_with("is not allowed as it conflicts with the OCI \"hostname\" field");
    Ok(())
}

fn of_namespaces_that_are_the_hosts(lab: &Lab) -> Outcome {
    for (kind, name, text) in [
        ("ipc", "kernel.shmmax", "is not allowed in the hosts ipc namespace"),
        ("ipc", "fs.mqueue.msg_max", "is not allowed in the hosts ipc namespace"),
        ("network", "net.ipv4.ip_forward", "not allowed in host network namespace"),
        ("uts", "kernel.domainname", "is not in a separate kernel namespace"),
        ("uts", "kernel.hostname", "is not in a separate kernel namespace"),
    ] {
        let run = lab.run(&["true"], |v| {
            without_namespace(v, kind);
            v["hostname"] = json!("");
            set(v, &[(name, "1")]);
        });
        run.fails(1, &format!("RT run failed: sysctl {name:?} {text} (linux.sysctl.{name})"));
    }
    // The same namespace by its path.
    let run = lab.run(&["true"], |v| {
        set_namespace(v, "network", Some("/proc/self/ns/net"));
        set(v, &[("net.ipv4.ip_forward", "1")]);
    });
    run.fails_with("not allowed in host network namespace");
    Ok(())
}

/// As in a pod.
fn of_a_joined_network_namespace(lab: &Lab) -> Outcome {
    let pause = lab.container(&["sleep", "100"]);
    pause.up();
    let path = format!("/proc/{}/ns/net", pause.pid());
    let edit = |v: &mut Value| {
        set_namespace(v, "network", Some(&path));
        set(v, &[("net.ipv4.ip_forward", "1")]);
    };
    assert_eq!(lab.inside(edit, "cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(pause.call("exec", &["cat", "/proc/sys/net/ipv4/ip_forward"]).ok(), "1\n");
    Ok(())
}

fn of_no_namespace(lab: &Lab) -> Outcome {
    let before = fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    for mut c in [lab.container(&["true"]), mapped(lab, &["true"])] {
        let run = c.edit(|v| set(v, &[("vm.swappiness", "1")])).run(&[]);
        run.fails_with("sysctl \"vm.swappiness\" is not in a separate kernel namespace");
    }
    assert_eq!(before, fs::read_to_string("/proc/sys/vm/swappiness").unwrap());
    Ok(())
}
