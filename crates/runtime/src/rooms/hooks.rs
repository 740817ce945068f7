//! `hooks`: programs of the caller that run at six points of a container's life.
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::faults::Faults;
use crate::{Error, Kind, Result};
use sys::process::For;

/// When a hook runs, see "Lifecycle" in the specification's runtime.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// By the runtime, when the namespaces are there (deprecated in favour of the next three).
    Prestart,
    /// By the runtime, after `prestart`.
    CreateRuntime,
    /// In the container's namespaces, before its root is entered.
    CreateContainer,
    /// In the container, before its program.
    StartContainer,
    /// By the runtime, when the program runs.
    Poststart,
    /// By the runtime, when the container is deleted.
    Poststop,
}

impl Stage {
    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Prestart => "prestart",
            Stage::CreateRuntime => "createRuntime",
            Stage::CreateContainer => "createContainer",
            Stage::StartContainer => "startContainer",
            Stage::Poststart => "poststart",
            Stage::Poststop => "poststop",
        }
    }
}

/// All hooks by stage.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plan(oci::Hooks);

/// Checks the hooks.
pub fn plan(hooks: Option<&oci::Hooks>, faults: &mut Faults) -> Plan {
    let plan = Plan(hooks.cloned().unwrap_or_default());
    for stage in [
        Stage::Prestart,
        Stage::CreateRuntime,
        Stage::CreateContainer,
        Stage::StartContainer,
        Stage::Poststart,
        Stage::Poststop,
    ] {
        for (index, hook) in plan.of(stage).iter().enumerate() {
            let oci::Hook { path, args: _, env: _, timeout } = hook;
            let at = format!("hooks.{}[{index}]", stage.name());
            if path.is_empty() {
                faults.add(format!("{at}.path"), "hook path must not be empty");
            }
            if timeout.is_some_and(|t| t <= 0) {
                faults.add(format!("{at}.timeout"), "hook timeout must be greater than zero");
            }
        }
    }
    plan
}

impl Plan {
    /// The hooks of one stage.
    pub fn of(&self, stage: Stage) -> &[oci::Hook] {
        match stage {
            Stage::Prestart => &self.0.prestart,
            Stage::CreateRuntime => &self.0.create_runtime,
            Stage::CreateContainer => &self.0.create_container,
            Stage::StartContainer => &self.0.start_container,
            Stage::Poststart => &self.0.poststart,
            Stage::Poststop => &self.0.poststop,
        }
    }

    /// Those that other commands than `create` run.
    pub fn later(&self) -> Plan {
        let (poststart, poststop) = (self.0.poststart.clone(), self.0.poststop.clone());
        Plan(oci::Hooks { poststart, poststop, ..oci::Hooks::default() })
    }

    /// Whether the runtime has hooks to run while the container is made.
    pub fn wait_for_runtime(&self) -> bool {
        !self.of(Stage::Prestart).is_empty() || !self.of(Stage::CreateRuntime).is_empty()
    }
}

/// The environment of a hook that names none.
#[derive(Clone, Copy, Debug)]
pub enum DefaultEnv<'a> {
    /// That of the caller of the runtime.
    Inherit,
    /// These variables and no others.
    Only(&'a [std::borrow::Cow<'a, std::ffi::CStr>]),
}

/// Runs the hooks of a stage one after the other, each with the state of the container on its
/// standard input. The first that fails ends the row, but for `poststop`, where all run and the
/// first failure is told.
pub fn run(plan: &Plan, stage: Stage, state: &oci::HookState, env: DefaultEnv<'_>) -> Result<()> {
    let mut first = Ok(());
    if plan.of(stage).is_empty() {
        return first;
    }
    let input =
        serde_json::to_vec(state).map_err(|e| Error::new(Kind::System, format!("state for hooks: {e}")))?;
    for (index, hook) in plan.of(stage).iter().enumerate() {
        if let Err(text) = run_one(hook, &input, env) {
            let text = format!("error running {} hook #{index}: {text}", stage.name());
            let error = Error::new(Kind::System, text);
            if stage != Stage::Poststop {
                return Err(error);
            }
            first = first.and(Err(error));
        }
    }
    first
}

