//! One call, measured: runs it below the small C program that takes time, CPU and memory.
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;

/// What a call, or a sum of calls, cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Wall clock in milliseconds.
    pub wall: f64,
    /// User and system CPU time in milliseconds.
    pub cpu: f64,
    /// Peak resident size in kB.
    pub rss: u64,
}

impl Cost {
    /// What `self` and then `other` cost.
    pub fn plus(self, other: Cost) -> Cost {
        Cost { wall: self.wall + other.wall, cpu: self.cpu + other.cpu, rss: self.rss.max(other.rss) }
    }
}

/// How calls are measured.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// The program built from `sample.c`.
    pub program: PathBuf,
    /// Whether calls run under `SCHED_FIFO`.
    pub fifo: bool,
    /// After this a call is killed, and counts as failed.
    pub timeout: Duration,
}

impl Sampler {
    /// Runs `line` to its end, as `user` if that is not root. `errors` is a file for what it says on stderr.
    ///
    /// Anything but exit status 0 is an error, with the last line of stderr.
    pub fn measure(&self, line: &[OsString], user: Option<u32>, errors: &Path) -> Result<Cost, String> {
        let stderr = File::create(errors).map_err(|error| format!("{}: {error}", errors.display()))?;
        let mut command = Command::new(&self.program);
        if self.fifo {
            command.arg("--fifo");
        }
        command.arg("--timeout").arg(self.timeout.as_secs().to_string());
        if let Some(user) = user {
            command.arg("--user").arg(user.to_string());
        }
        command.args(line);
        let output = command
            .stdin(Stdio::null())
            .stderr(stderr)
            .output()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let (cost, status) = parse(&String::from_utf8_lossy(&output.stdout)).unwrap_or((Cost::default(), 1));
        if status == 0 && output.status.success() {
            return Ok(cost);
        }
        let said = fs::read(errors).unwrap_or_default();
        Err(format!("exit status {status}: {}", reason(&String::from_utf8_lossy(&said))))
    }
}

/// The line that `sample` prints: nanoseconds, microseconds, kB, exit status.
fn parse(line: &str) -> Option<(Cost, i32)> {
    let mut words = line.split_whitespace();
    let wall: f64 = words.next()?.parse().ok()?;
    let cpu: f64 = words.next()?.parse().ok()?;
    let rss = words.next()?.parse().ok()?;
    let status = words.next()?.parse().ok()?;
    Some((Cost { wall: wall / 1e6, cpu: cpu / 1e3, rss }, status))
}

/// The last line of what a runtime said on stderr, without the time that runc and tare put before it.
fn reason(said: &str) -> &str {
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing on stderr");
    last.split_once("msg=").map_or(last, |(_, message)| message.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_in_its_units() {
        let cost = Cost { wall: 2.5, cpu: 1.25, rss: 540 };
        assert_eq!(parse("2500000 1250 540 137\n"), Some((cost, 137)));
        assert_eq!(parse("2500000 1250 540"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_reason_is_the_last_line_without_its_time() {
        for (said, expected) in [
            ("", "nothing on stderr"),
            ("warning\nno such file\n\n", "no such file"),
            ("time=\"12:00\" level=error msg=\"run failed: no\"\n", "run failed: no"),
        ] {
            assert_eq!(reason(said), expected);
        }
    }

    #[test]
    fn costs_add_up_but_the_peak_is_the_greatest() {
        let sum = Cost { wall: 1.0, cpu: 2.0, rss: 3 }.plus(Cost { wall: 10.0, cpu: 20.0, rss: 2 });
        assert_eq!(sum, Cost { wall: 11.0, cpu: 22.0, rss: 3 });
    }
}
