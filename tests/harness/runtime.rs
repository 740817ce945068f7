//! A runtime binary, one call of it, and what the call gave back.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use super::{PATIENCE, Value};

/// Whose wording to expect. The suite can be pointed at runc to check the tests themselves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Kind {
    Tare,
    Runc {
        major: u32,
        minor: u32,
    },
    /// For `holes` only: its words are its own.
    Crun,
}

#[derive(Clone, Debug)]
pub struct Runtime {
    pub program: PathBuf,
    pub kind: Kind,
}

impl Runtime {
    /// Asks `program` who it is.
    ///
    /// # Errors
    /// Says that it does not run or is an unknown runtime.
    pub fn at(program: PathBuf) -> Result<Self, String> {
        let text = |e: &dyn std::fmt::Display| format!("{} --version: {e}", program.display());
        let out = Command::new(&program).arg("--version").output().map_err(|e| text(&e))?;
        let out = String::from_utf8_lossy(&out.stdout).into_owned();
        let kind = match out.split_whitespace().collect::<Vec<_>>()[..] {
            ["tare", "version", ..] => Kind::Tare,
            ["runc", "version", version, ..] => {
                let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
                Kind::Runc { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
            }
            ["crun", "version", ..] => Kind::Crun,
            _ => return Err(text(&format!("neither tare, runc nor crun: {out}"))),
        };
        Ok(Self { program, kind })
    }

    /// The name it calls itself in messages.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Tare => "tare",
            Kind::Runc { .. } => "runc",
            Kind::Crun => "crun",
        }
    }

    /// Whether this is a runc older than `major.minor`.
    pub fn is_runc_before(&self, major: u32, minor: u32) -> bool {
        matches!(self.kind, Kind::Runc { major: a, minor: b } if (a, b) < (major, minor))
    }

    /// Makes a config one that this runtime takes.
    pub fn accept(&self, config: &mut Value) {
        if self.kind == Kind::Crun {
            // Old ones refuse a specification that is newer.
            config["ociVersion"] = "1.0.0".into();
        }
    }

    /// Turns an expectation into this runtime's words: `RT` is its name, and the field that tare adds
    /// to a fault of the config is taken off for runc.
    pub fn words(&self, text: &str) -> String {
        let text = text.replace("RT", self.name());
        match self.kind {
            Kind::Tare => text,
            Kind::Runc { .. } | Kind::Crun => without_field(&text).to_owned(),
        }
    }
}

/// `args must not be empty (process.args)` without the field in parentheses.
fn without_field(text: &str) -> &str {
    let is_field = |c: char| c.is_ascii_alphanumeric() || ".[]_".contains(c);
    match text.strip_suffix(')').and_then(|t| t.rsplit_once(" (")) {
        Some((head, field)) if field.chars().all(is_field) => head,
        _ => text,
    }
}

/// What stderr says without the hints, which tare puts on lines of their own.
pub fn without_hints(err: &str) -> String {
    let lines = err.lines().take_while(|line| !line.starts_with("hint: "));
    lines.collect::<Vec<_>>().join("\n")
}

/// What a finished call gave back.
#[derive(Debug)]
pub struct Output {
    pub runtime: Runtime,
    /// Exit code, or 128 and the signal as a shell counts.
    pub code: i32,
    pub out: String,
    pub err: String,
    /// The lines that this call added to `--log`.
    pub log: Vec<Value>,
}

impl Output {
    /// The standard output of a call that must succeed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "exit code; stderr: {:?}", self.err);
        &self.out
    }

    /// Checks a refusal: the exit code, `text` on stderr and nothing else, and one error line in the log.
    #[track_caller]
    pub fn fails(&self, code: i32, text: &str) {
        let text = self.runtime.words(text);
        assert_eq!(without_hints(&self.err).trim_end(), text.trim_end(), "stderr");
        assert_eq!(self.code, code, "exit code");
        assert_eq!(self.errors().iter().map(|e| e.trim_end()).collect::<Vec<_>>(), [text.trim_end()], "log");
    }

    /// Checks a refusal whose text contains `part`.
    #[track_caller]
    pub fn fails_with(&self, part: &str) {
        let part = self.runtime.words(part);
        assert!(self.code != 0, "should have failed with {part:?}");
        assert!(self.err.contains(&part), "stderr should have {part:?}: {:?}", self.err);
    }

    /// The messages of level error in the log.
    pub fn errors(&self) -> Vec<&str> {
        self.messages("error")
    }

    /// The messages of one level in the log.
    pub fn messages(&self, level: &str) -> Vec<&str> {
        self.log.iter().filter(|l| l["level"] == level).filter_map(|l| l["msg"].as_str()).collect()
    }
}

/// Waits for `child`, and kills it when it takes too long.
///
/// # Panics
/// When it did.
pub fn wait(mut child: Child) -> i32 {
    let end = Instant::now() + 3 * PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the runtime did not come back");
        }
        std::thread::sleep(std::time::Duration::from_micros(500));
    };
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Reads a log file, whose every line must be an object with level, msg and time.
#[track_caller]
pub fn read_log(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("log line {line:?}: {e}"));
            assert!(
                ["level", "msg", "time"].iter().all(|key| value[key].is_string()),
                "log line lacks level, msg or time: {line}"
            );
            value
        })
        .collect()
}