fn run_one(hook: &oci::Hook, input: &[u8], env: DefaultEnv<'_>) -> Result<(), String> {
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(rest);
    }
    set_env(&mut command, hook, env);
    // A group of its own, so that a hook that takes too long ends with all that it started.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    sys::process::die_with_parent(&mut command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| {
        let errno = sys::Errno::from_io_error(&e).unwrap_or(sys::Errno::IO);
        format!("fork/exec {}: {}", hook.path, sys::errno_text(errno))
    })?;
    let deadline = hook
        .timeout
        .and_then(|t| u64::try_from(t).ok())
        .map(|t| (t, Instant::now() + Duration::from_secs(t)));
    let (mut stdout, mut stderr) = (Tail::default(), Tail::default());
    let has_ended = converse(&mut child, input, deadline.map(|(_, at)| at), &mut stdout, &mut stderr);
    if !has_ended {
        let group = i32::try_from(child.id()).unwrap_or(i32::MAX);
        sys::process::kill_group(group);
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let how = match std::os::unix::process::ExitStatusExt::signal(&status) {
        _ if !has_ended => {
            format!("hook ran past specified timeout of {}.0s", deadline.map_or(0, |(t, _)| t))
        }
        _ if status.success() => return Ok(()),
        Some(number) => format!("signal: {}", sys::signal::describe(number)),
        None => format!("exit status {}", status.code().unwrap_or(-1)),
    };
    Err(format!("{how}, stdout: {stdout}, stderr: {stderr}, path: {}", hook.path))
}

fn set_env(command: &mut Command, hook: &oci::Hook, default: DefaultEnv<'_>) {
    use std::os::unix::ffi::OsStrExt;
    let pair = |command: &mut Command, text: &[u8]| {
        let at = text.iter().position(|&b| b == b'=').unwrap_or(text.len());
        let (name, value) = (text.get(..at).unwrap_or(&[]), text.get(at + 1..).unwrap_or(&[]));
        if !name.is_empty() {
            command.env(std::ffi::OsStr::from_bytes(name), std::ffi::OsStr::from_bytes(value));
        }
    };
    match default {
        _ if !hook.env.is_empty() => {
            command.env_clear();
            hook.env.iter().for_each(|text| pair(command, text.as_bytes()));
        }
        DefaultEnv::Inherit => {}
        DefaultEnv::Only(list) => {
            command.env_clear();
            list.iter().for_each(|text| pair(command, text.to_bytes()));
        }
    }
}

/// How much of a hook's output an error shows: the end, where the reason is.
const SHOWN: usize = 2 << 10;
/// As much as a pipe may hold: when the hook is gone no more than this can be of its own making.
const PIPE: usize = 1 << 20;

/// What a stream of a hook has brought.
#[derive(Default)]
struct Tail {
    /// Its end, at least as much as is shown.
    end: Vec<u8>,
    /// All of it, in bytes.
    total: usize,
}

impl Tail {
    fn add(&mut self, data: &[u8]) {
        self.total += data.len();
        self.end.extend_from_slice(data);
        if self.end.len() > 8 * SHOWN {
            self.end.drain(..self.end.len() - SHOWN);
        }
    }
}

/// One line, whatever the hook has written.
impl std::fmt::Display for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = self.end.get(self.end.len().saturating_sub(SHOWN)..).unwrap_or(&[]);
        if cut.len() < self.total {
            f.write_str("…")?;
        }
        String::from_utf8_lossy(cut).trim_end().chars().try_for_each(|c| match c {
            c if c.is_control() => write!(f, "{}", c.escape_debug()),
            c => std::fmt::Write::write_char(f, c),
        })
    }
}

