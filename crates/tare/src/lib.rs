//! The program `tare`: its command line, and what it prints. The work is done by `runtime`.
#![forbid(unsafe_code)]

mod argv;
pub mod cli;
mod cmd;
mod duration;
mod help;
mod output;
mod root;
mod seal;
mod size;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{ArgMatches, Command, FromArgMatches};
use runtime::log::Format;
use runtime::{Context, Error, Kind, Rootless};

use crate::argv::{Line, Usage};
use crate::cli::{Entry, Globals};
use crate::root::Source;

/// Why a call failed, and its exit status.
struct Failure {
    error: Error,
    status: i32,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, status: 1 }
    }
}

/// The program, from its arguments to its exit status.
pub fn main(args: &[&OsStr]) -> u8 {
    std::panic::set_hook(Box::new(|panic| {
        tell(&Error::new(Kind::System, format!("internal error: {panic}").replace('\n', " ")));
        std::process::exit(1);
    }));
    let status = match call(args) {
        Ok(status) => {
            runtime::log::flush();
            status
        }
        Err(Failure { error, status }) => {
            tell(&error);
            status
        }
    };
    log::debug!("exit status {status}");
    u8::try_from(status & 0xff).unwrap_or(u8::MAX)
}

/// Says that the call has failed: in the log, and on stderr if that is not the same.
fn tell(error: &Error) {
    // If the failure came before the log was started, it goes to stderr.
    runtime::log::start(None, Format::Text, false);
    log::error!("{error}");
    if !runtime::log::goes_to_stderr() {
        output::complain(&format!("{error}\n"));
    }
    for hint in &error.hints {
        output::complain(&format!("hint: {hint}\n"));
    }
}

/// Finds out what is asked for, and does it; the exit status.
fn call(args: &[&OsStr]) -> Result<i32, Failure> {
    let (called_as, words) =
        args.split_first().map_or((OsStr::new(""), args), |(first, rest)| (*first, rest));
    let (name, program) = (name(called_as), cli::program());
    let mut line = Line::default();
    let rest = match argv::before_command(words, &program, &mut line) {
        Ok(rest) => rest,
        Err(Usage(mistake)) => {
            start_log(program, &line)?;
            return Err(help::misused(name, None, mistake));
        }
    };
    let topic = line.command.clone();
    if line.help {
        return help::show(name, topic.as_deref());
    }
    if line.version {
        output::print(help::version(name).as_bytes())?;
        return Ok(0);
    }
    let Some(entry) = topic.as_deref().and_then(cli::find) else {
        start_log(program, &line)?;
        let is_help = topic.as_deref().is_some_and(cli::is_help);
        return help::show(name, if is_help { rest.first().copied() } else { topic.as_deref() });
    };

    // Before anything else is done: a program that is not sealed yet starts again from its beginning.
    let sealed = if entry.makes_container { seal::seal(args) } else { Ok(()) };
    let definition = entry.definition();
    let sorted = argv::after_command(rest, &definition, &program, entry.flags_end_at_operand, &mut line);
    if sorted.is_ok() && line.help {
        return help::show(name, topic.as_deref());
    }
    let globals = start_log(program, &line)?;
    log::debug!("called with {args:?}");
    let misused = |mistake| help::misused(name, Some(entry), mistake);
    sorted.map_err(|Usage(mistake)| misused(mistake))?;
    let ctx = context(name, entry, &globals)?;
    if let Some(miscount) = entry.miscount(line.operands.len()) {
        return Err(help::miscounted(name, entry, format!("{}: {miscount}", called_as.to_string_lossy())));
    }
    let matches =
        matches(definition, line.flags, line.operands).map_err(|error| misused(help::fault(&error)))?;
    let failed = |error| Failure { error, status: entry.failure };
    sealed.map_err(|error| error.context(format_args!("{name} {} failed", entry.name))).map_err(failed)?;
    (entry.act)(&ctx, matches).map_err(failed)
}

