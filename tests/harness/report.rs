//! Runs tests under libtest-mimic: a failure shows where it was and every call before it, and the run ends
//! with the list of what was ignored and why.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs};

use libtest_mimic::{Arguments, Completion, Trial};
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::runtime::Kind;
use super::settings::Settings;
use super::{Lab, Outcome, Skip, Test};

/// Set once the suite runs in a mount namespace of its own.
const OWN_MOUNTS: &str = "TARE_TEST_OWN_MOUNTS";

thread_local! {
    /// Message and place of the last panic of this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `tests` as the command line says.
pub fn run(tests: &[Test]) -> ExitCode {
    let arguments = Arguments::from_args();
    set_hook(Box::new(|info| PANIC.with(|slot| *slot.borrow_mut() = info.to_string())));
    let settings = match Settings::read() {
        Ok(settings) => Arc::new(settings),
        // A list is asked for before anything is built.
        Err(_) if arguments.list => {
            let trials = tests.iter().map(|t| Trial::test(short(t), || Ok(()))).collect();
            return libtest_mimic::run(&arguments, trials).exit_code();
        }
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    // Other programs of the host mount and unmount too: what counts as left behind is only ours to make.
    if env::var_os(OWN_MOUNTS).is_none() {
        let mut command = Command::new(&settings.busybox);
        command.args(["unshare", "--mount", "--propagation", "private"]);
        if takes_rights_away(&settings.dir) {
            let script = "mount -t tmpfs -o mode=755 tmpfs \"$0\" && exec \"$@\"";
            command.args(["sh", "-c", script]).arg(settings.dir.parent().expect("a directory below another"));
        }
        let _ = fs::remove_dir_all(&settings.dir);
        eprintln!("{}", command.args(env::args_os()).env(OWN_MOUNTS, "1").exec());
        return ExitCode::from(2);
    }
    let _sweeper = Sweeper::new(&settings.dir);
    let progress = Arc::new(Mutex::new(Progress::default()));
    if let Some(timeout) = settings.timeout {
        let progress = Arc::clone(&progress);
        std::thread::spawn(move || give_up(timeout, &progress));
    }
    let trials = tests.iter().map(|&test| {
        let (settings, progress) = (Arc::clone(&settings), Arc::clone(&progress));
        Trial::ignorable_test(short(&test), move || {
            progress.lock().unwrap().running.insert(short(&test), Instant::now());
            let result = attempt(&settings, test);
            let mut progress = progress.lock().unwrap();
            progress.running.remove(short(&test));
            match result {
                Ok(Ok(())) => {
                    progress.passed += 1;
                    Ok(Completion::Completed)
                }
                Ok(Err(Skip(reason))) => {
                    progress.ignored.push(format!("{}: {reason}", short(&test)));
                    Ok(Completion::ignored_with(reason))
                }
                Err(text) => {
                    progress.failed.push(format!("{}: {text}", short(&test)));
                    Err(text.into())
                }
            }
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let ignored = &progress.lock().unwrap().ignored;
    if !ignored.is_empty() {
        println!("ignored, because:\n    {}\n", ignored.join("\n    "));
    }
    conclusion.exit_code()
}

/// A process that clears up when this one has ended, in whatever way.
struct Sweeper(Child);

impl Sweeper {
    fn new(dir: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg("--sweep-at-the-end").arg(dir);
        // It outlives a signal to all of the job, and holds no pipe of whoever reads the results.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What became of the tests so far.
#[derive(Default)]
struct Progress {
    running: BTreeMap<&'static str, Instant>,
    passed: usize,
    failed: Vec<String>,
    ignored: Vec<String>,
}

/// Ends the run when its time is over: with what failed, which tests did not end, and the counts.
fn give_up(timeout: Duration, progress: &Mutex<Progress>) {
    std::thread::sleep(timeout);
    let Progress { running, passed, failed, ignored } = &*progress.lock().unwrap();
    for text in failed {
        println!("\n{text}");
    }
    println!("\nthe {} seconds of TARE_TEST_TIMEOUT are over, and still running are:", timeout.as_secs());
    for (name, since) in running {
        println!("    {name}, for {} s", since.elapsed().as_secs());
    }
    let (failed, ignored, running) = (failed.len(), ignored.len(), running.len());
    println!(
        "\ntest result: FAILED. {passed} passed; {failed} failed; {ignored} ignored; {running} did not end in time\n"
    );
    std::process::exit(124);
}

/// Whether set-user-ID programs and devices do not work there, as in `/run` of many hosts. A container without
/// a mount namespace has its root file system with the options of the place where it is.
fn takes_rights_away(dir: &Path) -> bool {
    let bad = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC;
    statvfs(dir).is_ok_and(|info| info.f_flag.intersects(bad))
}

/// `containers::create::pid_file` without the name of the program.
fn short(test: &Test) -> &'static str {
    test.name.split_once("::").map_or(test.name, |(_, name)| name)
}

/// The end of the transcript: what led to the failure.
fn last_calls(transcript: &str) -> String {
    let lines: Vec<&str> = transcript.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// One test, in a thread of its own if system calls are to be taken away from it.
fn attempt(settings: &Settings, test: Test) -> Result<Outcome, String> {
    if test.lacks.is_empty() {
        return attempt_here(settings, test);
    }
    if settings.tare.kind != Kind::Tare {
        return Ok(Err(Skip("it is about calls that tare makes".into())));
    }
    let lacking = || {
        catch_unwind(|| super::lacking::take_away(test.lacks))
            .map_err(|_| PANIC.with(|slot| slot.borrow().clone()))?;
        attempt_here(settings, test)
    };
    std::thread::scope(|scope| scope.spawn(lacking).join().expect("panics are caught"))
}

/// One test in a lab of its own. A test that passed must also leave nothing behind.
fn attempt_here(settings: &Settings, test: Test) -> Result<Outcome, String> {
    let lab = Lab::new(settings);
    let caught = |_| PANIC.with(|slot| slot.borrow().clone());
    let result = catch_unwind(AssertUnwindSafe(|| (test.run)(&lab))).map_err(caught);
    let left = catch_unwind(AssertUnwindSafe(|| lab.tidy())).map_err(caught);
    let text = match (result, left) {
        (Err(text), _) | (Ok(_), Err(text)) => text,
        (Ok(Ok(())), Ok(left)) if !left.is_empty() => format!("left behind:\n{}", left.join("\n")),
        (Ok(outcome), _) => return Ok(outcome),
    };
    Err(format!("{text}\n\n{}", last_calls(&lab.transcript.borrow())))
}
