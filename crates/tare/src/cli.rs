//! The commands and the global flags: one table, from which parsing, help, man pages and completions come.
use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use runtime::{Context, Result};

use crate::cmd;

/// What the program is, in one line.
const ABOUT: &str = "Run containers from OCI bundles";

/// What the program is, in help and man page.
const LONG_ABOUT: &str = "\
Run containers from OCI bundles

A bundle is a directory with a root file system and a config.json that says what
to run in it and how to confine it; `tare spec` writes one to begin with. Then
`tare run ID` runs what is in the current directory. Engines go one step at a
time instead: `create`, `start`, `kill`, `delete`.";

/// One command.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// How many operands it takes.
    operands: Operands,
    /// Whether everything behind the first operand is an operand, as it belongs to another program.
    pub flags_end_at_operand: bool,
    /// Whether it starts processes that container code can look into, so that the program must be sealed.
    pub makes_container: bool,
    /// The exit status of a call that fails, but for one that can't be read.
    pub failure: i32,
    /// Adds its flags and operands to a definition.
    augment: fn(Command) -> Command,
    /// Does its work; the exit status.
    pub act: fn(&Context, ArgMatches) -> Result<i32>,
}

/// How many operands a command takes.
#[derive(Clone, Copy)]
enum Operands {
    /// This many.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
    /// From the first to the second number.
    Between(usize, usize),
}

impl Operands {
    /// What is wrong with `count` operands, in runc's words; `None` when nothing is.
    fn fault(self, count: usize) -> Option<String> {
        let (limit, number) = match self {
            Operands::Exactly(n) => ("exactly", (count != n).then_some(n)),
            Operands::AtLeast(n) => ("a minimum of", (count < n).then_some(n)),
            Operands::Between(n, _) if count < n => ("a minimum of", Some(n)),
            Operands::Between(_, n) => ("a maximum of", (count > n).then_some(n)),
        };
        number.map(|n| format!("requires {limit} {n} argument(s)"))
    }
}

/// The flags and operands of a command, and what it does.
pub trait Act: Args {
    /// Does it; the exit status.
    fn act(self, ctx: &Context) -> Result<i32>;
}

/// The entry of a command that takes an id and nothing behind it.
const fn entry<A: Act>(name: &'static str) -> Entry {
    Entry {
        name,
        operands: Operands::Exactly(1),
        flags_end_at_operand: false,
        makes_container: false,
        failure: 1,
        augment: A::augment_args,
        act: |ctx, mut matches| {
            let args =
                A::from_arg_matches_mut(&mut matches).expect("the matches come from the definition of A");
            args.act(ctx)
        },
    }
}

/// The commands that work.
pub const COMMANDS: &[Entry] = &[
    Entry { makes_container: true, ..entry::<cmd::create::Create>("create") },
    entry::<cmd::delete::Delete>("delete"),
    entry::<cmd::events::Events>("events"),
    Entry {
        operands: Operands::AtLeast(1),
        flags_end_at_operand: true,
        makes_container: true,
        failure: 255,
        ..entry::<cmd::exec::Exec>("exec")
    },
    Entry { operands: Operands::Exactly(0), ..entry::<cmd::features::Features>("features") },
    Entry {
        operands: Operands::Between(1, 2),
        flags_end_at_operand: true,
        ..entry::<cmd::kill::Kill>("kill")
    },
    Entry { operands: Operands::Exactly(0), ..entry::<cmd::list::List>("list") },
    entry::<cmd::pause::Pause>("pause"),
    Entry { operands: Operands::AtLeast(1), flags_end_at_operand: true, ..entry::<cmd::ps::Ps>("ps") },
    entry::<cmd::resume::Resume>("resume"),
    Entry { makes_container: true, ..entry::<cmd::run::Run>("run") },
    Entry { operands: Operands::Exactly(0), ..entry::<cmd::spec::Spec>("spec") },
    entry::<cmd::start::Start>("start"),
    entry::<cmd::state::State>("state"),
    entry::<cmd::update::Update>("update"),
];

