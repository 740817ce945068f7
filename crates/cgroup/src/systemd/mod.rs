//! systemd as the maker of a container's cgroup: the container is a transient scope, a unit of systemd's.
//!
//! 1. [`Manager::connect`] opens D-Bus and asks what is to be known of this systemd: [`Facts`]. [`place`] decides
//!    the unit and its cgroup, [`properties`] and [`annotation`] what the unit is told. These only decide.
//! 2. The first process is cloned and waits. [`Manager::start`] makes the unit with that process in it; then the
//!    caller opens the cgroup and sets the limits in its files as well.
//! 3. [`Manager::set`] changes limits, [`Manager::attach`] puts later processes in that may not go there themselves,
//!    [`Manager::stop`] ends the unit.
//!
//! Limits are told twice because neither alone holds: systemd writes what it knows into the files whenever it likes,
//! as after `systemctl daemon-reload`, and there are files that it knows nothing of.
//!
//! The protocol of D-Bus is spoken by `bus.rs`, over one socket and without threads.
use serde::{Deserialize, Serialize};

mod address;
mod bus;
mod client;
mod message;
mod name;
mod properties;
mod text;
mod value;

pub use client::{Facts, Manager, is_running};
pub use name::{Names, place};
pub use properties::{Property, at_creation, properties};
pub use text::annotation;
pub use value::Value;

/// Which systemd is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// That of the host.
    System,
    /// That of a user's session.
    User,
}

/// The unit that a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name: `tare-ID.scope`.
    pub name: String,
    /// The slice that it is in.
    pub slice: String,
    /// Which systemd has it.
    pub scope: Scope,
    /// Its cgroup as systemd names it.
    pub path: String,
}

/// What the fuzzer calls.
#[cfg(any(fuzzing, test))]
pub(crate) fn take_messages(data: &[u8]) {
    let mut data = data.to_vec();
    while let Ok(Some(_)) = message::take(&mut data) {}
}
