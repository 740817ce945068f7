//! `tare ps`: the processes of a container, in the host's words.
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::Command;

use clap::Args;
use runtime::{Context, Error, Kind, Result, ops};

use super::Container;
use crate::cli::Act;
use crate::output::{self, Format};

/// List the processes of a container
#[derive(Args)]
pub struct Ps {
    #[command(flatten)]
    container: Container,
    /// Arguments for the host's ps, whose output must have a column PID; -ef by default
    #[arg(value_name = "PS-ARGUMENT", allow_hyphen_values = true)]
    arguments: Vec<OsString>,
    /// What to print: table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    format: String,
}

impl Act for Ps {
    fn act(self, ctx: &Context) -> Result<i32> {
        let format: Format = self.format.parse()?;
        let pids = ops::ps(ctx, &self.container.id)?;
        let text = match format {
            Format::Json => output::json_line(&pids),
            Format::Table => choose(&host_ps(&self.arguments)?, &pids)?.into(),
        };
        output::print(&text)?;
        Ok(0)
    }
}

/// What the host's ps prints about all processes.
fn host_ps(arguments: &[OsString]) -> Result<String> {
    let standard = [OsString::from("-ef")];
    let arguments = if arguments.is_empty() { &standard } else { arguments };
    let output = Command::new("ps").args(arguments).output().map_err(|error| {
        let text = match error.kind() {
            ErrorKind::NotFound => "exec: \"ps\": executable file not found in $PATH".to_owned(),
            _ => format!("exec: \"ps\": {}", output::reason(&error)),
        };
        Error::new(Kind::System, text)
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // "exit status: 1" is Rust's way to say it, "exit status 1" Go's.
    let status = output.status.to_string().replace(": ", " ");
    Err(Error::new(Kind::System, format!("{status}: {}", said.trim_end())))
}

/// The header of ps's output, and the lines of the processes in `pids`.
fn choose(output: &str, pids: &[i32]) -> Result<String> {
    let invalid = |text: String| Error::new(Kind::Invalid, text);
    let mut lines = output.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| invalid("couldn't find PID field in ps output".to_owned()))?;
    let mut chosen = format!("{header}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 =
            field.parse().map_err(|_| invalid(format!("unable to parse pid: {field:?} in {line:?}")))?;
        if pids.contains(&pid) {
            chosen.push_str(line);
            chosen.push('\n');
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_pid_column() {
        let output =
            "UID        PID  PPID CMD\nroot         1     0 init\n\nroot     17175     1 sleep 100\n";
        assert_eq!(
            choose(output, &[17175]).unwrap(),
            "UID        PID  PPID CMD\nroot     17175     1 sleep 100\n"
        );
        assert_eq!(choose(output, &[]).unwrap(), "UID        PID  PPID CMD\n");
        for (output, text) in [
            ("", "couldn't find PID field in ps output"),
            ("USER COMMAND\nroot sh\n", "couldn't find PID field in ps output"),
            ("PID CMD\nsh 1\n", "unable to parse pid: \"sh\" in \"sh 1\""),
            ("CMD PID\nsh\n", "unable to parse pid: \"\" in \"sh\""),
        ] {
            assert_eq!(choose(output, &[1]).unwrap_err().text, text);
        }
    }
}
