//! Which files the program has open, and to whom they belong.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Command;

use rustix::process::Signal;

use crate::harness::pty::Terminal;
use crate::harness::runtime::wait;
use crate::harness::{Container, Lab, Outcome, Output, Runtime, eventually, json, tests};

tests![
    every_descriptor_is_accounted_for,
    listen_variables_of_the_config,
    fewer_open_than_said,
    files_belong_to_the_user,
    files_in_the_foreground,
    terminal_of_the_caller_in_the_foreground,
];

/// Prints what is open beyond the standard streams, and the variables of sd_listen_fds(3). The shell looks for
/// the list before it opens anything itself, but for the directory of the list.
const LIST: &str = r#"for f in /proc/$$/fd/*; do
    n=${f##*/}
    test $n -gt 2 && { read line < $f; } 2>/dev/null && echo $n $line
done
env | grep LISTEN | sort; echo end"#;

/// A call by a shell that has the files `one` and `two` open at 3 and 4. `variables` are set as systemd sets
/// them: `LISTEN_PID` is the number of the runtime's process, which the shell becomes.
fn with_files(lab: &Lab, runtime: &Runtime, variables: &str, words: &[&str]) -> Output {
    let (one, two) = (lab.file("one", "one\n"), lab.file("two", "two\n"));
    let log = lab.next_file("log");
    let call = lab.command(runtime, &log);
    let mut shell = lab.clean(Command::new(&lab.settings.busybox));
    let script = format!("one=$1 two=$2; shift 2; {variables} exec \"$@\" 3<$one 4<$two");
    shell.args(["sh", "-c", &script, "sh", &one, &two]);
    shell.arg(call.get_program()).args(call.get_args()).args(words);
    lab.collect(runtime, shell, &log)
}

/// What the program of `run` lists, after `edit` of the config; or the failure.
pub fn listed_by_run(lab: &Lab, runtime: &Runtime, variables: &str, flags: &[&str], env: &[&str]) -> Output {
    let mut c = lab.container_of(runtime, &["sh", "-c", LIST]);
    for variable in env {
        crate::harness::bundle::push(&mut c.config["process"]["env"], json!(variable));
    }
    c.edit(|_| ());
    let words = [&["run", "-b", c.bundle.to_str().unwrap()], flags, &[c.id.as_str()]].concat();
    with_files(lab, runtime, variables, &words)
}

fn listed_by_create(lab: &Lab, variables: &str, flags: &[&str]) -> String {
    let c = lab.container(&["sh", "-c", &format!("{{ {LIST}; }} > /out/list; sleep 100")]);
    let out = mount_out(lab, c);
    let words = [&["create", "-b", out.bundle.to_str().unwrap()], flags, &[out.id.as_str()]].concat();
    with_files(lab, &out.runtime, variables, &words).ok();
    out.start();
    let list = lab.dir.join("out/list");
    let text = eventually("the list", || fs::read_to_string(&list).ok().filter(|t| t.ends_with("end\n")));
    out.delete(&["--force"]).ok();
    fs::remove_file(list).unwrap();
    text
}

fn mount_out<'l>(lab: &Lab, mut c: Container<'l>) -> Container<'l> {
    fs::create_dir_all(lab.dir.join("out")).unwrap();
    let out = lab.dir.join("out").to_str().unwrap().to_owned();
    c.edit(|v| crate::harness::bundle::mount(v, "/out", "bind", &out, &["bind"]));
    c
}

const LISTEN: &str = "LISTEN_PID=$$ LISTEN_FDS=1";

