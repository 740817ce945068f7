//! Setting the limits of a container: the writes of the plan, and the device program.
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sys::bpf::{self, Insn};
use sys::{Errno, errno_text};

use crate::device_change::exchange;
use crate::devices::FIELD;
use crate::error::{Denied, Error, Kind};
use crate::file;
use crate::host::Layout;
use crate::limits::{Limits, MemoryCheck, Write};
use crate::live::{Live, Opened};
use crate::unified;

impl Live {
    /// Sets the limits.
    ///
    /// For limits of realtime CPU time on version 1 this must come before a realtime process joins;
    /// otherwise the order does not matter. Only root of the host may restrict devices, which `denied` is
    /// about: without it a container can open what its user could open anyway.
    pub fn apply(&self, limits: &Limits, denied: Denied) -> Result<(), Error> {
        if let (Some(check), Some(unified)) = (&limits.check_usage, self.v2()) {
            check_usage(check, unified)?;
        }
        let mut late = Vec::new();
        let mut writer = Writer { live: self, open: None };
        for write in &limits.writes {
            match writer.put(write) {
                Ok(()) => {}
                Err(Errno::NOENT) if write.refusal.may_be_missing() => {}
                Err(_) if write.controller == "devices" && denied == Denied::Ignored => {}
                Err(Errno::INVAL) if write.refusal.may_be_too_early() => late.push(write),
                Err(errno) => return Err(self.explain(write, errno)),
            }
        }
        for write in late {
            writer.put(write).map_err(|errno| self.explain(write, errno))?;
        }
        if let Some(unified) = self.v2() {
            let filtered = unified.filter_devices(limits.program.as_deref());
            if denied == Denied::Error {
                filtered?;
            }
        }
        Ok(())
    }

    /// The directory of version 2, where that is what sets limits.
    pub(crate) fn v2(&self) -> Option<&Opened> {
        self.directories.iter().find(|opened| self.layout == Layout::V2 && opened.directory.is_unified())
    }

    /// The directory that has the files of `controller`.
    pub(crate) fn directory(&self, controller: &str) -> Option<&Opened> {
        self.v2().or_else(|| self.directories.iter().find(|opened| opened.directory.has(controller)))
    }

    /// The error for a write that the kernel refused.
    pub(crate) fn explain(&self, write: &Write, errno: Errno) -> Error {
        let Write { controller, file, value, at, refusal: _, instead } = write;
        let Some(opened) = self.directory(controller) else {
            let text = format!(
                "cannot set {controller} limit: container could not join or create cgroup: \
                 no hierarchy with the controller {controller} is mounted"
            );
            return Error::new(Kind::Unsupported, text).at(at);
        };
        let path = opened.directory.absolute();
        if errno == Errno::BUSY && file == "memory.limit_in_bytes" {
            // The reason that users run into, in words that engines know.
            let number = |name| file::read(&opened.fd, name).unwrap_or_default().trim_end().to_owned();
            let (usage, peak) = (number("memory.usage_in_bytes"), number("memory.max_usage_in_bytes"));
            let text =
                format!("unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})");
            return Error { kind: Kind::Invalid, text, errno: Some(errno) }.at(at);
        }
        if matches!(errno, Errno::NOENT | Errno::ACCESS | Errno::PERM)
            && opened.directory.is_unified()
            && let Some(why) = unified::why_absent(&opened.fd, &path, controller)
        {
            let text = match at.strip_prefix("linux.resources.unified.") {
                Some(file) => format!("unified resource {file:?} can't be set: {why}"),
                None => why,
            };
            return Error { kind: Kind::Unsupported, text, errno: Some(errno) }.at(at);
        }
        // Where both files are missing the one of newer kernels is named.
        let (file, value) = match instead {
            Some(other) if !file::exists(&opened.fd, file.as_ref()) => (other.file, other.value.as_str()),
            _ => (file.as_ref(), value.as_ref()),
        };
        let error = Error::call(format!("write {value:?} to {path}/{file}"), errno);
        if errno == Errno::NOENT {
            return Error { text: format!("{}: this kernel has no such limit", error.text), ..error }.at(at);
        }
        if errno == Errno::INVAL
            && file == "cpu.rt_runtime_us"
            && let Ok(above) = file::read(&opened.fd, "../cpu.rt_runtime_us")
        {
            // Docker, for one, gives the parents theirs before it calls a runtime.
            let above = above.trim_end();
            let text = format!("{}: all cgroups in its parent can have {above} together", error.text);
            return Error { text, ..error }.at(at);
        }
        error.at(at)
    }
}

