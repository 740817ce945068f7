//! `process.apparmorProfile`, `process.selinuxLabel`, `linux.mountLabel`: under which rules of the host's security
//! modules the program runs, and which labels files and keys have for them.
//!
//! A process says of itself what its next program runs under. The file for that is opened in the procfs of the host,
//! before there is any mount of the container's in sight, and written when everything is set up. So nothing that an
//! image, a volume or a running container has put at `/proc` is written to in its place.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::faults::Faults;
use crate::rooms::keyring;
use crate::{Error, Kind, Result};

/// What to run under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The AppArmor profile of the program.
    profile: Option<String>,
    /// The SELinux label of the program and of its session keyring.
    label: Option<String>,
}

/// A security module that has to run on the host for one of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// AppArmor.
    AppArmor,
    /// SELinux.
    Selinux,
}

/// Decides on profile and label. `has` tells which modules the host has; it is asked only for what is wanted.
pub fn plan(profile: &str, label: &str, has: impl Fn(Module) -> bool, faults: &mut Faults) -> Plan {
    let wanted =
        |module, value, at, faults: &mut _| wanted(module, value, &has, at, faults).map(str::to_owned);
    Plan {
        profile: wanted(Module::AppArmor, profile, "process.apparmorProfile", faults),
        label: wanted(Module::Selinux, label, "process.selinuxLabel", faults),
    }
}

/// Decides on the label of files in the container's own mounts.
pub fn plan_mounts<'a>(label: &'a str, has: impl Fn(Module) -> bool, faults: &mut Faults) -> Option<&'a str> {
    wanted(Module::Selinux, label, has, "linux.mountLabel", faults)
}

fn wanted<'a>(
    module: Module,
    value: &'a str,
    has: impl Fn(Module) -> bool,
    at: &str,
    faults: &mut Faults,
) -> Option<&'a str> {
    if value.is_empty() {
        return None;
    }
    let (what, name) = match module {
        Module::AppArmor => ("apparmor profile", "apparmor"),
        Module::Selinux => ("selinux label", "selinux"),
    };
    if value.contains('\0') {
        // The kernel would read what is before it, which is another name.
        faults.add(at, format!("{what} contains null byte"));
    }
    if !has(module) {
        faults.add(at, format!("{what} is specified in config, but {name} is disabled or not supported"));
    }
    Some(value)
}

/// Whether the host has the module, for [`plan`].
pub fn host_has(module: Module) -> bool {
    match module {
        Module::AppArmor => sys::file::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|answer| answer.first() == Some(&b'Y')),
        // Read-only is what a container is shown of a host whose labels it can't set.
        Module::Selinux => sys::file::open_dir_nofollow(Path::new("/sys/fs/selinux")).is_ok_and(|dir| {
            sys::mount::fs_magic(dir.as_fd()).is_ok_and(|magic| magic == sys::mount::SELINUX_MAGIC)
                && sys::mount::is_read_only(dir.as_fd()).is_ok_and(|readonly| !readonly)
        }),
    }
}

/// What a process of `exec` has from the container's first process.
pub fn inherit(process: &mut oci::Process, from: &oci::Process) {
    let fill = |own: &mut String, default: &String| {
        if own.is_empty() {
            own.clone_from(default);
        }
    };
    fill(&mut process.apparmor_profile, &from.apparmor_profile);
    fill(&mut process.selinux_label, &from.selinux_label);
}

