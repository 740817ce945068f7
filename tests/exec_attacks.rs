//! `exec` into a hostile container: what is in it already sees the runtime's process come.

use std::fs;

use crate::exec::{exec, up};
use crate::harness::bundle::{capabilities, mount};
use crate::harness::{Lab, Outcome, eventually, json, tests};
use crate::process::write_executable;

tests![
    cve_2016_9962_processes_look_at_the_one_that_comes,
    cve_2019_5736_program_is_the_runtime,
    cve_2024_21626_working_directory_is_a_leaked_file,
    cve_2024_21626_working_directory_is_a_link_to_one,
];

/// Looks at every process that appears: opens its program and its memory, and goes through its
/// directories and files. A name that is no longer the runtime's tells that the program has begun, whose
/// business all of that is. Nothing here forks, so every other process is one of `exec`.
const LOOK: &str = r#"
leak() { # what process
    for i in 1 2 3; do read -r name < /proc/$2/comm || return; [ "$name" = usleep ] && return; done
    echo "$1 $2 $name" >> /out/leaks
}
echo ready > /out/ready
while :; do for p in /proc/[0-9]*; do
    n=${p##*/}
    [ $n = 1 ] && continue
    read -r name < $p/comm || continue
    [ "$name" = usleep ] && continue
    echo $n >> /out/seen
    { { :; } < $p/exe && leak exe $n; } 
    { { :; } <> $p/mem && leak mem $n; }
    { { :; } < $p/environ && leak environ $n; }
    [ -e $p/cwd/host-marker ] && leak cwd $n
    [ -e $p/root$HOST_DIR/host-marker ] && leak root $n
    for f in $p/fd/[0-9]* $p/map_files/*; do [ -e $f ] && leak $f $n; done
done; done 2>/dev/null"#;

fn cve_2016_9962_processes_look_at_the_one_that_comes(lab: &Lab) -> Outcome {
    // A copy, so that a hole does no harm.
    let copy = lab.dir.join("runtime");
    fs::copy(&lab.tare.program, &copy).unwrap();
    let original = fs::read(&copy).unwrap();
    lab.file("host-marker", "host");
    let out = lab.dir.join("out");
    fs::create_dir(&out).unwrap();
    let mut c = lab.container(&["sh", "-c", LOOK]);
    c.runtime.program.clone_from(&copy);
    c.edit(|v| {
        mount(v, "/out", "bind", out.to_str().unwrap(), &["bind"]);
        capabilities(v, &["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SETUID", "CAP_KILL"]);
        crate::harness::bundle::push(
            &mut v["process"]["env"],
            json!(format!("HOST_DIR={}", lab.dir.display())),
        );
    });
    c.up();
    eventually("the attacker", || out.join("ready").exists().then_some(()));
    let lines = |name: &str| fs::read_to_string(out.join(name)).unwrap_or_default();
    let mut calls = 0;
    eventually("the attacker to see the runtime", || {
        for _ in 0..100 {
            exec(&c, &[], &["usleep", "2000"]).ok();
        }
        calls += 100;
        (calls >= if lab.settings.stress { 1000 } else { 100 } && !lines("seen").is_empty()).then_some(())
    });
    assert_eq!(lines("leaks"), "", "what the container could open");
    assert!(fs::read(&copy).unwrap() == original, "the runtime was changed");
    Ok(())
}

/// A script whose interpreter is the runtime that starts it.
fn cve_2019_5736_program_is_the_runtime(lab: &Lab) -> Outcome {
    let before = fs::read(&lab.tare.program).unwrap();
    let c = up(lab, |v| v["root"]["readonly"] = json!(false));
    write_executable(&c.rootfs("bin/evil"), "#!/proc/self/exe\n");
    for flags in [&[][..], &["--detach"]] {
        exec(&c, flags, &["/bin/evil"]);
    }
    exec(&c, &[], &["/proc/self/exe", "--version"]);
    assert!(fs::read(&lab.tare.program).unwrap() == before, "the binary was changed");
    Ok(())
}

fn cve_2024_21626_working_directory_is_a_leaked_file(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    for number in 3..=100 {
        let cwd = format!("/proc/self/fd/{number}");
        let output = exec(&c, &["--cwd", &cwd], &["sh", "-c", "pwd; ls"]);
        assert_eq!((output.code, output.out.as_str()), (255, ""), "{cwd} was taken");
    }
    Ok(())
}

/// The same by a link in the image.
fn cve_2024_21626_working_directory_is_a_link_to_one(lab: &Lab) -> Outcome {
    let c = up(lab, |_| ());
    for number in 3..=20 {
        let link = c.rootfs("tmp/link");
        fs::remove_file(&link).ok();
        std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), &link).unwrap();
        let output = exec(&c, &["--cwd", "/tmp/link"], &["sh", "-c", "pwd; ls"]);
        assert_eq!((output.code, output.out.as_str()), (255, ""), "{number} was taken");
    }
    Ok(())
}
