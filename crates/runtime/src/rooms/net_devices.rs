//! `linux.netDevices`: network devices of the host that become the container's, with their addresses.
//!
//! They stay there: when the network namespace ends the kernel moves physical devices back and removes virtual
//! ones. Only when the container is not made after all are they given back; a runtime that is killed meanwhile
//! gives nothing back.
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::On;
use crate::faults::Faults;
use crate::rooms::namespaces::Namespace;
use crate::{Error, Kind, Result};
use sys::netlink::{Address, Link, Socket};

/// The devices to move.
pub type Plan = Vec<Device>;

/// A device with its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What the host calls it.
    outside: String,
    /// What the container is to call it; `%d` stands for the lowest number that is free.
    inside: String,
}

/// The length of a name that the kernel has room for.
const MAX_NAME: usize = 15;

/// Decides which devices are moved. `own_network` says whether a joined namespace is another than the caller's.
pub fn plan(
    raw: &BTreeMap<String, oci::NetDevice>,
    network: &Namespace,
    own_network: impl Fn(&Path) -> bool,
    rootless: bool,
    faults: &mut Faults,
) -> Plan {
    let at = "linux.netDevices";
    if raw.is_empty() {
        return Plan::new();
    }
    let own = match network {
        Namespace::Inherit => false,
        Namespace::New => true,
        Namespace::Join(path) => own_network(path),
    };
    if !own {
        faults.add(at, "unable to move network devices without a NET namespace");
    }
    if rootless {
        faults.add(at, "network devices are not supported for rootless containers");
    }
    let mut plan = Plan::new();
    for (outside, oci::NetDevice { name }) in raw {
        let inside = if name.is_empty() { outside } else { name };
        for (name, valid) in [(outside, is_name(outside)), (inside, is_template(inside))] {
            if !valid {
                faults.add(format!("{at}.{outside}"), format!("invalid network device name {name:?}"));
            }
        }
        if !inside.contains('%') && plan.iter().any(|other| other.inside == *inside) {
            faults.add(format!("{at}.{outside}"), format!("two network devices are to be called {inside:?}"));
        }
        plan.push(Device { outside: outside.clone(), inside: inside.clone() });
    }
    plan
}

/// As the kernel sees it.
fn is_name(name: &str) -> bool {
    let odd = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
    (1..=MAX_NAME).contains(&name.len()) && !matches!(name, "." | "..") && !name.contains(odd)
}

/// A name, in which one `%d` may stand for a number.
fn is_template(name: &str) -> bool {
    is_name(name) && matches!((name.matches('%').count(), name.matches("%d").count()), (0, 0) | (1, 1))
}

/// Opens what the runtime reaches init's network namespace through.
pub fn init_open() -> Result<OwnedFd> {
    Ok(Socket::open()?.into())
}

/// Devices that have been moved.
#[derive(Debug)]
pub struct Moved {
    inside: Socket,
    devices: Vec<Record>,
}

/// A device as it was on the host, and where it is now.
#[derive(Debug)]
struct Record {
    name: String,
    was: Link,
    addresses: Vec<Address>,
    index: u32,
}

/// Moves the devices into the network namespace of init, which `inside` belongs to, or leaves all where they
/// were.
pub fn host_move(plan: &Plan, inside: OwnedFd, init: i32) -> Result<Moved> {
    let mut moved = Moved { inside: inside.into(), devices: Vec::new() };
    let done = Socket::open().map_err(Error::from).and_then(|mut outside| {
        plan.iter().try_for_each(|device| {
            move_one(device, &mut outside, &mut moved, init)
                .on(|| format!("move netDevice {}", device.outside))
        })
    });
    match done {
        Ok(()) => Ok(moved),
        Err(error) => {
            host_return(moved);
            Err(error.context("error creating network interfaces"))
        }
    }
}

fn move_one(device: &Device, outside: &mut Socket, moved: &mut Moved, init: i32) -> Result<()> {
    let Moved { inside, devices } = moved;
    let was = outside.find(&device.outside)?;
    // Before it goes down with the move, which takes away those of IPv6.
    let addresses = outside.addresses(was.index)?;
    let name = free_name(inside, &device.inside)?;
    let kept = addresses.clone().into_iter().filter(|a| a.is_permanent() && a.is_global());
    let mut record = Record { name: device.outside.clone(), was, addresses, index: 0 };
    if let Err(error) = outside.move_link(was.index, &name, init) {
        // It is renamed after the move: when only that has failed, it is there by its old name.
        if outside.find(&device.outside).is_err()
            && let Ok(there) = inside.find(&device.outside)
        {
            record.index = there.index;
            devices.push(record);
        }
        return Err(error.into());
    }
    let index = inside.find(&name)?.index;
    record.index = index;
    devices.push(record);
    for address in kept {
        inside.add_address(index, &address)?;
    }
    Ok(inside.set_up(index)?)
}