/// The files that say what this process's next program runs under.
#[derive(Debug)]
pub struct Files {
    profile: Option<(&'static str, OwnedFd)>,
    label: Option<(&'static str, OwnedFd)>,
}

/// Whether the host's procfs is needed.
pub fn is_asked_for(plan: &Plan) -> bool {
    plan.profile.is_some() || plan.label.is_some()
}

/// Opens the files in the host's procfs, and labels the keyring that this process makes next.
pub fn init_open(plan: &Plan, keyring: &keyring::Plan, procfs: Option<BorrowedFd<'_>>) -> Result<Files> {
    let Some(procfs) = procfs else { return Ok(Files { profile: None, label: None }) };
    let open =
        |path: &'static str| sys::procfs::open_own(procfs, path, sys::OFlags::WRONLY).map(|fd| (path, fd));
    let profile = match &plan.profile {
        Some(_) => Some(match open("attr/apparmor/exec") {
            // Before Linux 5.1 all modules shared one.
            Err(e) if e.errno == sys::Errno::NOENT => open("attr/exec").map_err(in_profile)?,
            other => other.map_err(in_profile)?,
        }),
        None => None,
    };
    let label = plan.label.as_ref().map(|_| open("attr/exec")).transpose().map_err(in_label)?;
    if let (Some(label), Some(_)) = (&plan.label, keyring) {
        let in_keys = |e| explain_label(e, "can't set the label of the session keyring");
        // The kernel forgets it when the program is executed.
        write(&open("attr/keycreate").map_err(in_keys)?, label).map_err(in_keys)?;
    }
    Ok(Files { profile, label })
}

/// Says what the next program runs under. Nothing changes before that: hooks of the container, which are programs too,
/// are confined as well.
pub fn init_apply(plan: &Plan, files: Files) -> Result<()> {
    if let (Some(profile), Some(file)) = (&plan.profile, &files.profile) {
        write(file, &format!("exec {profile}")).map_err(|e| explain_profile(e, profile))?;
    }
    if let (Some(label), Some(file)) = (&plan.label, &files.label) {
        write(file, label).map_err(in_label)?;
    }
    Ok(())
}

/// Writes all of `value` at once: the kernel takes no label in pieces.
fn write((path, file): &(&str, OwnedFd), value: &str) -> Result<(), sys::Error> {
    sys::file::write_fd(file.as_fd(), value.as_bytes()).map_err(|errno| sys::Error {
        call: "write",
        args: format!("/proc/thread-self/{path} {value:?}"),
        errno,
    })
}

fn explain_profile(e: sys::Error, profile: &str) -> Error {
    let hint = match e.errno {
        sys::Errno::NOENT => {
            Some(format!("no profile {profile:?} is loaded: `apparmor_parser -r FILE` loads those of a file"))
        }
        sys::Errno::ACCESS => {
            Some("the AppArmor profile of the caller must allow it: `change_profile -> NAME,`".to_owned())
        }
        sys::Errno::PERM => {
            Some("the caller may be under a profile itself, and have set no_new_privs".to_owned())
        }
        _ => None,
    };
    hint.into_iter().fold(in_profile(e), Error::hint)
}

fn in_profile(e: sys::Error) -> Error {
    let kind = if e.errno == sys::Errno::NOENT { Kind::Invalid } else { Kind::System };
    Error::new(kind, format!("unable to apply apparmor profile: {e}"))
}

fn in_label(e: sys::Error) -> Error {
    explain_label(e, "can't set process label")
}

fn explain_label(e: sys::Error, what: &str) -> Error {
    let unknown = e.errno == sys::Errno::INVAL;
    let error = Error::from(e).context(what);
    if unknown { error.hint("the host's SELinux policy knows no such label") } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_has_not_is_a_fault() {
        let missing = |what: &str, at: &str| {
            let name = what.split(' ').next().unwrap_or_default();
            format!("{what} is specified in config, but {name} is disabled or not supported ({at})")
        };
        let apparmor = missing("apparmor profile", "process.apparmorProfile");
        let selinux = missing("selinux label", "process.selinuxLabel");
        for (profile, label, has, want) in [
            ("", "", None, vec![]),
            ("p", "", Some(Module::AppArmor), vec![]),
            ("", "l", Some(Module::Selinux), vec![]),
            ("p", "l", None, vec![apparmor.clone(), selinux.clone()]),
            ("p", "l", Some(Module::AppArmor), vec![selinux]),
            ("p", "l", Some(Module::Selinux), vec![apparmor]),
            (
                "a\0b",
                "",
                Some(Module::AppArmor),
                vec!["apparmor profile contains null byte (process.apparmorProfile)".to_owned()],
            ),
        ] {
            let mut faults = Faults::default();
            let plan = plan(profile, label, |module| has == Some(module), &mut faults);
            assert_eq!(faults.texts(), want, "{profile} {label}");
            assert_eq!(
                (plan.profile.is_some(), plan.label.is_some()),
                (!profile.is_empty(), !label.is_empty())
            );
        }
    }

    #[test]
    fn what_is_not_said_is_the_containers() {
        let process = |profile: &str, label: &str| oci::Process {
            apparmor_profile: profile.to_owned(),
            selinux_label: label.to_owned(),
            ..Default::default()
        };
        for (own, want) in [(("", ""), ("p", "l")), (("q", ""), ("q", "l")), (("", "m"), ("p", "m"))] {
            let mut own = process(own.0, own.1);
            inherit(&mut own, &process("p", "l"));
            assert_eq!((own.apparmor_profile.as_str(), own.selinux_label.as_str()), want);
        }
    }
}
