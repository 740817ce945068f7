//! `linux.seccomp`: which system calls the container's processes may do.
//!
//! The program is compiled before the clone, so that every fault of the profile is told with the others, and is in the
//! state for `exec`. From the moment in which a process has loaded it, what the process itself still calls is subject to
//! it: it loads it as late as it can.
//!
//! With `SCMP_ACT_NOTIFY` the listener's descriptor has to reach the host, though every call that could carry it may wait
//! for that listener. So the process says beforehand which number it will have, loads the filter and goes on; the host
//! takes the descriptor out of it as soon as it is there (`pidfd_getfd`, Linux 5.6). An ordinary user may not do that to
//! a process of `exec`, into which nobody in the container may look either: that one sends it, if the profile lets it.
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ::seccomp::{Arch, Insn, verdict};
use sys::clone::Child;
use sys::cred::{self, Capabilities};
use sys::seccomp::flag;

use crate::error::On;
use crate::faults::Faults;
use crate::spawn::Caller;
use crate::sync::{self, FromInit};
use crate::{Error, Kind, Result};

/// The filter to load, if any.
pub type Plan = Option<Filter>;

/// A compiled profile.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Filter {
    #[serde(with = "text")]
    program: Vec<Insn>,
    flags: u32,
    listener: Option<Listener>,
}

/// Who decides about calls with `SCMP_ACT_NOTIFY`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listener {
    path: PathBuf,
    metadata: String,
}

/// When a process loads the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// While it still has the right to, which without no_new_privs it needs.
    WithRights,
    /// Before it says that it is ready: the host has to hear of the listener, or programs of the image come first.
    BeforeReady,
    /// Right before the program.
    Last,
}

/// The flags by name, with their bits, in the order of runc. The first means nothing to a process of one thread.
const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", flag::SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_LOG", flag::LOG),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", flag::WAIT_KILLABLE_RECV),
];

/// crun's annotation: a name that no architecture knows is an error.
const FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";

const AT: &str = "linux.seccomp";

/// Decides the filter. `knows` says whether the kernel knows a flag.
pub fn plan(
    raw: Option<&oci::Seccomp>,
    annotations: &BTreeMap<String, String>,
    knows: impl Fn(u32) -> bool,
    faults: &mut Faults,
) -> Plan {
    let raw = raw?;
    if raw.default_action.is_empty() && raw.syscalls.is_empty() {
        // So runc has it: an empty object is no profile.
        return None;
    }
    let Some(native) = Arch::NATIVE else {
        faults.add(AT, format!("{AT}: the numbers of this machine's system calls are not known"));
        return None;
    };
    let flags = plan_flags(raw.flags.as_deref(), knows, faults);
    let filter = match ::seccomp::compile(raw, native) {
        Ok(filter) => filter,
        Err(wrong) => {
            wrong.into_iter().for_each(|fault| faults.add(fault.at, fault.text));
            return None;
        }
    };
    if !filter.unknown.is_empty() {
        let text = format!("unknown system calls: {}", listed(&filter.unknown));
        if annotations.contains_key(FAIL_UNKNOWN) {
            faults.add(format!("{AT}.syscalls"), text);
        } else {
            log::warn!("{AT}.syscalls: {text}; nothing is done about them");
        }
    }
    if filter.notifies && raw.listener_path.is_empty() {
        faults.add(format!("{AT}.listenerPath"), "seccomp listenerPath is not set");
    }
    if !filter.notifies && flags & flag::WAIT_KILLABLE_RECV != 0 {
        let text = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is of no use without SCMP_ACT_NOTIFY";
        faults.add(format!("{AT}.flags"), text);
    }
    let listener = filter.notifies.then(|| Listener {
        path: PathBuf::from(&raw.listener_path),
        metadata: raw.listener_metadata.clone(),
    });
    Some(Filter { program: filter.program, flags, listener })
}

