//! What systemd is asked to do: to start, change and stop the unit of a container.
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::FileType;

use super::address::addresses;
use super::bus::{Bus, Failure, TO_THE_BUS};
use super::message::{Call, SYSTEMD};
use super::properties::Property;
use super::{Scope, Unit, Value};
use crate::error::{Error, Kind};

/// The oldest systemd that takes devices by their numbers.
const OLDEST: u32 = 240;
/// How long systemd may take to start or stop a unit.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a unit that is going may take to be gone.
const GOING: Duration = Duration::from_secs(2);

/// What decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which systemd it is.
    pub scope: Scope,
    /// Its version.
    pub version: u32,
    /// The cgroup below which it has all of its units; empty for the top.
    pub control_group: String,
    /// Whether the kernel has BFQ, whose weights for block devices systemd makes of its own.
    pub bfq: bool,
}

/// A connection to a systemd.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
}

/// Whether this host was booted with systemd (`sd_booted(3)`), and the user who owns it there.
pub fn is_running() -> Option<u32> {
    let stat = rustix::fs::lstat("/run/systemd/system").ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::Directory).then_some(stat.st_uid)
}

impl Manager {
    /// Connects to the first of the addresses that `env`, the environment, has for this systemd.
    pub fn connect(scope: Scope, env: impl Fn(&str) -> Option<OsString>) -> Result<Manager, Error> {
        if is_running().is_none() {
            let text = "systemd not running on this host, cannot use systemd cgroups manager";
            return Err(Error::new(Kind::NoSystemd, text));
        }
        let who = match scope {
            Scope::System => "the system's systemd",
            Scope::User => "the user's systemd",
        };
        let failed = |why: &str| Error::new(Kind::NoBus, format!("cannot reach {who} over D-Bus: {why}"));
        let list = addresses(scope, env).map_err(|text| failed(&text))?;
        let mut reasons = Vec::with_capacity(list.len());
        for address in &list {
            match Bus::connect(address) {
                Ok(bus) => return Ok(Manager { bus }),
                Err(error) => reasons.push(error.text),
            }
        }
        Err(failed(&reasons.join("; ")))
    }

    /// Asks what decisions depend on.
    pub fn facts(&mut self, scope: Scope) -> Result<Facts, Error> {
        let version = self.manager_property("Version")?;
        let version = number(&version);
        if version < OLDEST {
            let text = format!("systemd {version} is too old: {OLDEST} is needed");
            return Err(Error::new(Kind::Unsupported, text));
        }
        // A cgroup that every systemd has. Without the controller there is no weight to be spoilt.
        let bfq = rustix::fs::stat("/sys/fs/cgroup/system.slice/io.bfq.weight").is_ok();
        Ok(Facts { scope, version, control_group: self.manager_property("ControlGroup")?, bfq })
    }

    /// Makes the unit and waits until it is there. `properties` name its first process.
    pub fn start(&mut self, unit: &Unit, properties: Vec<Property>) -> Result<(), Error> {
        self.watch(unit)?;
        let context = |text: &str| format!("unable to start unit {:?}: {text}", unit.name);
        let body = [
            Value::Str(unit.name.clone()),
            Value::Str("replace".to_owned()),
            Value::Array("(sv)".to_owned(), properties.into_iter().map(pair).collect()),
            // Units that come with it.
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
        ];
        let until = Instant::now() + GOING;
        let mut pause = Duration::from_millis(1);
        let reply = loop {
            match self.ask("StartTransientUnit", &body) {
                Err(Failure::Refused { name, text }) if name == format!("{SYSTEMD}.UnitExists") => {
                    let state = self.unit_property(unit, "Unit", "ActiveState")?;
                    // One that has failed, or is on its way out, makes room. It takes systemd a moment.
                    if state == "active" || state == "activating" || Instant::now() > until {
                        return Err(Error::new(Kind::UnitExists, context(&text)));
                    }
                    self.reset_failed(unit)?;
                    sleep(pause);
                    pause *= 2;
                }
                reply => break reply.map_err(|failure| explain(failure, context))?,
            }
        };
        let result = self.wait(&reply, "start", unit)?;
        if result == "done" {
            return Ok(());
        }
        // What is left of it would be in the way of the next one.
        self.reset_failed(unit)?;
        Err(Error::new(Kind::System, context(&format!("its job ended as {result:?}"))))
    }

    /// Changes properties of a unit that is there, until that ends.
    pub fn set(&mut self, unit: &Unit, properties: Vec<Property>) -> Result<(), Error> {
        if properties.is_empty() {
            return Ok(());
        }
        let body = [
            Value::Str(unit.name.clone()),
            Value::Bool(true),
            Value::Array("(sv)".to_owned(), properties.into_iter().map(pair).collect()),
        ];
        let context = |text: &str| format!("unable to set unit properties of {:?}: {text}", unit.name);
        self.ask("SetUnitProperties", &body).map(drop).map_err(|failure| explain(failure, context))
    }

    /// Moves a process into the cgroup of the unit, or into `below` it: an absolute path, `/` for the unit's own.
    pub fn attach(&mut self, unit: &Unit, below: &str, pid: u32) -> Result<(), Error> {
        let body = [
            Value::Str(unit.name.clone()),
            Value::Str(below.to_owned()),
            Value::Array("u".to_owned(), vec![Value::Uint32(pid)]),
        ];
        let context = |text: &str| format!("unable to move process {pid} into unit {:?}: {text}", unit.name);
        self.ask("AttachProcessesToUnit", &body).map(drop).map_err(|failure| explain(failure, context))
    }

