//! `ps`: the processes of a container in the host's table.

use std::process::Command;

use crate::harness::settings::program;
use crate::harness::{Lab, Outcome, Skip, eventually, json, tests};

tests![
    json_is_the_list_of_pids,
    table_is_that_of_the_host,
    arguments_go_to_ps,
    counts_children,
    a_stopped_container_has_none,
    refuses_an_unknown_format,
    refuses_unknown,
];

/// Ignores the test where the host's own `ps` does not work: that of procps 4.0.2 looks for the time of boot in the
/// first bytes of `/proc/stat` alone, where a kernel with many interrupts has not come to it yet.
fn host_ps() -> Outcome {
    let out = Command::new(program("ps")?).arg("-ef").output().expect("ps");
    if out.status.success() {
        Ok(())
    } else {
        Err(Skip(String::from_utf8_lossy(&out.stderr).trim().to_owned()))
    }
}

fn json_is_the_list_of_pids(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    for args in [["ps", "-f", "json", &c.id], ["ps", "--format", "json", &c.id]] {
        assert_eq!(lab.call(&args).ok().trim_end(), json!([c.pid()]).to_string());
    }
    Ok(())
}

fn table_is_that_of_the_host(lab: &Lab) -> Outcome {
    host_ps()?;
    let c = lab.container(&["sleep", "1234"]);
    c.up();
    let mark = format!(" {} ", c.pid());
    eventually("a table of one process under its own name", || {
        let ps = lab.call(&["ps", &c.id]);
        let lines: Vec<&str> = ps.ok().lines().collect();
        assert_eq!(lines[0].split_whitespace().take(3).collect::<Vec<_>>(), ["UID", "PID", "PPID"]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        (lines[1].contains(&mark) && lines[1].ends_with("sleep 1234")).then_some(())
    });
    Ok(())
}

fn arguments_go_to_ps(lab: &Lab) -> Outcome {
    host_ps()?;
    let c = lab.container(&["sleep", "1234"]);
    c.up();
    let expected = format!("{} sleep 1234", c.pid());
    eventually("the process under its own name", || {
        let ps = c.call("ps", &["-e", "-o", "pid,args"]);
        let lines: Vec<&str> = ps.ok().lines().skip(1).map(str::trim).collect();
        (lines == [expected.as_str()]).then_some(())
    });
    Ok(())
}

fn counts_children(lab: &Lab) -> Outcome {
    let c = lab.container(&["sh", "-c", "sleep 100 & sleep 100 & wait"]);
    c.up();
    eventually("three processes", || {
        let ps = lab.call(&["ps", "--format=json", &c.id]);
        let pids: Vec<u64> = serde_json::from_str(ps.ok()).unwrap();
        (pids.len() == 3 && pids.contains(&c.pid())).then_some(())
    });
    Ok(())
}

fn a_stopped_container_has_none(lab: &Lab) -> Outcome {
    host_ps()?;
    let c = lab.container(&["sleep", "100"]);
    c.up().stop();
    assert_eq!(lab.call(&["ps", "-f", "json", &c.id]).ok(), "null\n");
    let table = lab.call(&["ps", &c.id]);
    assert_eq!(table.ok().lines().count(), 1, "the header alone");
    Ok(())
}

fn refuses_an_unknown_format(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    lab.call(&["ps", "-f", "bogus", &c.id]).fails(1, "invalid format option");
    Ok(())
}

fn refuses_unknown(lab: &Lab) -> Outcome {
    lab.call(&["ps", "nope"]).fails(1, "container does not exist");
    Ok(())
}
