//! Where we deliberately differ from runc: one table, which `docs/runc-differences.md` shows to users.
//!
//! Each row is probed on both, so that a difference that has gone does not stay in the document.

use std::fs;
use std::process::{Command, Stdio};

use crate::descriptors::{listed_by_run, owner_after_run};
use crate::golden::matches;
use crate::harness::bundle::{mount, without_namespace};
use crate::harness::runtime::wait;
use crate::harness::{Container, Lab, Outcome, Runtime, Skip, Value, eventually, json, settings, tests};
use crate::notify::{Host, ends_before_it_is_ready, ready_after_another_line};

tests![
    we_still_differ,
    runc_still_differs,
    we_still_differ_by_security_modules,
    runc_still_differs_by_security_modules,
    document_is_this_table
];

/// The document, kept here for where the suite runs without its checkout.
const DOCUMENT: &str = include_str!("../docs/runc-differences.md");

/// One deliberate difference. In `runc` and `tare`, `…` stands for any text.
pub struct Difference {
    pub what: &'static str,
    pub runc: &'static str,
    pub tare: &'static str,
    pub why: &'static str,
    /// What a runtime shows of it.
    pub probe: fn(&Lab, &Runtime) -> String,
}

/// The container of a probe, run in the foreground; the first line of stderr.
pub fn stderr_of(lab: &Lab, runtime: &Runtime, edit: impl FnOnce(&mut Container)) -> String {
    let mut c = lab.container_of(runtime, &["true"]);
    edit(&mut c);
    c.run(&[]).err.lines().next().unwrap_or_default().replace(c.bundle.to_str().unwrap(), "BUNDLE")
}

/// What a call prints that a shell makes after `script`.
pub fn after(lab: &Lab, runtime: &Runtime, script: &str, args: &[&str]) -> String {
    let path = lab.next_file("after");
    let file = fs::File::create(&path).unwrap();
    let call = lab.command(runtime, &lab.next_file("log"));
    let mut shell = lab.clean(Command::new(&lab.settings.busybox));
    shell.args(["sh", "-c", &format!("{script}; exec \"$@\""), "sh"]).arg(call.get_program());
    shell.args(call.get_args()).args(args).stdout(file);
    assert_eq!(wait(shell.spawn().unwrap()), 0);
    // A detached container prints it later.
    eventually("some output", || {
        Some(fs::read_to_string(&path).unwrap().trim_end().to_owned()).filter(|t| !t.is_empty())
    })
}