/// runc gives `LISTEN_FDS` to new containers, and neither to `exec` nor when they are for another process.
fn every_descriptor_is_accounted_for(lab: &Lab) -> Outcome {
    let table: [(&str, &[&str], &str); 8] = [
        ("", &[], ""),
        ("", &["--preserve-fds=0"], ""),
        ("", &["--preserve-fds=1"], "3 one\n"),
        ("", &["--preserve-fds=2"], "3 one\n4 two\n"),
        (LISTEN, &[], "3 one\nLISTEN_FDS=1\nLISTEN_PID=1\n"),
        (LISTEN, &["--preserve-fds", "1"], "3 one\n4 two\nLISTEN_FDS=1\nLISTEN_PID=1\n"),
        ("LISTEN_PID=1 LISTEN_FDS=1", &[], ""),
        ("LISTEN_FDS=1", &[], ""),
    ];
    let up = lab.container(&["sleep", "100"]);
    up.up();
    for (variables, flags, want) in table {
        let want = format!("{want}end\n");
        let what = format!("{variables} {flags:?}");
        let run = listed_by_run(lab, &lab.tare, variables, flags, &[]);
        assert_eq!(run.ok(), want, "run {what}");
        assert_eq!(listed_by_create(lab, variables, flags), want, "create {what}");
        let words = [&["exec"], flags, &[up.id.as_str(), "sh", "-c", LIST]].concat();
        let exec = with_files(lab, &lab.tare, variables, &words);
        let want = if variables == LISTEN { want.replace("LISTEN_FDS=1\nLISTEN_PID=1\n", "") } else { want };
        let want = match (variables, flags) {
            (LISTEN, []) => "end\n".to_owned(),
            (LISTEN, [_, _]) => "3 one\nend\n".to_owned(),
            _ => want,
        };
        assert_eq!(exec.ok(), want, "exec {what}");
    }
    Ok(())
}

/// What the caller hands over counts, and without that what the config says.
fn listen_variables_of_the_config(lab: &Lab) -> Outcome {
    let own = ["LISTEN_FDS=7", "LISTEN_PID=99", "LISTEN_FDNAMES=own"];
    let run = listed_by_run(lab, &lab.tare, "", &[], &own);
    assert_eq!(run.ok(), "LISTEN_FDNAMES=own\nLISTEN_FDS=7\nLISTEN_PID=99\nend\n");
    let run = listed_by_run(lab, &lab.tare, LISTEN, &[], &own);
    assert_eq!(run.ok(), "3 one\nLISTEN_FDNAMES=own\nLISTEN_FDS=1\nLISTEN_PID=1\nend\n");
    lab.not_runc("passes no names on")?;
    let run = listed_by_run(lab, &lab.tare, &format!("{LISTEN} LISTEN_FDNAMES=a:b"), &[], &own);
    assert_eq!(run.ok(), "3 one\nLISTEN_FDNAMES=a:b\nLISTEN_FDS=1\nLISTEN_PID=1\nend\n");
    Ok(())
}

/// The next free numbers are the runtime's own files, which the container must not get.
fn fewer_open_than_said(lab: &Lab) -> Outcome {
    lab.not_runc("takes files of its own for the caller's")?;
    for (variables, flags, text) in [
        ("", &["--preserve-fds=3"][..], "preserved-fd 2 (of 3)"),
        (LISTEN, &["--preserve-fds=2"], "preserved-fd 1 (of 2)"),
        ("LISTEN_PID=$$ LISTEN_FDS=3", &[], "descriptor 2 (of 3) of LISTEN_FDS"),
        ("LISTEN_PID=$$ LISTEN_FDS=2147483647", &[], "descriptor 2 (of 2147483647) of LISTEN_FDS"),
    ] {
        let run = listed_by_run(lab, &lab.tare, variables, flags, &[]);
        run.fails(1, &format!("RT run failed: unable to stat {text}: no such file or directory"));
    }
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}

/// A command of the container as user 1000, with these streams.
fn as_user(c: &Container, words: &[&str], (stdin, stdout): (File, File)) -> i32 {
    let mut call = c.lab.command(&c.runtime, &c.lab.next_file("log"));
    wait(
        call.args(words)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(File::open("/dev/null").unwrap())
            .spawn()
            .unwrap(),
    )
}

/// Owner and group.
fn owner(path: &std::path::Path) -> (u32, u32) {
    let of = fs::metadata(path).unwrap();
    (of.uid(), of.gid())
}

