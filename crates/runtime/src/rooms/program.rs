//! Why `process.args[0]` could not be executed, in more words than the kernel's one number.
//!
//! Asked when the kernel has refused, by the process that was to become the program: with its rights and in
//! the container, so that nothing is told which the container could not see. The files are the image's:
//! only regular ones are read, little of them, and nothing in them is believed.
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::executable::{self, Found};
use sys::Errno;

/// How many files the kernel looks at: a script, its interpreter if that is a script as well, and so on.
const FILES: usize = 6;
/// How much of a name from the image is shown.
const SHOWN: usize = 200;

/// What is behind the error of execve, as far as it can be seen.
pub fn init_explain(
    program: &CStr,
    args: &[CString],
    env: &[impl AsRef<CStr>],
    errno: Errno,
) -> Option<String> {
    match errno {
        Errno::TOOBIG => Some(sizes(args, env)),
        Errno::TXTBSY => Some("it, or its interpreter, is open for writing".to_owned()),
        Errno::AGAIN => Some("its user has as many processes as RLIMIT_NPROC allows".to_owned()),
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::ACCESS
        | Errno::NOEXEC
        | Errno::LOOP
        | Errno::LIBBAD
        | Errno::INVAL
        | Errno::IO => follow(program.to_bytes(), errno),
        _ => None,
    }
}

/// What keeps this process from executing `path`; to be read after a name for it.
pub fn init_refusal(path: &Path) -> Option<String> {
    let stat = match sys::file::stat(path) {
        Ok(stat) => stat,
        Err(e) if e.errno == Errno::NOENT && sys::file::is_symlink(path) => {
            return Some("is a symlink that leads nowhere".to_owned());
        }
        Err(e) if matches!(e.errno, Errno::NOENT | Errno::NOTDIR) => {
            return Some("is not in the container".to_owned());
        }
        Err(e) => return Some(format!("can't be reached: {}", sys::errno_text(e.errno))),
    };
    if sys::file::is_dir(&stat) {
        return Some("is a directory".to_owned());
    }
    if !sys::file::is_regular(&stat) {
        return Some("is not a regular file".to_owned());
    }
    if sys::file::may_execute(path) {
        return None;
    }
    if sys::file::is_on_noexec(path) {
        return Some("is on a mount with the option noexec".to_owned());
    }
    let (mode, user) = (stat.st_mode & 0o7777, sys::cred::effective_uid());
    if mode & 0o111 == 0 {
        return Some(format!("is not executable, its mode is {mode:04o}"));
    }
    let (owner, group) = (stat.st_uid, stat.st_gid);
    Some(format!("is not executable for user {user}, it is {owner}:{group}'s with mode {mode:04o}"))
}

/// How much there was to hand over, and the longest piece of it.
fn sizes(args: &[CString], env: &[impl AsRef<CStr>]) -> String {
    let length = |text: &CStr| text.count_bytes() + 1;
    let all: usize = args.iter().map(|arg| length(arg)).sum::<usize>()
        + env.iter().map(|pair| length(pair.as_ref())).sum::<usize>();
    let args = args.iter().enumerate().map(|(index, arg)| (length(arg), format!("argument {index}")));
    let env = env.iter().map(|pair| {
        let pair = pair.as_ref();
        let name = pair.to_bytes().split(|&b| b == b'=').next().unwrap_or_default();
        (length(pair), format!("variable {}", shown(name)))
    });
    let longest = args.chain(env).max_by_key(|(length, _)| *length);
    let longest = longest.map_or_else(String::new, |(length, name)| format!(", {name} alone {length}"));
    format!("arguments and environment have {all} bytes{longest}")
}

/// Goes from file to file as the kernel does, to the one that it can't have taken.
fn follow(program: &[u8], errno: Errno) -> Option<String> {
    let (mut name, mut path) = ("it".to_owned(), program.to_vec());
    let mut is_loader = false;
    for _ in 0..FILES {
        let here = Path::new(OsStr::from_bytes(&path));
        if let Some(fault) = init_refusal(here) {
            // Seen in scripts that were written on Windows.
            let why = if path.ends_with(b"\r") { ": the line that names it ends with CR LF" } else { "" };
            return Some(format!("{name} {fault}{why}"));
        }
        // When nothing can be read, or no file be opened any more, the kernel's word has to do.
        let file = sys::file::open_untrusted(here).ok()?;
        if !sys::file::is_regular(&sys::file::stat_fd(file.as_fd()).ok()?) {
            return None;
        }
        let read = |offset, limit| sys::file::read_from(file.as_fd(), offset, limit).ok();
        let head = read(0, executable::HEAD)?;
        let found = if is_loader {
            executable::look_at_loader(&head, errno)
        } else {
            executable::look(&head, read, errno)
        };
        match found {
            Found::Nothing => return None,
            Found::Fault(fault) => return Some(format!("{name} {fault}")),
            Found::Interpreter(next) => {
                name = match name.as_str() {
                    "it" => format!("its interpreter {}", shown(&next)),
                    _ => format!("the interpreter {} of {}", shown(&next), shown(&path)),
                };
                is_loader = executable::is_elf(&head);
                path = next;
            }
        }
    }
    Some("its interpreter is a script, whose interpreter is a script, and so on for too long".to_owned())
}

/// A name from the image, in quotes unless it is plain.
fn shown(name: &[u8]) -> String {
    let cut = name.get(..SHOWN).unwrap_or(name);
    let text = String::from_utf8_lossy(cut);
    let dots = if cut.len() < name.len() { "…" } else { "" };
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"\"'\\".contains(c));
    if is_plain { format!("{text}{dots}") } else { format!("{text:?}{dots}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_line() {
        for (name, text) in [
            (b"/lib64/ld-linux-x86-64.so.2".as_slice(), "/lib64/ld-linux-x86-64.so.2"),
            (b"/bin/sh\r", "\"/bin/sh\\r\""),
            (b"/a b", "\"/a b\""),
            (b"", "\"\""),
            (b"/\n\x1b[31m", "\"/\\n\\u{1b}[31m\""),
            (b"/\xff", "\"/\u{fffd}\""),
            ("/\u{202e}x".as_bytes(), "\"/\\u{202e}x\""),
        ] {
            assert_eq!(shown(name), text);
        }
        assert_eq!(shown(&[b'x'; 300]), format!("{}…", "x".repeat(200)));
    }

    #[test]
    fn the_longest_piece_is_named() {
        let text = |text: &str| CString::new(text).unwrap();
        for (args, env, expected) in [
            (vec![], vec![], "arguments and environment have 0 bytes"),
            (
                vec![text("x"), text("long")],
                vec![text("A=1")],
                "arguments and environment have 11 bytes, argument 1 alone 5",
            ),
            (
                vec![text("x")],
                vec![text("B=1"), text("A=12345")],
                "arguments and environment have 14 bytes, variable A alone 8",
            ),
        ] {
            assert_eq!(sizes(&args, &env), expected);
        }
    }

    #[test]
    fn what_says_nothing_more_is_not_explained() {
        for errno in [Errno::PERM, Errno::NOMEM, Errno::FAULT] {
            assert_eq!(init_explain(c"/", &[], &[c""; 0], errno), None);
        }
        assert_eq!(init_explain(c"/", &[], &[c""; 0], Errno::ACCESS).as_deref(), Some("it is a directory"));
    }
}
