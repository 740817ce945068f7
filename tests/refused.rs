//! Fields of the specification that wait for a later version: refused by name, whatever else is in the config.

use crate::harness::{Lab, Outcome, json, tests};

tests![by_their_names];

fn by_their_names(lab: &Lab) -> Outcome {
    lab.not_runc("has them")?;
    for (field, value) in [
        ("process.apparmorProfile", json!("unconfined")),
        ("process.selinuxLabel", json!("a:b:c:d")),
        ("linux.mountLabel", json!("a:b:c:d")),
    ] {
        let (section, name) = field.rsplit_once('.').unwrap();
        let section = format!("/{}", section.replace('.', "/"));
        let run = lab.run(&["true"], |v| v.pointer_mut(&section).unwrap()[name] = value);
        run.fails(1, &format!("RT run failed: {field} is not supported yet"));
    }
    Ok(())
}