/// One field of the mount at `/home/user` in `/proc/self/mountinfo`.
fn mount_of(lab: &Lab, runtime: &Runtime, field: usize, edit: impl FnOnce(&mut Value)) -> String {
    let script = format!("grep ' /home/user ' /proc/self/mountinfo | cut -d' ' -f{field}");
    let mut c = lab.container_of(runtime, &["sh", "-c", &script]);
    c.edit(edit);
    c.run(&[]).out.trim_end().to_owned()
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        what: "Name in messages",
        runc: "runc run failed: invalid container ID format",
        tare: "tare run failed: invalid container ID format",
        why: "It is another program. Called by the name `runc`, it says `runc`.",
        probe: |lab, runtime| stderr_of(lab, runtime, |c| c.id = "a/b".into()),
    },
    Difference {
        what: "Place of a fault",
        runc: "runc run failed: args must not be empty",
        tare: "tare run failed: args must not be empty (process.args)",
        why: "The field in parentheses says where to look.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                c.edit(|v| v["process"]["args"] = json!([]));
            })
        },
    },
    Difference {
        what: "Several faults",
        runc: "runc run failed: Cwd must be an absolute path",
        tare: "tare run failed: Cwd must be an absolute path (process.cwd); args must not be empty (process.args)",
        why: "All faults are told at once.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                c.edit(|v| (v["process"]["args"], v["process"]["cwd"]) = (json!([]), json!("rel")));
            })
        },
    },
    Difference {
        what: "Broken JSON",
        runc: "runc run failed: unexpected EOF",
        tare: "tare run failed: config.json: process.args: unexpected EOF…line 1…",
        why: "File, line and field are named; runc's words stay in the text.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                fs::write(c.bundle.join("config.json"), "{\"process\":{\"args\":[").unwrap()
            })
        },
    },
    Difference {
        what: "Failed mounts",
        runc: "…error mounting \"x\" to rootfs at \"/y\": mount src=x, dst=/y, dstFd=/proc/thread-self/fd/…: no such device",
        tare: "…error mounting \"x\" to rootfs at \"/y\": fsopen bogusfs: no such device",
        why: "The text names the call that failed; the number of a descriptor helps nobody.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                c.edit(|v| mount(v, "/y", "bogusfs", "x", &[]));
            })
        },
    },
    Difference {
        what: "Missing source of a bind mount",
        runc: "…container init: failed to fulfil mount request: open /nope: no such file or directory",
        tare: "…error mounting \"/nope\" to rootfs at \"/y\": failed to fulfil mount request: open /nope: no such file or directory",
        why: "The destination is named as well.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                c.edit(|v| mount(v, "/y", "bind", "/nope", &["bind"]));
            })
        },
    },
    Difference {
        what: "Hints",
        runc: "1 line",
        tare: "2 lines",
        why: "A line that begins with `hint: ` may follow the message on stderr. The log has the message alone.",
        probe: |lab, runtime| {
            let c = lab.container_of(runtime, &["sleep", "100"]);
            c.up();
            format!(
                "{} line{}",
                c.delete(&[]).err.lines().count(),
                if runtime.name() == "runc" { "" } else { "s" }
            )
        },
    },
    Difference {
        what: "Wrong scheduler",
        runc: "…error during container init: invalid scheduler policy: SCHED_BOGUS",
        tare: "tare run failed: invalid scheduler policy: SCHED_BOGUS (process.scheduler.policy)",
        why: "The config is checked before anything is made.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                c.edit(|v| v["process"]["scheduler"] = json!({"policy": "SCHED_BOGUS"}));
            })
        },
    },
    Difference {
        what: "Maps without a user namespace",
        runc: "",
        tare: "tare run failed: user namespace mappings specified, but user namespace isn't enabled in the config \
               (linux.uidMappings)",
        why: "Root of the container would be root of the host, against what the config says.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
                c.edit(|v| v["linux"]["uidMappings"] = map);
            })
        },
    },
    Difference {
        what: "Commands of a later version",
        runc: "container does not exist",
        tare: "…not supported…",
        why: "`checkpoint` and `restore` say so and do nothing.",
        probe: |lab, runtime| {
            lab.call_of(runtime, &["checkpoint", "nope"]).err.lines().next().unwrap_or_default().to_owned()
        },
    },
    Difference {
        what: "Streams of `run` without a terminal",
        runc: "pipe:…",
        tare: "/…",
        why: "The container has the caller's own streams: no process copies between them.",
        probe: |lab, runtime| {
            lab.container_of(runtime, &["readlink", "/proc/self/fd/1"]).run(&[]).out.trim_end().to_owned()
        },
    },
    Difference {
        what: "SIGINT for `run` and `exec` with a terminal",
        runc: "0",
        tare: "5",
        why: "It is passed on as every signal is. runc ends at once, and leaves the program alone without a terminal.",
        probe: crate::sessions::status_after_interrupt,
    },
    Difference {
        what: "A terminal asked for in the background",
        runc: "uses up a CPU",
        tare: "stops",
        why: "A shell expects that of every job that wants the terminal, and goes on with it by `fg`.",
        probe: crate::sessions::in_the_background,
    },
    Difference {
        what: "The terminal after a stop and `fg`",
        runc: "as it was left",
        tare: "raw",
        why: "A shell has changed it meanwhile. The size is looked at again as well.",
        probe: crate::sessions::terminal_after_a_stop,
    },
    Difference {
        what: "Why a program can't be executed",
        runc: "exec /bin/odd: no such file or directory",
        tare: "exec /bin/odd: no such file or directory: its interpreter /nope is not in the container",
        why: "The file that is there is not the one that is missing. Other causes of other errors are told as well.",
        probe: |lab, runtime| {
            let c = lab.container_of(runtime, &["/bin/odd"]);
            crate::process::write_executable(&c.rootfs("bin/odd"), "#!/nope\n");
            c.run(&[]).err.trim_end().to_owned()
        },
    },
    Difference {
        what: "Why a program may not be executed",
        runc: "…exec: \"/etc/passwd\": permission denied",
        tare: "…exec: \"/etc/passwd\": permission denied: it is not executable, its mode is 0644",
        why: "It may be the mode, the user, or a mount with `noexec`. A name that is found nowhere else in `PATH` has it as well.",
        probe: |lab, runtime| lab.container_of(runtime, &["/etc/passwd"]).run(&[]).err.trim_end().to_owned(),
    },
    Difference {
        what: "Late failure of execve",
        runc: "",
        tare: "exec /bin/odd: no such file or directory: its interpreter /nope is not in the container",
        why: "The log has it too, where engines look for it.",
        probe: |lab, runtime| {
            let c = lab.container_of(runtime, &["/bin/odd"]);
            crate::process::write_executable(&c.rootfs("bin/odd"), "#!/nope\n");
            c.run(&[]).errors().join("\n")
        },
    },
    Difference {
        what: "Failed hooks",
        runc: "…hook #0: exit status 3, stdout: , stderr: one",
        tare: "…hook #0: exit status 3, stdout: , stderr: one\\ntwo, path: /bin/sh",
        why: "One line, with the path. Of much output only the end is shown. A timeout shows the output as well.",
        probe: |lab, runtime| {
            let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo one >&2; echo two >&2; exit 3"]});
            stderr_of(lab, runtime, |c| {
                c.edit(|v| v["hooks"]["createRuntime"] = json!([hook]));
            })
        },
    },
    Difference {
        what: "Warnings beside an error",
        runc: "warning,…error",
        tare: "error",
        why: "A failed call writes exactly one line to a JSON log: some engines read the log as one object.",
        probe: |lab, runtime| {
            let mut c = lab.container_of(runtime, &["true"]);
            c.edit(|v| {
                v["hooks"] =
                    json!({"prestart": [{"path": "/bin/false"}], "poststop": [{"path": "/bin/false"}]});
            });
            let levels: Vec<_> =
                c.run(&[]).log.iter().map(|l| l["level"].as_str().unwrap().to_owned()).collect();
            levels.join(", ")
        },
    },
    Difference {
        what: "`--preserve-fds` or `LISTEN_FDS` beyond what is open",
        runc: "0: ",
        tare: "1: tare run failed: unable to stat preserved-fd 2 (of 3): no such file or directory",
        why: "runc takes descriptors of its own for the caller's.",
        probe: |lab, runtime| {
            let output = crate::process::with_two_files(lab, runtime, 3);
            format!("{}: {}", output.code, output.err.trim_end())
        },
    },
    Difference {
        what: "`LISTEN_FDNAMES` of the caller",
        runc: "",
        tare: "LISTEN_FDNAMES=web",
        why: "It belongs to `LISTEN_FDS`, which both pass on.",
        probe: |lab, runtime| {
            let caller = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web";
            let output = listed_by_run(lab, runtime, caller, &[], &[]);
            output.ok().lines().filter(|line| line.contains("NAMES")).collect()
        },
    },
    Difference {
        what: "A file that `run` in the foreground writes to, for user 1000",
        runc: "7 7",
        tare: "7 1000",
        why: "Input and output of user 7. The output is the program's own stream, which it may open again as \
              `/dev/stdout`; what is only read stays with its owner, as does a terminal.",
        probe: |lab, runtime| owner_after_run(lab, runtime).map(|uid| uid.to_string()).join(" "),
    },
    Difference {
        what: "Forwarded of the signals 10, 13 (PIPE), 23 (URG) and 27 (PROF)",
        runc: "[10, 13]",
        tare: "[10, 23, 27]",
        why: "Go uses 23, 27 and 32 to 34 itself, of which one ends runc. A broken pipe, and the stops of a job in \
              the background (21 and 22), are the runtime's own here.",
        probe: |lab, runtime| format!("{:?}", crate::parent::forwarded(lab, runtime, &[10, 13, 23, 27], 12)),
    },
    Difference {
        what: "`READY=1` to `NOTIFY_SOCKET` after another line",
        runc: "",
        tare: "READY=1",
        why: "The lines of a message have no order.",
        probe: |lab, runtime| ready_after_another_line(lab, runtime),
    },
    Difference {
        what: "A container that ends before it has said `READY=1`",
        runc: "137",
        tare: "3",
        why: "runc waits for ever; here it was killed after ten seconds.",
        probe: |lab, runtime| ends_before_it_is_ready(lab, runtime).to_string(),
    },
    Difference {
        what: "`start` with a `NOTIFY_SOCKET` that `create` had not",
        runc: "1: listen unixgram …: bind: no such file or directory",
        tare: "0: NOTIFY_SOCKET was not set when the container was created: …",
        why: "A variable that is left over in an environment is a warning and no failure.",
        probe: |lab, runtime| {
            let host = Host::new(lab);
            let c = lab.container_of(runtime, &["true"]);
            c.create(&[]).ok();
            let start = lab.finish(runtime, |call| {
                call.env("NOTIFY_SOCKET", &host.name).args(["start", &c.id]);
            });
            format!("{}: {}", start.code, start.log[0]["msg"].as_str().unwrap())
        },
    },
    Difference {
        what: "`--criu`",
        runc: "Incorrect Usage: flag provided but not defined: -criu",
        tare: "",
        why: "Accepted with a warning, as older engines still give it.",
        probe: |lab, runtime| {
            let output = lab.call_of(runtime, &["--criu", "x", "list"]);
            output.err.lines().next().unwrap_or_default().to_owned()
        },
    },
    Difference {
        what: "`--rootless` with a wrong value",
        runc: "0",
        tare: "1",
        why: "A typing error is told.",
        probe: |lab, runtime| lab.call_of(runtime, &["--rootless", "bogus", "list"]).code.to_string(),
    },
    Difference {
        what: "Mount option `defaults` on a tmpfs",
        runc: "…data=…defaults: invalid argument",
        tare: "",
        why: "It is in the list of options of both, so it works.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                c.edit(|v| mount(v, "/tmp", "tmpfs", "x", &["defaults"]));
            })
        },
    },
    Difference {
        what: "No `process.capabilities`",
        runc: "CapEff: 0…f",
        tare: "CapEff: 0000000000000000",
        why: "A field that is not there gives no rights, as with runc 1.1.",
        probe: |lab, runtime| {
            let mut c =
                lab.container_of(runtime, &["sed", "-n", "s/^\\(CapEff:\\)\\t/\\1 /p", "/proc/self/status"]);
            c.edit(|v| drop(v["process"].as_object_mut().unwrap().remove("capabilities")));
            c.run(&[]).out.trim_end().to_owned()
        },
    },
    Difference {
        what: "Signals that the caller ignores",
        runc: "SigIgn: …1",
        tare: "SigIgn: 0000000000000000",
        why: "The program begins with the defaults: `nohup` before the runtime is not for the container.",
        probe: |lab, runtime| {
            let c =
                lab.container_of(runtime, &["sed", "-n", "s/^\\(SigIgn:\\)\\t/\\1 /p", "/proc/self/status"]);
            let bundle = c.bundle.to_str().unwrap();
            after(lab, runtime, "trap '' HUP", &["run", "--detach", "--bundle", bundle, &c.id])
        },
    },
    Difference {
        what: "Masked directories",
        runc: "ro,relatime",
        tare: "ro,nosuid,nodev,noexec,relatime",
        why: "Nothing in them is of use.",
        probe: |lab, runtime| {
            mount_of(lab, runtime, 6, |v| v["linux"]["maskedPaths"] = json!(["/home/user"]))
        },
    },
    Difference {
        what: "Masked and read-only paths with `linux.rootfsPropagation` `shared`",
        runc: "shared:…",
        tare: "-",
        why: "They stay the container's own: nothing is mounted in them.",
        probe: |lab, runtime| {
            mount_of(lab, runtime, 7, |v| {
                v["linux"]["rootfsPropagation"] = json!("shared");
                v["linux"]["maskedPaths"] = json!(["/home/user"]);
            })
        },
    },
    Difference {
        what: "`ro` on a mount of type `cgroup`, on cgroup version 1",
        runc: "rw",
        tare: "ro",
        why: "The directory with the hierarchies is read-only as well.",
        probe: |lab, runtime| {
            if settings::unified() {
                // There is no such directory.
                return if runtime.name() == "runc" { "rw" } else { "ro" }.to_owned();
            }
            let script = "grep ' /sys/fs/cgroup ' /proc/self/mountinfo | cut -d' ' -f6 | cut -d, -f1";
            lab.container_of(runtime, &["sh", "-c", script]).run(&[]).out.trim_end().to_owned()
        },
    },
    Difference {
        what: "Source of a mount of type `cgroup`, on cgroup version 2",
        runc: "own",
        tare: "cgroup…",
        why: "It is the host's mount, bound, which is faster; also on version 1 in a cgroup namespace. A new mount without a cgroup namespace takes flags such as `nsdelegate` off all mounts of the host.",
        probe: |lab, runtime| {
            if !settings::unified() {
                return if runtime.name() == "runc" { "own" } else { "cgroup" }.to_owned();
            }
            let script = "sed -n 's/.* - cgroup2 //p' /proc/self/mountinfo | cut -d' ' -f1";
            let mut c = lab.container_of(runtime, &["sh", "-c", script]);
            c.edit(|v| {
                let mounts = v["mounts"].as_array_mut().unwrap();
                mounts.iter_mut().filter(|m| m["type"] == "cgroup").for_each(|m| m["source"] = json!("own"));
            });
            c.run(&[]).out.trim_end().to_owned()
        },
    },
    Difference {
        what: "`atime` and `norelatime` on a bind mount of what is mounted `noatime`",
        runc: "rw,noatime",
        tare: "rw…relatime",
        why: "What is asked for is done.",
        probe: |lab, runtime| {
            mount_of(lab, runtime, 6, |v| {
                mount(v, "/tmp", "tmpfs", "tmpfs", &["noatime"]);
                let source = format!("{}/tmp", v["root"]["path"].as_str().unwrap());
                mount(v, "/home/user", "bind", &source, &["bind", "atime"]);
            })
        },
    },
    Difference {
        what: "Mounts without a mount namespace",
        runc: "",
        tare: "…unable to mount anything without a private MNT namespace (mounts)…",
        why: "They would be made on the host, and stay there.",
        probe: |lab, runtime| {
            let mut c = lab.container_of(runtime, &["true"]);
            c.edit(|v| {
                without_namespace(v, "mount");
                (v["linux"]["maskedPaths"], v["linux"]["readonlyPaths"]) = (json!([]), json!([]));
                v["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
            });
            let err = c.run(&[]).err;
            // What runc has left there.
            for mounted in ["proc", ""] {
                let mut command = lab.clean(Command::new(&lab.settings.busybox));
                command.arg("umount").arg("-l").arg(c.rootfs(mounted)).stderr(Stdio::null());
                command.status().unwrap();
            }
            err.lines().next().unwrap_or_default().to_owned()
        },
    },
    Difference {
        what: "Text of a failed call to the kernel",
        runc: "…error setting rlimit type 7: invalid argument",
        tare: "…error setting rlimit type RLIMIT_NOFILE: prlimit resource=7, soft=2, hard=1: invalid argument",
        why: "The call and its arguments are named.",
        probe: |lab, runtime| {
            stderr_of(lab, runtime, |c| {
                c.edit(|v| {
                    v["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 1, "soft": 2}]);
                });
            })
        },
    },
    Difference {
        what: "`--preserve-fds` below 0",
        runc: "0",
        tare: "1",
        why: "A typing error is told.",
        probe: |lab, runtime| {
            let c = lab.container_of(runtime, &["true"]);
            c.run(&["--preserve-fds", "-1"]).code.to_string()
        },
    },
    Difference {
        what: "Messages of `--debug`",
        runc: "…nsexec…",
        tare: "called with …exit status 0",
        why: "They tell of the inside, which is another.",
        probe: |lab, runtime| {
            let c = lab.container_of(runtime, &["true"]);
            let bundle = c.bundle.to_str().unwrap();
            let output = lab.call_of(runtime, &["--debug", "run", "--bundle", bundle, &c.id]);
            output.messages("debug").join("; ")
        },
    },
    Difference {
        what: "Texts of `--help`",
        runc: "NAME:",
        tare: "Run containers from OCI bundles",
        why: "They are its own.",
        probe: |lab, runtime| {
            lab.bare(runtime, &["--help"]).out.lines().next().unwrap_or_default().to_owned()
        },
    },
];

/// The table, but for what depends on security modules.
fn rows() -> impl Iterator<Item = &'static Difference> {
    let more = [
        crate::differences_events::ROWS,
        crate::differences_exec::ROWS,
        crate::differences_fields::ROWS,
        crate::differences_idmap::ROWS,
        crate::differences_resources::ROWS,
        crate::differences_rootless::ROWS,
        crate::differences_seccomp::ROWS,
        crate::differences_update::ROWS,
    ];
    DIFFERENCES.iter().chain(more.into_iter().flatten())
}

