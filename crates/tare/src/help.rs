//! What the program says about itself, and about a call that it could not read.
use std::error::Error as _;
use std::ffi::OsStr;

use clap::Command;
use clap::error::{ContextKind, ContextValue};
use runtime::{Error, Kind};

use crate::cli::{self, Entry};
use crate::{Failure, output};

/// What `--version` prints: engines read the first line's last word and what follows `commit:` and `spec:`.
pub fn version(program: &str) -> String {
    let (version, commit, spec) = (env!("CARGO_PKG_VERSION"), env!("TARE_COMMIT"), oci::VERSION);
    format!("{program} version {version}\ncommit: {commit}\nspec: {spec}\n")
}

/// Prints help on a command, or on the program; a command that there is not, or not yet, is a failure.
pub fn show(program: &str, topic: Option<&OsStr>) -> Result<i32, Failure> {
    let text = match topic {
        Some(name) if !cli::is_help(name) => match cli::find(name) {
            Some(entry) => of_command(program, entry),
            None => return Err(missing(program, name)),
        },
        _ => of_program(program),
    };
    output::print(text.as_bytes())?;
    Ok(0)
}

fn missing(program: &str, name: &OsStr) -> Failure {
    let (shown, later) = (name.to_string_lossy(), cli::later(name));
    let text = match later {
        Some(_) => format!("{program} {shown} is not supported yet"),
        None => format!("No help topic for '{shown}'"),
    };
    Failure { error: Error::new(Kind::Unsupported, text), status: later.unwrap_or(3) }
}

/// Help on the program.
fn of_program(program: &str) -> String {
    render(cli::command().bin_name(program))
}

/// Help on a command.
fn of_command(program: &str, entry: &Entry) -> String {
    let more = format!("Flags that every command takes are in `{program} --help`.");
    render(entry.definition().bin_name(format!("{program} {}", entry.name)).after_help(more))
}

/// The whole description, but one line a flag.
fn render(command: Command) -> String {
    let about = command.get_long_about().or(command.get_about()).cloned().unwrap_or_default();
    command.about(about).render_help().to_string()
}

/// A call with a flag that is not right, as runc answers it: help on stdout, the reason on stderr.
pub fn misused(program: &str, entry: Option<&Entry>, reason: String) -> Failure {
    output::complain(&format!("Incorrect Usage: {reason}\n\n"));
    refuse(entry.map_or_else(|| of_program(program), |entry| of_command(program, entry)), reason)
}

/// A call with too few or too many operands, as runc answers it.
pub fn miscounted(program: &str, entry: &Entry, reason: String) -> Failure {
    refuse(format!("Incorrect Usage.\n\n{}", of_command(program, entry)), reason)
}

fn refuse(help: String, reason: String) -> Failure {
    // The reason is what counts: without a reader for the help it is told all the same.
    let _ = output::print(help.as_bytes());
    Failure { error: Error::new(Kind::Invalid, reason), status: 1 }
}

/// Why clap does not take a value, in runc's words.
pub fn fault(error: &clap::Error) -> String {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let flag = said(ContextKind::InvalidArg).split(' ').next().unwrap_or_default().trim_start_matches('-');
    let reason = error.source().map_or_else(|| error.kind().to_string(), ToString::to_string);
    format!("invalid value {:?} for flag -{flag}: {reason}", said(ContextKind::InvalidValue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_line_by_line() {
        let text = version("runc");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], format!("runc version {}", env!("CARGO_PKG_VERSION")));
        assert!(lines[1].strip_prefix("commit: ").is_some_and(|commit| !commit.is_empty()), "{text}");
        assert_eq!(lines[2], "spec: 1.3.0");
    }

    #[test]
    fn help_names_every_command_that_works_and_no_other() {
        let text = of_program("tare");
        for entry in cli::COMMANDS {
            assert!(text.contains(&format!("\n  {} ", entry.name)), "{} is missing in {text}", entry.name);
        }
        for name in ["checkpoint", "restore", "--criu"] {
            assert!(!text.contains(name), "{name} is in {text}");
        }
        let kill = cli::find(OsStr::new("kill")).unwrap();
        assert!(of_command("runc", kill).contains("Usage: runc kill"), "{}", of_command("runc", kill));
    }

    #[test]
    fn a_command_that_is_not_there_has_its_status() {
        for (name, status, text) in [
            ("badcmd", 3, "No help topic for 'badcmd'"),
            ("version", 3, "No help topic for 'version'"),
            ("restore", 1, "tare restore is not supported yet"),
            ("checkpoint", 1, "tare checkpoint is not supported yet"),
        ] {
            let failure = missing("tare", OsStr::new(name));
            assert_eq!((failure.status, failure.error.text.as_str()), (status, text));
        }
    }
}
