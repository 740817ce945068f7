//! One life of a container, call by call, and wrong calls: exit code, stderr, log and the shape of stdout.

use crate::harness::runtime::without_hints;
use crate::harness::{Lab, Outcome, Output, Runtime};

/// A call, its exit code, its stderr, and how its stdout begins. `<id>`, `RT` and `PROGRAM` are filled in.
type Step = (&'static [&'static str], i32, &'static str, &'static str);

const LIFE: &[Step] = &[
    (&["state", "<id>"], 1, "container does not exist", ""),
    (&["CREATE", "<id>"], 0, "", ""),
    (&["state", "<id>"], 0, "", "{\n  \"ociVersion\": "),
    (&["CREATE", "<id>"], 1, "RT create failed: container with given ID already exists", ""),
    (&["start", "<id>"], 0, "", ""),
    (&["start", "<id>"], 1, "cannot start an already running container", ""),
    (&["delete", "<id>"], 1, "cannot delete container <id> that is not stopped: running", ""),
    (&["list"], 0, "", "ID "),
    (&["list", "-q"], 0, "", "<id>\n"),
    (&["list", "-f", "json"], 0, "", "[{\"ociVersion\":"),
    (&["ps", "-f", "json", "<id>"], 0, "", "["),
    (&["ps", "<id>"], 0, "", "UID "),
    (&["events", "--stats", "<id>"], 0, "", "{\"type\":\"stats\",\"id\":\""),
    (&["resume", "<id>"], 1, "container not paused", ""),
    (&["pause", "<id>"], 0, "", ""),
    (&["pause", "<id>"], 1, "container not running", ""),
    (&["start", "<id>"], 1, "cannot start a container in the paused state", ""),
    (&["delete", "<id>"], 1, "cannot delete container <id> that is not stopped: paused", ""),
    (&["kill", "<id>", "0"], 0, "", ""),
    (&["resume", "<id>"], 0, "", ""),
    (&["update", "<id>"], 0, "", ""),
    (&["update", "<id>", "--memory", "ten"], 1, "invalid value for memory: invalid size: 'ten'", ""),
    (&["update", "--memory-swap=-2", "<id>"], 1, "invalid value for memory-swap: invalid size: '-2'", ""),
    (&["update", "-r", "/nope", "<id>"], 1, "open /nope: no such file or directory", ""),
    (
        &["update", "--l3-cache-schema", "L3:0=f", "<id>"],
        1,
        "Intel RDT/CAT: l3 cache schema is not enabled",
        "",
    ),
    (
        &["update", "--mem-bw-schema", "MB:0=20", "<id>"],
        1,
        "Intel RDT/MBA: memory bandwidth schema is not enabled",
        "",
    ),
    (&["kill", "<id>", "BOGUS"], 1, "unknown signal \"BOGUS\"", ""),
    (&["kill", "<id>", "0"], 0, "", ""),
    (&["kill", "<id>", "KILL"], 0, "", ""),
    (&["WAIT", "<id>"], 0, "", ""),
    (&["kill", "<id>", "KILL"], 1, "container not running", ""),
    (&["kill", "-a", "<id>", "KILL"], 0, "", ""),
    (&["pause", "<id>"], 1, "container not running", ""),
    (&["resume", "<id>"], 1, "container not paused", ""),
    (&["update", "--pids-limit", "9", "<id>"], 1, "container not running", ""),
    (&["state", "<id>"], 0, "", "{\n  \"ociVersion\": "),
    (&["start", "<id>"], 1, "cannot start a container that has stopped", ""),
    (&["events", "--stats", "<id>"], 1, "container with id <id> is not running", ""),
    (&["delete", "<id>"], 0, "", ""),
    (&["delete", "<id>"], 1, "container does not exist", ""),
    (&["delete", "-f", "<id>"], 0, "", ""),
    (&["kill", "<id>", "KILL"], 1, "container does not exist", ""),
    (&["start", "<id>"], 1, "container does not exist", ""),
    (&["ps", "<id>"], 1, "container does not exist", ""),
    (&["events", "--stats", "<id>"], 1, "container does not exist", ""),
    (&["events", "<id>"], 1, "container does not exist", ""),
    (&["pause", "<id>"], 1, "container does not exist", ""),
    (&["resume", "<id>"], 1, "container does not exist", ""),
    (&["update", "<id>"], 1, "container does not exist", ""),
];

