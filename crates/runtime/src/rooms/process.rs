//! `process.args`, `process.env`, `process.cwd`: what is executed, where, and with which environment.
use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::program;
use crate::error::On;
use crate::faults::Faults;
use crate::{Error, Kind, Result};

/// The program and its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Arguments, the program's name first.
    pub args: Vec<CString>,
    /// Environment without duplicates; HOME may still be missing.
    pub env: Vec<CString>,
    /// Whether HOME has to be looked up in the container.
    pub wants_home: bool,
    /// Where the program starts, an absolute path in the container.
    pub cwd: PathBuf,
    /// Where names without a slash are searched.
    search: String,
}

/// Decides all three.
pub fn plan(args: &[String], env: &[String], cwd: &str, faults: &mut Faults) -> Plan {
    if cwd.is_empty() {
        faults.add("process.cwd", "Cwd property must not be empty");
    } else if !cwd.starts_with('/') {
        faults.add("process.cwd", "Cwd must be an absolute path");
    }
    if args.is_empty() {
        faults.add("process.args", "args must not be empty");
    }
    let mut plan = Plan { cwd: PathBuf::from(cwd), wants_home: true, ..Plan::default() };
    for (index, arg) in args.iter().enumerate() {
        match CString::new(arg.as_str()) {
            Ok(arg) => plan.args.push(arg),
            Err(_) => faults.add(format!("process.args[{index}]"), "argument contains a null byte"),
        }
    }
    plan_env(env, &mut plan, faults);
    plan
}

/// The last of several values of a name counts, at the place where it stands; an empty HOME is as none.
fn plan_env(env: &[String], plan: &mut Plan, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, pair) in env.iter().enumerate().rev() {
        let at = || format!("process.env[{index}]");
        let Some((name, value)) = pair.split_once('=') else {
            faults.add(at(), "invalid environment variable: missing '='");
            continue;
        };
        if name.is_empty() {
            faults.add(at(), "invalid environment variable: name cannot be empty");
        }
        if !seen.insert(name) {
            continue;
        }
        match name {
            "PATH" => plan.search = value.to_owned(),
            "HOME" if value.is_empty() => continue,
            "HOME" => plan.wants_home = false,
            _ => {}
        }
        match CString::new(pair.as_str()) {
            Ok(pair) => plan.env.push(pair),
            Err(_) => {
                faults.add(at(), format!("invalid environment variable {name:?}: contains nul byte (\\x00)"));
            }
        }
    }
    plan.env.reverse();
}

/// Makes the working directory if it is missing, while the root file system can still be written.
pub fn init_make_cwd(plan: &Plan, root: &sys::root::RootDir) -> Result<()> {
    root.mkdir_all(&plan.cwd, 0o755).map(drop).on(|| format!("process.cwd {:?}", plan.cwd))
}

/// Goes to the working directory; `Ok(false)` when this user may not, which another may.
pub fn init_enter_cwd(plan: &Plan) -> Result<bool> {
    match sys::file::chdir(&plan.cwd) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.errno, sys::Errno::ACCESS | sys::Errno::PERM) => Ok(false),
        Err(e) => Err(enter_failed(plan, &e)),
    }
}

/// The same after the change of user: now a refusal is final.
pub fn init_enter_cwd_as_user(plan: &Plan) -> Result<()> {
    sys::file::chdir(&plan.cwd).map_err(|e| enter_failed(plan, &e))
}

fn enter_failed(plan: &Plan, e: &sys::Error) -> Error {
    let cwd = plan.cwd.display().to_string();
    let text = format!("chdir to cwd ({cwd:?}) set in config.json failed: {}", sys::errno_text(e.errno));
    Error::new(Kind::Invalid, text)
}

/// Refuses a working directory outside of the container's root, such as one reached through a
/// leaked descriptor (CVE-2024-21626): the kernel has no absolute path for it.
pub fn init_verify_cwd() -> Result<()> {
    let breakout = "possible container breakout detected";
    match sys::file::current_dir() {
        Ok(path) if path.is_absolute() => Ok(()),
        Ok(path) => Err(Error::new(
            Kind::System,
            format!(
                "current working directory is not absolute -- {breakout}: cwd is {:?}",
                path.display().to_string()
            ),
        )),
        Err(e) if e.errno == sys::Errno::NOENT => Err(Error::new(
            Kind::System,
            format!("current working directory is outside of container mount namespace root -- {breakout}"),
        )),
        Err(e) => Err(e.into()),
    }
}

/// The environment with HOME from the container's `/etc/passwd`.
pub fn init_env(plan: &Plan, uid: u32) -> Vec<Cow<'_, CStr>> {
    let mut env: Vec<_> = plan.env.iter().map(|pair| Cow::Borrowed(pair.as_c_str())).collect();
    if plan.wants_home {
        let home = home_of(uid).unwrap_or_else(|| "/".to_owned());
        env.extend(CString::new(format!("HOME={home}")).map(Cow::Owned));
    }
    env
}

