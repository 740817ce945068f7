//! The program `tare`: its command line, and what it prints. The work is done by `runtime`.
#![forbid(unsafe_code)]

mod argv;
pub mod cli;
mod cmd;
mod help;
mod output;
mod root;
mod seal;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

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

/// The program, from its command line to its exit status.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        tell(&Error::new(Kind::System, format!("internal error: {panic}").replace('\n', " ")));
        std::process::exit(1);
    }));
    let mut words = std::env::args_os();
    let called_as = words.next().unwrap_or_default();
    let status = match call(&called_as, &words.collect::<Vec<_>>()) {
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
    ExitCode::from(u8::try_from(status & 0xff).unwrap_or(u8::MAX))
}

/// Says that the call has failed: in the log, and on stderr if that is not the same.
fn tell(error: &Error) {
    // If the failure came before the log was started, it goes to stderr.
    runtime::log::start(None, for_stderr(), false);
    log::error!("{error}");
    if !runtime::log::goes_to_stderr() {
        output::complain(&format!("{error}\n"));
    }
    for hint in &error.hints {
        output::complain(&format!("hint: {hint}\n"));
    }
}

/// Finds out what is asked for, and does it; the exit status.
fn call(called_as: &OsStr, words: &[OsString]) -> Result<i32, Failure> {
    let program = program(called_as);
    let mut line = Line::default();
    let sorted = argv::sort(words, &mut line);
    let topic = line.command.as_deref();
    if sorted.is_ok() && line.help {
        return help::show(program, topic);
    }
    if sorted.is_ok() && line.version {
        output::print(help::version(program).as_bytes())?;
        return Ok(0);
    }
    let entry = topic.and_then(cli::find);
    // Before anything else is done: a program that is not sealed yet starts again from its beginning.
    let sealed = match entry {
        Some(entry) if entry.makes_container && sorted.is_ok() => seal::seal(),
        _ => Ok(()),
    };
    let globals = matches(cli::globals(), &line.globals, &[]).and_then(|m| Globals::from_arg_matches(&m));
    let globals = globals.map_err(|error| help::misused(program, None, help::fault(&error)))?;
    start_log(&globals)?;
    log::debug!("called as {called_as:?} with {words:?}");
    if let Err(Usage(text)) = sorted {
        return Err(help::misused(program, entry, text));
    }
    match entry {
        Some(entry) => {
            let ctx = context(program, entry, &globals)?;
            sealed.map_err(|error| error.context(format_args!("{program} {} failed", entry.name)))?;
            act(called_as, entry, &ctx, &line)
        }
        None if topic.is_some_and(cli::is_help) => {
            help::show(program, line.operands.first().map(OsString::as_os_str))
        }
        None => help::show(program, topic),
    }
}

/// Reads the flags and operands of a command, and lets it work.
fn act(called_as: &OsStr, entry: &Entry, ctx: &Context, line: &Line) -> Result<i32, Failure> {
    if let Some(fault) = entry.operands.fault(line.operands.len()) {
        let text = format!("{}: \"{}\" {fault}", called_as.to_string_lossy(), entry.name);
        return Err(help::miscounted(ctx.program, entry, text));
    }
    let matches = matches(entry.definition(), &line.flags, &line.operands)
        .map_err(|error| help::misused(ctx.program, Some(entry), help::fault(&error)))?;
    Ok((entry.act)(ctx, &matches)?)
}

/// What clap makes of a sorted command line.
fn matches(
    definition: Command,
    flags: &[OsString],
    operands: &[OsString],
) -> Result<ArgMatches, clap::Error> {
    let end = [OsString::from("--")];
    definition.no_binary_name(true).try_get_matches_from(flags.iter().chain(&end).chain(operands))
}

/// The name that messages begin with: engines look for runc's when they call it so.
fn program(called_as: &OsStr) -> &'static str {
    match Path::new(called_as).file_name() {
        Some(name) if name == "runc" => "runc",
        _ => "tare",
    }
}

/// The shape of messages on stderr: that of the log for programs, the bare text for people.
fn for_stderr() -> Format {
    if sys::tty::is_terminal(sys::process::stdio()[2]) { Format::Plain } else { Format::Text }
}

/// Starts logging as the global flags want it.
fn start_log(globals: &Globals) -> Result<(), Error> {
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
    let format = if file.is_none() && format == Format::Text { for_stderr() } else { format };
    runtime::log::start(file, format, globals.debug);
    if globals.criu.is_some() {
        log::warn!("--criu is ignored: criu is looked for in PATH");
    }
    Ok(())
}

/// What the global flags say to the command.
fn context(program: &'static str, entry: &Entry, globals: &Globals) -> Result<Context, Error> {
    let root = root::find(globals.root.as_deref())?;
    if entry.makes_container && root.source == Source::Session {
        root::make_for_session(&root.path)?;
    }
    Ok(Context {
        program,
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
            assert_eq!(program(OsStr::new(called_as)), name, "{called_as}");
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
