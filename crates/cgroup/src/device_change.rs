//! Other rules for the devices of a container that lives, and taking them back.
//!
//! Owns: `linux.resources.devices` of an `update`.
//!
//! On version 2 our program is put in the place of our former one, in one step; programs that others have attached
//! stay, and go on having a say. On version 1 the files are brought from what they say to what they are to say.
use std::os::fd::{AsFd, OwnedFd};

use sys::bpf::{self, Insn, Loader};
use sys::{Errno, errno_text};

use crate::apply::load;
use crate::devices::{FIELD, Filter};
use crate::error::{Error, Kind};
use crate::file;
use crate::limits::{Limits, Refusal, Write};
use crate::live::{Live, Opened};

/// A change that is to be made, with what takes it back.
pub(crate) enum DeviceChange<'a> {
    /// Version 1: what is written to which file.
    Files { opened: &'a Opened, to: Vec<(&'static str, String)>, back: Vec<(&'static str, String)> },
    /// Version 2: the program that is attached, and the one that is to be; none lets everything pass.
    Program { opened: &'a Opened, from: Option<OwnedFd>, to: Option<OwnedFd> },
}

impl Live {
    /// Whether the container's processes have to stand still while its devices change.
    ///
    /// On version 1 the kernel drops all exceptions when the verdict becomes another one, and so does systemd at each
    /// change: for a moment the container would be allowed everything, or nothing.
    pub fn must_halt(&self, limits: &Limits, systemd: bool) -> Result<bool, Error> {
        Ok(match self.device_change(limits)? {
            Some(DeviceChange::Files { to, .. }) => {
                systemd || to.len() > 1 && to.first().is_some_and(|(_, value)| value == "a")
            }
            Some(DeviceChange::Program { .. }) | None => false,
        })
    }

    /// Takes away the programs of systemd's that hold the container to its former devices (version 2).
    ///
    /// Ours says all that they say. systemd attaches others when it is told of the new devices, but does not always
    /// know any more of those that it has attached before a reload, and these would go on to hold for ever.
    pub fn detach_of_systemd(&self, limits: &Limits) -> Result<(), Error> {
        let Some(opened) = self.v2().filter(|_| limits.filter.is_some()) else { return Ok(()) };
        let named = |error: sys::Error| Error::from(error).at(FIELD);
        for attached in bpf::attached_device_programs(opened.fd.as_fd()).map_err(named)? {
            if bpf::loader(attached.as_fd()).map_err(named)? == Loader::Systemd {
                exchange(opened, Some(&attached), None)?;
            }
        }
        Ok(())
    }

    /// What there is to do for the devices of `limits`, if anything.
    pub(crate) fn device_change(&self, limits: &Limits) -> Result<Option<DeviceChange<'_>>, Error> {
        let Some(filter) = &limits.filter else { return Ok(None) };
        let held = limits.held.as_ref();
        if let Some(opened) = self.v2() {
            return programs(opened, held, limits.program.as_deref()).map(Some);
        }
        let refused = |errno| self.explain(&write("devices.list", ""), errno);
        let opened = self.directory("devices").ok_or_else(|| refused(Errno::NOENT))?;
        let list = file::read(&opened.fd, "devices.list").map_err(refused)?;
        let from = Filter::in_force(&list, held);
        let to = filter.files(from.as_ref());
        // What is not known can't be taken back: the verdict alone is.
        let from = from.unwrap_or(Filter { allow: true, exceptions: Vec::new() });
        Ok(Some(DeviceChange::Files { opened, to, back: from.files(Some(filter)) }))
    }

    /// Makes the change, or nothing of it.
    pub(crate) fn make_device_change(&self, change: &DeviceChange<'_>) -> Result<(), Error> {
        match change {
            DeviceChange::Files { opened, to, back } => {
                let put = |(name, value): &(&'static str, String)| {
                    file::write(&opened.fd, *name, value)
                        .map_err(|errno| self.explain(&write(name, value), errno))
                };
                to.iter().try_for_each(put).map_err(|mut error| {
                    for failure in put_back(opened, back) {
                        error.text += &format!("; {failure}");
                    }
                    error
                })
            }
            DeviceChange::Program { opened, from, to } => exchange(opened, from.as_ref(), to.as_ref()),
        }
    }
}

impl DeviceChange<'_> {
    /// Takes the change back; what does not succeed is told.
    pub(crate) fn take_back(&self) -> Vec<String> {
        match self {
            DeviceChange::Files { opened, to: _, back } => put_back(opened, back),
            DeviceChange::Program { opened, from, to } => {
                let failure = exchange(opened, to.as_ref(), from.as_ref()).err();
                failure
                    .map(|error| format!("putting the device program back: {}", error.text))
                    .into_iter()
                    .collect()
            }
        }
    }
}

fn put_back(opened: &Opened, back: &[(&'static str, String)]) -> Vec<String> {
    let put = |(name, value): &(&'static str, String)| match file::write(&opened.fd, *name, value) {
        Ok(()) => None,
        Err(errno) => Some(format!("putting {value:?} back by {name}: {}", errno_text(errno))),
    };
    back.iter().filter_map(put).collect()
}

fn write(name: &'static str, value: &str) -> Write {
    Write {
        controller: "devices".into(),
        file: name.into(),
        value: value.to_owned().into(),
        at: FIELD.into(),
        refusal: Refusal::Error,
        instead: None,
    }
}

/// The program of ours that is attached to a cgroup of version 2, and the one to be.
fn programs<'a>(
    opened: &'a Opened,
    held: Option<&Filter>,
    program: Option<&[Insn]>,
) -> Result<DeviceChange<'a>, Error> {
    let named = |error: sys::Error| Error::from(error).at(FIELD);
    let mut own = None;
    for attached in bpf::attached_device_programs(opened.fd.as_fd()).map_err(named)? {
        if bpf::loader(attached.as_fd()).map_err(named)? == Loader::Own {
            own = Some(attached);
        }
    }
    if own.is_none() && held.is_some_and(|held| !held.allows_all()) {
        // Which would go on to hold, so that nothing more could be allowed, and be told as if it were.
        let path = opened.directory.absolute();
        let text = format!("somebody has put another program in the place of the device program of {path}");
        return Err(Error::new(Kind::Unsupported, text).at(FIELD));
    }
    let to = program.map(load).transpose().map_err(named)?;
    Ok(DeviceChange::Program { opened, from: own, to })
}

/// Puts one program in the place of another; either may be none.
///
/// A process in the cgroup never finds less than one of them in force: where the kernel can't replace one, the new
/// one joins the old one before that goes, and both have to agree.
pub(crate) fn exchange(opened: &Opened, from: Option<&OwnedFd>, to: Option<&OwnedFd>) -> Result<(), Error> {
    let cgroup = opened.fd.as_fd();
    let named = |error: sys::Error| Error::from(error).at(FIELD);
    if let (Some(from), Some(to)) = (from, to) {
        match bpf::replace_device_program(cgroup, to.as_fd(), from.as_fd()) {
            // Linux before 5.6.
            Err(error) if error.errno == Errno::INVAL => {}
            done => return done.map_err(named),
        }
    }
    if let Some(to) = to {
        bpf::attach_device_program(cgroup, to.as_fd()).map_err(named)?;
    }
    if let Some(from) = from {
        bpf::detach_device_program(cgroup, from.as_fd()).map_err(named)?;
    }
    Ok(())
}