/// The name that a template stands for.
fn free_name(inside: &mut Socket, template: &str) -> Result<String> {
    for number in 0_u32.. {
        let name = template.replacen("%d", &number.to_string(), 1);
        if name.len() > MAX_NAME {
            break;
        }
        match inside.find(&name) {
            Err(e) if e.errno == sys::Errno::NODEV => return Ok(name),
            Err(e) => return Err(e.into()),
            Ok(_) if name == template => break,
            Ok(_) => {}
        }
    }
    let text = format!("the container has a network device {template:?}: file exists");
    Err(Error::new(Kind::Invalid, text))
}

/// Gives the devices back to the host, as they were. The failure that leads to this is what the caller hears of.
pub fn host_return(moved: Moved) {
    let Moved { mut inside, devices } = moved;
    for device in devices.iter().rev() {
        if let Err(e) = return_one(device, &mut inside) {
            log::warn!("unable to return network device {}: {e}", device.name);
        }
    }
}

fn return_one(device: &Record, inside: &mut Socket) -> Result<()> {
    let Record { name, was, addresses, index } = device;
    inside.move_link(*index, name, sys::process::id())?;
    let mut outside = Socket::open()?;
    let index = outside.find(name)?.index;
    for address in addresses.iter().filter(|address| address.is_permanent()) {
        outside.add_address(index, address)?;
    }
    if was.up { Ok(outside.set_up(index)?) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(list: &[(&str, &str)], network: &Namespace, rootless: bool) -> (Plan, Vec<String>) {
        let raw = list.iter().map(|(key, name)| {
            let device = oci::NetDevice { name: (*name).to_owned() };
            ((*key).to_owned(), device)
        });
        let mut faults = Faults::default();
        let plan = plan(&raw.collect(), network, |path| path != Path::new("/own"), rootless, &mut faults);
        (plan, faults.texts())
    }

    #[test]
    fn names_inside_and_outside() {
        let (plan, faults) = planned(&[("a", ""), ("b", "c%d")], &Namespace::New, false);
        let names: Vec<_> = plan.iter().map(|d| (d.outside.as_str(), d.inside.as_str())).collect();
        assert_eq!(names, [("a", "a"), ("b", "c%d")]);
        assert_eq!(faults, [""; 0]);
    }

    #[test]
    fn faults_have_the_known_words() {
        let none = "unable to move network devices without a NET namespace (linux.netDevices)";
        let rootless = "network devices are not supported for rootless containers (linux.netDevices)";
        for (network, by_nobody, want) in [
            (Namespace::New, false, &[][..]),
            (Namespace::Join("/other".into()), false, &[]),
            (Namespace::Join("/own".into()), false, &[none]),
            (Namespace::Inherit, false, &[none]),
            (Namespace::New, true, &[rootless]),
        ] {
            assert_eq!(planned(&[("a", "")], &network, by_nobody).1, want);
            assert_eq!(planned(&[], &network, by_nobody).1, [""; 0]);
        }
        for (list, want) in [
            (&[("a/b", "")][..], &["invalid network device name \"a/b\" (linux.netDevices.a/b)"; 2][..]),
            (&[("a", "b c")], &["invalid network device name \"b c\" (linux.netDevices.a)"]),
            (
                &[("a", "sixteen-letters-")],
                &["invalid network device name \"sixteen-letters-\" (linux.netDevices.a)"],
            ),
            (&[("a", "..")], &["invalid network device name \"..\" (linux.netDevices.a)"]),
            (&[("a", "b%s")], &["invalid network device name \"b%s\" (linux.netDevices.a)"]),
            (&[("a", "%d%d")], &["invalid network device name \"%d%d\" (linux.netDevices.a)"]),
            (&[("a", "b"), ("b", "")], &["two network devices are to be called \"b\" (linux.netDevices.b)"]),
            (&[("a", "b%d"), ("b", "b%d")], &[]),
        ] {
            assert_eq!(planned(list, &Namespace::New, false).1, want, "{list:?}");
        }
    }
}
