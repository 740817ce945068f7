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
use serde::{Deserialize, Serialize};

use crate::error::Fault;

pub(crate) const FIELD: &str = "linux.resources.devices";

/// What a container was asked to have in the way of devices: what other rules are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The rules, in the words of whoever asked. Not known while others take their place.
    list: Option<Vec<DeviceRule>>,
    /// The devices of `linux.devices` that take the place of default ones, by their paths.
    own: Vec<String>,
}

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

impl Exception {
    /// `c 1:3 rwm`, as the files of version 1 give it.
    fn parse(line: &str) -> Option<Exception> {
        let mut words = line.split_whitespace();
        let kind = match words.next()? {
            "b" => Kind::Block,
            "c" => Kind::Character,
            _ => return None,
        };
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |word: &str| if word == "*" { Some(None) } else { word.parse().ok().map(Some) };
        let devices = Devices { kind, major: number(major)?, minor: number(minor)? };
        Some(Exception { devices, access: Access::parse(words.next()?)? })
    }
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

impl Rules {
    /// What a config asks for: its rules, and `devices`, those of `linux.devices`.
    pub(crate) fn new(list: &[DeviceRule], devices: &[Device]) -> Rules {
        Rules { list: Some(list.to_vec()), own: replaced(devices) }
    }

    /// The same with another list.
    pub(crate) fn with(&self, list: Option<&[DeviceRule]>) -> Rules {
        Rules { list: list.map(<[_]>::to_vec), own: self.own.clone() }
    }

    /// What they come to; `None` while they are not known.
    pub(crate) fn filter(&self) -> Option<Result<Filter, Vec<Fault>>> {
        self.list.as_ref().map(|list| filter(list, &self.own))
    }

    /// What `asked` means to a container that has these.
    pub(crate) fn compare(&self, asked: &[DeviceRule]) -> Comparison {
        let Some(list) = &self.list else {
            return if asked.is_empty() { Comparison::Same } else { Comparison::Others };
        };
        let mut missing: Vec<&DeviceRule> = Vec::new();
        let mut own = list.iter();
        for rule in asked {
            loop {
                match own.next() {
                    Some(other) if same(rule, other) => break,
                    Some(other) => missing.push(other),
                    None => return Comparison::Others,
                }
            }
        }
        missing.extend(own);
        if asked.is_empty() || missing.is_empty() {
            Comparison::Same
        } else if missing.iter().all(|rule| rule.allow) {
            Comparison::Fewer
        } else {
            Comparison::Others
        }
    }
}

/// What rules are to those that a container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same ones, or none at all.
    Same,
    /// Some of them, in their order, and no others: what is missing allows something.
    Fewer,
    /// Others.
    Others,
}

/// Whether two rules say the same, in whichever of the ways that there are to say it.
fn same(a: &DeviceRule, b: &DeviceRule) -> bool {
    let kind = |rule: &DeviceRule| if rule.r#type.is_empty() { "a".to_owned() } else { rule.r#type.clone() };
    let number = |number: Option<i64>| number.filter(|number| *number != -1);
    let access = |rule: &DeviceRule| Access::parse(&rule.access).ok_or_else(|| rule.access.clone());
    a.allow == b.allow
        && kind(a) == kind(b)
        && (number(a.major), number(a.minor)) == (number(b.major), number(b.minor))
        && access(a) == access(b)
}

/// Which of the default devices `linux.devices` takes the place of: their paths.
pub(crate) fn replaced(devices: &[Device]) -> Vec<String> {
    let given = |path: &&str| devices.iter().any(|device| device.path == *path);
    DEFAULTS.iter().filter_map(|(path, _)| *path).filter(given).map(str::to_owned).collect()
}

