//! linux.intelRdt: classes of service of resctrl, where the processor has them; and what is said where not.

use std::fs;
use std::path::Path;

use crate::harness::{Container, Lab, Outcome, Skip, eventually, json, tests};

tests![
    refused_by_name_on_a_host_without_it,
    wrong_names_are_refused,
    a_class_comes_and_goes_with_its_container,
    a_named_class_is_there_before_or_made_once,
];

const ROOT: &str = "/sys/fs/resctrl";
const OFF: &str = "intelRdt is specified in config, but Intel RDT is not enabled";

fn mounted() -> bool {
    Path::new(ROOT).join("schemata").exists()
}

/// A line of the default class, which every class may have as well: `L3:0=7ff`.
fn line() -> Result<String, Skip> {
    if !mounted() {
        return Err(Skip(format!("resctrl is not mounted at {ROOT}")));
    }
    let text = fs::read_to_string(Path::new(ROOT).join("schemata")).unwrap();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn refused_by_name_on_a_host_without_it(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 5)?;
    if mounted() {
        return Err(Skip("the host has it".into()));
    }
    for rdt in [
        json!({}),
        json!({"closID": "x"}),
        json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"}),
        json!({"schemata": ["L2:0=1"]}),
        json!({"enableMonitoring": true}),
    ] {
        let run = lab.run(&["true"], |v| v["linux"]["intelRdt"] = rdt);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.err.starts_with(&format!("{} run failed: {OFF}", lab.tare.name())), "{run:?}");
        assert_eq!(lab.leaks(), [""; 0]);
    }
    Ok(())
}

fn wrong_names_are_refused(lab: &Lab) -> Outcome {
    lab.newer_than_runc(1, 5)?;
    for name in [".", "..", "a/b", "/a", "../x"] {
        let run = lab.run(&["true"], |v| v["linux"]["intelRdt"] = json!({"closID": name}));
        let text = if mounted() { format!("invalid intelRdt.ClosID {name:?}") } else { OFF.to_owned() };
        assert!(run.code == 1 && run.err.contains(&text), "{run:?}");
    }
    Ok(())
}

/// The processes of a directory of resctrl.
fn tasks(dir: &Path) -> Vec<u64> {
    let list = fs::read_to_string(dir.join("tasks")).unwrap();
    list.lines().map(|pid| pid.parse().unwrap()).collect()
}

fn with<'l>(lab: &'l Lab, rdt: &crate::harness::Value) -> Container<'l> {
    let mut c = lab.container(&["sleep", "1000"]);
    c.edit(|v| v["linux"]["intelRdt"] = rdt.clone());
    c
}

fn a_class_comes_and_goes_with_its_container(lab: &Lab) -> Outcome {
    let line = line()?;
    let c = with(
        lab,
        &json!({"schemata": [line], "enableMonitoring": Path::new(ROOT).join("mon_groups").exists()}),
    );
    c.up();
    let dir = Path::new(ROOT).join(&c.id);
    assert_eq!(tasks(&dir), [c.pid()]);
    c.call("exec", &["sh", "-c", "sleep 1000 & true"]).ok();
    eventually("the process of exec", || (tasks(&dir).len() == 2).then_some(()));
    let stats = lab.call(&["events", "--stats", &c.id]);
    assert!(stats.ok().contains(&format!("\"schemata\":[\"{line}")), "{}", stats.out);
    c.delete(&["--force"]).ok();
    assert!(!dir.exists());
    Ok(())
}

fn a_named_class_is_there_before_or_made_once(lab: &Lab) -> Outcome {
    let line = line()?;
    let (name, dir) = (&lab.name, Path::new(ROOT).join(&lab.name));
    let missing = with(lab, &json!({"closID": name}));
    missing.create(&[]).fails_with("must be pre-created");
    for _ in 0..2 {
        let c = with(lab, &json!({"closID": name, "schemata": [line]}));
        c.up();
        assert_eq!(tasks(&dir), [c.pid()]);
        c.delete(&["--force"]).ok();
        assert!(dir.exists());
    }
    missing.create(&[]).ok();
    missing.delete(&["--force"]).ok();
    fs::remove_dir(&dir).unwrap();
    Ok(())
}
