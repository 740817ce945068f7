//! Which devices a container may use: the rules of the config, brought into one normal form.
//!
//! Owns: `linux.resources.devices`.
//!
//! Rules are read in order and a later one goes over an earlier one. What no rule speaks of is denied,
//! and so is everything when there are no rules (GHSA-g54h-m393-cpwq). After the rules of the config
//! come those for the devices that every container gets, as runc has it.
//!
//! The normal form is what the devices controller of version 1 can hold: one verdict, and exceptions
//! from it. An access passes in a container with verdict "deny" when *one* exception covers all of it,
//! and fails in one with "allow" when an exception covers *any* of it. The programs of version 2 decide
//! in the same way, so that a config means the same on every host.
use std::fmt;

use oci::{Device, DeviceRule};

use crate::error::Fault;

const FIELD: &str = "linux.resources.devices";

/// Kinds of access, as a set. The bits are those of `BPF_DEVCG_ACC_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access(pub(crate) u8);

impl Access {
    pub(crate) const MKNOD: Access = Access(1);
    pub(crate) const READ: Access = Access(2);
    pub(crate) const WRITE: Access = Access(4);
    pub(crate) const ALL: Access = Access(7);

    fn parse(letters: &str) -> Option<Access> {
        letters.chars().try_fold(Access(0), |set, letter| match letter {
            'r' => Some(Access(set.0 | Access::READ.0)),
            'w' => Some(Access(set.0 | Access::WRITE.0)),
            'm' => Some(Access(set.0 | Access::MKNOD.0)),
            _ => None,
        })
    }
}

/// `rwm`
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (access, letter) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")] {
            if self.0 & access.0 != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Block,
    Character,
}

/// A set of devices; `None` stands for every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Devices {
    pub(crate) kind: Kind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

impl Devices {
    pub(crate) fn contains(self, other: Devices) -> bool {
        let covers = |a: Option<u32>, b: Option<u32>| a.is_none() || a == b;
        self.kind == other.kind && covers(self.major, other.major) && covers(self.minor, other.minor)
    }

    fn meets(self, other: Devices) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

/// Accesses to devices on which the verdict does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) devices: Devices,
    pub(crate) access: Access,
}

/// `c 1:3 rwm`, as the files of version 1 take it.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.devices.kind == Kind::Block { "b " } else { "c " })?;
        match self.devices.major {
            Some(number) => write!(f, "{number}:")?,
            None => f.write_str("*:")?,
        }
        match self.devices.minor {
            Some(number) => write!(f, "{number} ")?,
            None => f.write_str("* ")?,
        }
        self.access.fmt(f)
    }
}

/// The normal form of a list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The verdict on what no exception speaks of.
    pub(crate) allow: bool,
    /// The exceptions, none of which is empty; no two have the same devices.
    pub(crate) exceptions: Vec<Exception>,
}

/// What every container may do, with the path of the device node where it gets one.
const DEFAULTS: [(Option<&str>, Exception); 11] = {
    use Kind::{Block, Character};
    [
        // runc lets containers make any node; opening it is another matter.
        (None, exception(Character, None, None, Access::MKNOD)),
        (None, exception(Block, None, None, Access::MKNOD)),
        (Some("/dev/null"), exception(Character, Some(1), Some(3), Access::ALL)),
        (Some("/dev/random"), exception(Character, Some(1), Some(8), Access::ALL)),
        (Some("/dev/full"), exception(Character, Some(1), Some(7), Access::ALL)),
        (Some("/dev/tty"), exception(Character, Some(5), Some(0), Access::ALL)),
        (Some("/dev/zero"), exception(Character, Some(1), Some(5), Access::ALL)),
        (Some("/dev/urandom"), exception(Character, Some(1), Some(9), Access::ALL)),
        // Terminals: /dev/pts/*, /dev/ptmx.
        (None, exception(Character, Some(136), None, Access::ALL)),
        (None, exception(Character, Some(5), Some(2), Access::ALL)),
        // /dev/net/tun: engines have come to rely on it.
        (None, exception(Character, Some(10), Some(200), Access::ALL)),
    ]
};

const fn exception(kind: Kind, major: Option<u32>, minor: Option<u32>, access: Access) -> Exception {
    Exception { devices: Devices { kind, major, minor }, access }
}

