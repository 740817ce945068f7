//! Where a manager of systemd is talked to: addresses of buses, and the environment variables that name them.
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Scope;

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// A path, or, after an `@`, a name in the abstract namespace.
    pub(super) name: OsString,
    /// Whether systemd itself listens there, and no bus that would have to be greeted.
    pub(super) direct: bool,
}

/// The addresses to try, in this order.
///
/// For a user that is what the variables of the session name. systemd's own socket comes last, for hosts without
/// a bus: it is there for whoever the manager belongs to.
pub(super) fn addresses(
    scope: Scope,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<Address>, String> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let direct = |path: &OsStr| Address { name: path.to_owned(), direct: true };
    let mut list = Vec::new();
    match scope {
        Scope::System => {
            match env("DBUS_SYSTEM_BUS_ADDRESS") {
                Some(given) => list.extend(parse("DBUS_SYSTEM_BUS_ADDRESS", &given)?),
                None => list.push(Address { name: "/run/dbus/system_bus_socket".into(), direct: false }),
            }
            list.push(direct(OsStr::new("/run/systemd/private")));
        }
        Scope::User => {
            let runtime = env("XDG_RUNTIME_DIR");
            let below = |name: &str| {
                runtime.as_ref().map(|dir| [dir.as_bytes(), name.as_bytes()].concat()).map(OsString::from_vec)
            };
            match env("DBUS_SESSION_BUS_ADDRESS") {
                Some(given) => list.extend(parse("DBUS_SESSION_BUS_ADDRESS", &given)?),
                None => list.extend(below("/bus").map(|name| Address { name, direct: false })),
            }
            list.extend(below("/systemd/private").map(|name| direct(&name)));
            if list.is_empty() {
                return Err("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set".to_owned());
            }
        }
    }
    Ok(list)
}

/// Takes an address of the specification apart: `unix:path=/run/bus,guid=…;unix:abstract=…`.
fn parse(variable: &str, text: &OsStr) -> Result<Vec<Address>, String> {
    let mut list = Vec::new();
    for address in text.as_bytes().split(|byte| *byte == b';').filter(|part| !part.is_empty()) {
        let Some(pairs) = address.strip_prefix(b"unix:") else { continue };
        for pair in pairs.split(|byte| *byte == b',') {
            let name = match pair.strip_prefix(b"path=") {
                Some(path) => unescape(path),
                None => {
                    pair.strip_prefix(b"abstract=").and_then(unescape).map(|name| [b"@", &name[..]].concat())
                }
            };
            list.extend(name.map(|name| Address { name: OsString::from_vec(name), direct: false }));
        }
    }
    if list.is_empty() {
        return Err(format!("{variable} has no address of a Unix socket: {:?}", text.to_string_lossy()));
    }
    Ok(list)
}

/// Undoes `%2d`.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut parts = text.split(|byte| *byte == b'%');
    let mut out = parts.next()?.to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?);
        out.extend(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(scope: Scope, variables: &[(&str, &str)]) -> Vec<String> {
        let env = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        match addresses(scope, env) {
            Ok(list) => list
                .iter()
                .map(|a| format!("{}{}", a.name.to_string_lossy(), if a.direct { " direct" } else { "" }))
                .collect(),
            Err(text) => vec![text],
        }
    }

    #[test]
    fn addresses_of_the_system() {
        let own = "/run/systemd/private direct";
        assert_eq!(found(Scope::System, &[]), ["/run/dbus/system_bus_socket", own]);
        assert_eq!(found(Scope::System, &[("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/x")]), ["/x", own]);
    }

    #[test]
    fn addresses_of_a_user() {
        let (bus, dir) = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR");
        let nothing = "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set";
        for (variables, want) in [
            (&[][..], &[nothing][..]),
            (&[(bus, ""), (dir, "")], &[nothing]),
            (&[(dir, "/run/user/7")], &["/run/user/7/bus", "/run/user/7/systemd/private direct"]),
            (&[(bus, "unix:path=/b"), (dir, "/r")], &["/b", "/r/systemd/private direct"]),
            (&[(bus, "unix:abstract=/tmp/x%2d1,guid=1f")], &["@/tmp/x-1"]),
            (&[(bus, "tcp:host=x;unix:guid=1,path=/a;unix:path=/b")], &["/a", "/b"]),
            (
                &[(bus, "tcp:host=x")],
                &["DBUS_SESSION_BUS_ADDRESS has no address of a Unix socket: \"tcp:host=x\""],
            ),
            (
                &[(bus, "unix:path=/a%2")],
                &["DBUS_SESSION_BUS_ADDRESS has no address of a Unix socket: \"unix:path=/a%2\""],
            ),
        ] {
            assert_eq!(found(Scope::User, variables), want, "{variables:?}");
        }
    }
}
