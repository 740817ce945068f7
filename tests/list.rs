//! `list`: table, JSON and names only.

use crate::harness::{Lab, Outcome, Value, json, tests};

tests![
    empty_list_in_every_format,
    table_has_aligned_columns,
    json_is_one_line_with_an_owner,
    quiet_names_are_sorted,
    skips_what_is_no_container,
    refuses_an_unknown_format,
    refuses_a_missing_root_that_was_named,
];

fn empty_list_in_every_format(lab: &Lab) -> Outcome {
    assert_eq!(
        lab.call(&["list"]).ok(),
        "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    );
    assert_eq!(lab.call(&["list", "-q"]).ok(), "");
    assert_eq!(lab.call(&["list", "--format", "json"]).ok().trim_end(), "null");
    Ok(())
}

fn table_has_aligned_columns(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    let list = lab.call(&["list"]);
    let lines: Vec<&str> = list.ok().lines().collect();
    let state = c.state();
    let columns: Vec<&str> = lines[1].split_whitespace().collect();
    let expected =
        [&json!(c.id), &json!(c.pid().to_string()), &json!("created"), &state["bundle"], &state["created"]];
    assert_eq!(columns[..5], expected.map(|v| v.as_str().unwrap()));
    assert_eq!(columns[5], "root");
    for name in ["PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] {
        let at = lines[0].find(name).unwrap();
        assert!(lines[1][..at].ends_with("   ") && !lines[1][at..].starts_with(' '), "{name}: {lines:?}");
    }
    assert!(
        lines[0].split("STATUS").nth(1).unwrap().starts_with("      BUNDLE"),
        "cells are 12 wide at least"
    );
    Ok(())
}

fn json_is_one_line_with_an_owner(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    let list = lab.call(&["list", "-f", "json"]);
    assert_eq!(list.ok().trim_end().lines().count(), 1);
    assert!(list.out.starts_with("[{\"ociVersion\":"), "{}", list.out);
    let mut state = c.state();
    state["owner"] = json!("root");
    assert_eq!(serde_json::from_str::<Value>(&list.out).unwrap(), json!([state]));
    Ok(())
}

fn quiet_names_are_sorted(lab: &Lab) -> Outcome {
    let all: Vec<_> = (0..3).map(|_| lab.container(&["sleep", "100"])).collect();
    for c in all.iter().rev() {
        c.create(&[]).ok();
    }
    let names: Vec<&str> = all.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(lab.call(&["list", "--quiet"]).ok().lines().collect::<Vec<_>>(), names);
    Ok(())
}

fn skips_what_is_no_container(lab: &Lab) -> Outcome {
    std::fs::write(lab.root().join("file"), "").unwrap();
    let list = lab.call(&["list", "-q"]);
    assert_eq!((list.ok(), list.messages("warning")), ("", vec![]));
    std::fs::remove_file(lab.root().join("file")).unwrap();
    Ok(())
}

fn refuses_an_unknown_format(lab: &Lab) -> Outcome {
    let list = lab.call(&["list", "--format", "bogus"]);
    list.fails(1, "invalid format option");
    Ok(())
}

fn refuses_a_missing_root_that_was_named(lab: &Lab) -> Outcome {
    let missing = lab.dir.join("missing");
    let list = lab.call(&["--root", missing.to_str().unwrap(), "list"]);
    assert_eq!(list.code, 1);
    assert!(list.err.contains("no such file or directory"), "{}", list.err);
    Ok(())
}
