//! `state`: the shape other programs parse.

use crate::harness::{Lab, Outcome, json, tests};

tests![follows_the_life_of_a_container, prints_exactly_this_text, carries_annotations, refuses_unknown];

fn follows_the_life_of_a_container(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    let created = c.state();
    assert_eq!(created["status"], "created");
    c.start();
    let running = c.state();
    assert_eq!((&running["status"], &running["pid"]), (&json!("running"), &created["pid"]));
    c.stop();
    let stopped = c.state();
    assert_eq!((&stopped["status"], &stopped["pid"]), (&json!("stopped"), &json!(0)));
    assert_eq!(stopped["created"], created["created"]);
    Ok(())
}

/// Order of keys, two spaces of indent, no newline at the end.
fn prints_exactly_this_text(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    let value = c.state();
    let bundle = c.bundle.display();
    let expected = format!(
        "{{\n  \"ociVersion\": {},\n  \"id\": \"{}\",\n  \"pid\": {},\n  \"status\": \"running\",\n  \"bundle\": \
         \"{bundle}\",\n  \"rootfs\": \"{bundle}/rootfs\",\n  \"created\": {},\n  \"owner\": \"\"\n}}",
        value["ociVersion"], c.id, value["pid"], value["created"]
    );
    assert_eq!(c.call("state", &[]).ok(), expected);
    let created = value["created"].as_str().unwrap();
    assert!(
        created.starts_with("20") && created.contains('T') && created.ends_with('Z'),
        "RFC 3339 in UTC: {created}"
    );
    Ok(())
}

fn carries_annotations(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sleep", "100"]);
    c.edit(|v| v["annotations"] = json!({"org.example.b": "2", "org.example.a": "line\n\"quote\""}));
    c.create(&[]).ok();
    assert_eq!(c.state()["annotations"], c.config["annotations"]);
    Ok(())
}

fn refuses_unknown(lab: &Lab) -> Outcome {
    lab.call(&["state", "nope"]).fails(1, "container does not exist");
    Ok(())
}