/// The filter for the rules of a config.
///
/// `own` are the devices of `linux.devices`: one that takes the place of a default device takes its
/// rule away as well.
pub(crate) fn filter(rules: &[DeviceRule], own: &[Device]) -> Result<Filter, Vec<Fault>> {
    let mut filter = Filter { allow: false, exceptions: Vec::new() };
    let mut faults = Vec::new();
    for (n, rule) in rules.iter().enumerate() {
        if let Err(text) = apply(&mut filter, rule) {
            faults.push(Fault::new(format!("{FIELD}[{n}]"), text));
        }
    }
    for (path, exception) in DEFAULTS {
        if path.is_some_and(|path| own.iter().any(|device| device.path == path)) {
            continue;
        }
        if let Err(text) = filter.set(exception, true) {
            faults.push(Fault::new(FIELD, format!("{text}; every container is allowed the former")));
        }
    }
    if faults.is_empty() { Ok(filter) } else { Err(faults) }
}

fn apply(filter: &mut Filter, rule: &DeviceRule) -> Result<(), String> {
    let DeviceRule { allow, r#type, major, minor, access } = rule;
    if access.is_empty() {
        return Err("device access field cannot be empty".to_owned());
    }
    let access = Access::parse(access).ok_or_else(|| format!("invalid device access {access:?}"))?;
    let kinds: &[Kind] = match r#type.as_str() {
        "" | "a" => &[Kind::Block, Kind::Character],
        "b" => &[Kind::Block],
        "c" => &[Kind::Character],
        other => return Err(format!("invalid cgroup device type {other:?}")),
    };
    let (major, minor) = (number(*major)?, number(*minor)?);
    if kinds.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
        // A new verdict, which nothing from before is an exception of.
        *filter = Filter { allow: *allow, exceptions: Vec::new() };
        return Ok(());
    }
    for &kind in kinds {
        filter.set(exception(kind, major, minor, access), *allow)?;
    }
    Ok(())
}

/// A device number of the config, where absent and -1 mean all.
fn number(given: Option<i64>) -> Result<Option<u32>, String> {
    match given {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n).map(Some).map_err(|_| format!("invalid device number {n}")),
    }
}

impl Filter {
    /// Allows or denies `wanted` from now on.
    fn set(&mut self, wanted: Exception, allow: bool) -> Result<(), String> {
        if allow != self.allow {
            match self.exceptions.iter_mut().find(|e| e.devices == wanted.devices) {
                Some(same) => same.access.0 |= wanted.access.0,
                None => self.exceptions.push(wanted),
            }
            return Ok(());
        }
        for exception in &mut self.exceptions {
            if wanted.devices.contains(exception.devices) {
                exception.access.0 &= !wanted.access.0;
            } else if wanted.devices.meets(exception.devices) && wanted.access.0 & exception.access.0 != 0 {
                // The controller of version 1 cannot express this and would ignore it in silence.
                return Err(format!(
                    "requested rule [{wanted}] cuts a hole into the wider rule [{exception}]"
                ));
            }
        }
        self.exceptions.retain(|e| e.access.0 != 0);
        Ok(())
    }

