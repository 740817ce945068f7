//! What runc says to a wrong config.json, measured on runc 1.5, as a table; and what we add to it.

use std::fs;

use crate::golden::{Row, Words};
use crate::harness::bundle::{mount, push, without_namespace};
use crate::harness::{Container, Value, json};

use Words::{Field, Has, Ours, Same, Then};

/// The common beginnings.
const INIT: &str = "RT run failed: unable to start container process: error during container init: ";

/// A row about an edit of the config, run in the foreground.
fn row(what: &'static str, edit: fn(&mut Value), code: i32, text: &str, words: Words) -> Row {
    let setup = Box::new(move |c: &mut Container| {
        c.edit(edit);
    });
    Row::new(what, setup, &["run"], code, text, words)
}

pub fn rows() -> Vec<Row> {
    let mut rows = files();
    rows.extend(process());
    rows.extend(mounts());
    rows.extend(linux());
    rows.extend(hooks());
    rows
}

/// The file as a whole.
fn files() -> Vec<Row> {
    let file = |what, text: Option<&'static str>, message, words| {
        let setup = Box::new(move |c: &mut Container| {
            let path = c.bundle.join("config.json");
            text.map_or_else(|| fs::remove_file(&path).unwrap(), |text| fs::write(&path, text).unwrap());
        });
        Row::new(what, setup, &["run"], 1, message, words)
    };
    vec![
        file("no config.json", None, "RT run failed: JSON specification file config.json not found", Same),
        file("broken JSON", Some("{\"process\":"), "RT run failed: unexpected EOF", Has("unexpected EOF")),
        file("null", Some("null"), "RT run failed: config cannot be null", Same).newer(),
    ]
}

