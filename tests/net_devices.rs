//! linux.netDevices: devices of the host that a container gets, with names and addresses, and gives back when it
//! is not made. The host is a network namespace of the test's own.

use std::process::{Child, Command};

use crate::harness::bundle::{set_namespace, without_namespace};
use crate::harness::user::{ALICE, User};
use crate::harness::{Container, Lab, Outcome, Output, Runtime, Skip, Value, eventually, json, tests};

tests![
    moved_with_all_that_it_has,
    moved_with_what_runc_moves,
    given_another_name,
    given_the_first_name_that_is_free,
    there_before_sysctls_and_hooks,
    moved_into_a_user_namespace,
    moved_into_a_joined_namespace,
    one_is_missing,
    a_name_is_taken,
    given_back_when_the_container_is_not_made,
    refused_without_a_network_namespace,
    refused_without_rights_over_the_host,
    features_say_so,
];

/// Lists the network devices, but for those of tunnels, of which every namespace has one where the kernel has such.
const LIST: &str =
    "ls /sys/class/net | grep -vxE '(sit|tunl|ip6tnl|gre|gretap|erspan|ip6gre|ip_vti|ip6_vti)0'";

/// A network namespace that stands for the host's, with the devices `v0` and `v1`, which are linked.
pub struct Host<'l> {
    lab: &'l Lab<'l>,
    holder: Child,
}

impl<'l> Host<'l> {
    pub fn new(lab: &'l Lab<'l>) -> Result<Self, Skip> {
        lab.newer_than_runc(1, 4)?;
        let mut command = lab.clean(Command::new(&lab.settings.busybox));
        let holder = command.args(["unshare", "-n", "sleep", "1000"]).spawn().unwrap();
        let host = Host { lab, holder };
        let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        eventually("the namespace", || (link(&host.holder.id().to_string())? != link("self")?).then_some(()));
        let (code, text) = host.shell("ip link add v1 type veth && ip link set veth0 name v0");
        if code != 0 {
            return Err(Skip(format!("the kernel makes no veth devices: {text}")));
        }
        Ok(host)
    }

    /// A command that is run on this host.
    fn command(&self) -> Command {
        let mut command = self.lab.clean(Command::new(&self.lab.settings.busybox));
        command.args(["nsenter", "-t", &self.holder.id().to_string(), "-n"]);
        command
    }

