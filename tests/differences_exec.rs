//! The rows of the table in `differences.rs` that are about `exec`.

use crate::differences::{Difference, after};
use crate::harness::{Lab, Runtime, json};

/// The first line on stderr of `exec FLAGS ID true`.
fn exec_err(lab: &Lab, runtime: &Runtime, flags: &[&str]) -> String {
    let c = lab.container_of(runtime, &["sleep", "100"]);
    c.up();
    let output = lab.finish(runtime, |call| {
        call.arg("exec").args(flags).arg(&c.id).arg("true");
    });
    output.err.lines().next().unwrap_or_default().to_owned()
}

pub const ROWS: &[Difference] = &[
    Difference {
        what: "`oomScoreAdj` in the file of `exec --process`",
        runc: "0",
        tare: "321",
        why: "It holds for that process, as all of the file. Without it the process has the container's.",
        probe: |lab, runtime| {
            let c = lab.container_of(runtime, &["sleep", "100"]);
            c.up();
            let mut process = c.config["process"].clone();
            process["args"] = json!(["cat", "/proc/self/oom_score_adj"]);
            process["oomScoreAdj"] = json!(321);
            let file = lab.file("process.json", &process.to_string());
            lab.call_of(runtime, &["exec", "--process", &file, &c.id]).out.trim_end().to_owned()
        },
    },
    Difference {
        what: "umask of `exec`",
        runc: "0077",
        tare: "0022",
        why: "It is the container's, as for the first process, and not the caller's.",
        probe: |lab, runtime| {
            let c = lab.container_of(runtime, &["sleep", "100"]);
            c.up();
            after(lab, runtime, "umask 077", &["exec", &c.id, "sh", "-c", "umask"])
        },
    },
    Difference {
        what: "`exec --user` with what is no number",
        runc: "exec failed: bad uid: strconv.Atoi: parsing \"root\": invalid syntax",
        tare: "exec failed: bad uid: \"root\" is not a number from 0 to 4294967294 (--user)",
        why: "It says what would be right.",
        probe: |lab, runtime| exec_err(lab, runtime, &["--user", "root"]),
    },
    Difference {
        what: "`exec --user` with a number that is too large",
        runc: "",
        tare: "exec failed: bad uid: \"4294967296\" is not a number from 0 to 4294967294 (--user)",
        why: "It would become user 0.",
        probe: |lab, runtime| exec_err(lab, runtime, &["--user", "4294967296"]),
    },
    Difference {
        what: "Flags of `exec` that name what is not there",
        runc: "exec failed: dial unix /nope: connect: no such file or directory",
        tare: "exec failed: --console-socket: connect /nope: no such file or directory",
        why: "The flag is named.",
        probe: |lab, runtime| exec_err(lab, runtime, &["-t", "-d", "--console-socket", "/nope"]),
    },
    Difference {
        what: "`exec --cgroup` that leads out of the container's",
        runc: "exec failed: unable to start container process: …bad sub cgroup path: ..",
        tare: "exec failed: bad sub cgroup path: ..",
        why: "It is checked before anything is made.",
        probe: |lab, runtime| exec_err(lab, runtime, &["--cgroup", ".."]),
    },
    Difference {
        what: "`exec --cgroup` that is not there",
        runc: "exec failed: unable to start container process: …/nope…: no such file or directory",
        tare: "exec failed: unable to start container process: open …/nope: no such file or directory",
        why: "The directory is named; no process is made for it.",
        probe: |lab, runtime| exec_err(lab, runtime, &["--cgroup", "nope"]),
    },
    Difference {
        what: "`null` in the file of `exec --process`",
        runc: "exec failed: Cwd property must not be empty",
        tare: "exec failed: process property must not be empty",
        why: "There is no process.",
        probe: |lab, runtime| {
            let file = lab.file("null.json", "null");
            exec_err(lab, runtime, &["--process", &file])
        },
    },
    Difference {
        what: "Wrong flags in the log",
        runc: "",
        tare: "flag provided but not defined: -bogus",
        why: "The message is in the file of `--log` where that flag is before the wrong one.",
        probe: |lab, runtime| lab.call_of(runtime, &["exec", "--bogus", "x"]).errors().join("\n"),
    },
];
