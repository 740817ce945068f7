//! What of the host keeps a caller from making a user namespace or from using it, with what to do about it.
use crate::Error;
use crate::rooms::namespaces::Namespace;
use crate::spawn::Caller;
use sys::Errno;

/// Reads a file of `/proc/sys`, trimmed; `None` where this kernel has no such setting.
fn read(name: &str) -> Option<String> {
    let data = sys::file::read(format!("/proc/sys/{name}")).ok()?;
    Some(String::from_utf8_lossy(&data).trim().to_owned())
}

/// Why the kernel has refused to make namespaces, user namespaces among them.
pub fn of_clone(errno: Errno) -> Option<String> {
    clone_hint(errno, read)
}

fn clone_hint(errno: Errno, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let is = |name: &str, value: &str| read(name).as_deref() == Some(value);
    match errno {
        Errno::NOSPC if is("user/max_user_namespaces", "0") => Some(
            "user namespaces are switched off on this host: user.max_user_namespaces is 0; \
             `sysctl -w user.max_user_namespaces=15000` as root, and a file in /etc/sysctl.d to keep it"
                .to_owned(),
        ),
        Errno::NOSPC | Errno::USERS => Some(
            "a limit of namespaces is reached: user.max_user_namespaces and its like (/proc/sys/user) count those of \
             one user, and no more than 32 user namespaces can be one within the other"
                .to_owned(),
        ),
        Errno::PERM if is("kernel/unprivileged_userns_clone", "0") => Some(
            "only root may make user namespaces on this host: kernel.unprivileged_userns_clone is 0; \
             `sysctl -w kernel.unprivileged_userns_clone=1` as root, and a file in /etc/sysctl.d to keep it"
                .to_owned(),
        ),
        Errno::PERM => apparmor_hint(read).or_else(|| {
            let text = "something forbids user namespaces to this process: a seccomp filter, as containers have one, a \
                        security module, or a root directory that chroot has changed";
            Some(text.to_owned())
        }),
        _ => None,
    }
}

fn apparmor_hint(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = "kernel/apparmor_restrict_unprivileged_userns";
    (read(name).as_deref() == Some("1")).then(|| {
        "AppArmor leaves ordinary users no rights in their user namespaces: kernel.apparmor_restrict_unprivileged_userns \
         is 1; give the program a profile with `userns,` in /etc/apparmor.d, or `sysctl -w \
         kernel.apparmor_restrict_unprivileged_userns=0` as root"
            .to_owned()
    })
}

/// Adds to an error of a container with a new user namespace that its root has too few rights, if that may be it:
/// AppArmor lets the namespace be made, and what is done in it fails, each time in another way.
pub fn explain(error: Error, user: &Namespace, caller: Caller) -> Error {
    let denied =
        ["operation not permitted", "permission denied"].iter().any(|text| error.text.contains(text));
    if caller != Caller::Ordinary || *user != Namespace::New || !denied {
        return error;
    }
    match apparmor_hint(read) {
        Some(hint) if !error.hints.contains(&hint) => error.hint(hint),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_is_in_the_way() {
        let hint = |errno, name: &str, value: &str| {
            clone_hint(errno, |asked| (asked == name).then(|| value.to_owned())).unwrap_or_default()
        };
        for (errno, name, value, want) in [
            (Errno::NOSPC, "user/max_user_namespaces", "0", "user.max_user_namespaces is 0"),
            (Errno::NOSPC, "user/max_user_namespaces", "9", "a limit of namespaces is reached"),
            (Errno::PERM, "kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0"),
            (Errno::PERM, "kernel/unprivileged_userns_clone", "1", "something forbids"),
            (Errno::PERM, "kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
            (Errno::PERM, "kernel/apparmor_restrict_unprivileged_userns", "0", "something forbids"),
            (Errno::NOMEM, "user/max_user_namespaces", "0", ""),
        ] {
            let got = hint(errno, name, value);
            assert!(if want.is_empty() { got.is_empty() } else { got.contains(want) }, "{errno}: {got}");
        }
    }
}