/// The home directory of `uid`. The file is the image's: only a regular one of sane size is read.
fn home_of(uid: u32) -> Option<String> {
    let fd = sys::file::open_untrusted("/etc/passwd").ok()?;
    let fd = std::os::fd::AsFd::as_fd(&fd);
    if !sys::file::is_regular(&sys::file::stat_fd(fd).ok()?) {
        return None;
    }
    let data = sys::file::read_fd(fd, 1 << 20).ok()?;
    home_in(&String::from_utf8_lossy(&data), uid)
}

pub fn home_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.trim().split(':').skip(2);
        if fields.next()?.parse::<u32>().ok()? != uid {
            return None;
        }
        let home = fields.nth(2)?;
        (!home.contains('\0')).then(|| home.to_owned())
    })
}

/// Finds the program, seen from the container and by its user, with the words that engines know.
pub fn init_find_program(plan: &Plan) -> Result<CString> {
    let name = plan.args.first().map(CString::as_c_str).unwrap_or_default();
    let text = name.to_string_lossy();
    let refuse = |why: &str| Error::new(Kind::Exec, format!("exec: {text:?}: {why}"));
    if text.contains('/') {
        let path = Path::new(OsStr::from_bytes(name.to_bytes()));
        return match check_program(path) {
            Ok(()) => Ok(name.to_owned()),
            Err(Refusal::Missing(errno)) => Err(refuse(&format!("stat {text}: {}", sys::errno_text(errno)))),
            Err(Refusal::Directory) => Err(refuse("is a directory")),
            Err(Refusal::NotExecutable) => Err(refuse(&match program::init_refusal(path) {
                Some(why) => format!("permission denied: it {why}"),
                None => "permission denied".to_owned(),
            })),
        };
    }
    // An empty PATH is a list of none, an empty name in it is the working directory: so it is in Go.
    let mut near = String::new();
    for dir in plan.search.split(':').filter(|_| !text.is_empty() && !plan.search.is_empty()) {
        let path = Path::new(if dir.is_empty() { "." } else { dir }).join(text.as_ref());
        match check_program(&path) {
            Ok(()) if !path.is_absolute() => {
                return Err(refuse("cannot run executable found relative to current directory"));
            }
            Ok(()) => {
                return CString::new(path.into_os_string().into_encoded_bytes())
                    .map_err(|_| refuse("executable file not found in $PATH"));
            }
            Err(Refusal::NotExecutable) if near.is_empty() => {
                let why = program::init_refusal(&path).unwrap_or_default();
                near = format!(": {} {why}", path.display());
            }
            Err(_) => {}
        }
    }
    Err(refuse(&format!("executable file not found in $PATH{near}")))
}

enum Refusal {
    Missing(sys::Errno),
    Directory,
    NotExecutable,
}

fn check_program(path: &Path) -> Result<(), Refusal> {
    let stat = sys::file::stat(path).map_err(|e| Refusal::Missing(e.errno))?;
    if sys::file::is_dir(&stat) {
        return Err(Refusal::Directory);
    }
    if sys::file::may_execute(path) { Ok(()) } else { Err(Refusal::NotExecutable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_home_is_noticed() {
        let mut faults = Faults::default();
        let env = ["A=1", "PATH=/bin", "A=2", "HOME="].map(String::from);
        let plan = plan(&["x".into()], &env, "/", &mut faults);
        assert_eq!(plan.env, [c"PATH=/bin".to_owned(), c"A=2".to_owned()]);
        assert!(plan.wants_home);
        assert_eq!(plan.search, "/bin");
        assert!(faults.texts().is_empty());
    }

    #[test]
    fn faults_have_the_known_words() {
        let mut faults = Faults::default();
        plan(&[], &["novalue".into(), "=x".into()], "rel", &mut faults);
        assert_eq!(
            faults.texts(),
            [
                "Cwd must be an absolute path (process.cwd)",
                "args must not be empty (process.args)",
                "invalid environment variable: name cannot be empty (process.env[1])",
                "invalid environment variable: missing '=' (process.env[0])",
            ]
        );
    }

    #[test]
    fn homes_are_found_by_number_only() {
        let passwd = "root:x:0:0::/root:/bin/sh\n1000:x:7:7::/seven:\nbroken\nu:x:1000:1::/home/u:/bin/sh\n";
        for (uid, home) in [(0, Some("/root")), (7, Some("/seven")), (1000, Some("/home/u")), (5, None)] {
            assert_eq!(home_in(passwd, uid).as_deref(), home);
        }
    }
}
