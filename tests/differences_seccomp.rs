//! The rows of the table in `differences.rs` that are about seccomp profiles.

use crate::differences::{Difference, stderr_of};
use crate::harness::{Lab, Runtime, Skip, Value, json};
use crate::seccomp::{but, calls_of, condition, only, rule};

/// What comes of some calls under a profile, or the first line of the error.
fn calls(lab: &Lab, runtime: &Runtime, profile: Value, calls: &[&str]) -> String {
    match calls_of(lab, &mut lab.container_of(runtime, &[]), profile, calls) {
        Ok(output) => {
            [output.out.lines().collect::<Vec<_>>().join(", "), output.err].concat().trim_end().to_owned()
        }
        Err(Skip(why)) => why,
    }
}

/// Rules that forbid getpgid for some values of its argument, each with its own errno.
fn forbidding(conditions: &[(&str, u64, u64)]) -> Value {
    let forbid = |(op, value, errno): &(&str, u64, u64)| {
        let mut forbid = rule(&["getpgid"], "ERRNO");
        forbid["errnoRet"] = json!(errno);
        forbid["args"] = json!([condition(0, op, *value, 0)]);
        forbid
    };
    but(conditions.iter().map(forbid).collect())
}

pub const ROWS: &[Difference] = &[
    Difference {
        what: "Names in a seccomp profile that are no system call of any architecture",
        runc: "",
        tare: "linux.seccomp.syscalls: unknown system calls: gettpid; nothing is done about them",
        why: "A misspelt name leaves a call allowed, or forbidden. With crun's annotation \
              `run.oci.seccomp_fail_unknown_syscall` it is an error.",
        probe: |lab, runtime| {
            let mut c = lab.container_of(runtime, &["true"]);
            c.edit(|v| v["linux"]["seccomp"] = but(json!([rule(&["gettpid"], "ERRNO")])));
            c.run(&[]).messages("warning").join(" ")
        },
    },
    Difference {
        what: "`errnoRet` beside an action that has no errno",
        runc: "",
        tare: "tare run failed: SCMP_ACT_LOG has no errno (linux.seccomp.syscalls[0].errnoRet)",
        why: "The specification asks for an error.",
        probe: |lab, runtime| {
            let mut log = rule(&["getppid"], "LOG");
            log["errnoRet"] = json!(1);
            stderr_of(lab, runtime, |c| {
                c.edit(|v| v["linux"]["seccomp"] = but(json!([log])));
            })
        },
    },
    Difference {
        what: "An `errnoRet` that is none: more than 4095",
        runc: "",
        tare: "tare run failed: 65537 is more than 4095 (linux.seccomp.syscalls[0].errnoRet)",
        why: "What is left of the number in 16 bits is another errno, and the kernel makes 4095 of what is above that.",
        probe: |lab, runtime| {
            let mut forbid = rule(&["getppid"], "ERRNO");
            forbid["errnoRet"] = json!(65537);
            stderr_of(lab, runtime, |c| {
                c.edit(|v| v["linux"]["seccomp"] = but(json!([forbid])));
            })
        },
    },
    Difference {
        what: "A seccomp profile that also names machines of the other byte order",
        runc: "…error adding architecture to seccomp filter: numerical argument out of domain",
        tare: "",
        why: "The same profile serves on several machines. The kernel never speaks of an architecture that it is not.",
        probe: |lab, runtime| {
            let mut profile = but(json!([rule(&["getsid"], "ERRNO")]));
            profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X"]);
            stderr_of(lab, runtime, |c| {
                c.edit(|v| v["linux"]["seccomp"] = profile);
            })
        },
    },
    Difference {
        what: "Two actions for the same call with the same arguments in a seccomp profile",
        runc: "…error adding seccomp rule for syscall getpgid: …",
        tare: "getpgid:7 errno 98",
        why: "The first one counts, as with runc for calls without conditions.",
        probe: |lab, runtime| {
            calls(lab, runtime, forbidding(&[("EQ", 7, 98), ("EQ", 7, 99)]), &["getpgid:7"])
        },
    },
    Difference {
        what: "Two ranges of the same argument in a seccomp profile",
        runc: "getpgid:5 errno 99",
        tare: "getpgid:5 errno 3",
        why: "Only what is above 0x100000000 or below 3 is forbidden there. The program of libseccomp then compares \
              one half of the argument with what is meant for the other.",
        probe: |lab, runtime| {
            calls(lab, runtime, forbidding(&[("GT", 0x1_0000_0000, 99), ("LT", 3, 99)]), &["getpgid:5"])
        },
    },
    Difference {
        what: "A seccomp profile that has just what the program needs, with `noNewPrivileges`",
        runc: "runc run failed: container process is already dead",
        tare: "getppid ok, getsid killed 31",
        why: "The filter is loaded last of all, and execve is all that follows. runc's own process, with its threads, \
              is subject to it for longer.",
        probe: |lab, runtime| {
            let mut profile = only(&["getppid"]);
            profile["defaultAction"] = json!("SCMP_ACT_KILL_PROCESS");
            calls(lab, runtime, profile, &["getppid", "getsid"])
        },
    },
];
