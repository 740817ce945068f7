//! The error of the library: what failed, on what, from which field.
//!
//! A message is added once, where the knowledge is, and printed once, by the
//! program's `main`. Hints go on lines of their own.
use std::fmt;

/// Shorthand for the library's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The container does not exist.
    NotFound,
    /// The container exists already, or the unit that it is to be.
    Exists,
    /// The container is in a state in which the call makes no sense.
    State,
    /// The configuration, a flag or an argument is wrong.
    Invalid,
    /// What was asked for is not supported (yet, or on this host).
    Unsupported,
    /// A call to the kernel failed, or a file is not as it should be.
    System,
    /// The program of the container could not be executed.
    Exec,
}

/// An error with its kind, its text and, where it helps, hints.
#[derive(Clone, Debug)]
pub struct Error {
    /// What a caller may want to tell apart.
    pub kind: Kind,
    /// One sentence, without a prefix of the program.
    pub text: String,
    /// What could be done about it: printed on lines of their own, never logged.
    pub hints: Vec<String>,
}

impl Error {
    /// An error of `kind` that says `text`.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Error { kind, text: text.into(), hints: Vec::new() }
    }

    /// Puts `what: ` before the text.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.text = format!("{what}: {}", self.text);
        self
    }

    /// Adds a line that says what could be done.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        Error::new(Kind::System, error.to_string())
    }
}

impl From<cgroup::Error> for Error {
    fn from(error: cgroup::Error) -> Self {
        Error::new(Kind::System, error.to_string())
    }
}

/// Says on what a kernel call failed.
pub trait On<T> {
    /// `what: call arguments: reason`.
    fn on(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> On<T> for Result<T, E> {
    fn on(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.into().context(what()))
    }
}
