//! `start`, and calls in the wrong order.

use crate::harness::{Lab, Outcome, eventually, tests};

tests![
    runs_what_create_prepared,
    refuses_in_every_wrong_state,
    returns_before_the_process_ends,
    survives_the_death_of_its_caller,
];

fn runs_what_create_prepared(lab: &Lab) -> Outcome {
    let c = lab.container(&["sh", "-c", "echo hello"]);
    let out = lab.dir.join("stdout");
    let create = lab.finish(&lab.tare, |call| {
        call.arg("create").arg("-b").arg(&c.bundle).arg(&c.id);
    });
    create.ok();
    c.start();
    c.wait_for("stopped");
    // The process has the streams of `create`, which the harness put into a file.
    let files = std::fs::read_dir(&lab.dir).unwrap().flatten();
    let mut texts = files.filter(|e| e.file_name().to_string_lossy().starts_with("out.")).map(|e| e.path());
    assert!(texts.any(|p| std::fs::read_to_string(p).unwrap() == "hello\n"), "{}", out.display());
    Ok(())
}

fn refuses_in_every_wrong_state(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.call("start", &[]).fails(1, "container does not exist");
    c.up();
    c.call("start", &[]).fails(1, "cannot start an already running container");
    c.stop();
    c.call("start", &[]).fails(1, "cannot start a container that has stopped");
    c.delete(&[]).ok();
    c.call("start", &[]).fails(1, "container does not exist");
    Ok(())
}

fn returns_before_the_process_ends(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.up();
    assert_eq!(c.status(), "running");
    Ok(())
}

/// An init that was killed while it waited cannot be started.
fn survives_the_death_of_its_caller(lab: &Lab) -> Outcome {
    let c = lab.container(&["sleep", "100"]);
    c.create(&[]).ok();
    let pid = i32::try_from(c.pid()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    c.wait_for("stopped");
    let start = c.call("start", &[]);
    start.fails(1, "cannot start a container that has stopped");
    eventually("delete to work", || (c.delete(&[]).code == 0).then_some(()));
    Ok(())
}