    fn shell(&self, script: &str) -> (i32, String) {
        let mut command = self.command();
        let output = command.arg(&self.lab.settings.busybox).args(["sh", "-ec", script]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
    }

    /// The output of a shell script that must succeed.
    #[track_caller]
    pub fn does(&self, script: &str) -> String {
        let (code, text) = self.shell(script);
        assert_eq!(code, 0, "{script}: {text}");
        text
    }

    /// Runs `create` or `run` on this host.
    pub fn call(&self, command: &str, c: &Container<'_>) -> Output {
        let log = self.lab.next_file("log");
        let call = self.lab.command(&c.runtime, &log);
        let mut whole = self.command();
        whole.arg(call.get_program()).args(call.get_args());
        whole.arg(command).arg("--bundle").arg(&c.bundle).arg(&c.id);
        self.lab.collect(&c.runtime, whole, &log)
    }

    /// Runs a script in a container that has the devices.
    #[track_caller]
    fn inside(&self, devices: Value, edit: impl FnOnce(&mut Value), script: &str) -> String {
        let c = self.container(&self.lab.tare, devices, edit, script);
        self.call("run", &c).ok().trim_end().to_owned()
    }

    fn container(
        &self,
        runtime: &Runtime,
        devices: Value,
        edit: impl FnOnce(&mut Value),
        script: &str,
    ) -> Container<'l> {
        let mut c = self.lab.container_of(runtime, &["sh", "-c", script]);
        c.edit(|v| {
            v["linux"]["netDevices"] = devices;
            edit(v);
        });
        c
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Both ends up, so that addresses of IPv6 are there at once.
const UP: &str = "ip link set v0 up; ip link set v1 mtu 1400 address 02:00:00:00:00:07 up";
const ADDRESSES: &str = "ip addr add 10.1.2.3/24 dev v1; ip addr add 10.1.2.4/24 dev v1; \
    ip addr add 10.9.0.1 peer 10.9.0.2/32 dev v1; ip addr add 127.0.0.33/32 dev v1 scope host";
const IPV6: &str = "ip addr add fd00:1::5/64 dev v1";

/// What a device has: mtu, address and the like, one a line.
const SHOW: &str =
    "ip addr show dev v1 | grep -oE 'mtu [0-9]+|ether [0-9a-f:]+|[<,]UP|inet6? [0-9].*|inet6 fd[^ ]*'";

fn nothing(_: &mut Value) {}

fn has_ipv6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

/// Whatever was set on the device and is valid everywhere, of both families; the rest belongs to the host.
fn moved_with_all_that_it_has(lab: &Lab) -> Outcome {
    lab.not_runc("takes the device down first, which removes addresses of IPv6, and forgets peers")?;
    let host = Host::new(lab)?;
    host.does(&format!("{UP}; {ADDRESSES}"));
    let mut want = vec![
        ",UP",
        "mtu 1400",
        "ether 02:00:00:00:00:07",
        "inet 10.1.2.3/24 scope global v1",
        "inet 10.9.0.1 peer 10.9.0.2/32 scope global v1",
        "inet 10.1.2.4/24 scope global secondary v1",
    ];
    if has_ipv6() {
        host.does(IPV6);
        want.push("inet6 fd00:1::5/64");
    }
    let inside = host.inside(json!({"v1": {}}), nothing, SHOW);
    assert_eq!(inside.lines().collect::<Vec<_>>(), want);
    // It has ended with its namespace, and so has the other end.
    eventually("the end of the other device", || (!host.does("ip link").contains("v0")).then_some(()));
    Ok(())
}

fn moved_with_what_runc_moves(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    if runc.is_runc_before(1, 4) {
        return Err(Skip("RUNC is before 1.4".into()));
    }
    let show = |runtime: &Runtime| -> Result<String, Skip> {
        let host = Host::new(lab)?;
        host.does(&format!("{UP}; ip addr add 10.1.2.3/24 brd + dev v1; ip addr add 127.0.0.33/32 dev v1"));
        let c =
            host.container(runtime, json!({"v1": {"name": "eth0"}}), nothing, &SHOW.replace("v1", "eth0"));
        Ok(host.call("run", &c).ok().to_owned())
    };
    let (ours, theirs) = (show(&lab.tare)?, show(&runc)?);
    assert!(ours.contains("inet 10.1.2.3/24 brd 10.1.2.255 scope global eth0"), "{ours}");
    assert_eq!(ours, theirs);
    Ok(())
}

fn given_another_name(lab: &Lab) -> Outcome {
    let host = Host::new(lab)?;
    // As two devices of which each gets the name of the other.
    let devices = json!({"v0": {"name": "v1"}, "v1": {"name": "v0"}});
    host.does("ip link set v1 mtu 1400");
    assert_eq!(
        host.inside(devices, nothing, &format!("cat /sys/class/net/v0/mtu; {LIST}")),
        "1400\nlo\nv0\nv1"
    );
    let host = Host::new(lab)?;
    assert_eq!(host.inside(json!({"v1": {"name": "eth0.5"}}), nothing, LIST), "eth0.5\nlo");
    Ok(())
}

/// The specification's `%d`.
fn given_the_first_name_that_is_free(lab: &Lab) -> Outcome {
    lab.not_runc("does not find the device again")?;
    let host = Host::new(lab)?;
    let devices = json!({"v0": {"name": "eth%d"}, "v1": {"name": "eth%d"}});
    let script = format!("{LIST}; cat /sys/class/net/eth1/mtu");
    host.does("ip link set v1 mtu 1400");
    assert_eq!(host.inside(devices, nothing, &script), "eth0\neth1\nlo\n1400");
    Ok(())
}

fn there_before_sysctls_and_hooks(lab: &Lab) -> Outcome {
    let host = Host::new(lab)?;
    let edit = |v: &mut Value| {
        v["linux"]["sysctl"]["net.ipv4.conf.v1.rp_filter"] = json!("2");
        let path = lab.settings.busybox.to_str().unwrap();
        v["hooks"]["createContainer"] = json!([{"path": path, "args": ["ip", "link", "show", "dev", "v1"]}]);
    };
    assert_eq!(host.inside(json!({"v1": {}}), edit, "cat /proc/sys/net/ipv4/conf/v1/rp_filter"), "2");
    Ok(())
}

fn moved_into_a_user_namespace(lab: &Lab) -> Outcome {
    let host = Host::new(lab)?;
    host.does(&format!("{UP}; ip addr add 10.1.2.3/24 dev v1"));
    let mapped = |v: &mut Value| {
        set_namespace(v, "user", None);
        let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        (v["linux"]["uidMappings"], v["linux"]["gidMappings"]) = (map.clone(), map);
    };
    let shown = host.inside(json!({"v1": {"name": "eth0"}}), mapped, "ip addr show dev eth0");
    assert!(shown.contains("inet 10.1.2.3/24") && shown.contains(",UP"), "{shown}");
    Ok(())
}

/// As engines prepare it: the namespace is there before the container, and so is the device after it.
fn moved_into_a_joined_namespace(lab: &Lab) -> Outcome {
    let (host, network) = (Host::new(lab)?, Host::new(lab)?);
    host.does(&format!("{UP}; ip addr add 10.1.2.3/24 dev v1"));
    let path = format!("/proc/{}/ns/net", network.holder.id());
    let join = |v: &mut Value| set_namespace(v, "network", Some(&path));
    host.inside(json!({"v1": {"name": "eth0"}}), join, "true");
    assert!(network.does("ip addr show dev eth0").contains("inet 10.1.2.3/24"));
    host.does("! ip link show dev v1");
    // A user namespace beside it has no rights over it; the runtime has.
    network.does(&format!("ip link set eth0 netns {}", host.holder.id()));
    host.does("ip link set eth0 name v1");
    let join = |v: &mut Value| {
        set_namespace(v, "network", Some(&path));
        set_namespace(v, "user", None);
        let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        (v["linux"]["uidMappings"], v["linux"]["gidMappings"]) = (map.clone(), map);
        // What it may not mount there.
        crate::harness::bundle::without_mount(v, "/sys");
        crate::harness::bundle::without_mount(v, "/sys/fs/cgroup");
    };
    host.inside(json!({"v1": {"name": "eth0"}}), join, "true");
    network.does("ip link show dev eth0");
    Ok(())
}

fn one_is_missing(lab: &Lab) -> Outcome {
    let host = Host::new(lab)?;
    host.does(&format!("{UP}; {ADDRESSES}"));
    let before = host.does("ip addr show dev v1 | grep 'inet '");
    // The first is moved before the second is looked for.
    let c = host.container(&lab.tare, json!({"v1": {}, "v9": {}}), nothing, "true");
    let run = host.call("run", &c);
    run.fails_with("unable to start container process: error creating network interfaces: move netDevice v9");
    if lab.tare.name() == "tare" {
        run.fails_with("v9: no such device");
        assert_eq!(host.does("ip addr show dev v1 | grep 'inet '"), before);
    }
    Ok(())
}

fn a_name_is_taken(lab: &Lab) -> Outcome {
    let host = Host::new(lab)?;
    let c = host.container(&lab.tare, json!({"v1": {"name": "lo"}}), nothing, "true");
    let run = host.call("run", &c);
    run.fails_with("error creating network interfaces: move netDevice v1");
    run.fails_with("file exists");
    if lab.tare.name() == "tare" {
        host.does("ip link show dev v1");
    }
    // Its old name may be taken there, when it gets another one.
    let (host, network) = (Host::new(lab)?, Host::new(lab)?);
    let path = format!("/proc/{}/ns/net", network.holder.id());
    let join = |v: &mut Value| set_namespace(v, "network", Some(&path));
    host.inside(json!({"v1": {"name": "eth0"}}), join, "true");
    network.does("ip link show dev v1; ip link show dev eth0");
    Ok(())
}

/// What the host's `ip` shows of a device before and after a hook has prevented the container.
pub fn after_a_failure(lab: &Lab, runtime: &Runtime) -> Result<(String, String), Skip> {
    let host = Host::new(lab)?;
    host.does(&format!("{UP}; {ADDRESSES}"));
    let show = || host.shell(SHOW).1;
    let before = show();
    let fail = |v: &mut Value| v["hooks"]["createRuntime"] = json!([{"path": "/bin/false"}]);
    let c = host.container(runtime, json!({"v0": {}, "v1": {"name": "eth0"}}), fail, "true");
    assert_eq!(host.call("create", &c).code, 1);
    Ok((before, show()))
}

/// The addresses of IPv6 that a device has in the container which it was up for.
pub fn ipv6_inside(lab: &Lab, runtime: &Runtime) -> Result<String, Skip> {
    let host = Host::new(lab)?;
    host.does(&format!("{UP}; {IPV6}"));
    let script = "ip addr show dev v1 | grep -o 'fd[0-9a-f:/]*'; exit 0";
    let c = host.container(runtime, json!({"v1": {}}), nothing, script);
    Ok(host.call("run", &c).ok().trim_end().to_owned())
}

/// The devices in a container that gets `v1` as `eth%d`.
pub fn named_by_template(lab: &Lab, runtime: &Runtime) -> Result<String, Skip> {
    let host = Host::new(lab)?;
    let c = host.container(runtime, json!({"v1": {"name": "eth%d"}}), nothing, &format!("echo $({LIST})"));
    let run = host.call("run", &c);
    Ok(format!("{}{}", run.out, run.err).trim_end().to_owned())
}

fn given_back_when_the_container_is_not_made(lab: &Lab) -> Outcome {
    lab.not_runc("lets virtual devices end with the namespace")?;
    let (before, after) = after_a_failure(lab, &lab.tare)?;
    assert!(before.contains("inet 127.0.0.33/32") && before.contains(" peer "), "{before}");
    assert_eq!(before, after);
    // One of the program: it is told after the move as well.
    let host = Host::new(lab)?;
    let missing = |v: &mut Value| v["process"]["args"] = json!(["/nope"]);
    let c = host.container(&lab.tare, json!({"v1": {"name": "eth0"}}), missing, "true");
    assert_eq!(host.call("run", &c).code, 1);
    host.does("ip link show dev v1");
    Ok(())
}

fn refused_without_a_network_namespace(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 4)?;
    let text = "unable to move network devices without a NET namespace";
    let run = lab.run(&["true"], |v| {
        without_namespace(v, "network");
        v["linux"]["netDevices"] = json!({"v1": {}});
    });
    run.fails(1, &format!("RT run failed: {text} (linux.netDevices)"));
    for name in ["a/b", "a b", "..", "seventeen-letters"] {
        let run = lab.run(&["true"], |v| v["linux"]["netDevices"] = json!({"v1": {"name": name}}));
        run.fails_with(&format!("invalid network device name {name:?}"));
    }
    if lab.tare.name() == "tare" {
        // The runtime's own, by its path.
        let run = lab.run(&["true"], |v| {
            set_namespace(v, "network", Some("/proc/self/ns/net"));
            v["linux"]["netDevices"] = json!({"v1": {}});
        });
        run.fails_with(text);
    }
    Ok(())
}

/// Who may not move a device would only find out in the middle of it.
fn refused_without_rights_over_the_host(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 4)?;
    let text = "RT run failed: network devices are not supported for rootless containers (linux.netDevices)";
    let alice = User::new(lab, ALICE);
    let edit = |v: &mut Value| {
        set_namespace(v, "network", None);
        v["linux"]["netDevices"] = json!({"v1": {}});
    };
    let bundle = alice.bundle(&["true"], edit);
    alice.call(&["run", "--bundle", bundle.to_str().unwrap(), "c"]).fails(1, text);
    let mut c = lab.container(&["true"]);
    c.edit(edit);
    // A user's systemd would be asked before.
    let run = lab.finish_by_files(|call| {
        call.args(["--rootless", "true", "run", "--bundle"]).arg(&c.bundle).arg(&c.id);
    });
    run.fails(1, text);
    Ok(())
}

fn features_say_so(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 4)?;
    let features: Value = serde_json::from_str(lab.call(&["features"]).ok()).unwrap();
    assert_eq!(features["linux"]["netDevices"], json!({"enabled": true}));
    Ok(())
}
