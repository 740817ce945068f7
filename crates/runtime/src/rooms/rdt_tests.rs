//! Tests of `rdt.rs` and `rdt_stats.rs`: decisions as tables, and the steps on a tree of plain files that looks like
//! resctrl. What the kernel does with them no test can show on a host that has none.
#![allow(clippy::disallowed_methods, reason = "files of the test's own")]
use std::fs;

use super::*;
use crate::rooms::rdt_stats::host_count;

fn raw(class: &str, l3: &str, bandwidth: &str, schemata: &[&str], monitoring: bool) -> oci::IntelRdt {
    oci::IntelRdt {
        clos_id: class.to_owned(),
        schemata: schemata.iter().map(ToString::to_string).collect(),
        l3_cache_schema: l3.to_owned(),
        mem_bw_schema: bandwidth.to_owned(),
        enable_monitoring: monitoring,
    }
}

fn host(l3: bool, bandwidth: bool, exists: bool) -> Resctrl {
    Resctrl { root: "/r".into(), l3, bandwidth, exists }
}

#[test]
fn classes_are_named_after_the_config_or_the_container() {
    let mut faults = Faults::default();
    assert_eq!(plan(None, "c", |_| unreachable!(), &mut faults), None);
    for (class, exists, path, own, named) in [
        ("", false, "/r/c", true, false),
        ("", true, "/r/c", false, false),
        ("gold", false, "/r/gold", false, true),
        ("gold", true, "/r/gold", false, true),
        ("/", true, "/r/", false, true),
    ] {
        let find = |_: &str| Some(host(true, true, exists));
        let wish =
            plan(Some(&raw(class, "L3:0=f", "MB:0=20", &["L2:0=3", ""], true)), "c", find, &mut faults)
                .unwrap();
        assert_eq!((wish.group.path(), wish.group.own, wish.named), (path.into(), own, named), "{class:?}");
        assert_eq!(wish.lines, ["L3:0=f", "MB:0=20", "L2:0=3"]);
        assert_eq!(wish.group.monitor_path(), Some(Path::new(path).join("mon_groups/c")));
    }
    assert_eq!(faults.texts(), [""; 0]);
}

#[test]
fn faults_have_the_words_of_runc() {
    let found = |raw: &oci::IntelRdt, host: Option<Resctrl>| {
        let mut faults = Faults::default();
        plan(Some(raw), "c", |_| host, &mut faults);
        faults.texts()
    };
    let all = || Some(host(true, true, false));
    for (class, fault) in [
        (".", "invalid intelRdt.ClosID \".\" (linux.intelRdt.closID)"),
        ("..", "invalid intelRdt.ClosID \"..\" (linux.intelRdt.closID)"),
        ("a/b", "invalid intelRdt.ClosID \"a/b\" (linux.intelRdt.closID)"),
        ("/a", "invalid intelRdt.ClosID \"/a\" (linux.intelRdt.closID)"),
        ("info", "invalid intelRdt.ClosID \"info\" (linux.intelRdt.closID)"),
    ] {
        assert_eq!(found(&raw(class, "", "", &[], false), all()), [fault]);
    }
    let everything = raw("", "L3:0=f", "MB:0=20", &["L2:0=1\nMB:0=1"], false);
    let off = "intelRdt is specified in config, but Intel RDT is not enabled (linux.intelRdt)";
    assert_eq!(found(&everything, None), [off]);
    let l3 = "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled \
              (linux.intelRdt.l3CacheSchema)";
    let bandwidth = "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled \
                     (linux.intelRdt.memBwSchema)";
    let line = "a schema is one line: \"L2:0=1\\nMB:0=1\" (linux.intelRdt)";
    assert_eq!(found(&everything, Some(host(false, false, false))), [l3, bandwidth, line]);
    assert_eq!(found(&everything, all()), [line]);
}

