//! Runs tests under libtest-mimic: a failure shows where it was and every call before it, and the run ends
//! with the list of what was ignored and why.

use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::{env, fs};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::settings::Settings;
use super::{Lab, Skip, Test};

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
        command.args(["unshare", "--mount", "--propagation", "private"]).args(env::args_os());
        let _ = fs::remove_dir_all(&settings.dir);
        eprintln!("{}", command.env(OWN_MOUNTS, "1").exec());
        return ExitCode::from(2);
    }
    let ignored = Arc::new(Mutex::new(Vec::new()));
    let trials = tests.iter().map(|&test| {
        let (settings, ignored) = (Arc::clone(&settings), Arc::clone(&ignored));
        Trial::ignorable_test(short(&test), move || match attempt(&settings, test) {
            Ok(Ok(())) => Ok(Completion::Completed),
            Ok(Err(Skip(reason))) => {
                ignored.lock().unwrap().push(format!("{}: {reason}", short(&test)));
                Ok(Completion::ignored_with(reason))
            }
            Err(failed) => Err(failed),
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let ignored = ignored.lock().unwrap();
    if !ignored.is_empty() {
        println!("ignored, because:\n    {}\n", ignored.join("\n    "));
    }
    conclusion.exit_code()
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

/// One test in a lab of its own. A test that passed must also leave nothing behind.
fn attempt(settings: &Settings, test: Test) -> Result<Result<(), Skip>, Failed> {
    let lab = Lab::new(settings);
    let caught = |_| PANIC.with(|slot| slot.borrow().clone());
    let result = catch_unwind(AssertUnwindSafe(|| (test.run)(&lab))).map_err(caught);
    let left = catch_unwind(AssertUnwindSafe(|| lab.tidy())).map_err(caught);
    let text = match (result, left) {
        (Err(text), _) | (Ok(_), Err(text)) => text,
        (Ok(Ok(())), Ok(left)) if !left.is_empty() => format!("left behind:\n{}", left.join("\n")),
        (Ok(outcome), _) => return Ok(outcome),
    };
    Err(format!("{text}\n\n{}", last_calls(&lab.transcript.borrow())).into())
}