/// Two files to be streams, of user 7 and group 8.
fn two_streams(lab: &Lab) -> [std::path::PathBuf; 2] {
    ["stream-in", "stream-out"].map(|name| {
        let path = lab.file(name, "").into();
        chown(&path, Some(7), Some(8)).unwrap();
        path
    })
}

fn open(lab: &Lab) -> (File, File) {
    (File::open(lab.dir.join("stream-in")).unwrap(), File::create(lab.dir.join("stream-out")).unwrap())
}

/// So that it can open them again. The group stays, and so does `/dev/null`, which all share.
fn files_belong_to_the_user(lab: &Lab) -> Outcome {
    for user in [0, 1000] {
        let mut c = lab.container(&["sh", "-c", "echo again > /proc/self/fd/1; sleep 100"]);
        c.edit(|v| v["process"]["user"] = json!({"uid": user, "gid": user}));
        let bundle = c.bundle.to_str().unwrap().to_owned();
        let create = ["create", "--bundle", &bundle, &c.id];
        let run = ["run", "--detach", "--bundle", &bundle, &c.id];
        for words in [&create[..], &run] {
            let streams = two_streams(lab);
            assert_eq!(as_user(&c, words, open(lab)), 0);
            assert_eq!(streams.each_ref().map(|path| owner(path)), [(user, 8); 2], "{words:?}");
            if words[0] == "create" {
                c.start();
            }
            eventually("the program", || (!fs::read(&streams[1]).unwrap().is_empty()).then_some(()));
            if words[0] == "create" {
                c.delete(&["--force"]).ok();
            }
        }
        let streams = two_streams(lab);
        assert_eq!(as_user(&c, &["exec", "--detach", "--user", "1234:5", &c.id, "true"], open(lab)), 0);
        assert_eq!(streams.each_ref().map(|path| owner(path)), [(1234, 8); 2], "exec");
        c.delete(&["--force"]).ok();
    }
    assert_eq!(owner("/dev/null".as_ref()).0, 0);
    Ok(())
}

/// Who owns a file that was the standard output of `run` in the foreground, for user 1000.
pub fn owner_after_run(lab: &Lab, runtime: &Runtime) -> [u32; 2] {
    let mut c = lab.container_of(runtime, &["true"]);
    c.edit(|v| v["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let streams = two_streams(lab);
    as_user(&c, &["run", "--bundle", c.bundle.to_str().unwrap(), &c.id], open(lab));
    streams.map(|path| owner(&path).0)
}

/// runc has pipes between; here what is only read stays the caller's.
fn files_in_the_foreground(lab: &Lab) -> Outcome {
    lab.not_runc("has pipes of its own")?;
    assert_eq!(owner_after_run(lab, &lab.tare), [7, 1000]);
    let mut c = lab.container(&["sh", "-c", "cat > /proc/self/fd/1"]);
    c.edit(|v| v["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let mut call = lab.command(&c.runtime, &lab.next_file("log"));
    call.args(["run", "--bundle"]).arg(&c.bundle).arg(&c.id);
    call.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = call.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"through pipes").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "through pipes");
    Ok(())
}

/// Its owner may read what is typed there, so it is nobody's but the caller's.
fn terminal_of_the_caller_in_the_foreground(lab: &Lab) -> Outcome {
    let mut c = lab.container(&["sh", "-c", "echo here; sleep 100"]);
    c.edit(|v| v["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let mut terminal = Terminal::open();
    let slave = File::from(terminal.slave.try_clone().unwrap());
    let before = slave.metadata().unwrap().uid();
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.args(["run", "--bundle"]).arg(&c.bundle).arg(&c.id);
    let run = terminal.spawn(lab, &command);
    terminal.read_until("here");
    let mut command = lab.command(&c.runtime, &lab.next_file("log"));
    command.args(["exec", "--user", "1000", &c.id, "echo", "there"]);
    let exec = terminal.spawn(lab, &command);
    terminal.read_until("there");
    assert_eq!(wait(exec), 0);
    assert_eq!(slave.metadata().unwrap().uid(), before);
    c.kill(&Signal::KILL.as_raw().to_string()).ok();
    assert_eq!(wait(run), 137);
    Ok(())
}
