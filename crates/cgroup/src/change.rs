//! Changing the limits of a container that lives: all that is asked for, or nothing.
use std::os::fd::OwnedFd;

use sys::{Errno, errno_text};

use crate::apply::check_usage;
use crate::device_change::DeviceChange;
use crate::error::Error;
use crate::file;
use crate::limits::{Limits, Write};
use crate::live::Live;
use crate::undo::{is_set, undo};

/// A change that is to be made.
struct Step<'a> {
    write: &'a Write,
    dir: &'a OwnedFd,
    /// The file that this kernel has, and what is written to it.
    file: &'a str,
    value: &'a str,
    /// What takes it back, in this order; `None` where nothing does.
    back: Option<Vec<Back>>,
}

/// A change that is made.
enum Done<'a> {
    Step(&'a Step<'a>),
    Devices(&'a DeviceChange<'a>),
}

/// A write that takes back what another has changed.
struct Back {
    file: String,
    value: String,
}

impl Live {
    /// Changes limits. What is so already is not written again.
    ///
    /// First everything is read, so that a limit that can't be set here is known before any is changed. When
    /// the kernel refuses a change, those before it are taken back, the last one first, and the error names what
    /// it refused. Devices come late, as what is opened meanwhile stays open; then limits of memory, as a process that
    /// one of them kills does not come back; and last what can't be taken back.
    ///
    /// `limits` are those of [`changes`](crate::changes). When all is written there may be somebody else to agree, which systemd is: without that everything is taken back, too.
    pub fn change(&self, limits: &Limits, agree: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        if let (Some(check), Some(unified)) = (&limits.check_usage, self.v2()) {
            check_usage(check, unified)?;
        }
        let devices = self.device_change(limits)?;
        let mut groups = [const { Vec::new() }; 3];
        for write in &limits.writes {
            let Some(step) = self.step(write)? else { continue };
            let [first, memory, last] = &mut groups;
            let group = match step.back {
                None => last,
                Some(_) if write.controller == "memory" => memory,
                Some(_) => first,
            };
            group.push(step);
        }
        let [first, memory, last] = &groups;
        let mut done = Vec::new();
        // Explained before anything else is changed: it tells what is in use now.
        let explain = |(write, errno)| self.explain(write, errno);
        let mut made = make(first, &mut done).map_err(explain);
        if let (Ok(()), Some(change)) = (&made, &devices) {
            made = self.make_device_change(change);
            if made.is_ok() {
                done.push(Done::Devices(change));
            }
        }
        made = made.and_then(|()| make(memory, &mut done).map_err(explain));
        made = made.and_then(|()| make(last, &mut done).map_err(explain));
        made = made.and_then(|()| agree());
        made.map_err(|mut error| {
            for failure in take_back(&done) {
                error.text += &format!("; {failure}");
            }
            error
        })
    }

    /// What there is to do for `write`, and what will take it back; `None` when nothing is to be done.
    fn step<'a>(&'a self, write: &'a Write) -> Result<Option<Step<'a>>, Error> {
        let missing = || match write.refusal.may_be_missing() {
            true => Ok(None),
            false => Err(self.explain(write, Errno::NOENT)),
        };
        let Some(opened) = self.directory(&write.controller) else { return missing() };
        let dir = &opened.fd;
        let (mut file, mut value) = (write.file.as_ref(), write.value.as_ref());
        let mut read = file::read(dir, file);
        if let (Err(Errno::NOENT), Some(other)) = (&read, &write.instead) {
            (file, value) = (other.file, other.value.as_str());
            read = file::read(dir, file);
        }
        let step = Step { write, dir, file, value, back: None };
        let old = match read {
            Err(Errno::NOENT) => return missing(),
            // A file to be written to only.
            Err(_) => return Ok(Some(step)),
            Ok(old) => old,
        };
        let Some(before) = undo(file, value, &old) else { return Ok(Some(step)) };
        if is_set(value, &before) {
            return Ok(None);
        }
        let mut back = vec![Back { file: file.to_owned(), value: before }];
        back.extend(weight_of_idle(&step, &old));
        Ok(Some(Step { back: Some(back), ..step }))
    }
}

/// The kernel forgets the weight of a cgroup that becomes idle.
fn weight_of_idle(step: &Step<'_>, old: &str) -> Option<Back> {
    if step.file != "cpu.idle" || old.trim_end() != "0" {
        return None;
    }
    ["cpu.weight", "cpu.shares"].into_iter().find_map(|name| {
        let value = file::read(step.dir, name).ok()?.trim_end().to_owned();
        Some(Back { file: name.to_owned(), value })
    })
}

/// Makes changes, and notes those that are made. One that the kernel calls invalid may only have come too early.
fn make<'a>(steps: &'a [Step<'a>], done: &mut Vec<Done<'a>>) -> Result<(), (&'a Write, Errno)> {
    let put = |step: &Step<'_>| file::write(step.dir, step.file, step.value);
    let mut late = Vec::new();
    for step in steps {
        match put(step) {
            Ok(()) => done.push(Done::Step(step)),
            Err(Errno::INVAL) if step.write.refusal.may_be_too_early() => late.push(step),
            Err(errno) => return Err((step.write, errno)),
        }
    }
    for step in late {
        put(step).map_err(|errno| (step.write, errno))?;
        done.push(Done::Step(step));
    }
    Ok(())
}

/// Takes changes back, the last one first; what does not succeed is told.
fn take_back(done: &[Done<'_>]) -> Vec<String> {
    let mut failures = Vec::new();
    for made in done.iter().rev() {
        let step = match made {
            Done::Step(step) => step,
            Done::Devices(change) => {
                failures.extend(change.take_back());
                continue;
            }
        };
        let Some(back) = &step.back else {
            failures.push(format!("{} can't be taken back", step.file));
            continue;
        };
        for Back { file, value } in back {
            if let Err(errno) = file::write(step.dir, file.as_str(), value) {
                failures.push(format!("putting {value:?} back to {file}: {}", errno_text(errno)));
            }
        }
    }
    failures
}