/// What clap makes of a sorted command line.
fn matches(
    definition: Command,
    flags: Vec<OsString>,
    operands: Vec<OsString>,
) -> Result<ArgMatches, clap::Error> {
    let end = [OsString::from("--")];
    definition.no_binary_name(true).try_get_matches_from(flags.into_iter().chain(end).chain(operands))
}

/// The name that messages begin with: engines look for runc's when they call it so.
fn name(called_as: &OsStr) -> &'static str {
    match Path::new(called_as).file_name() {
        Some(name) if name == "runc" => "runc",
        _ => "tare",
    }
}

/// Reads the global flags, and starts logging as they want it.
fn start_log(program: Command, line: &Line) -> Result<Globals, Error> {
    let matches = matches(program, line.globals.clone(), Vec::new());
    let mut matches = matches.expect("global flags take any text");
    let globals =
        Globals::from_arg_matches_mut(&mut matches).expect("the matches come from the same definition");
    let given = |flag: &Option<OsString>| flag.clone().filter(|value| !value.is_empty());
    let format = match given(&globals.log_format) {
        None => Format::Text,
        Some(name) if name == "text" => Format::Text,
        Some(name) if name == "json" => Format::Json,
        Some(name) => {
            let text = format!("invalid log-format: {}", name.to_string_lossy());
            return Err(Error::new(Kind::Invalid, text).hint("--log-format takes text or json"));
        }
    };
    let file = given(&globals.log).map(|path| runtime::log::open(Path::new(&path))).transpose()?;
    runtime::log::start(file, format, globals.debug);
    if globals.criu.is_some() {
        log::warn!("--criu is ignored: criu is looked for in PATH");
    }
    Ok(globals)
}

/// What the global flags say to the command.
fn context(name: &'static str, entry: &Entry, globals: &Globals) -> Result<Context, Error> {
    let root = root::find(globals.root.as_deref())?;
    if entry.makes_container && root.source == Source::Session {
        root::make_for_session(&root.path)?;
    }
    Ok(Context {
        program: name,
        root: root.path,
        root_is_explicit: root.source == Source::Flag,
        systemd_cgroup: globals.systemd_cgroup,
        rootless: rootless(globals.rootless.as_deref().unwrap_or_default())?,
    })
}

/// The value of `--rootless`: `auto`, or a boolean as Go writes it.
fn rootless(value: &OsStr) -> Result<Rootless, Error> {
    if value.is_empty() || value.eq_ignore_ascii_case("auto") {
        return Ok(Rootless::Auto);
    }
    match argv::switch(value) {
        Some(true) => Ok(Rootless::True),
        Some(false) => Ok(Rootless::False),
        None => {
            let text = format!("invalid value {:?} for flag -rootless", value.to_string_lossy());
            Err(Error::new(Kind::Invalid, text).hint("--rootless takes true, false or auto"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_counts_without_its_directory() {
        for (called_as, name) in [
            ("tare", "tare"),
            ("/usr/bin/tare", "tare"),
            ("runc", "runc"),
            ("/usr/sbin/runc", "runc"),
            ("./runc", "runc"),
            ("runc-tare", "tare"),
            ("", "tare"),
        ] {
            assert_eq!(super::name(OsStr::new(called_as)), name, "{called_as}");
        }
    }

    #[test]
    fn rootless_takes_gos_booleans_and_auto() {
        for (value, meaning) in [
            ("", Some(Rootless::Auto)),
            ("auto", Some(Rootless::Auto)),
            ("Auto", Some(Rootless::Auto)),
            ("true", Some(Rootless::True)),
            ("1", Some(Rootless::True)),
            ("false", Some(Rootless::False)),
            ("F", Some(Rootless::False)),
            ("yes", None),
            ("tRuE", None),
        ] {
            assert_eq!(rootless(OsStr::new(value)).ok(), meaning, "{value}");
        }
    }
}