/// The filter for the rules of a config.
///
/// `own` are the paths of default devices in whose place are some of `linux.devices`: these take the rules of
/// those away as well.
pub(crate) fn filter(rules: &[DeviceRule], own: &[String]) -> Result<Filter, Vec<Fault>> {
    let mut filter = Filter { allow: false, exceptions: Vec::new() };
    let mut faults = Vec::new();
    for (n, rule) in rules.iter().enumerate() {
        if let Err(text) = apply(&mut filter, rule) {
            faults.push(Fault::new(format!("{FIELD}[{n}]"), text));
        }
    }
    for (path, exception) in DEFAULTS {
        if path.is_some_and(|path| own.iter().any(|own| own == path)) {
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
    /// What holds according to `devices.list` of version 1. That does not tell exceptions from the verdict "allow",
    /// so these are taken from `recorded`. `None` when it can't be known.
    pub(crate) fn in_force(list: &str, recorded: Option<&Filter>) -> Option<Filter> {
        if list.lines().any(|line| line.starts_with("a ")) {
            return recorded.filter(|recorded| recorded.allow).cloned();
        }
        let exceptions = list.lines().map(Exception::parse).collect::<Option<Vec<_>>>()?;
        Some(Filter { allow: false, exceptions })
    }

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

    /// What is written to which file of version 1 for this to hold in place of `from`, which is what holds now.
    ///
    /// What takes rights away comes first, so that at no moment more is allowed than before or after. That can't be
    /// done when the verdict becomes another one, or where it is not known: the kernel drops all exceptions then.
    pub(crate) fn files(&self, from: Option<&Filter>) -> Vec<(&'static str, String)> {
        let (verdict, exception) =
            if self.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
        let Some(from) = from.filter(|from| from.allow == self.allow) else {
            // "a" also drops all exceptions that were inherited.
            let exceptions = self.exceptions.iter().map(|e| (exception, e.to_string()));
            return std::iter::once((verdict, "a".to_owned())).chain(exceptions).collect();
        };
        let gone = from.without(self).map(|e| (verdict, e.to_string()));
        let new = self.without(from).map(|e| (exception, e.to_string()));
        if self.allow { new.chain(gone).collect() } else { gone.chain(new).collect() }
    }

    /// What is excepted here and not there.
    fn without(&self, other: &Filter) -> impl Iterator<Item = Exception> {
        let left = |e: &Exception| {
            let same = other.exceptions.iter().find(|o| o.devices == e.devices);
            let access = e.access.0 & !same.map_or(0, |o| o.access.0);
            (access != 0).then_some(Exception { devices: e.devices, access: Access(access) })
        };
        self.exceptions.iter().filter_map(left)
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

    /// The devices controller of version 1, as far as a cgroup alone goes.
    fn written(filter: &mut Filter, file: &str, value: &str) {
        let allow = file == "devices.allow";
        let Some(exception) = Exception::parse(value) else {
            assert_eq!(value, "a");
            *filter = Filter { allow, exceptions: Vec::new() };
            return;
        };
        let same = filter.exceptions.iter_mut().find(|e| e.devices == exception.devices);
        match same {
            Some(same) if allow == filter.allow => same.access.0 &= !exception.access.0,
            Some(same) => same.access.0 |= exception.access.0,
            None if allow == filter.allow => {}
            None => filter.exceptions.push(exception),
        }
        filter.exceptions.retain(|e| e.access.0 != 0);
    }

    #[test]
    fn one_filter_becomes_another_and_at_no_moment_more_than_both() {
        let filters: Vec<Filter> = [
            &["deny a *:* rwm"][..],
            &["allow a *:* rwm"],
            &["allow c 10:229 rw", "allow b 7:* rwm"],
            &["allow c 10:229 r", "allow b 7:* rwm", "allow b 8:0 m"],
            &["allow a *:* rwm", "deny c 10:229 w", "deny b *:* r"],
            &["allow a *:* rwm", "deny c 10:229 rw", "deny b 8:0 r"],
        ]
        .map(|texts| filter(&rules(texts), &[]).unwrap())
        .into();
        // Of one verdict: which accesses are excepted, so that fewer of them allow more where that is "allow".
        let accesses = |filter: &Filter, devices: Devices| {
            filter.exceptions.iter().find(|e| e.devices == devices).map_or(0, |e| e.access.0)
        };
        for from in &filters {
            for to in &filters {
                let mut now = from.clone();
                for (file, value) in to.files(Some(from)) {
                    written(&mut now, file, &value);
                    if from.allow != to.allow {
                        continue;
                    }
                    for Exception { devices, .. } in from.exceptions.iter().chain(&to.exceptions) {
                        let [a, b, now] = [from, to, &now].map(|filter| accesses(filter, *devices));
                        let more = if to.allow { a & b & !now } else { now & !(a | b) };
                        assert_eq!(more, 0, "{from:?} {to:?} {value}");
                    }
                }
                let sorted = |filter: &Filter| {
                    let mut lines: Vec<_> = filter.exceptions.iter().map(ToString::to_string).collect();
                    lines.sort();
                    (filter.allow, lines)
                };
                assert_eq!(sorted(&now), sorted(to));
                assert_eq!(to.files(Some(from)).is_empty(), from == to);
                // And from whatever there was.
                for (file, value) in to.files(None) {
                    written(&mut now, file, &value);
                }
                assert_eq!(sorted(&now), sorted(to));
            }
        }
    }

    #[test]
    fn what_is_in_force_on_version_1() {
        let of = |texts: &[&str]| filter(&rules(texts), &[]).unwrap();
        let (deny, hole) = (of(&[]), of(&["allow a *:* rwm", "deny b 8:0 w"]));
        let list: String = deny.exceptions.iter().map(|e| format!("{e}\n")).collect();
        // Others may have allowed more.
        let more = format!("{list}c 195:* rw\n");
        let found = Filter::in_force(&more, Some(&deny)).unwrap();
        assert_eq!(deny.files(Some(&found)), [("devices.deny", "c 195:* rw".to_owned())]);
        for (text, recorded, want) in [
            (list.as_str(), None, Some(&deny)),
            (list.as_str(), Some(&hole), Some(&deny)),
            ("a *:* rwm\n", Some(&hole), Some(&hole)),
            ("a *:* rwm\n", Some(&deny), None),
            ("a *:* rwm\n", None, None),
            ("x 1:1 r\n", Some(&deny), None),
        ] {
            assert_eq!(Filter::in_force(text, recorded).as_ref(), want, "{text} {recorded:?}");
        }
        assert!(Filter::in_force("", None).is_some_and(|none| none.exceptions.is_empty() && !none.allow));
    }

    #[test]
    fn a_device_of_the_config_takes_the_default_s_rule() {
        let devices = ["/dev/tty", "/dev/x"].map(|p| Device { path: p.to_owned(), ..Device::default() });
        let own = replaced(&devices);
        assert_eq!(own, ["/dev/tty"]);
        let list = filter(&[], &own).unwrap().exceptions;
        assert!(!list.iter().any(|e| e.to_string() == "c 5:0 rwm"));
        assert_eq!(list.len(), DEFAULTS.len() - 1);
    }
}