/// How a probe begins that this host can't show.
const UNSEEN: [&str; 5] = ["no cgroup v", "it is about control groups", "AppArmor: ", "SELinux: ", "cc: "];

/// Probes one side of every row that this host has the control groups and security modules for.
fn probe_all<'a>(
    lab: &Lab,
    runtime: &Runtime,
    rows: impl Iterator<Item = &'a Difference>,
    side: fn(&Difference) -> &'static str,
) -> Outcome {
    let (mut faults, mut unseen) = (vec![], None);
    for row in rows {
        let got = (row.probe)(lab, runtime);
        if UNSEEN.iter().any(|why| got.starts_with(why)) {
            unseen = Some(Skip(format!("{}: {got}", row.what)));
        } else if !matches(side(row), &got) {
            faults.push(format!("{}\n    expected {:?}\n    got      {got:?}", row.what, side(row)));
        }
    }
    assert!(faults.is_empty(), "{} rows are not as written:\n{}", faults.len(), faults.join("\n"));
    unseen.map_or(Ok(()), Err)
}

fn we_still_differ(lab: &Lab) -> Outcome {
    lab.not_runc("is the other side")?;
    probe_all(lab, &lab.tare, rows(), |row| row.tare)
}

/// No host has all of these.
fn we_still_differ_by_security_modules(lab: &Lab) -> Outcome {
    lab.not_runc("is the other side")?;
    probe_all(lab, &lab.tare, crate::differences_lsm::ROWS.iter(), |row| row.tare)
}

/// The same in each of these versions.
fn runc_still_differs_by_security_modules(lab: &Lab) -> Outcome {
    probe_all(lab, &lab.runc()?, crate::differences_lsm::ROWS.iter(), |row| row.runc)
}

/// The table speaks of runc 1.5; older ones differ from that themselves.
fn runc_still_differs(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    if runc.is_runc_before(1, 5) {
        return Err(Skip("RUNC is before 1.5".into()));
    }
    probe_all(lab, &runc, rows(), |row| row.runc)
}

fn document_is_this_table(_: &Lab) -> Outcome {
    let code = |text: &str| match text {
        "" => "(no message)".to_owned(),
        _ => format!("`{}`", text.replace('|', "\\|")),
    };
    let row = |d: &Difference| format!("| {} | {} | {} | {} |", d.what, code(d.runc), code(d.tare), d.why);
    let rows: Vec<String> = rows().chain(crate::differences_lsm::ROWS).map(row).collect();
    let document: Vec<&str> =
        DOCUMENT.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| What")).collect();
    assert_eq!(document, rows, "docs/runc-differences.md should have these rows:\n{}\n", rows.join("\n"));
    Ok(())
}
