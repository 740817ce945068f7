//! Where messages go: the `log` crate's backend, with lines shaped as logrus shapes them, because that
//! is what engines parse.
//!
//! Two readers set the rules. containerd decodes every line of the file and takes the last one of level
//! `error`; Podman decodes the whole file as one object when a call has failed. So in JSON a failed call
//! leaves one error line and nothing else: warnings wait until it is known that the call has succeeded.
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};
use sys::OFlags;
use sys::file::CWD;

use crate::{Error, Kind, Result, time};

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=warning msg="…"`.
    #[default]
    Text,
    /// `{"level":"warning","msg":"…","time":"…"}`.
    Json,
    /// The message alone; what [`Format::Text`] becomes on a terminal.
    Plain,
}

/// The one logger of the process; `log` wants a static one.
static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    /// The log file; stderr when there is none.
    file: Option<OwnedFd>,
    format: Format,
    /// The lines that wait for the end of the call; `None` when lines don't wait.
    waiting: Option<Mutex<Vec<String>>>,
}

/// Opens the file of `--log`: lines are appended to it, whoever else writes there.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
    sys::file::open_at(CWD, path, flags, 0o644).map_err(|error| Error::new(Kind::System, error.to_string()))
}

/// Starts logging to `file`, or to stderr; a second call changes nothing.
pub fn start(file: Option<OwnedFd>, format: Format, debug: bool) {
    // With --debug the order of lines is worth more than a file that Podman can read.
    let waiting = (format == Format::Json && !debug).then(Mutex::default);
    let logger = LOGGER.get_or_init(|| Logger { file, format, waiting });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    }
}

/// Whether lines go to stderr, so that an error must not be printed there once more.
pub fn goes_to_stderr() -> bool {
    LOGGER.get().is_none_or(|logger| logger.file.is_none())
}

/// The file of `--log`.
pub fn file() -> Option<BorrowedFd<'static>> {
    LOGGER.get()?.file.as_ref().map(AsFd::as_fd)
}

/// Writes the warnings that waited: the call has succeeded.
pub fn flush() {
    log::logger().flush();
}

/// Forgets the warnings that waited: they belong to the process that this one was cloned from.
pub fn forget() {
    drop(LOGGER.get().map(Logger::take_waiting));
}

impl Logger {
    fn write(&self, line: &str) {
        let target: BorrowedFd<'_> = match &self.file {
            Some(file) => file.as_fd(),
            None => sys::process::stdio()[2],
        };
        // There is nowhere left to say that the log can't be written.
        let _ = sys::file::write_fd(target, line.as_bytes());
    }

    /// The shape of lines, which on a terminal is for the eyes of a person.
    fn format(&self) -> Format {
        match (self.format, &self.file) {
            (Format::Text, None) if sys::tty::is_terminal(sys::process::stdio()[2]) => Format::Plain,
            (format, _) => format,
        }
    }

    fn take_waiting(&self) -> Vec<String> {
        let waiting = self.waiting.as_ref().map(|lines| lines.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.map(|mut lines| std::mem::take(&mut *lines)).unwrap_or_default()
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = shape(self.format(), record.level(), &record.args().to_string(), SystemTime::now());
        match &self.waiting {
            Some(lines) if record.level() > Level::Error => {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            _ => self.write(&line),
        }
    }

    fn flush(&self) {
        for line in self.take_waiting() {
            self.write(&line);
        }
    }
}

/// One line, with its end.
fn shape(format: Format, level: Level, message: &str, now: SystemTime) -> String {
    let name = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    match format {
        Format::Text => {
            let time = time::rfc3339_seconds(now);
            format!("time=\"{time}\" level={name} msg={}\n", quoted(message))
        }
        Format::Json => {
            let message = serde_json::Value::from(message);
            let time = time::rfc3339_seconds(now);
            format!("{{\"level\":\"{name}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
        Format::Plain if level == Level::Error => format!("{message}\n"),
        Format::Plain => format!("{name}: {message}\n"),
    }
}

/// A value of a text line: bare when it is one plain word, else in quotes.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a String can't fail.
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn moment() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_278_031)
    }

    #[test]
    fn lines_have_the_shape_that_engines_parse() {
        for (format, level, message, line) in [
            (Format::Text, Level::Error, "container", "time=\"T\" level=error msg=container\n"),
            (Format::Text, Level::Warn, "a b", "time=\"T\" level=warning msg=\"a b\"\n"),
            (Format::Text, Level::Error, "", "time=\"T\" level=error msg=\"\"\n"),
            (
                Format::Text,
                Level::Debug,
                "exec: \"x\\y\"\n",
                "time=\"T\" level=debug msg=\"exec: \\\"x\\\\y\\\"\\n\"\n",
            ),
            (Format::Text, Level::Info, "\x1b[m", "time=\"T\" level=info msg=\"\\u001b[m\"\n"),
            (
                Format::Json,
                Level::Error,
                "exec: \"x\"",
                "{\"level\":\"error\",\"msg\":\"exec: \\\"x\\\"\",\"time\":\"T\"}\n",
            ),
            (Format::Json, Level::Warn, "é\n", "{\"level\":\"warning\",\"msg\":\"é\\n\",\"time\":\"T\"}\n"),
            (Format::Plain, Level::Error, "exec: \"x\"", "exec: \"x\"\n"),
            (Format::Plain, Level::Warn, "careful", "warning: careful\n"),
        ] {
            let line = line.replace('T', "2026-11-21T16:20:31Z");
            assert_eq!(shape(format, level, message, moment()), line);
        }
    }

    #[test]
    fn every_json_line_decodes() {
        for message in ["", "plain", "\"\\\u{7}\u{1b}\u{2028}", "two\nlines", "{\"a\": 1}"] {
            let line = shape(Format::Json, Level::Error, message, moment());
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(object["msg"], message);
            assert_eq!(object["level"], "error");
            assert_eq!(line.matches('\n').count(), 1, "one line: {line:?}");
        }
    }

    /// Logs a warning, then an error or a flush, and gives what is in the file.
    fn written(format: Format, waits: bool, then: Level) -> String {
        let (reader, writer) = std::io::pipe().unwrap();
        let waiting = waits.then(Mutex::default);
        let logger = Logger { file: Some(writer.into()), format, waiting };
        logger.log(&Record::builder().level(Level::Warn).args(format_args!("w")).build());
        match then {
            Level::Error => logger.log(&Record::builder().level(then).args(format_args!("e")).build()),
            _ => logger.flush(),
        }
        drop(logger);
        std::io::read_to_string(reader).unwrap()
    }

    #[test]
    fn a_failed_call_leaves_one_json_line() {
        let failed = written(Format::Json, true, Level::Error);
        assert_eq!(failed.lines().count(), 1, "{failed}");
        assert!(failed.contains("\"error\""), "{failed}");

        let succeeded = written(Format::Json, true, Level::Info);
        assert_eq!(succeeded.lines().count(), 1, "{succeeded}");
        assert!(succeeded.contains("\"warning\""), "{succeeded}");

        assert_eq!(written(Format::Text, false, Level::Error).lines().count(), 2);
    }
}
