//! The foreground of `run`: the caller's terminal and signals are passed to the container until it ends.
//!
//! One loop, one thread. Signals are blocked and read from a descriptor; reads and writes of the
//! container's terminal don't block, so that neither direction can hold up the other.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Result;
use sys::clone::Child;
use sys::process::{Ended, For};
use sys::signal;

/// How much is read at once, and how much waits to be written before reading stops.
const CHUNK: usize = 64 << 10;

/// The caller's terminal in raw mode; it is put back when this is dropped, and by a panic.
#[derive(Debug)]
pub struct Terminal {
    caller: OwnedFd,
    saved: sys::tty::Saved,
}

impl Terminal {
    /// Finds the caller's terminal. Its error is one that `run` should have before anything is made.
    pub fn find() -> Result<OwnedFd> {
        Ok(sys::tty::of_caller()?)
    }

    /// Puts the caller's terminal in raw mode: every byte is for the container.
    pub fn take(caller: OwnedFd) -> Result<Terminal> {
        let saved = sys::tty::make_raw(caller.as_fd())?;
        let terminal = Terminal { saved: saved.clone(), caller };
        // A panic ends the process without running any destructor.
        let copy = terminal.caller.try_clone().ok();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let Some(fd) = &copy {
                sys::tty::restore(fd.as_fd(), &saved).ok();
            }
            before(info);
        }));
        Ok(terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone (SIGHUP) can't be put back.
        sys::tty::restore(self.caller.as_fd(), &self.saved).ok();
    }
}

/// Passes signals, and between `master` and the caller's standard streams all bytes, until init ends.
pub fn run(child: &Child, master: Option<OwnedFd>, terminal: Option<&Terminal>) -> Result<Ended> {
    let signals = signal::descriptor(signal::ALL)?;
    let mut pump = master.map(Pump::new);
    resize(pump.as_ref(), terminal);
    loop {
        let [stdin, stdout, _] = sys::process::stdio();
        let (input, output, from, to) =
            pump.as_ref().map_or((None, None, None, None), |p| p.wants(stdin, stdout));
        let [signalled, input, output, from, _] =
            sys::process::poll_for([Some((signals.as_fd(), For::Read)), input, output, from, to], -1)?;
        if let Some(pump) = &mut pump {
            pump.step((stdin, input), (stdout, output), from)?;
        }
        while signalled && let Some(number) = signal::next(signals.as_fd())? {
            match number {
                signal::CHILD => {
                    if let Some(ended) = reap(child)? {
                        if let Some(pump) = &mut pump {
                            pump.drain(stdout);
                        }
                        return Ok(ended);
                    }
                }
                signal::WINDOW => resize(pump.as_ref(), terminal),
                other => forward(child, other),
            }
        }
    }
}

/// Takes the status of every child that has ended; those that were adopted don't matter.
fn reap(child: &Child) -> Result<Option<Ended>> {
    let mut own = None;
    while let Some((pid, ended)) = sys::process::reap(None, false)? {
        if pid == child.pid {
            own = Some(ended);
        }
    }
    Ok(own)
}

/// A signal that init ignores, or that comes when it is gone, is no error.
fn forward(child: &Child, number: i32) {
    log::debug!("forwarding signal {number} to {}", child.pid);
    if let Err(e) = signal::send(child.pidfd.as_fd(), number)
        && e.errno != sys::Errno::SRCH
    {
        log::warn!("forwarding signal {number}: {e}");
    }
}

fn resize(pump: Option<&Pump>, terminal: Option<&Terminal>) {
    if let (Some(pump), Some(terminal)) = (pump, terminal) {
        // The caller's terminal may be gone; the container's keeps its size then.
        sys::tty::copy_size(terminal.caller.as_fd(), pump.master.as_fd()).ok();
    }
}

type Wants<'a> = Option<(BorrowedFd<'a>, For)>;

/// Bytes on their way between the caller and the container's terminal.
#[derive(Debug)]
struct Pump {
    master: OwnedFd,
    to_container: Vec<u8>,
    to_caller: Vec<u8>,
    stdin_open: bool,
    master_open: bool,
}

impl Pump {
    fn new(master: OwnedFd) -> Pump {
        Pump { master, to_container: Vec::new(), to_caller: Vec::new(), stdin_open: true, master_open: true }
    }

    /// What to wait for: input and output of the caller, output and input of the container. Nothing is
    /// read for which there is no room.
    fn wants<'a>(
        &'a self,
        stdin: BorrowedFd<'a>,
        stdout: BorrowedFd<'a>,
    ) -> (Wants<'a>, Wants<'a>, Wants<'a>, Wants<'a>) {
        let master = self.master.as_fd();
        (
            (self.stdin_open && self.to_container.is_empty()).then_some((stdin, For::Read)),
            (!self.to_caller.is_empty()).then_some((stdout, For::Write)),
            (self.master_open && self.to_caller.is_empty()).then_some((master, For::Read)),
            (self.master_open && !self.to_container.is_empty()).then_some((master, For::Write)),
        )
    }

    /// Moves what can be moved now. The caller's streams come with whether they are ready.
    fn step(
        &mut self,
        (stdin, input): (BorrowedFd<'_>, bool),
        (stdout, output): (BorrowedFd<'_>, bool),
        from: bool,
    ) -> Result<()> {
        if input {
            // A caller whose input has ended leaves the container's terminal open, as runc does.
            self.stdin_open = read_some(stdin, &mut self.to_container)?;
        }
        if from {
            self.master_open = read_some(self.master.as_fd(), &mut self.to_caller)?;
        }
        if !self.to_container.is_empty() {
            write_some(self.master.as_fd(), &mut self.to_container);
        }
        if output {
            write_some(stdout, &mut self.to_caller);
        }
        Ok(())
    }

    /// Init is gone: what it has written is still in the terminal.
    fn drain(&mut self, stdout: BorrowedFd<'_>) {
        while self.master_open || !self.to_caller.is_empty() {
            if !self.to_caller.is_empty() {
                let waited = sys::process::poll_for([Some((stdout, For::Write))], -1);
                if waited.is_err() || !write_some(stdout, &mut self.to_caller) {
                    return;
                }
                continue;
            }
            match read_some(self.master.as_fd(), &mut self.to_caller) {
                Ok(true) if !self.to_caller.is_empty() => {}
                _ => return,
            }
        }
    }
}

/// Appends what can be read now; false at the end. A terminal says EIO when nobody has its other end.
fn read_some(fd: BorrowedFd<'_>, into: &mut Vec<u8>) -> Result<bool> {
    match sys::file::read_some(fd, into, CHUNK) {
        Ok(0) => Ok(false),
        Ok(_) | Err(sys::Errno::AGAIN | sys::Errno::INTR) => Ok(true),
        Err(sys::Errno::IO) => Ok(false),
        Err(errno) => Err(sys::Error { call: "read", args: "terminal".to_owned(), errno }.into()),
    }
}

/// So much fits in a pipe that is ready (`PIPE_BUF`). The caller's streams are as it left them, and a
/// write of more would wait in the kernel, with signals unheard.
const READY: usize = 4096;

/// Writes what can be written now; false, and all is dropped, when nobody reads any more.
fn write_some(fd: BorrowedFd<'_>, data: &mut Vec<u8>) -> bool {
    let ready = data.get(..READY).unwrap_or(data);
    match sys::file::write_some(fd, ready) {
        Ok(done) => drop(data.drain(..done)),
        Err(sys::Errno::AGAIN | sys::Errno::INTR) => {}
        Err(_) => {
            data.clear();
            return false;
        }
    }
    true
}
