//! From Go's way of writing a command line to one that clap reads.
//!
//! Engines were written for runc, whose parser is Go's: a long flag may have one dash, a boolean may have
//! a value, flags may follow operands, and global flags may follow the command. This module sorts the
//! words of a command line; what they mean is clap's part.
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, Command};

use crate::cli;

/// A command line, sorted: flags in the form `--long=value` or `--long`, in the order in which they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The global flags, wherever they stood.
    pub globals: Vec<OsString>,
    /// The command, known or not; `None` when there is none.
    pub command: Option<OsString>,
    /// The flags of the command.
    pub flags: Vec<OsString>,
    /// Everything that is not a flag.
    pub operands: Vec<OsString>,
    /// `--help`, of the program or of the command.
    pub help: bool,
    /// `--version`, which only the program has.
    pub version: bool,
}

/// Why a command line can't be read, in runc's words.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage(pub String);

/// Where the flags of a command line end, besides at `--`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FlagsEnd {
    /// At the name of a command: what follows is the command's.
    AtCommand,
    /// At the first operand: what follows are operands, and those of another program.
    AtOperand,
    /// Nowhere.
    Nowhere,
}

/// Sorts the words after the program's name up to that of a command, and gives the words behind it.
///
/// When there is a mistake, `line` holds what came before it.
pub fn before_command<'a>(
    words: &'a [&'a OsStr],
    program: &Command,
    line: &mut Line,
) -> Result<&'a [&'a OsStr], Usage> {
    let rest = scan(words, &[program], FlagsEnd::AtCommand, line)?;
    if line.command.is_none() && !line.operands.is_empty() {
        line.command = Some(line.operands.remove(0));
    }
    Ok(rest)
}

/// Sorts the words behind the name of a command, whose `definition` goes before that of the program:
/// `spec --rootless` takes no value.
pub fn after_command(
    words: &[&OsStr],
    definition: &Command,
    program: &Command,
    flags_end_at_operand: bool,
    line: &mut Line,
) -> Result<(), Usage> {
    let end = if flags_end_at_operand { FlagsEnd::AtOperand } else { FlagsEnd::Nowhere };
    scan(words, &[definition, program], end, line).map(drop)
}

/// Sorts words up to the end of the flags, and gives the words that are left.
fn scan<'a>(
    mut words: &'a [&'a OsStr],
    scopes: &[&Command],
    end: FlagsEnd,
    line: &mut Line,
) -> Result<&'a [&'a OsStr], Usage> {
    while let Some((word, after)) = words.split_first() {
        let bytes = word.as_bytes();
        let ended = end == FlagsEnd::AtOperand && !line.operands.is_empty();
        match bytes {
            b"--" => return Ok(everything(after, line)),
            _ if ended => return Ok(everything(words, line)),
            // Neither a flag nor the end of the flags, but something like -9.
            [b'-', digit, ..] if !digit.is_ascii_alphabetic() && *digit != b'-' => {
                return Ok(everything(words, line));
            }
            [b'-', _, ..] => words = flag(word, after, scopes, line)?,
            _ if end == FlagsEnd::AtCommand && cli::is_command(word) => {
                line.command = Some((*word).to_owned());
                return Ok(after);
            }
            _ => {
                line.operands.push((*word).to_owned());
                words = after;
            }
        }
    }
    Ok(words)
}

/// Takes all words for operands; none is left.
fn everything<'a>(words: &[&OsStr], line: &mut Line) -> &'a [&'a OsStr] {
    line.operands.extend(words.iter().map(|word| (*word).to_owned()));
    &[]
}

/// Takes one flag, and its value from `after` if it stands there; gives what is left of `after`.
fn flag<'a>(
    word: &OsStr,
    after: &'a [&'a OsStr],
    scopes: &[&Command],
    line: &mut Line,
) -> Result<&'a [&'a OsStr], Usage> {
    let bytes = word.as_bytes();
    let bytes = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).unwrap_or(bytes);
    let (name, value) = match bytes.iter().position(|&b| b == b'=') {
        Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
        None => (bytes, None),
    };
    let name = String::from_utf8_lossy(name);
    let found = scopes.iter().zip(0..).find_map(|(scope, number)| Some((named(scope, &name)?, number)));
    let (arg, number) = match found {
        Some((arg, _)) if arg.get_id() == "version" && line.command.is_some() => None,
        other => other,
    }
    .ok_or_else(|| Usage(format!("flag provided but not defined: -{name}")))?;
    // The last scope is that of the global flags.
    let list = if number + 1 == scopes.len() { &mut line.globals } else { &mut line.flags };

    if arg.get_action().takes_values() {
        let (value, after) = match (value, after.split_first()) {
            (Some(value), _) => (value, after),
            (None, Some((next, after))) => (*next, after),
            (None, None) => {
                return Err(Usage(format!("flag needs an argument: {}", word.to_string_lossy())));
            }
        };
        let mut canonical = long(arg);
        canonical.reserve_exact(1 + value.len());
        canonical.push("=");
        canonical.push(value);
        list.push(canonical);
        return Ok(after);
    }
    let on = switch(value.unwrap_or_default()).ok_or_else(|| {
        let value = value.unwrap_or_default().to_string_lossy();
        Usage(format!("invalid value {value:?} for flag -{name}: parse error"))
    })?;
    match arg.get_id().as_str() {
        "help" => line.help = on,
        "version" => line.version = on,
        _ => {
            // The last one counts.
            let canonical = long(arg);
            list.retain(|other| *other != canonical);
            list.extend(on.then_some(canonical));
        }
    }
    Ok(after)
}