fn process() -> Vec<Row> {
    vec![
        row(
            "no rootfs",
            |v| v["root"]["path"] = json!("nope"),
            1,
            "RT run failed: invalid rootfs: stat BUNDLE/nope: no such file or directory",
            Field("root.path"),
        )
        .newer(),
        row(
            "no args",
            |v| v["process"]["args"] = json!([]),
            1,
            "RT run failed: args must not be empty",
            Field("process.args"),
        ),
        row(
            "relative cwd",
            |v| v["process"]["cwd"] = json!("rel"),
            1,
            "RT run failed: Cwd must be an absolute path",
            Field("process.cwd"),
        ),
        row(
            "empty cwd",
            |v| v["process"]["cwd"] = json!(""),
            1,
            "RT run failed: Cwd property must not be empty",
            Field("process.cwd"),
        ),
        row(
            "no process",
            |v| drop(v.as_object_mut().unwrap().remove("process")),
            1,
            "RT run failed: process property must not be empty",
            Same,
        ),
        row(
            "unknown capability",
            |v| push(&mut v["process"]["capabilities"]["bounding"], json!("CAP_BOGUS")),
            0,
            "",
            Same,
        )
        .warns(&["ignoring unknown or unavailable capabilities: [CAP_BOGUS]"]),
        row(
            "ambient but not inheritable",
            |v| v["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]),
            0,
            "",
            Same,
        )
        .warns(&["can't raise ambient capability CAP_KILL: operation not permitted"])
        .newer(),
        row(
            "unknown rlimit",
            |v| v["process"]["rlimits"] = json!([{"type": "RLIMIT_BOGUS", "hard": 1, "soft": 1}]),
            1,
            "RT run failed: wrong rlimit value: RLIMIT_BOGUS",
            Field("process.rlimits[0].type"),
        ),
        row(
            "unknown scheduler",
            |v| v["process"]["scheduler"] = json!({"policy": "SCHED_BOGUS"}),
            1,
            &format!("{INIT}invalid scheduler policy: SCHED_BOGUS"),
            Ours("RT run failed: invalid scheduler policy: SCHED_BOGUS (process.scheduler.policy)"),
        )
        .newer(),
        row(
            "I/O priority out of range",
            |v| v["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 9}),
            1,
            "RT run failed: invalid ioPriority.Priority: 9",
            Field("process.ioPriority.priority"),
        )
        .newer(),
        row("unknown version", |v| v["ociVersion"] = json!("9.9.9"), 0, "", Same),
        row("empty version", |v| v["ociVersion"] = json!(""), 0, "", Same),
    ]
}

fn mounts() -> Vec<Row> {
    vec![
        row("bind of what is not there", |v| mount(v, "/x", "bind", "/does/not/exist", &["bind"]), 1,
            &format!("{INIT}failed to fulfil mount request: open /does/not/exist: no such file or directory"),
            Has("failed to fulfil mount request: open /does/not/exist: no such file or directory")).newer(),
        row("directory over a file", |v| mount(v, "/bin/busybox", "bind", "/etc", &["bind"]), 1,
            &format!("{INIT}error mounting \"/etc\" to rootfs at \"/bin/busybox\": mount src=/etc, dst=/bin/busybox, flags=MS_BIND: not a directory"),
            Has("not a directory")).newer(),
        row("file over a directory", |v| mount(v, "/etc", "bind", "/etc/passwd", &["bind"]), 1,
            &format!("{INIT}error mounting \"/etc/passwd\" to rootfs at \"/etc\": mount src=/etc/passwd, dst=/etc, flags=MS_BIND: not a directory"),
            Has("not a directory")).newer(),
        row("relative destination", |v| mount(v, "rel", "tmpfs", "tmpfs", &[]), 0, "", Same)
            .warns(&["mount destination rel is not absolute. Support for non-absolute mount destinations will be removed in a future release."]).newer(),
        row("unknown file system", |v| mount(v, "/y", "bogusfs", "x", &[]), 1,
            &format!("{INIT}error mounting \"x\" to rootfs at \"/y\": mount src=x, dst=/y: no such device"),
            Ours("RT run failed: unable to start container process: error during container init: error mounting \"x\" to rootfs at \"/y\": fsopen bogusfs: no such device")).newer(),
        row("unknown mount option", |v| mount(v, "/tmp", "tmpfs", "x", &["bogus=1"]), 1,
            &format!("{INIT}error mounting \"x\" to rootfs at \"/tmp\": mount src=x, dst=/tmp, data=mode=1777,bogus=1: invalid argument"),
            Has("error mounting \"x\" to rootfs at \"/tmp\": fsconfig tmpfs bogus=1")).newer(),
    ]
}

fn linux() -> Vec<Row> {
    vec![
        row("unknown namespace", |v| push(&mut v["linux"]["namespaces"], json!({"type": "bogus"})), 1,
            "RT run failed: namespace {\"bogus\" \"\"} does not exist", Field("linux.namespaces[5]")),
        row("namespace twice", |v| push(&mut v["linux"]["namespaces"], json!({"type": "pid"})), 1,
            "RT run failed: malformed spec file: duplicated ns {\"pid\" \"\"}", Field("linux.namespaces[5]")),
        row("no mount namespace", |v| without_namespace(v, "mount"), 1,
            "RT run failed: unable to restrict sys entries without a private MNT namespace",
            Has("unable to restrict sys entries without a private MNT namespace")),
        row("hostname as sysctl", |v| v["linux"]["sysctl"] = json!({"kernel.hostname": "x"}), 1,
            "RT run failed: sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
            Field("linux.sysctl.kernel.hostname")).newer(),
        row("sysctl of the host", |v| v["linux"]["sysctl"] = json!({"vm.swappiness": "1"}), 1,
            "RT run failed: sysctl \"vm.swappiness\" is not in a separate kernel namespace",
            Field("linux.sysctl.vm.swappiness")).newer(),
        row("unknown sysctl", |v| v["linux"]["sysctl"] = json!({"net.bogus.x": "1"}), 1,
            &format!("{INIT}open sysctl net.bogus.x file: unsafe procfs detected: openat2 fsmount:fscontext:proc/./sys/net/bogus/x: no such file or directory"),
            Has("net.bogus.x")).newer(),
        row("unknown propagation", |v| v["linux"]["rootfsPropagation"] = json!("bogus"), 1,
            "RT run failed: rootfsPropagation=bogus is not supported", Field("linux.rootfsPropagation")),
        row("hostname without its namespace", |v| without_namespace(v, "uts"), 1,
            "RT run failed: unable to set hostname without a private UTS namespace", Same),
        row("unknown device type",
            |v| v["linux"]["devices"] = json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]), 1,
            "RT run failed: invalid device type \"z\"", Field("linux.devices[0].type")),
        row("unknown personality", |v| v["linux"]["personality"] = json!({"domain": "BOGUS"}), 1,
            "RT run failed: invalid personality domain BOGUS", Field("linux.personality.domain")).newer(),
        row("seccomp action", |v| v["linux"]["seccomp"] = json!({"defaultAction": "BOGUS"}), 1,
            "RT run failed: string BOGUS is not a valid action for seccomp", Field("linux.seccomp.defaultAction")),
        row("user namespace without maps", |v| push(&mut v["linux"]["namespaces"], json!({"type": "user"})), 1,
            "RT run failed: user namespaces enabled, but no uid mappings found", Has("(linux.gidMappings)")).newer(),
        row("user that is not mapped", |v| {
            push(&mut v["linux"]["namespaces"], json!({"type": "user"}));
            v["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1}]);
            v["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 100}]);
            v["process"]["user"] = json!({"uid": 1, "gid": 0});
        }, 1, "", Has("unmapped uid 1 in user namespace")).ours_only(),
        row("resctrl", |v| v["linux"]["intelRdt"] = json!({"closID": "x"}), 1,
            "RT run failed: intelRdt is specified in config, but Intel RDT is not enabled", Then(" (linux.intelRdt)")).newer(),
        row("idmapped mount of no groups", |v| {
            mount(v, "/tmp", "bind", "/etc", &["bind"]);
            v["mounts"][7]["uidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        }, 1, "", Has("mappings specified (mounts[7].gidMappings)")).ours_only(),
    ]
}

fn hooks() -> Vec<Row> {
    let hook = |kind: &'static str, hook: Value| {
        Box::new(move |c: &mut Container| {
            c.edit(|v| v["hooks"][kind] = json!([hook]));
        })
    };
    let fails = || json!({"path": "/bin/false"});
    let exit = |kind: &'static str, code: i32, prefix: &str| {
        let text = format!("{prefix}error running {kind} hook #0: exit status 1, stdout: , stderr: ");
        Row::new(kind, hook(kind, fails()), &["run"], code, &text, Then(", path: /bin/false"))
    };
    let oops = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo oops >&2; exit 3"]});
    let slow = json!({"path": "/bin/sleep", "args": ["sleep", "5"], "timeout": 1});
    let missing = "fork/exec /nohook: no such file or directory";
    vec![
        exit("prestart", 1, INIT).newer(),
        exit("createRuntime", 1, INIT).newer(),
        exit("createContainer", 1, INIT).newer(),
        exit("startContainer", 255, "").late().newer(),
        exit("poststart", 1, "RT run failed: ").newer(),
        Row::new("poststop", hook("poststop", fails()), &["run"], 0, "", Same)
            .warns(&["unable to destroy container: error running poststop hook #0: exit status 1, stdout: , stderr: "]).newer(),
        Row::new("hook with output", hook("createRuntime", oops), &["run"], 1,
            &format!("{INIT}error running createRuntime hook #0: exit status 3, stdout: , stderr: oops"), Then(", path: /bin/sh")).newer(),
        Row::new("missing hook", hook("createContainer", json!({"path": "/nohook"})), &["run"], 1,
            &format!("{INIT}error running createContainer hook #0: {missing}"), Same).newer(),
        Row::new("missing startContainer hook", hook("startContainer", json!({"path": "/nohook"})), &["run"], 255,
            &format!("error running startContainer hook #0: {missing}"), Same).late().newer(),
        Row::new("slow hook", hook("createRuntime", slow), &["run"], 1,
            &format!("{INIT}error running createRuntime hook #0: hook ran past specified timeout of 1.0s"),
            Then(", stdout: , stderr: , path: /bin/sleep")).newer(),
    ]
}