/// Names one after the other; of many the first ones, and how many more there are.
fn listed(names: &[String]) -> String {
    match names.split_at_checked(20) {
        Some((first, rest @ [_, ..])) => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// The names of all flags, and of those that the kernel knows.
pub fn flags(knows: impl Fn(u32) -> bool) -> (Vec<String>, Vec<String>) {
    let names =
        |list: &mut dyn Iterator<Item = &(&str, u32)>| list.map(|(name, _)| (*name).to_owned()).collect();
    (names(&mut FLAGS.iter()), names(&mut FLAGS.iter().filter(|(_, bit)| *bit == 0 || knows(*bit))))
}

/// Without a list programs get back what kernels before 5.16 took from them for being filtered.
fn plan_flags(names: Option<&[String]>, knows: impl Fn(u32) -> bool, faults: &mut Faults) -> u32 {
    let Some(names) = names else { return flag::SPEC_ALLOW };
    let mut flags = 0;
    for (n, name) in names.iter().enumerate() {
        let at = || format!("{AT}.flags[{n}]");
        match FLAGS.iter().find(|(known, _)| known == name) {
            None => faults.add(at(), format!("seccomp flag {name} is not known")),
            Some((_, bit)) if *bit != 0 && !knows(*bit) => {
                faults.add(at(), format!("seccomp flag {name} is not supported by this kernel"));
            }
            Some((_, bit)) => flags |= bit,
        }
    }
    flags
}

/// When the filter is loaded. `image_first` says whether programs of the image run before the container's own.
pub fn moment(filter: Option<&Filter>, no_new_privileges: bool, image_first: bool) -> Option<Moment> {
    let filter = filter?;
    Some(match filter.listener {
        _ if !no_new_privileges => Moment::WithRights,
        None if !image_first => Moment::Last,
        _ => Moment::BeforeReady,
    })
}

/// How the listener's descriptor gets from the process to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The host takes it.
    Taken,
    /// The process sends it.
    Sent,
}

/// The way out of a process of `exec`.
pub fn way(caller: Caller) -> Way {
    if caller == Caller::Ordinary { Way::Sent } else { Way::Taken }
}

/// Loads the filter, if `now` is the moment to. Gives what the listener hears by, which must not be closed before the
/// runtime has it: that, too, may be what the listener decides about.
pub fn init_load(
    filter: Option<&Filter>,
    moment: Option<Moment>,
    now: Moment,
    way: Way,
    sync: &OwnedFd,
) -> Result<Option<OwnedFd>> {
    let Some(filter) = filter.filter(|_| moment == Some(now)) else { return Ok(None) };
    if now == Moment::WithRights {
        // A change of user has left them to be used, but not in use.
        let held = cred::capabilities()?;
        if held.effective != held.permitted {
            cred::set_capabilities(&Capabilities { effective: held.permitted, ..held })?;
        }
    }
    if filter.listener.is_some() && way == Way::Sent {
        if !allows_to_send(filter) {
            let text =
                "seccomp: sendmsg is not allowed, by which an ordinary user's exec hands the listener over";
            return Err(Error::new(Kind::Unsupported, text));
        }
        let Some(listener) = load(filter, flag::NEW_LISTENER)? else { return Ok(None) };
        let message = FromInit::Listening(listener);
        sync::tell_runtime(sync, &message)?;
        let FromInit::Listening(listener) = message else { return Ok(None) };
        return Ok(Some(listener));
    }
    if filter.listener.is_some() {
        let number = sys::file::next_descriptor(sync.as_fd())?;
        sync::tell_runtime(sync, &FromInit::Listener(number))?;
        return load(filter, flag::NEW_LISTENER);
    }
    load(filter, 0)
}

/// Whether a process under the filter can send a message, and nobody else decides about that.
fn allows_to_send(filter: &Filter) -> bool {
    let verdict = Arch::NATIVE.and_then(|arch| {
        ::seccomp::without_arguments(&filter.program, arch.syscall("sendmsg")?, arch.token())
    });
    matches!(verdict, Some(verdict::ALLOW | verdict::LOG))
}

/// The filter that [`init_load_last`] is to load, if that is its moment.
pub fn for_last(filter: Option<&Filter>, moment: Option<Moment>) -> Option<&Filter> {
    filter.filter(|_| moment == Some(Moment::Last))
}

/// Loads the filter right before the program is executed.
pub fn init_load_last(filter: Option<&Filter>) -> Result<()> {
    filter.map_or(Ok(()), |filter| load(filter, 0).map(drop))
}

fn load(filter: &Filter, flags: u32) -> Result<Option<OwnedFd>> {
    sys::seccomp::set_filter(&filter.program, filter.flags | flags).map_err(|e| {
        let refused = e.errno == sys::Errno::ACCESS;
        let error = Error::from(e).context("error loading seccomp filter into kernel");
        if refused {
            error.hint("without CAP_SYS_ADMIN a filter needs process.noNewPrivileges")
        } else {
            error
        }
    })
}

/// Takes the listener's descriptor, which has or will have this `number`, out of a process, and hands it to who
/// listens. When the process ends first there is nothing to hand over, and its end is told elsewhere.
pub fn host_serve(
    filter: Option<&Filter>,
    process: &Child,
    number: i32,
    state: oci::HookState,
) -> Result<()> {
    match take(process.pidfd.as_fd(), number)? {
        Some(listener) => hand_over(filter, process.pid, state, &listener),
        None => Ok(()),
    }
}

/// Hands on a descriptor that a process has sent.
pub fn host_pass_on(
    filter: Option<&Filter>,
    process: &Child,
    listener: &OwnedFd,
    state: oci::HookState,
) -> Result<()> {
    hand_over(filter, process.pid, state, listener)
}

/// Takes the descriptor; `None` when the process ends first.
fn take(process: BorrowedFd<'_>, number: i32) -> Result<Option<OwnedFd>> {
    loop {
        match sys::signal::take_descriptor(process, number) {
            Err(e) if e.errno == sys::Errno::BADF => {}
            Err(e) if e.errno == sys::Errno::SRCH => return Ok(None),
            other => return Ok(other.map(Some)?),
        }
        // It loads the filter at this moment, and has no way to say when it has.
        if let [true] = sys::process::poll([Some(process)], 1)? {
            return Ok(None);
        }
    }
}

/// Hands the descriptor to the listener, with what it has to know: which process of which container.
fn hand_over(filter: Option<&Filter>, pid: i32, state: oci::HookState, fd: &OwnedFd) -> Result<()> {
    let Some(Listener { path, metadata }) = filter.and_then(|filter| filter.listener.as_ref()) else {
        return Ok(());
    };
    let message = oci::ProcessState {
        oci_version: state.oci_version.clone(),
        fds: vec!["seccompFd".to_owned()],
        pid,
        metadata: metadata.clone(),
        state,
    };
    let message = serde_json::to_vec(&message).map_err(|e| Error::new(Kind::System, e.to_string()))?;
    let socket = sys::sock::connect(path)
        .on(|| "failed to connect with seccomp agent specified in the seccomp profile".to_owned())?;
    sys::sock::send(socket.as_fd(), &message, Some(fd.as_fd()))
        .on(|| format!("cannot send seccomp fd to {}", path.display()))
}

/// Says what may be wrong when a process with a filter has ended without a word.
pub fn explain(error: Error, filter: Option<&Filter>) -> Error {
    match filter {
        Some(_) => error
            .hint("linux.seccomp may forbid what the runtime itself still calls before the program begins"),
        None => error,
    }
}

/// A program in the state: sixteen digits an instruction, as a list of numbers would take longer than the compiler.
mod text {
    use ::seccomp::Insn;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{Error as _, Serializer};

    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    pub fn serialize<S: Serializer>(program: &[Insn], json: S) -> Result<S::Ok, S::Error> {
        let mut digits = Vec::with_capacity(program.len() * 16);
        for &insn in program {
            let mut number = pack(insn);
            let mut text = [0; 16];
            for digit in text.iter_mut().rev() {
                *digit = DIGITS[usize::from(number.to_le_bytes()[0] & 15)];
                number >>= 4;
            }
            digits.extend_from_slice(&text);
        }
        json.serialize_str(std::str::from_utf8(&digits).map_err(S::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<Insn>, D::Error> {
        let digits = String::deserialize(json)?;
        let mut program = Vec::with_capacity(digits.len() / 16);
        for digits in digits.as_bytes().chunks(16) {
            let insn = (digits.len() == 16).then(|| number(digits)).flatten();
            program.push(unpack(insn.ok_or_else(|| D::Error::custom("not an instruction"))?));
        }
        Ok(program)
    }

    fn number(digits: &[u8]) -> Option<u64> {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).map(u64::from);
        digits.iter().try_fold(0, |number, next| Some(number << 4 | digit(next)?))
    }

    fn pack(insn: Insn) -> u64 {
        let Insn { code, yes, no, k } = insn;
        u64::from(code) << 48 | u64::from(yes) << 40 | u64::from(no) << 32 | u64::from(k)
    }

    fn unpack(packed: u64) -> Insn {
        let [a, b, yes, no, k @ ..] = packed.to_be_bytes();
        Insn { code: u16::from_be_bytes([a, b]), yes, no, k: u32::from_be_bytes(k) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str, strict: bool) -> (Plan, Vec<String>) {
        let raw: oci::Seccomp = oci::from_json(json.as_bytes()).expect("JSON").expect("not null");
        let mut faults = Faults::default();
        let annotations = strict.then(|| (FAIL_UNKNOWN.to_owned(), String::new())).into_iter().collect();
        let plan = plan(Some(&raw), &annotations, |bit| bit != flag::LOG, &mut faults);
        (plan, faults.texts())
    }

    #[test]
    fn flags_are_those_of_the_list() {
        let flags = |list: &str| {
            let (plan, faults) = planned(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW"{list}}}"#), false);
            (plan.map(|filter| filter.flags), faults)
        };
        assert_eq!(flags(""), (Some(flag::SPEC_ALLOW), vec![]));
        assert_eq!(flags(r#", "flags": []"#), (Some(0), vec![]));
        assert_eq!(flags(r#", "flags": ["SECCOMP_FILTER_FLAG_TSYNC"]"#), (Some(0), vec![]));
        let wrong =
            r#", "flags": ["LOG", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#;
        assert_eq!(
            flags(wrong).1,
            [
                "seccomp flag LOG is not known (linux.seccomp.flags[0])",
                "seccomp flag SECCOMP_FILTER_FLAG_LOG is not supported by this kernel (linux.seccomp.flags[1])",
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is of no use without SCMP_ACT_NOTIFY (linux.seccomp.flags)",
            ]
        );
    }

    #[test]
    fn an_empty_object_is_no_profile() {
        assert_eq!(planned("{}", true), (None, vec![]));
    }

    #[test]
    fn unknown_names_are_a_fault_where_that_is_asked_for() {
        let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a", "read", "b"], "action": "SCMP_ACT_KILL"}]}"#;
        assert_eq!(planned(text, false).1, Vec::<String>::new());
        assert_eq!(planned(text, true).1, ["unknown system calls: a, b (linux.seccomp.syscalls)"]);
        let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert!(listed(&names(20)).ends_with("18, 19"));
        assert!(listed(&names(23)).ends_with("18, 19 and 3 more"));
    }

    #[test]
    fn the_moment_follows_from_who_has_to_know() {
        let filter = |listener| Filter { program: Vec::new(), flags: 0, listener };
        let quiet = filter(None);
        let asking = filter(Some(Listener { path: "/l".into(), metadata: String::new() }));
        for (filter, no_new_privileges, image_first, want) in [
            (None, true, true, None),
            (Some(&quiet), false, false, Some(Moment::WithRights)),
            (Some(&asking), false, true, Some(Moment::WithRights)),
            (Some(&quiet), true, false, Some(Moment::Last)),
            (Some(&quiet), true, true, Some(Moment::BeforeReady)),
            (Some(&asking), true, false, Some(Moment::BeforeReady)),
        ] {
            assert_eq!(moment(filter, no_new_privileges, image_first), want, "{filter:?}");
        }
    }

    #[test]
    fn programs_survive_the_state() {
        let program = vec![
            Insn { code: 0x20, yes: 0, no: 0, k: 4 },
            Insn { code: 0x15, yes: 1, no: 255, k: 0xc000_003e },
            Insn { code: 0x06, yes: 0, no: 0, k: u32::MAX },
        ];
        let filter = Filter { program, flags: 0, listener: None };
        let text = serde_json::to_string(&filter).expect("JSON");
        assert!(text.contains("0020000000000004001501ffc000003e0006"), "{text}");
        assert_eq!(serde_json::from_str::<Filter>(&text).ok(), Some(filter));
        for wrong in ["00", "002000000000000400", "002000000000000g", "+020000000000004"] {
            let text = format!(r#"{{"program": "{wrong}", "flags": 0, "listener": null}}"#);
            assert!(serde_json::from_str::<Filter>(&text).is_err(), "{wrong}");
        }
    }
}
