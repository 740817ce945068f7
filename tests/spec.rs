//! `spec`: a config that runs as it is.

use std::fs;

use crate::harness::{Lab, Outcome, Value, json, tests};

tests![writes_a_config, never_overwrites, into_a_bundle, rootless, is_what_runc_writes];

pub fn spec(lab: &Lab, flags: &[&str]) -> Value {
    let dir = lab.next_file("spec");
    fs::create_dir(&dir).unwrap();
    let call = lab.finish(&lab.tare, |call| {
        call.current_dir(&dir).arg("spec").args(flags);
    });
    assert_eq!(call.ok(), "");
    serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
}

fn writes_a_config(lab: &Lab) -> Outcome {
    let config = spec(lab, &[]);
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], json!(true));
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": true}));
    let kinds: Vec<&Value> =
        config["linux"]["namespaces"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
    let expected: &[&str] = if crate::harness::settings::unified() {
        &["pid", "network", "ipc", "uts", "mount", "cgroup"]
    } else {
        &["pid", "network", "ipc", "uts", "mount"]
    };
    assert_eq!(kinds, expected);
    Ok(())
}

fn never_overwrites(lab: &Lab) -> Outcome {
    fs::write(lab.dir.join("config.json"), "mine").unwrap();
    let call = lab.call(&["spec"]);
    assert_eq!(call.code, 1);
    assert!(call.err.contains("config.json exists. Remove it first"), "{}", call.err);
    assert_eq!(fs::read_to_string(lab.dir.join("config.json")).unwrap(), "mine");
    Ok(())
}

fn into_a_bundle(lab: &Lab) -> Outcome {
    fs::create_dir(lab.dir.join("b")).unwrap();
    lab.call(&["spec", "-b", "b"]).ok();
    assert!(lab.dir.join("b/config.json").exists());
    assert!(lab.call(&["spec", "--bundle", "missing"]).code != 0);
    Ok(())
}

fn rootless(lab: &Lab) -> Outcome {
    let config = spec(lab, &["--rootless"]);
    let kinds: Vec<&str> = config["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["type"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"user") && !kinds.contains(&"network"), "{kinds:?}");
    assert_eq!(config["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    assert_eq!(config["linux"]["resources"], Value::Null);
    Ok(())
}

/// Field by field, where a runc of the same specification is at hand.
fn is_what_runc_writes(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    for flags in [&[][..], &["--rootless"]] {
        let mut ours = spec(lab, flags);
        let dir = lab.next_file("peer");
        fs::create_dir(&dir).unwrap();
        lab.finish(&runc, |call| {
            call.current_dir(&dir).arg("spec").args(flags);
        })
        .ok();
        let mut theirs: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        for config in [&mut ours, &mut theirs] {
            config["ociVersion"] = Value::Null;
            config["hostname"] = Value::Null;
            if runc.is_runc_before(1, 2) {
                // The runc of Debian 12 still gave the removed ambient set, and no scheduler of its own.
                config["process"]["capabilities"].as_object_mut().unwrap().remove("ambient");
            }
        }
        assert_eq!(ours, theirs, "spec {flags:?}");
    }
    Ok(())
}
