//! What can go wrong: [`Error`] when something is done, [`Fault`] when resources are planned.
use std::fmt;

use sys::{Errno, errno_text};

/// What a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The configuration or the recorded state asks for what cannot be.
    Invalid,
    /// This host lacks something that is needed.
    Unsupported,
    /// The cgroup is used by somebody else, or has not become empty.
    InUse,
    /// This host was not booted with systemd.
    NoSystemd,
    /// D-Bus can't be reached, or does not answer.
    NoBus,
    /// There is a unit of systemd with the container's name.
    UnitExists,
    /// A call to the kernel failed, or systemd did.
    System,
}

/// What it means when the caller has no right to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is an error.
    Error,
    /// The container goes without.
    Ignored,
}

/// A failed operation on cgroups.
#[derive(Clone, Debug)]
pub struct Error {
    /// What a caller may want to tell apart.
    pub kind: Kind,
    /// One sentence that names what failed, on which file, and from which field where there is one.
    pub text: String,
    /// Why the kernel refused, where it was the kernel.
    pub errno: Option<Errno>,
}

impl Error {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Error { kind, text: text.into(), errno: None }
    }

    /// A failed call, as `what: reason`.
    pub(crate) fn call(what: impl fmt::Display, errno: Errno) -> Self {
        let text = format!("{what}: {}", errno_text(errno));
        Error { kind: Kind::System, text, errno: Some(errno) }
    }

    /// Names the config field after the text, whose first words engines look for.
    pub(crate) fn at(mut self, field: &str) -> Self {
        self.text = format!("{} ({field})", self.text);
        self
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        Error { kind: Kind::System, text: error.to_string(), errno: Some(error.errno) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// A field of `linux.resources` that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field: `linux.resources.memory.swap`.
    pub at: String,
    /// What is wrong with it.
    pub text: String,
}

impl Fault {
    pub(crate) fn new(at: impl Into<String>, text: impl Into<String>) -> Self {
        Fault { at: at.into(), text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.at)
    }
}

impl std::error::Error for Fault {}
