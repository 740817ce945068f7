//! `--systemd-cgroup`: the container as a unit of systemd's, which makes its cgroup.
//!
//! Owns: `annotations` that begin with `org.systemd.property.`; `linux.cgroupsPath`, of the form `slice:prefix:name`.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cgroup::systemd::{self, Facts, Manager, Names, Property, Scope, Unit, Value};
use cgroup::{Cgroup, Layout, Limits};

use crate::faults::Faults;
use crate::{Error, Kind, Result, Rootless};

/// What to do without a systemd.
const WITHOUT: &str = "without --systemd-cgroup cgroups are made as directories, and systemd is not asked; engines \
    have a setting for that: cgroupfs as cgroup driver or cgroup manager";
/// What to do when the systemd of the host can't be reached.
const SYSTEM_BUS: &str = "`systemctl status dbus.socket` tells how the bus is; in a container it takes /run/dbus \
    or /run/systemd of the host";
/// What to do when that of a user can't be reached.
const USER_BUS: &str = "a login session has DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR=/run/user/UID in its \
    environment, which sudo and su take away; `loginctl enable-linger USER` starts a user's systemd without a session";

/// The unit, and what it is told when it is started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The unit.
    pub unit: Unit,
    properties: Vec<Property>,
}

/// What decides on it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The systemd that is asked.
    pub facts: &'a Facts,
    /// What the program was called as.
    pub program: &'a str,
    /// `annotations`.
    pub annotations: &'a BTreeMap<String, String>,
}

/// Which systemd has the containers of this caller: the user's own for whoever has no rights to the host's. In a
/// user namespace it is the host's for root of a whole system that is in there.
fn scope(rootless: Rootless, euid: u32, owner: Option<u32>) -> Scope {
    match rootless {
        Rootless::True => Scope::User,
        Rootless::False => Scope::System,
        Rootless::Auto if euid == 0 && owner.is_none_or(|owner| owner == 0) => Scope::System,
        Rootless::Auto => Scope::User,
    }
}

/// Connects to the systemd that is to have the container, and asks what decisions depend on.
pub fn host_connect(rootless: Rootless) -> Result<(Manager, Facts)> {
    let scope = scope(rootless, sys::cred::effective_uid(), systemd::is_running());
    let mut manager = connect(scope)?;
    let facts = manager.facts(scope).map_err(|error| explain(error, scope))?;
    Ok((manager, facts))
}

fn connect(scope: Scope) -> Result<Manager> {
    Manager::connect(scope, |name| std::env::var_os(name)).map_err(|error| explain(error, scope))
}

fn explain(error: cgroup::Error, scope: Scope) -> Error {
    let hint = match (error.kind, scope) {
        (cgroup::Kind::NoSystemd, _) => Some(WITHOUT),
        (cgroup::Kind::NoBus, Scope::System) => Some(SYSTEM_BUS),
        (cgroup::Kind::NoBus, Scope::User) => Some(USER_BUS),
        (cgroup::Kind::UnitExists, Scope::System) => {
            Some("`systemctl stop UNIT` ends it, if nobody needs it")
        }
        (cgroup::Kind::UnitExists, Scope::User) => {
            Some("`systemctl --user stop UNIT` ends it, if nobody needs it")
        }
        _ => None,
    };
    let exists = error.kind == cgroup::Kind::UnitExists;
    let error = Error::from(error);
    let error = if exists { Error { kind: Kind::Exists, ..error } } else { error };
    hint.into_iter().fold(error, Error::hint)
}

/// Decides where the container is.
pub fn place(host: &cgroup::Host, wanted: Wanted<'_>, path: &str, id: &str) -> Result<(Unit, Cgroup)> {
    Ok(systemd::place(host, wanted.facts, path, Names { program: wanted.program, id })?)
}

/// Decides what the unit is told. Limits go over annotations. A quota that systemd can't hold is changed in `limits`.
pub fn plan(
    unit: Unit,
    id: &str,
    wanted: Wanted<'_>,
    limits: &mut Limits,
    layout: Layout,
    faults: &mut Faults,
) -> Plan {
    let description = format!("{} container {id}", wanted.program);
    let mut properties = vec![Property { name: "Description".to_owned(), value: Value::Str(description) }];
    properties.extend(systemd::at_creation(&unit, wanted.facts, layout, limits));
    for (key, value) in wanted.annotations {
        match systemd::annotation(key, value) {
            None => {}
            Some(Ok(property)) => properties.push(property),
            Some(Err(text)) => faults.add(format!("annotations.{key}"), text),
        }
    }
    properties.extend(systemd::properties(limits, layout, wanted.facts));
    Plan { unit, properties }
}