/// The commands of runc that don't work yet, with the exit status of their failure.
const LATER: &[(&str, i32)] = &[("checkpoint", 1), ("restore", 1)];

/// The command called `name`, if it works.
pub fn find(name: &OsStr) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| name == entry.name)
}

/// The exit status with which the command called `name` fails, if it does not work yet.
pub fn later(name: &OsStr) -> Option<i32> {
    LATER.iter().find(|(later, _)| name == *later).map(|&(_, status)| status)
}

/// Whether `name` is that of the command that prints help.
pub fn is_help(name: &OsStr) -> bool {
    name == "help" || name == "h"
}

/// Whether a command is called `name`, whether it works or not.
pub fn is_command(name: &OsStr) -> bool {
    find(name).is_some() || later(name).is_some() || is_help(name)
}

impl Entry {
    /// The command on its own, without the global flags.
    pub fn definition(&self) -> Command {
        plain((self.augment)(Command::new(self.name)))
    }

    /// What is wrong with a call with `count` operands, in runc's words; `None` when nothing is.
    pub fn miscount(&self, count: usize) -> Option<String> {
        self.operands.fault(count).map(|fault| format!("\"{}\" {fault}", self.name))
    }
}

/// The flags that every command takes.
#[derive(Args, Debug, Default)]
pub struct Globals {
    /// Log what happens in detail
    #[arg(long)]
    pub debug: bool,
    /// Append messages to FILE; errors go to stderr as well
    #[arg(long, value_name = "FILE")]
    pub log: Option<OsString>,
    /// The shape of log lines: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<OsString>,
    /// Keep the state of containers in DIR, not in /run/tare or $XDG_RUNTIME_DIR/tare
    #[arg(long, value_name = "DIR")]
    pub root: Option<OsString>,
    /// Have systemd make the cgroup: a scope, named by a cgroupsPath of slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Do without cgroups that the caller may not change: true, false or auto
    #[arg(long, value_name = "WHEN")]
    pub rootless: Option<OsString>,
    /// Ignored: criu is looked for in PATH
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<OsString>,
}

/// The program with its global flags alone. All but `--version` may stand behind the command as well.
pub fn program() -> Command {
    let version = Arg::new("version").long("version").short('v').action(ArgAction::SetTrue);
    plain(Globals::augment_args(Command::new("tare"))).arg(version.help("Print the version"))
}

/// The whole program: for help, man pages and completions.
pub fn command() -> Command {
    let help = Command::new("help")
        .about("Print help on the program or on a command")
        .arg(Arg::new("command").value_name("COMMAND"));
    program()
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_value_name("COMMAND")
        .subcommands(COMMANDS.iter().map(Entry::definition))
        .subcommand(plain(help))
}

/// Takes from clap what it would do otherwise than runc: its own flags and its refusal of repeated ones.
fn plain(command: Command) -> Command {
    let help = Arg::new("help").long("help").short('h').action(ArgAction::SetTrue).help("Print help");
    command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .arg(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_sound() {
        command().debug_assert();
    }

    #[test]
    fn commands_count_their_operands() {
        for (name, count, fault) in [
            ("state", 0, Some("\"state\" requires exactly 1 argument(s)")),
            ("state", 1, None),
            ("create", 2, Some("\"create\" requires exactly 1 argument(s)")),
            ("list", 0, None),
            ("list", 1, Some("\"list\" requires exactly 0 argument(s)")),
            ("kill", 0, Some("\"kill\" requires a minimum of 1 argument(s)")),
            ("kill", 1, None),
            ("kill", 2, None),
            ("kill", 3, Some("\"kill\" requires a maximum of 2 argument(s)")),
            ("ps", 0, Some("\"ps\" requires a minimum of 1 argument(s)")),
            ("ps", 9, None),
        ] {
            assert_eq!(find(OsStr::new(name)).unwrap().miscount(count).as_deref(), fault, "{name} {count}");
        }
    }
}
