//! `features`: what engines ask before they use the runtime.

use crate::harness::{Lab, Outcome, Value, json, tests};

tests![
    has_the_shape_engines_read,
    names_what_is_there,
    id_maps_are_enabled,
    lists_every_mount_option_that_works,
    is_not_more_than_runc
];

pub fn features(lab: &Lab) -> Result<Value, crate::harness::Skip> {
    lab.newer_than_runc(1, 2)?;
    Ok(serde_json::from_str(lab.call(&["features"]).ok()).unwrap())
}

fn id_maps_are_enabled(lab: &Lab) -> Outcome {
    let features = features(lab)?;
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    Ok(())
}

fn has_the_shape_engines_read(lab: &Lab) -> Outcome {
    let features = features(lab)?;
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."));
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    assert_eq!(features["hooks"], json!(hooks));
    let options = features["mountOptions"].as_array().unwrap();
    for option in ["bind", "rbind", "ro", "rro", "rprivate", "tmpcopyup", "nosuid"] {
        assert!(options.contains(&json!(option)), "mountOptions lack {option}");
    }
    assert!(options.is_sorted_by_key(|v| v.as_str()), "mountOptions are sorted");
    Ok(())
}

fn names_what_is_there(lab: &Lab) -> Outcome {
    let features = features(lab)?;
    let linux = &features["linux"];
    let namespaces = linux["namespaces"].as_array().unwrap();
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
        assert!(namespaces.contains(&json!(kind)), "namespaces lack {kind}");
    }
    assert_eq!(linux["capabilities"].as_array().unwrap().len(), 41);
    for name in ["v1", "v2", "systemd", "systemdUser", "rdma"] {
        assert_eq!(linux["cgroup"][name], true, "{name}");
    }
    for name in ["apparmor", "selinux"] {
        assert_eq!(linux[name]["enabled"], true, "{name}");
    }
    Ok(())
}

/// An option in the list is taken by the runtime itself: none may reach the file system as data.
fn lists_every_mount_option_that_works(lab: &Lab) -> Outcome {
    let features = features(lab)?;
    for option in features["mountOptions"].as_array().unwrap() {
        let option = option.as_str().unwrap();
        let broken = lab.tare.name() == "runc" && option == "defaults";
        if broken || option == "remount" {
            continue; // needs a mount that is there
        }
        let run = lab.run(&["true"], |v| {
            let source = if option.contains("bind") { "/etc" } else { "tmpfs" };
            crate::harness::bundle::mount(v, "/tmp", "tmpfs", source, &[option]);
        });
        assert_eq!(run.code, 0, "option {option}: {}", run.err);
    }
    Ok(())
}

/// Whatever is listed, runc of the same day lists too.
fn is_not_more_than_runc(lab: &Lab) -> Outcome {
    let runc = lab.runc()?;
    if runc.is_runc_before(1, 5) {
        return Err(crate::harness::Skip("RUNC is before 1.5".into()));
    }
    let ours = features(lab)?;
    let theirs: Value = serde_json::from_str(lab.call_of(&runc, &["features"]).ok()).unwrap();
    for path in ["/hooks", "/mountOptions", "/linux/namespaces", "/linux/capabilities"] {
        let theirs = theirs.pointer(path).unwrap().as_array().unwrap();
        for item in ours.pointer(path).unwrap().as_array().unwrap() {
            assert!(theirs.contains(item), "{path} has {item}");
        }
    }
    Ok(())
}