/// Writes `input` and reads both streams until they end; false when the deadline came first. A process
/// that the hook has left behind with a stream open does not keep the runtime once the hook itself is
/// gone; nor does a hook that leaves an input unread which is more than the pipe holds.
fn converse(
    child: &mut std::process::Child,
    mut input: &[u8],
    deadline: Option<Instant>,
    stdout: &mut Tail,
    stderr: &mut Tail,
) -> bool {
    let (mut stdin, mut out, mut err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let Some(pipe) = &stdin
        && sys::file::set_nonblocking(pipe.as_fd()).is_err()
    {
        stdin = None;
    }
    let mut at_end = 0;
    let pidfd = sys::signal::open_process(i32::try_from(child.id()).unwrap_or(i32::MAX)).ok();
    let mut gone = false;
    while (out.is_some() || err.is_some()) || (!gone && pidfd.is_some()) {
        if stdin.as_ref().is_some_and(|pipe| !has_more_to_write(pipe.as_fd(), &mut input)) {
            stdin = None;
        }
        let left = match deadline {
            _ if gone => 0,
            None => -1,
            Some(at) => {
                i64::try_from(at.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(i64::MAX)
            }
        };
        let fds = [
            stdin.as_ref().map(|pipe| (pipe.as_fd(), For::Write)),
            out.as_ref().map(|pipe| (pipe.as_fd(), For::Read)),
            err.as_ref().map(|pipe| (pipe.as_fd(), For::Read)),
            pidfd.as_ref().filter(|_| !gone).map(|pidfd| (pidfd.as_fd(), For::Read)),
        ];
        let Ok([_, read_out, read_err, ended]) = sys::process::poll_for(fds, left) else { break };
        if read_out && !more(&mut out, stdout) {
            out = None;
        }
        if read_err && !more(&mut err, stderr) {
            err = None;
        }
        let all = stdout.total + stderr.total;
        // What is left behind may write without end.
        if gone && (!read_out && !read_err || all - at_end >= 2 * PIPE) {
            break;
        }
        if ended && !gone {
            (gone, at_end) = (true, all);
        }
        if !gone && deadline.is_some_and(|at| Instant::now() >= at) {
            return false;
        }
    }
    true
}

/// Writes what there is room for; false when that was all, or nobody reads.
fn has_more_to_write(pipe: BorrowedFd<'_>, data: &mut &[u8]) -> bool {
    match sys::file::write_some(pipe, data) {
        Ok(done) => *data = data.get(done..).unwrap_or(&[]),
        Err(sys::Errno::AGAIN | sys::Errno::INTR) => {}
        Err(_) => return false,
    }
    !data.is_empty()
}

/// Reads once; false when the stream has ended.
fn more(stream: &mut Option<impl std::io::Read>, into: &mut Tail) -> bool {
    let mut buffer = [0u8; 4096];
    match stream.as_mut().map(|s| s.read(&mut buffer)) {
        Some(Ok(n)) if n > 0 => {
            into.add(buffer.get(..n).unwrap_or(&[]));
            true
        }
        Some(Err(e)) if e.kind() == std::io::ErrorKind::Interrupted => true,
        _ => false,
    }
}

/// The state of a container as hooks get it.
pub fn state(
    id: &str,
    status: &str,
    pid: i32,
    bundle: &Path,
    annotations: &std::collections::BTreeMap<String, String>,
) -> oci::HookState {
    oci::HookState {
        oci_version: crate::OCI_VERSION.to_owned(),
        id: id.to_owned(),
        status: status.to_owned(),
        pid,
        bundle: bundle.display().to_string(),
        annotations: annotations.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_shown_as_one_line_from_its_end() {
        let much = "x".repeat(SHOWN - 5);
        for (pieces, shown) in [
            (vec![""], String::new()),
            (vec!["oops\n"], "oops".to_owned()),
            (vec!["a\n", "b\r\n", "\n \t\n"], "a\\nb".to_owned()),
            (vec!["\t\u{1b}[31m\u{7f}\0é\"\\"], "\\t\\u{1b}[31m\\u{7f}\\0é\"\\".to_owned()),
            (vec!["begin", &much], format!("begin{much}")),
            (vec!["?begin", &much], format!("…begin{much}")),
            (vec![&much; 30], format!("…xxxxx{much}")),
        ] {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.add(piece.as_bytes()));
            assert_eq!(tail.to_string(), shown);
            assert!(tail.end.len() <= 8 * SHOWN);
        }
        let mut half = Tail::default();
        half.add(&"é".as_bytes()[1..]);
        assert_eq!(half.to_string(), "\u{fffd}");
    }
}
