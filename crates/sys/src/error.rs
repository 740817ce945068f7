//! The error of a kernel call: which call, with which arguments, and why.
use std::fmt;

pub use rustix::io::Errno;

/// Shorthand for the crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed kernel call.
///
/// It prints as `call arguments: reason`, with the reason in lower case as
/// Go's runtime words it, because the programs that call a container runtime
/// look for texts like `no such file or directory`.
#[derive(Clone, Debug)]
pub struct Error {
    /// The name of the system call.
    pub call: &'static str,
    /// Its arguments, as far as they help to understand the failure.
    pub args: String,
    /// Why it failed.
    pub errno: Errno,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call)?;
        if !self.args.is_empty() {
            write!(f, " {}", self.args)?;
        }
        write!(f, ": {}", errno_text(self.errno))?;
        match SINCE.iter().find(|(call, _)| *call == self.call) {
            Some((_, version)) if self.errno == Errno::NOSYS => write!(f, " (it takes Linux {version})"),
            _ => Ok(()),
        }
    }
}

/// The calls that older kernels, or a sandbox around us, may not have and that nothing else can be done for, with the
/// version of Linux that brought them.
const SINCE: [(&str, &str); 8] = [
    ("clone3", "5.3"),
    ("close_range", "5.9"),
    ("mount_setattr", "5.12"),
    ("openat2", "5.6"),
    ("pidfd_getfd", "5.6"),
    ("pidfd_open", "5.3"),
    ("pidfd_send_signal", "5.1"),
    ("statx", "5.8"),
];

impl std::error::Error for Error {}

/// The reason in lower case and without the number: `permission denied`.
pub fn errno_text(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_lowercase(),
        None => text.to_lowercase(),
    }
}

/// Turns an errno into an [`Error`]; the arguments are only formatted on failure.
pub(crate) trait Named<T> {
    /// `self` with the name and arguments of the call.
    fn named(self, call: &'static str, args: impl FnOnce() -> String) -> Result<T>;
    /// The same for a call whose arguments say nothing.
    fn call(self, call: &'static str) -> Result<T>;
}

impl<T> Named<T> for Result<T, Errno> {
    fn named(self, call: &'static str, args: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error { call, args: args(), errno })
    }

    fn call(self, call: &'static str) -> Result<T> {
        self.named(call, String::new)
    }
}

/// The result of a raw system call: the value, or errno when it is -1.
pub(crate) fn check(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret == -1 {
        let raw = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        return Err(Errno::from_raw_os_error(raw));
    }
    Ok(ret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_that_engines_look_for() {
        for (errno, text) in [
            (Errno::NOENT, "no such file or directory"),
            (Errno::ACCESS, "permission denied"),
            (Errno::PERM, "operation not permitted"),
            (Errno::ISDIR, "is a directory"),
            (Errno::NOEXEC, "exec format error"),
            (Errno::NODEV, "no such device"),
            (Errno::SRCH, "no such process"),
        ] {
            assert_eq!(errno_text(errno), text);
        }
    }

    #[test]
    fn what_is_too_old_is_said() {
        let text = |call, errno| Error { call, args: "x".to_owned(), errno }.to_string();
        assert_eq!(text("openat2", Errno::NOSYS), "openat2 x: function not implemented (it takes Linux 5.6)");
        assert_eq!(text("openat2", Errno::NOENT), "openat2 x: no such file or directory");
        assert_eq!(text("keyctl", Errno::NOSYS), "keyctl x: function not implemented");
    }
}