const WRONG: &[Step] = &[
    (&["state"], 1, "PROGRAM: \"state\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["state", "a", "b"], 1, "PROGRAM: \"state\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["create"], 1, "PROGRAM: \"create\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["run"], 1, "PROGRAM: \"run\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["start"], 1, "PROGRAM: \"start\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["delete"], 1, "PROGRAM: \"delete\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["kill"], 1, "PROGRAM: \"kill\" requires a minimum of 1 argument(s)", "Incorrect Usage.\n\n"),
    (
        &["kill", "a", "b", "c"],
        1,
        "PROGRAM: \"kill\" requires a maximum of 2 argument(s)",
        "Incorrect Usage.\n\n",
    ),
    (&["pause"], 1, "PROGRAM: \"pause\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["update"], 1, "PROGRAM: \"update\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["resume", "a", "b"], 1, "PROGRAM: \"resume\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["ps"], 1, "PROGRAM: \"ps\" requires a minimum of 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["events"], 1, "PROGRAM: \"events\" requires exactly 1 argument(s)", "Incorrect Usage.\n\n"),
    (&["list", "x"], 1, "PROGRAM: \"list\" requires exactly 0 argument(s)", "Incorrect Usage.\n\n"),
    (&["spec", "x"], 1, "PROGRAM: \"spec\" requires exactly 0 argument(s)", "Incorrect Usage.\n\n"),
    (&["features", "x"], 1, "PROGRAM: \"features\" requires exactly 0 argument(s)", "Incorrect Usage.\n\n"),
    (&["badcmd"], 3, "No help topic for 'badcmd'", ""),
    (&["run", "a/b"], 1, "RT run failed: invalid container ID format", ""),
    (&["run", ".."], 1, "RT run failed: invalid container ID format", ""),
    (&["list", "--format", "bogus"], 1, "invalid format option", ""),
];

/// Checks what is common to all steps.
fn check(output: &Output, step: &Step, id: &str) {
    let (call, code, err, out) = step;
    let program = output.runtime.program.to_str().unwrap();
    let fill = |text: &str| {
        text.replace("PROGRAM", program).replace("RT", output.runtime.name()).replace("<id>", id)
    };
    let text = fill(err);
    let head = fill(out);
    assert_eq!((output.code, without_hints(&output.err)), (*code, text.clone()), "{call:?}");
    assert!(output.out.starts_with(&head), "{call:?} prints {head:?} first: {:?}", output.out);
    assert!(!head.is_empty() || output.out.is_empty(), "{call:?} prints nothing: {:?}", output.out);
    let errors: Vec<&str> = output.errors().iter().map(|e| e.trim_end()).collect();
    assert_eq!(errors, Vec::from_iter((!text.is_empty()).then_some(text.as_str())), "log of {call:?}");
}

pub fn life(lab: &Lab, runtime: &Runtime) -> Outcome {
    let c = lab.container_of(runtime, &["sleep", "100"]);
    let bundle = c.bundle.to_str().unwrap();
    for step in LIFE {
        let (call, ..) = step;
        let words: Vec<&str> =
            call.iter().map(|word| if *word == "<id>" { c.id.as_str() } else { word }).collect();
        let output = match call[0] {
            "WAIT" => {
                c.wait_for("stopped");
                continue;
            }
            "CREATE" => lab.call_of(runtime, &["create", "-b", bundle, &c.id]),
            // The obsolete flag had another meaning before.
            "kill" if call[1] == "-a" && runtime.is_runc_before(1, 5) => continue,
            _ => lab.call_of(runtime, &words),
        };
        check(&output, step, &c.id);
    }
    Ok(())
}

pub fn wrong_calls(lab: &Lab, runtime: &Runtime) -> Outcome {
    let c = lab.container_of(runtime, &["true"]);
    for step in WRONG {
        let (call, ..) = step;
        if call[0] == "features" && runtime.is_runc_before(1, 2) {
            continue;
        }
        let output = lab.finish(runtime, |command| {
            command.current_dir(&c.bundle).args(*call);
        });
        check(&output, step, &c.id);
    }
    // Unknown flags are refused before the log is open: usage on stdout, the message twice on stderr.
    for (call, flag) in
        [(&["--badflag"][..], "badflag"), (&["create", "--badflag", "x"], "badflag"), (&["list", "-z"], "z")]
    {
        let output = lab.bare(runtime, call);
        assert_eq!(output.code, 1, "{call:?}");
        assert!(!output.out.is_empty(), "{call:?} prints the usage");
        let message = format!("flag provided but not defined: -{flag}");
        let usage = format!("Incorrect Usage: {message}\n");
        assert!(runtime.is_runc_before(1, 5) || output.err.starts_with(&usage), "{call:?}: {}", output.err);
        assert!(output.err.contains(&format!(" level=error msg=\"{message}\"")), "{call:?}: {}", output.err);
    }
    let output = lab.bare(runtime, &["--log-format", "bogus", "list"]);
    assert_eq!(output.code, 1);
    let err = without_hints(&output.err);
    assert!(err.ends_with(" level=error msg=\"invalid log-format: bogus\""), "{err}");
    Ok(())
}