    /// Whether nothing is denied.
    pub(crate) fn allows_all(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A rule from `allow c 1:3 rw`; a type of `-` is left out, and so is a number of `*`.
    pub(crate) fn rule(text: &str) -> DeviceRule {
        let parts: Vec<&str> = text.split([' ', ':']).collect();
        let [verdict, kind, major, minor, access] = parts[..] else { panic!("{text}") };
        let number = |text: &str| (text != "*").then(|| text.parse().unwrap());
        DeviceRule {
            allow: verdict == "allow",
            r#type: kind.trim_matches('-').to_owned(),
            major: number(major),
            minor: number(minor),
            access: access.to_owned(),
        }
    }

    pub(crate) fn rules(texts: &[&str]) -> Vec<DeviceRule> {
        texts.iter().map(|text| rule(text)).collect()
    }

    /// The filter as lines: its verdict, then what differs from the default rules.
    fn lines(texts: &[&str]) -> Vec<String> {
        let filter = filter(&rules(texts), &[]).unwrap();
        let defaults = super::filter(&[], &[]).unwrap();
        let verdict = if filter.allow { "allow" } else { "deny" };
        let others =
            filter.exceptions.iter().filter(|e| !defaults.exceptions.contains(e)).map(Exception::to_string);
        std::iter::once(verdict.to_owned()).chain(others).collect()
    }

    #[test]
    fn no_rules_leave_what_runc_leaves() {
        let mut list: Vec<String> =
            filter(&[], &[]).unwrap().exceptions.iter().map(Exception::to_string).collect();
        list.sort();
        // devices.list of a container of runc 1.1.5.
        let mut expected = [
            "b *:* m",
            "c *:* m",
            "c 1:3 rwm",
            "c 1:5 rwm",
            "c 1:7 rwm",
            "c 1:8 rwm",
            "c 1:9 rwm",
            "c 5:0 rwm",
            "c 5:2 rwm",
            "c 10:200 rwm",
            "c 136:* rwm",
        ];
        expected.sort_unstable();
        assert_eq!(list, expected);
    }

    #[test]
    fn rules_in_order() {
        let table: &[(&[&str], &[&str])] = &[
            (&["deny a *:* rwm"], &["deny"]),
            (&["deny - *:* rwm"], &["deny"]),
            (&["allow a *:* rwm"], &["allow"]),
            (&["allow a *:* rwm", "deny a *:* rwm"], &["deny"]),
            (&["allow c 10:229 rw"], &["deny", "c 10:229 rw"]),
            (&["allow c 10:229 r", "allow c 10:229 w"], &["deny", "c 10:229 rw"]),
            (&["allow c 10:229 rwm", "deny c 10:229 w"], &["deny", "c 10:229 rm"]),
            (&["allow c 10:229 rw", "deny c 10:229 rw"], &["deny"]),
            // A wider rule goes over narrower ones before it.
            (&["allow b 8:0 rw", "allow b 8:1 rw", "deny b 8:* w"], &["deny", "b 8:0 r", "b 8:1 r"]),
            (&["allow b 8:0 rw", "deny a *:* rwm"], &["deny"]),
            // Part of everything: not the same as everything.
            (&["allow a 8:0 r"], &["deny", "b 8:0 r", "c 8:0 r"]),
            (&["allow a *:* rwm", "deny b *:* r"], &["allow", "b *:* r"]),
            (&["allow a *:* rwm", "deny b 8:0 w"], &["allow", "b 8:0 w"]),
            (&["allow a *:* rwm", "deny b 8:0 w", "allow b 8:* rwm"], &["allow"]),
            // What is allowed in the end is allowed: the defaults come last.
            (&["allow a *:* rwm", "deny c 1:3 rwm"], &["allow"]),
            (&["allow c -1:-1 r"], &["deny", "c *:* rm"]),
        ];
        for (given, expected) in table {
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(lines(given), expected, "{given:?}");
        }
    }

    #[test]
    fn rules_that_cannot_be() {
        let table: &[(&[&str], &str)] = &[
            (&["allow c 1:3 "], "device access field cannot be empty (linux.resources.devices[0])"),
            (
                &["deny a *:* rwm", "allow c 1:3 rx"],
                "invalid device access \"rx\" (linux.resources.devices[1])",
            ),
            (&["allow p 1:3 r"], "invalid cgroup device type \"p\" (linux.resources.devices[0])"),
            (&["allow c -2:3 r"], "invalid device number -2 (linux.resources.devices[0])"),
            (&["allow c 4294967296:3 r"], "invalid device number 4294967296 (linux.resources.devices[0])"),
            (
                &["allow c 7:* rwm", "deny c 7:3 w"],
                "requested rule [c 7:3 w] cuts a hole into the wider rule [c 7:* rwm] (linux.resources.devices[1])",
            ),
            (
                &["allow a *:* rwm", "deny c 136:* w", "deny c 10:* r"],
                "requested rule [c 10:200 rwm] cuts a hole into the wider rule [c 10:* r]; \
                 every container is allowed the former (linux.resources.devices)",
            ),
        ];
        for (given, expected) in table {
            let faults = filter(&rules(given), &[]).unwrap_err();
            assert_eq!(faults.iter().map(Fault::to_string).collect::<Vec<_>>(), [*expected]);
        }
    }

    #[test]
    fn a_device_of_the_config_takes_the_default_s_rule() {
        let own = [Device { path: "/dev/tty".to_owned(), ..Device::default() }];
        let list = filter(&[], &own).unwrap().exceptions;
        assert!(!list.iter().any(|e| e.to_string() == "c 5:0 rwm"));
        assert_eq!(list.len(), DEFAULTS.len() - 1);
    }
}