/// Starts the unit with the container's first process in it.
pub fn host_start(plan: &Plan, cgroup: &Cgroup, manager: &mut Manager, pid: i32) -> Result<()> {
    let number = number(pid)?;
    let mut properties = plan.properties.clone();
    properties.push(Property {
        name: "PIDs".to_owned(),
        value: Value::Array("u".to_owned(), vec![Value::Uint32(number)]),
    });
    manager.start(&plan.unit, properties).map_err(|error| explain(error, plan.unit.scope))?;
    // Whoever limits one cgroup and runs in another would not notice.
    let found = cgroup.of_process(pid)?;
    if found != *cgroup {
        let path = |cgroup: &Cgroup| cgroup.unified().map(|dir| dir.path.clone()).unwrap_or_default();
        let text =
            format!("systemd has put the container into the cgroup {}, not {}", path(&found), path(cgroup));
        return Err(Error::new(Kind::System, text)
            .hint("the systemd that was asked sees other processes or cgroups: is it that of this host?"));
    }
    Ok(())
}

/// Moves a process into a cgroup of the unit: its own, or one below it.
pub fn host_attach(unit: &Unit, cgroup: &Cgroup, pid: i32) -> Result<()> {
    let number = number(pid)?;
    let path = cgroup.unified().map(|dir| format!("/{}", dir.path)).unwrap_or_default();
    let below = path.strip_prefix(&unit.path).filter(|below| !below.is_empty()).unwrap_or("/");
    let mut manager = connect(unit.scope)?;
    manager.attach(unit, below, number).map_err(|error| explain(error, unit.scope))
}

fn number(pid: i32) -> Result<u32> {
    u32::try_from(pid).map_err(|_| Error::new(Kind::System, format!("{pid} is no process")))
}

/// A change of limits that systemd is still to be told of.
#[derive(Debug)]
pub struct Change {
    manager: Manager,
    unit: Unit,
    properties: Vec<Property>,
}

/// Prepares a change of the limits of a unit that is there. A quota that systemd can't hold is changed in `limits`.
pub fn host_plan_change(unit: &Unit, limits: &mut Limits, layout: Layout) -> Result<Change> {
    let mut manager = connect(unit.scope)?;
    let facts = manager.facts(unit.scope).map_err(|error| explain(error, unit.scope))?;
    Ok(Change { manager, unit: unit.clone(), properties: systemd::properties(limits, layout, &facts) })
}

impl Change {
    /// Tells systemd.
    pub fn host_make(mut self) -> std::result::Result<(), cgroup::Error> {
        self.manager.set(&self.unit, self.properties)
    }
}

/// How long systemd is given to see for itself that a cgroup is empty, and how often it is looked at.
const SEEING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(10));

/// Ends the unit with what is left in it. That systemd can't be asked is no reason to keep the container: it drops
/// the unit, and removes its cgroup, once that is empty. Whoever removes it first may keep systemd from noticing.
pub fn host_stop(unit: &Unit, cgroup: &Cgroup) {
    let stopped = connect(unit.scope)
        .and_then(|mut manager| manager.stop(unit).map_err(|error| explain(error, unit.scope)));
    let Err(error) = stopped else { return };
    log::warn!("{error}");
    let (patience, pause) = SEEING;
    let until = Instant::now() + patience;
    let exists = || cgroup.unified().is_some_and(|dir| sys::file::stat(dir.absolute()).is_ok());
    while exists() && Instant::now() < until {
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_systemd_it_is() {
        use Rootless::{Auto, False, True};
        for (rootless, euid, owner, want) in [
            (Auto, 0, Some(0), Scope::System),
            (Auto, 0, None, Scope::System),
            (Auto, 1000, Some(0), Scope::User),
            // Root of a user namespace: nobody of there owns the files of the host's systemd.
            (Auto, 0, Some(65534), Scope::User),
            (True, 0, Some(0), Scope::User),
            (False, 1000, Some(0), Scope::System),
        ] {
            assert_eq!(scope(rootless, euid, owner), want, "{rootless:?} {euid} {owner:?}");
        }
    }
}