#[test]
fn changes_need_a_class() {
    let group = Group { root: "/r".into(), class: "c".into(), own: true, monitor: None };
    let change = |group: Option<&Group>, l3: &str, bandwidth: &str, host: Option<Resctrl>| {
        let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
        plan_change(group, given(l3), given(bandwidth), |_| host).map_err(|e| e.text)
    };
    let all = || Some(host(true, true, true));
    assert_eq!(change(None, "", "", None), Ok(vec![]));
    assert_eq!(change(Some(&group), "L3:0=f", "MB:0=9", all()), Ok(vec!["L3:0=f".into(), "MB:0=9".into()]));
    let (l3, bandwidth) = (
        "Intel RDT/CAT: l3 cache schema is not enabled",
        "Intel RDT/MBA: memory bandwidth schema is not enabled",
    );
    for (group, l3_schema, bandwidth_schema, host, error) in [
        (Some(&group), "L3:0=f", "", None, l3),
        (Some(&group), "L3:0=f", "", Some(host(false, true, true)), l3),
        (Some(&group), "", "MB:0=9", Some(host(true, false, true)), bandwidth),
        (None, "", "MB:0=9", all(), "updating a non-existent Intel RDT configuration is not supported"),
        (Some(&group), "L3:0=f\nMB:0=1", "", all(), "a schema is one line: \"L3:0=f\\nMB:0=1\""),
    ] {
        assert_eq!(change(group, l3_schema, bandwidth_schema, host), Err(error.to_owned()));
    }
}

#[test]
fn shares_are_compared_by_what_they_mean() {
    let schemata = "    MB:0= 30;1=100\n    L3:0=007f0;1=0001f\nL2:0=ff\n";
    for (line, met) in [
        ("L3:0=7f0;1=1f", true),
        ("L3:1=1f", true),
        ("L3: 1 = 1f ; 0 = 7F0", true),
        ("L3:0=7f1", false),
        ("L3:2=1f", false),
        ("L3CODE:0=7f0", false),
        // Rounded up by the kernel.
        ("MB:0=25;1=100", true),
        ("MB:0=31", false),
        ("L2:0=ff", true),
        ("L3:0=", false),
        ("nonsense", false),
    ] {
        assert_eq!(differing(&[line.to_owned()], schemata, 10).is_none(), met, "{line}");
    }
    assert_eq!(differing(&[], schemata, 10), None);
}

#[test]
fn mount_points() {
    let line = "40 23 0:36 / /mnt/a\\040b rw,relatime shared:5 - resctrl resctrl rw";
    assert_eq!(mount_point(line), Some("/mnt/a b".into()));
    assert_eq!(mount_point("40 23 0:36 / /mnt rw - tmpfs resctrl rw"), None);
}

