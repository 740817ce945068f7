//! The foreground of `run`: the caller's terminal and signals are passed to the container until it ends.
//!
//! One loop, one thread. Signals are blocked and read from a descriptor; reads and writes of the
//! container's terminal don't block, so that neither direction can hold up the other.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Result;
use crate::rooms::notify::Proxy;
use crate::rooms::signals;
use sys::clone::Child;
use sys::process::{Ended, For};
use sys::signal;

/// How much is read at once, and how much waits to be written before reading stops.
const CHUNK: usize = 64 << 10;

/// The caller's terminal in raw mode; it is put back when this is dropped, and by a panic.
///
/// That is done in the foreground only: at any other time the terminal is another job's, a shell's most
/// likely, and so are its settings.
#[derive(Debug)]
struct Terminal {
    caller: OwnedFd,
    saved: sys::tty::Saved,
}

impl Terminal {
    /// Puts the caller's terminal in raw mode: every byte is for the container. A job in the background
    /// stops here until it is in the foreground, as all do that set up a terminal.
    fn take(caller: OwnedFd) -> Result<Terminal> {
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

    /// Puts it in raw mode once more. Whoever had the terminal while this process was stopped has put it
    /// into a mode of its own.
    fn take_again(&self) {
        if sys::tty::is_foreground(self.caller.as_fd()) {
            sys::tty::make_raw(self.caller.as_fd()).ok();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone (SIGHUP) can't be put back.
        if sys::tty::is_foreground(self.caller.as_fd()) {
            sys::tty::restore(self.caller.as_fd(), &self.saved).ok();
        }
    }
}

/// Passes signals, and between `master` and the caller's standard streams all bytes, until init ends.
/// `caller` is the caller's terminal, which is as it was when this returns. `notify` hears whether the
/// container is ready.
pub fn run(
    child: &Child,
    master: Option<OwnedFd>,
    caller: Option<OwnedFd>,
    notify: Option<&mut Proxy>,
) -> Result<Ended> {
    let terminal = caller.map(Terminal::take).transpose()?;
    relay(child, master, terminal.as_ref(), notify)
}

fn relay(
    child: &Child,
    master: Option<OwnedFd>,
    terminal: Option<&Terminal>,
    mut notify: Option<&mut Proxy>,
) -> Result<Ended> {
    let signals = signal::descriptor(signals::HELD)?;
    let mut pump = master.map(Pump::new);
    resize(pump.as_ref(), terminal);
    loop {
        let [input, output, from, to] = pump.as_ref().map_or([None; 4], Pump::wants);
        let message = notify.as_ref().and_then(|notify| notify.as_fd()).map(|fd| (fd, For::Read));
        let wants = [Some((signals.as_fd(), For::Read)), message, input, output, from, to];
        let [signalled, message, input, output, from, _] = sys::process::poll_for(wants, -1)?;
        // These come first: a key is pressed in a window of the new size.
        while signalled && let Some(number) = signal::next(signals.as_fd())? {
            match number {
                signal::CHILD => {
                    if let Some(ended) = reap(child)? {
                        if let Some(pump) = &mut pump {
                            pump.drain(signals.as_fd());
                        }
                        return Ok(ended);
                    }
                }
                signal::WINDOW => resize(pump.as_ref(), terminal),
                signal::CONTINUE => {
                    if let Some(terminal) = terminal {
                        terminal.take_again();
                    }
                    resize(pump.as_ref(), terminal);
                    forward(child, number);
                }
                other => forward(child, other),
            }
        }
        if message && let Some(notify) = &mut notify {
            notify.step();
        }
        // When nobody sees any more what the container shows, its terminal is hung up, as one is whose
        // line is cut.
        pump = pump.and_then(|pump| pump.step(input, output, from));
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

type Want<'a> = Option<(BorrowedFd<'a>, For)>;

/// Bytes on their way between the caller and the container's terminal.
#[derive(Debug)]
struct Pump {
    master: OwnedFd,
    /// The standard output, opened once more where that is a terminal.
    screen: Option<OwnedFd>,
    to_container: Vec<u8>,
    to_caller: Vec<u8>,
    stdin_open: bool,
    master_open: bool,
}

impl Pump {
    fn new(master: OwnedFd) -> Pump {
        let [_, stdout, _] = sys::process::stdio();
        let screen = sys::tty::open_again(stdout);
        let (to_container, to_caller) = (Vec::new(), Vec::new());
        Pump { master, screen, to_container, to_caller, stdin_open: true, master_open: true }
    }

    /// What to wait for: input and output of the caller, output and input of the container. Nothing is
    /// read for which there is no room.
    fn wants(&self) -> [Want<'_>; 4] {
        let master = self.master.as_fd();
        [
            (self.stdin_open && self.to_container.is_empty()).then_some((stdin(), For::Read)),
            (!self.to_caller.is_empty()).then_some((stdout(self.screen.as_ref()), For::Write)),
            (self.master_open && self.to_caller.is_empty()).then_some((master, For::Read)),
            (self.master_open && !self.to_container.is_empty()).then_some((master, For::Write)),
        ]
    }

    /// Moves what can be moved now, from and to what is ready; `None` when nobody reads any more.
    fn step(mut self, input: bool, output: bool, from: bool) -> Option<Pump> {
        if input {
            // A caller whose input has ended leaves the container's terminal open, as runc does.
            self.stdin_open = read_some(stdin(), &mut self.to_container);
        }
        if from {
            self.master_open = read_some(self.master.as_fd(), &mut self.to_caller);
        }
        if !self.to_container.is_empty() {
            write_some(self.master.as_fd(), &mut self.to_container);
        }
        let heard = !output || self.write_out();
        heard.then_some(self)
    }

    fn write_out(&mut self) -> bool {
        write_some(stdout(self.screen.as_ref()), &mut self.to_caller)
    }

    /// Init is gone: what it has written is still in the terminal. It is no more than the kernel keeps
    /// for one; what follows comes from others who have the terminal open, and who may never end.
    fn drain(&mut self, signals: BorrowedFd<'_>) {
        let mut left = KEPT;
        loop {
            if !self.to_caller.is_empty() {
                let wanted = [Some((stdout(self.screen.as_ref()), For::Write)), Some((signals, For::Read))];
                let Ok([ready, signalled]) = sys::process::poll_for(wanted, -1) else { return };
                if (signalled && asked_to_end(signals)) || (ready && !self.write_out()) {
                    return;
                }
                continue;
            }
            if left == 0 || !self.master_open {
                return;
            }
            self.master_open = read_some(self.master.as_fd(), &mut self.to_caller);
            if self.to_caller.is_empty() {
                return;
            }
            left = left.saturating_sub(self.to_caller.len());
        }
    }
}

fn stdin() -> BorrowedFd<'static> {
    let [stdin, _, _] = sys::process::stdio();
    stdin
}

/// Where the container's output goes: the standard output, or the screen that this is.
fn stdout(screen: Option<&OwnedFd>) -> BorrowedFd<'_> {
    let [_, stdout, _] = sys::process::stdio();
    screen.map_or(stdout, AsFd::as_fd)
}

/// So much can wait in a terminal at most: the kernel stops at 8 KiB, and reads 4 KiB ahead.
const KEPT: usize = 64 << 10;

/// Whether one of the signals that have come wants this process to end, which then waits for no reader.
fn asked_to_end(signals: BorrowedFd<'_>) -> bool {
    let next = || signal::next(signals).ok().flatten();
    std::iter::from_fn(next).any(signal::asks_to_end)
}

/// Appends what can be read now; false at the end, which for a terminal nobody has open is EIO. What
/// can't be read at all, such as a directory for the standard input, is at its end as well.
fn read_some(fd: BorrowedFd<'_>, into: &mut Vec<u8>) -> bool {
    match sys::file::read_some(fd, into, CHUNK) {
        Ok(count) => count != 0,
        Err(errno) => matches!(errno, sys::Errno::AGAIN | sys::Errno::INTR),
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
