//! Where the state of containers is kept.
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use runtime::{Error, Kind, Result};

use crate::output::reason;

/// The directory of the state of containers.
#[derive(Debug, PartialEq, Eq)]
pub struct Root {
    /// Absolute, without `.` and `..`.
    pub path: PathBuf,
    /// By whose word it is that one.
    pub source: Source,
}

/// By whose word the state directory is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The caller's, with `--root`.
    Flag,
    /// The user's session, with `$XDG_RUNTIME_DIR`.
    Session,
    /// Nobody's: `/run/tare`.
    Standard,
}

/// The state directory for this caller.
pub fn find(flag: Option<&OsStr>) -> Result<Root> {
    if let Some(flag) = flag {
        let path = Path::new(flag);
        let base = if path.is_absolute() { PathBuf::new() } else { current_dir()? };
        return named(&base.join(path));
    }
    Ok(unnamed(std::env::var_os("XDG_RUNTIME_DIR"), is_user))
}

/// Whether the caller is not the host's root, nor somebody who wants to be treated so in a user namespace.
fn is_user() -> bool {
    sys::cred::effective_uid() != 0
        || (std::env::var_os("USER").is_none_or(|user| user != "root") && runtime::in_user_namespace())
}

fn current_dir() -> Result<PathBuf> {
    sys::file::current_dir().map_err(|error| Error::new(Kind::System, error.to_string()).context("--root"))
}

/// The directory that `--root` names.
fn named(path: &Path) -> Result<Root> {
    // By its text, as runc does it: the directory need not exist yet.
    let path = Path::new("/").join(sys::root::clean(path));
    if path == Path::new("/") {
        return Err(Error::new(Kind::Invalid, "Option --root argument should not be set to /"));
    }
    Ok(Root { path, source: Source::Flag })
}

/// The directory when there is no `--root`; the session's counts for its user, but not for the host's root.
fn unnamed(session: Option<OsString>, is_user: impl FnOnce() -> bool) -> Root {
    match session.filter(|dir| !dir.is_empty() && is_user()) {
        Some(dir) => Root { path: Path::new(&dir).join("tare"), source: Source::Session },
        None => Root { path: PathBuf::from("/run/tare"), source: Source::Standard },
    }
}

/// Makes the session's state directory, with the sticky bit: it tells whoever tidies
/// `$XDG_RUNTIME_DIR` up to leave it (XDG Base Directory Specification).
pub fn make_for_session(path: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| set_sticky(path)).map_err(|error| {
        Error::new(Kind::System, format!("mkdir {}: {}", path.display(), reason(&error)))
            .hint("$XDG_RUNTIME_DIR must be a directory that the user may write to")
    })
}

/// Somebody else may have put a symlink there, if `$XDG_RUNTIME_DIR` is not the user's alone.
fn set_sticky(path: &Path) -> std::io::Result<()> {
    let directory = i32::try_from((sys::OFlags::DIRECTORY | sys::OFlags::NOFOLLOW).bits()).unwrap_or(0);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(directory).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o1700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_directory_is_made_clean() {
        for (path, clean) in [
            ("/run/x", Some("/run/x")),
            ("/cwd/", Some("/cwd")),
            ("/cwd/../a/./b//c/", Some("/a/b/c")),
            ("/", None),
            ("/cwd/..", None),
            ("/cwd/../../../..", None),
        ] {
            let found = named(Path::new(path)).ok().map(|root| root.path);
            assert_eq!(found.as_deref(), clean.map(Path::new), "{path}");
        }
    }

    #[test]
    fn the_session_counts_for_users_only() {
        for (session, is_user, path, source) in [
            (None, true, "/run/tare", Source::Standard),
            (Some(""), true, "/run/tare", Source::Standard),
            (Some("/run/user/7"), true, "/run/user/7/tare", Source::Session),
            (Some("/run/user/0"), false, "/run/tare", Source::Standard),
        ] {
            let root = unnamed(session.map(OsString::from), || is_user);
            assert_eq!(root, Root { path: PathBuf::from(path), source });
        }
    }
}