/// A directory that looks like resctrl, with the default class.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Tree {
        let root = std::env::temp_dir().join(format!("tare-rdt-{name}-{}", std::process::id()));
        let tree = Tree(root);
        for (file, text) in [
            ("schemata", "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n"),
            ("tasks", ""),
            ("info/last_cmd_status", "ok\n"),
            ("info/L3/cbm_mask", "7ff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
        ] {
            tree.write(file, text);
        }
        tree
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }

    fn plan(&self, raw: &oci::IntelRdt) -> Wish {
        let mut faults = Faults::default();
        let wish = plan(Some(raw), "c", |class| Some(look(self.0.clone(), class)), &mut faults).unwrap();
        assert_eq!(faults.texts(), [""; 0]);
        wish
    }

    /// Takes away the files of a directory, as the kernel's vanish with it.
    fn empty(&self, dir: &str) {
        for entry in fs::read_dir(self.0.join(dir)).unwrap().flatten() {
            if entry.path().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_class_of_its_own_comes_and_goes() {
    let tree = Tree::new("own");
    let group = create(&tree.plan(&raw("", "L3:0=f;1=f", "MB:0=20", &["L2:0=1"], false))).unwrap();
    assert!(group.own && group.exists());
    assert_eq!(tree.read("c/schemata"), "L3:0=f;1=f\nMB:0=20\nL2:0=1\n");
    host_join(Some(&group), 1234).unwrap();
    assert_eq!(tree.read("c/tasks"), "1234");
    assert_eq!(tree.read("tasks"), "");
    tree.empty("c");
    host_remove(Some(&group)).unwrap();
    assert!(!group.exists());
    host_remove(Some(&group)).unwrap();
}

#[test]
fn a_class_of_its_own_name_that_was_there_stays() {
    let tree = Tree::new("there");
    tree.write("c/tasks", "");
    let group = create(&tree.plan(&raw("", "L3:0=f", "", &[], false))).unwrap();
    assert_eq!(tree.read("c/schemata"), "L3:0=f\n");
    host_remove(Some(&group)).unwrap();
    assert!(group.exists());
    // And one that came after the look at the host.
    let tree = Tree::new("late");
    let wish = tree.plan(&raw("", "L3:0=f", "", &[], false));
    assert!(wish.group.own);
    tree.write("c/tasks", "");
    assert!(!create(&wish).unwrap().own);
}

#[test]
fn a_named_class_is_made_once_and_must_match() {
    let tree = Tree::new("named");
    let gold = |monitoring| raw("gold", "L3:0=f", "", &["MB:0=25"], monitoring);
    assert!(!create(&tree.plan(&gold(false))).unwrap().own);
    assert_eq!(tree.read("gold/schemata"), "L3:0=f\nMB:0=25\n");
    // What the kernel makes of it.
    tree.write("gold/schemata", "    L3:0=00f;1=7ff\n    MB:0= 30;1=100\n");
    fs::create_dir(tree.0.join("gold/mon_groups")).unwrap();
    let group = create(&tree.plan(&gold(true))).unwrap();
    host_join(Some(&group), 7).unwrap();
    assert_eq!((tree.read("gold/tasks"), tree.read("gold/mon_groups/c/tasks")), ("7".into(), "7".into()));
    let other = create(&tree.plan(&raw("gold", "L3:0=ff", "", &[], false))).unwrap_err();
    assert_eq!(other.text, "linux.intelRdt: the class \"gold\" is there already, and has not \"L3:0=ff\"");
    assert_eq!(tree.read("gold/schemata"), "    L3:0=00f;1=7ff\n    MB:0= 30;1=100\n");
    // The container's part of it goes with the container.
    tree.empty("gold/mon_groups/c");
    host_remove(Some(&group)).unwrap();
    assert!(group.exists() && !tree.0.join("gold/mon_groups/c").exists());
}

#[test]
fn without_a_schema_the_class_must_be_there() {
    let tree = Tree::new("pre");
    let none = |class| raw(class, "", "", &[], false);
    let error = create(&tree.plan(&none("gold"))).unwrap_err();
    assert!(error.text.contains("must be pre-created"), "{error}");
    assert!(!tree.0.join("gold").exists());
    tree.write("gold/schemata", "L3:0=1\n");
    host_join(Some(&create(&tree.plan(&none("gold"))).unwrap()), 9).unwrap();
    assert_eq!((tree.read("gold/tasks"), tree.read("gold/schemata")), ("9".into(), "L3:0=1\n".into()));
    // The default one is always there, and as it is for everybody else.
    let group = create(&tree.plan(&none("/"))).unwrap();
    host_join(Some(&group), 8).unwrap();
    host_remove(Some(&group)).unwrap();
    assert_eq!(tree.read("tasks"), "8");
    let same = raw("/", "L3:0=7ff", "", &[], false);
    assert!(create(&tree.plan(&same)).is_ok());
    let other = raw("/", "L3:0=1", "", &[], false);
    assert!(create(&tree.plan(&other)).is_err());
}

#[test]
fn a_class_that_cannot_be_filled_is_not_left() {
    let tree = Tree::new("fails");
    tree.write("info/last_cmd_status", "mask f0f has non-consecutive 1-bits\n");
    let mut wish = tree.plan(&raw("", "L3:0=f", "", &[], true));
    // A new directory of plain files has none for monitoring groups.
    wish.lines.clear();
    let error = create(&wish).unwrap_err().text;
    assert!(
        error.ends_with("no such file or directory, last_cmd_status: mask f0f has non-consecutive 1-bits"),
        "{error}"
    );
    assert!(!tree.0.join("c").exists());
}

#[test]
fn a_change_is_made_as_a_whole_or_not_at_all() {
    let tree = Tree::new("change");
    let group = Group { root: tree.0.clone(), class: "c".into(), own: true, monitor: None };
    let lines = ["L3:0=f".to_owned()];
    let schemata = "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n";
    assert_eq!(replaced(schemata, &lines), ["L3:0=7ff;1=7ff"]);
    tree.write("c/schemata", schemata);
    host_change(Some(&group), &lines, || {
        // A file of the kernel would have the other lines still.
        assert!(tree.read("c/schemata").starts_with("L3:0=f\n"));
        Ok(())
    })
    .unwrap();
    tree.write("c/schemata", schemata);
    let failed = || Err(Error::new(Kind::System, "the rest"));
    assert_eq!(host_change(Some(&group), &lines, failed).unwrap_err().text, "the rest");
    assert!(tree.read("c/schemata").starts_with("L3:0=7ff;1=7ff\n"));
    // Nothing is asked for, or nothing is there.
    tree.write("c/schemata", schemata);
    host_change(Some(&group), &[], || Ok(())).unwrap();
    host_change(None, &lines, || Ok(())).unwrap();
    assert_eq!(tree.read("c/schemata"), schemata);
}

#[test]
fn statistics_are_those_of_the_class_or_of_its_part() {
    let tree = Tree::new("stats");
    tree.write("c/schemata", "    L3:0=0f;1=7ff\n    MB:0=20;1=100\n");
    for (dir, number) in [
        ("c/mon_data/mon_L3_00", "7"),
        ("c/mon_data/mon_L3_01", "8"),
        ("c/mon_groups/c/mon_data/mon_L3_00", "1"),
    ] {
        tree.write(&format!("{dir}/llc_occupancy"), &format!("{number}\n"));
        tree.write(&format!("{dir}/mbm_total_bytes"), &format!("{number}0\n"));
        tree.write(&format!("{dir}/mbm_local_bytes"), "Unavailable\n");
    }
    let group = |monitor: Option<&str>| Group {
        root: tree.0.clone(),
        class: "c".into(),
        own: true,
        monitor: monitor.map(str::to_owned),
    };
    let json = |group: &Group| serde_json::to_string(&host_count(group).unwrap()).unwrap();
    let shares = r#""l3_cache_info":{"cbm_mask":"7ff","min_cbm_bits":1,"num_closids":16},"l3_cache_schema_root":"L3:0=7ff;1=7ff","l3_cache_schema":"L3:0=0f;1=7ff","mem_bw_info":{"bandwidth_gran":10,"delay_linear":1,"min_bandwidth":10,"num_closids":8},"mem_bw_schema_root":"MB:0=100;1=100","mem_bw_schema":"MB:0=20;1=100","schemata":["L3:0=0f;1=7ff","    MB:0=20;1=100"]"#;
    assert_eq!(
        json(&group(None)),
        format!(
            r#"{{{shares},"mbm_stats":[{{"mbm_total_bytes":70,"mbm_local_bytes":0}},{{"mbm_total_bytes":80,"mbm_local_bytes":0}}],"cmt_stats":[{{"llc_occupancy":7}},{{"llc_occupancy":8}}]}}"#
        )
    );
    assert_eq!(
        json(&group(Some("c"))),
        format!(
            r#"{{{shares},"mbm_stats":[{{"mbm_total_bytes":10,"mbm_local_bytes":0}}],"cmt_stats":[{{"llc_occupancy":1}}]}}"#
        )
    );
    // Without monitoring there is nothing of it.
    fs::remove_dir_all(tree.0.join("info/L3_MON")).unwrap();
    assert_eq!(json(&group(None)), format!("{{{shares}}}"));
}