/// The flag of `scope` called `name`, by its long or its short name: Go tells neither by the dashes.
fn named<'a>(scope: &'a Command, name: &str) -> Option<&'a Arg> {
    scope.get_arguments().find(|arg| {
        arg.get_long() == Some(name) || arg.get_short().is_some_and(|short| name.chars().eq([short]))
    })
}

/// `--long`, of a flag that has such a name.
fn long(arg: &Arg) -> OsString {
    format!("--{}", arg.get_long().unwrap_or_default()).into()
}

/// The value of a boolean flag, by the words of Go's `strconv.ParseBool`; none at all means yes.
pub fn switch(value: &OsStr) -> Option<bool> {
    match value.as_bytes() {
        b"" | b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorts a command line as the program does it.
    fn sort(words: &[OsString], line: &mut Line) -> Result<(), Usage> {
        let program = cli::program();
        let words: Vec<_> = words.iter().map(OsString::as_os_str).collect();
        let rest = before_command(&words, &program, line)?;
        match line.command.as_deref().and_then(cli::find) {
            Some(entry) if !line.help && !line.version => {
                after_command(rest, &entry.definition(), &program, entry.flags_end_at_operand, line)
            }
            _ => {
                everything(rest, line);
                Ok(())
            }
        }
    }

    /// Sorts a command line whose words are separated by spaces; `∅` is an empty word.
    fn sorted(words: &str) -> (Line, Result<(), Usage>) {
        let words: Vec<OsString> =
            words.split_whitespace().map(|word| if word == "∅" { "" } else { word }.into()).collect();
        let mut line = Line::default();
        let result = sort(&words, &mut line);
        (line, result)
    }

    fn joined(words: &[OsString]) -> String {
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    /// `globals | command | flags | operands`, with `help` and `version` in front where they are set.
    fn shown(line: &Line) -> String {
        let marks = [(line.help, "help "), (line.version, "version ")];
        let marks: String = marks.iter().filter(|mark| mark.0).map(|mark| mark.1).collect();
        let command = line.command.as_deref().unwrap_or_default().to_str().unwrap();
        let parts = [&line.globals, &line.flags, &line.operands].map(|words| joined(words));
        format!("{marks}{} | {command} | {} | {}", parts[0], parts[1], parts[2])
    }

    /// A command line, and where its words go.
    const LINES: &[(&str, &str)] = &[
        // What engines send.
        (
            "--root /r --log /l --log-format json create --bundle /b --pid-file /p --no-pivot id",
            "--root=/r --log=/l --log-format=json | create | --bundle=/b --pid-file=/p --no-pivot | id",
        ),
        (
            "--log-format=json --log /l delete --force id",
            "--log-format=json --log=/l | delete | --force | id",
        ),
        (
            "--systemd-cgroup --rootless=true kill --all id 9",
            "--systemd-cgroup --rootless=true | kill | --all | id 9",
        ),
        ("ps --format json id", " | ps | --format=json | id"),
        ("list --format=json", " | list | --format=json | "),
        ("--version", "version  |  |  | "),
        ("features", " | features |  | "),
        // One dash or two, long or short, with an equals sign or without.
        ("run -no-subreaper -bundle /b id", " | run | --no-subreaper --bundle=/b | id"),
        ("run --b /b --d id", " | run | --bundle=/b --detach | id"),
        ("run -b=/b -d=true id", " | run | --bundle=/b --detach | id"),
        ("-root=/r -debug list -q -format=json", "--root=/r --debug | list | --quiet --format=json | "),
        ("run --bundle=/a=b id", " | run | --bundle=/a=b | id"),
        ("run --bundle= id", " | run | --bundle= | id"),
        ("--root ∅ list", "--root= | list |  | "),
        ("run --bundle --detach id", " | run | --bundle=--detach | id"),
        (
            "--log /l update --resources=- id --cpu-quota -1 -memory-swap -1",
            "--log=/l | update | --resources=- --cpu-quota=-1 --memory-swap=-1 | id",
        ),
        ("update -r - id", " | update | --resources=- | id"),
        // Flags after operands.
        ("delete id --force", " | delete | --force | id"),
        ("delete id -f", " | delete | --force | id"),
        ("run id --detach --bundle /b", " | run | --detach --bundle=/b | id"),
        ("state id extra", " | state |  | id extra"),
        ("kill id --all", " | kill |  | id --all"),
        ("kill id -9", " | kill |  | id -9"),
        ("ps id -aux --format json", " | ps |  | id -aux --format json"),
        ("ps id -- -ef", " | ps |  | id -ef"),
        ("ps -f json id -o pid", " | ps | --format=json | id -o pid"),
        ("exec id sh -c x", " | exec |  | id sh -c x"),
        (
            "exec -t -d -u 1:2 -e A=1 -env B=2 id env -i",
            " | exec | --tty --detach --user=1:2 --env=A=1 --env=B=2 | id env -i",
        ),
        ("exec id -t --help -- x", " | exec |  | id -t --help -- x"),
        ("exec -- id ls --", " | exec |  | id ls --"),
        ("exec id -- ls", " | exec |  | id ls"),
        (
            "exec -g 5 -g=6 --cap CAP_KILL -c CAP_CHOWN id x",
            " | exec | --additional-gids=5 --additional-gids=6 --cap=CAP_KILL --cap=CAP_CHOWN | id x",
        ),
        (
            "exec --pid-file /p --process /f --detach --console-socket=/s id",
            " | exec | --pid-file=/p --process=/f --detach --console-socket=/s | id",
        ),
        (
            "exec --cwd /tmp --cgroup cpu:a --ignore-paused --preserve-fds=2 id x",
            " | exec | --cwd=/tmp --cgroup=cpu:a --ignore-paused --preserve-fds=2 | id x",
        ),
        // Global flags after the command, and one that the command hides.
        ("list --root /r --debug", "--root=/r --debug | list |  | "),
        ("--rootless auto spec --rootless", "--rootless=auto | spec | --rootless | "),
        ("spec --rootless=false --bundle /b", " | spec | --bundle=/b | "),
        // Booleans with a value: the last one counts.
        ("run --detach=false id", " | run |  | id"),
        ("run --detach=true --detach=0 id", " | run |  | id"),
        ("run --detach=F --detach id", " | run | --detach | id"),
        ("run --detach= id", " | run | --detach | id"),
        ("--debug --debug list", "--debug | list |  | "),
        // The end of the flags.
        ("delete -- --force", " | delete |  | --force"),
        ("delete --force -- -id", " | delete | --force | -id"),
        ("delete - --force", " | delete | --force | -"),
        ("delete -1 --force", " | delete |  | -1 --force"),
        ("delete ∅ --force", " | delete | --force | "),
        // No command, or one that does not work.
        ("", " |  |  | "),
        ("--debug", "--debug |  |  | "),
        ("badcmd", " | badcmd |  | "),
        ("badcmd --debug x", "--debug | badcmd |  | x"),
        ("checkpoint --help", " | checkpoint |  | --help"),
        // Help and version.
        ("help", " | help |  | "),
        ("h run", " | h |  | run"),
        ("-h", "help  |  |  | "),
        ("--help run --nonsense", "help  | run |  | --nonsense"),
        ("run --help", "help  | run |  | "),
        ("run id -help", "help  | run |  | id"),
        ("run --help=false id", " | run |  | id"),
        ("kill id --help", " | kill |  | id --help"),
        ("-v run", "version  | run |  | "),
    ];

    #[test]
    fn words_go_where_go_puts_them() {
        for (words, line) in LINES {
            let (sorted, result) = sorted(words);
            assert_eq!(result, Ok(()), "{words}");
            assert_eq!(shown(&sorted), *line, "{words}");
        }
    }

    #[test]
    fn mistakes_are_told_in_runcs_words() {
        for (words, text) in [
            ("--badflag", "flag provided but not defined: -badflag"),
            ("-badflag list", "flag provided but not defined: -badflag"),
            ("--badflag=x", "flag provided but not defined: -badflag"),
            ("create --badflag x", "flag provided but not defined: -badflag"),
            ("create -v x", "flag provided but not defined: -v"),
            ("run -db /b id", "flag provided but not defined: -db"),
            ("create --detach id", "flag provided but not defined: -detach"),
            ("---debug list", "flag provided but not defined: --debug"),
            ("--=x list", "flag provided but not defined: -"),
            ("badcmd --badflag", "flag provided but not defined: -badflag"),
            ("--log", "flag needs an argument: --log"),
            ("run id -bundle", "flag needs an argument: -bundle"),
            ("run --detach=yes id", "invalid value \"yes\" for flag -detach: parse error"),
            ("--debug=2 list", "invalid value \"2\" for flag -debug: parse error"),
        ] {
            assert_eq!(sorted(words).1, Err(Usage(text.to_owned())), "{words}");
        }
    }

    #[test]
    fn what_stands_before_a_mistake_is_kept() {
        let (line, result) = sorted("--log /l --log-format json create --bundle /b --bad id");
        assert!(result.is_err());
        assert_eq!(shown(&line), "--log=/l --log-format=json | create | --bundle=/b | ");
    }

    #[test]
    fn values_may_be_any_bytes() {
        let words = [OsString::from("run"), OsStr::from_bytes(b"--bundle=/\xff").to_owned()];
        let mut line = Line::default();
        assert_eq!(sort(&words, &mut line), Ok(()));
        assert_eq!(line.flags, [OsStr::from_bytes(b"--bundle=/\xff")]);
    }
}