/// Writes settings; keeps a file open for the next one, since the rules for devices are many.
struct Writer<'a> {
    live: &'a Live,
    open: Option<(&'a str, OwnedFd)>,
}

impl<'a> Writer<'a> {
    fn put(&mut self, write: &'a Write) -> Result<(), Errno> {
        match (self.put_to(&write.controller, &write.file, &write.value), &write.instead) {
            (Err(Errno::NOENT), Some(other)) => self.put_to(&write.controller, other.file, &other.value),
            (done, _) => done,
        }
    }

    fn put_to(&mut self, controller: &str, name: &'a str, value: &str) -> Result<(), Errno> {
        let file = match self.open.take() {
            Some((open, file)) if open == name => file,
            _ => {
                let opened = self.live.directory(controller).ok_or(Errno::NOENT)?;
                file::open_writable(&opened.fd, name)?
            }
        };
        let done = file::put(&file, value);
        self.open = Some((name, file));
        done
    }
}

impl Opened {
    /// Attaches the device program, in place of those that are there: of a container that was here before.
    fn filter_devices(&self, program: Option<&[Insn]>) -> Result<(), Error> {
        let named = |error: sys::Error| Error::from(error).at(FIELD);
        let mut old = if self.new {
            Vec::new()
        } else {
            bpf::attached_device_programs(self.fd.as_fd()).map_err(named)?
        };
        let new = program.map(load).transpose().map_err(named)?;
        exchange(self, if old.len() == 1 { old.pop() } else { None }.as_ref(), new.as_ref())?;
        old.iter().try_for_each(|old| exchange(self, Some(old), None))
    }
}

/// Loads a device program.
pub(crate) fn load(program: &[Insn]) -> sys::Result<OwnedFd> {
    match bpf::load_device_program(program) {
        Err(error) if error.errno == Errno::PERM => {}
        done => return done,
    }
    // Before Linux 5.11 programs count as locked memory. The container must not inherit the change.
    let limit = getrlimit(Resource::Memlock);
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_err() {
        let _ = setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, ..limit });
    }
    let done = bpf::load_device_program(program);
    let _ = setrlimit(Resource::Memlock, limit);
    done
}

/// Refuses limits that the container's memory does not fit in, where the config asks for that.
pub(crate) fn check_usage(check: &MemoryCheck, unified: &Opened) -> Result<(), Error> {
    let text = match file::read(&unified.fd, "memory.current") {
        Ok(text) => text,
        // Without the controller the limit itself will be refused, with a better reason.
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => {
            let path = unified.directory.absolute();
            let text = format!("read {path}/memory.current: {}", errno_text(errno));
            return Err(Error { kind: Kind::System, text, errno: Some(errno) });
        }
    };
    let usage: u64 = text.trim_end().parse().unwrap_or(0);
    let limits = [
        ("memory+swap limit", check.with_swap, "linux.resources.memory.swap"),
        ("memory limit", check.memory, "linux.resources.memory.limit"),
    ];
    for (what, limit, at) in limits {
        if let Some(limit) = limit.filter(|limit| *limit <= usage) {
            let text = format!("rejecting {what} {limit} <= usage {usage}");
            return Err(Error::new(Kind::Invalid, text).at(at));
        }
    }
    Ok(())
}