    /// Ends the unit, with all that is left in it, and waits until it is gone. None is fine, and so is somebody
    /// else's with the same name: that is left alone.
    pub fn stop(&mut self, unit: &Unit) -> Result<(), Error> {
        self.watch(unit)?;
        let path = self.unit_property(unit, "Scope", "ControlGroup")?;
        if !path.is_empty() && path != unit.path {
            return Ok(());
        }
        let body = [Value::Str(unit.name.clone()), Value::Str("replace".to_owned())];
        match self.ask("StopUnit", &body) {
            Ok(reply) => drop(self.wait(&reply, "stop", unit)?),
            Err(Failure::Refused { name, .. }) if name == format!("{SYSTEMD}.NoSuchUnit") => return Ok(()),
            Err(failure) => {
                return Err(explain(failure, |text| format!("unable to stop unit {:?}: {text}", unit.name)));
            }
        }
        self.reset_failed(unit)
    }

    /// Has systemd forget that the unit has failed.
    fn reset_failed(&mut self, unit: &Unit) -> Result<(), Error> {
        match self.ask("ResetFailedUnit", &[Value::Str(unit.name.clone())]) {
            // It is gone, as it should be.
            Ok(_) | Err(Failure::Refused { .. }) => Ok(()),
            Err(Failure::Lost(error)) => Err(error),
        }
    }

    /// Asks a bus for the signals that tell of the unit's jobs. systemd itself sends them to whoever is connected.
    fn watch(&mut self, unit: &Unit) -> Result<(), Error> {
        if self.bus.direct {
            return Ok(());
        }
        let rule = format!(
            "type='signal',sender='{SYSTEMD}',path='{PATH}',interface='{SYSTEMD}.Manager',member='JobRemoved',arg2='{}'",
            unit.name
        );
        let call = Call { member: "AddMatch", body: &[Value::Str(rule)], ..TO_THE_BUS };
        self.bus
            .call(call)
            .map(drop)
            .map_err(|failure| explain(failure, |text| format!("D-Bus: AddMatch: {text}")))
    }

    /// Waits for the end of the job that a reply names, and gives its result.
    fn wait(&mut self, reply: &[Value], what: &str, unit: &Unit) -> Result<String, Error> {
        let job = reply.first().and_then(Value::text).unwrap_or_default();
        let until = Instant::now() + PATIENCE;
        loop {
            let signal = self.bus.job_removed(until).map_err(|error| {
                if Instant::now() < until {
                    return error;
                }
                let text = format!("systemd did not {what} unit {:?} within {PATIENCE:?}", unit.name);
                Error::new(Kind::System, text)
            })?;
            // Its number, the job, the unit and the result.
            if let [_, removed, _, result] = &signal[..]
                && removed.text() == Some(job)
            {
                return Ok(result.text().unwrap_or_default().to_owned());
            }
        }
    }

    fn manager_property(&mut self, name: &str) -> Result<String, Error> {
        self.property(PATH, "Manager", name)
    }

    fn unit_property(&mut self, unit: &Unit, kind: &str, name: &str) -> Result<String, Error> {
        let path = format!("{PATH}/unit/{}", path_of(&unit.name));
        self.property(&path, kind, name)
    }

    fn property(&mut self, path: &str, kind: &str, name: &str) -> Result<String, Error> {
        let body = [Value::Str(format!("{SYSTEMD}.{kind}")), Value::Str(name.to_owned())];
        let interface = "org.freedesktop.DBus.Properties";
        let call = Call { destination: SYSTEMD, path, interface, member: "Get", body: &body };
        let reply = self
            .bus
            .call(call)
            .map_err(|failure| explain(failure, |text| format!("unable to get {name} of systemd: {text}")))?;
        Ok(reply.first().and_then(Value::text).unwrap_or_default().to_owned())
    }

    fn ask(&mut self, member: &str, body: &[Value]) -> Result<Vec<Value>, Failure> {
        let interface = &format!("{SYSTEMD}.Manager");
        self.bus.call(Call { destination: SYSTEMD, path: PATH, interface, member, body })
    }
}

impl AsFd for Manager {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bus.as_fd()
    }
}

const PATH: &str = "/org/freedesktop/systemd1";

fn pair(property: Property) -> Value {
    Value::Struct(vec![Value::Str(property.name), Value::Variant(Box::new(property.value))])
}

fn explain(failure: Failure, context: impl Fn(&str) -> String) -> Error {
    match failure {
        Failure::Lost(error) => Error { text: context(&error.text), ..error },
        Failure::Refused { text, .. } => Error::new(Kind::System, context(text.trim_end())),
    }
}

/// The name of a unit as a part of a path of D-Bus.
fn path_of(unit: &str) -> String {
    let mut path = String::with_capacity(unit.len() * 2);
    for (n, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || n > 0 && byte.is_ascii_digit() {
            path.push(char::from(byte));
        } else {
            path += &format!("_{byte:02x}");
        }
    }
    path
}

/// The number in `v245.4-1.fc32`; 0 when there is none.
fn number(version: &str) -> u32 {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (unit, path) in [("a-b.scope", "a_2db_2escope"), ("1a", "_31a"), ("a1_x\\2d", "a1_5fx_5c2d")] {
            assert_eq!(path_of(unit), path);
        }
        for (text, want) in
            [("v245.4-1.fc32", 245), ("245", 245), ("262.1-1", 262), ("256~rc1", 256), ("next", 0), ("", 0)]
        {
            assert_eq!(number(text), want, "{text}");
        }
    }
}
