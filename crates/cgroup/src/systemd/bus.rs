//! A connection to a bus, or to systemd itself: calls and their answers, and the signals of jobs in between.
//!
//! One thread, one socket; every wait has an end.
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use sys::Errno;

use super::address::Address;
use super::message::{self, Call, Message};
use super::value::Value;
use crate::error::{Error, Kind};

/// How long a connection, and an answer, may take. What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(25);

/// Why a call has not succeeded.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is of no use any more.
    Lost(Error),
    /// The other end has said no: the name of its error, and its words.
    Refused { name: String, text: String },
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    socket: OwnedFd,
    /// For messages.
    shown: String,
    /// Whether the other end is systemd and no bus.
    pub(super) direct: bool,
    serial: u32,
    /// What has come and is not a whole message yet.
    buffer: Vec<u8>,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Vec<Value>>,
}

impl Bus {
    /// Connects and says who calls.
    pub(super) fn connect(address: &Address) -> Result<Bus, Error> {
        let shown = address.name.to_string_lossy().into_owned();
        let until = Instant::now() + PATIENCE;
        let socket = sys::sock::connect_stream(&address.name, PATIENCE)
            .map_err(|error| Error { kind: Kind::NoBus, ..Error::from(error) })?;
        let (buffer, signals) = (Vec::new(), VecDeque::new());
        let mut bus = Bus { socket, shown, direct: address.direct, serial: 0, buffer, signals };
        bus.authenticate(until)?;
        if !bus.direct {
            bus.call(Call { member: "Hello", ..TO_THE_BUS }).map_err(|failure| match failure {
                Failure::Lost(error) => error,
                Failure::Refused { text, .. } => bus.lost(&text),
            })?;
        }
        Ok(bus)
    }

    /// Without naming a user: the other end asks the kernel who this is. In a user namespace the number of the user
    /// is another one here than there.
    ///
    /// `BEGIN` is said before the answer: when systemd reads it together with a first message, it leaves that lying
    /// until another one comes.
    fn authenticate(&mut self, until: Instant) -> Result<(), Error> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let Some(end) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") else {
                self.receive(until)?;
                continue;
            };
            let line = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default()).into_owned();
            self.buffer.drain(..end + 2);
            match line.split(' ').next() {
                Some("DATA") => {}
                Some("OK") => return Ok(()),
                _ => return Err(self.lost(&format!("authentication refused: {line:?}"))),
            }
        }
    }

    /// Asks, and waits for the answer.
    pub(super) fn call(&mut self, call: Call<'_>) -> Result<Vec<Value>, Failure> {
        self.serial += 1;
        let asked = self.serial;
        let until = Instant::now() + PATIENCE;
        self.send(&call.encode(asked)).map_err(Failure::Lost)?;
        loop {
            match self.next(until).map_err(Failure::Lost)? {
                Message::Reply(serial, values) if serial == asked => return Ok(values),
                Message::Refusal(serial, name, text) if serial == asked => {
                    let text = if text.is_empty() { name.clone() } else { text };
                    return Err(Failure::Refused { name, text });
                }
                Message::Signal(_, values) => self.signals.push_back(values),
                Message::Reply(..) | Message::Refusal(..) | Message::Other => {}
            }
        }
    }

    /// The next signal of a job that has ended.
    pub(super) fn job_removed(&mut self, until: Instant) -> Result<Vec<Value>, Error> {
        if let Some(signal) = self.signals.pop_front() {
            return Ok(signal);
        }
        loop {
            if let Message::Signal(_, values) = self.next(until)? {
                return Ok(values);
            }
        }
    }

    fn next(&mut self, until: Instant) -> Result<Message, Error> {
        loop {
            match message::take(&mut self.buffer) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => self.receive(until)?,
                Err(why) => return Err(self.lost(why)),
            }
        }
    }

    fn send(&self, data: &[u8]) -> Result<(), Error> {
        sys::sock::write_stream(self.socket.as_fd(), data).map_err(|error| match error.errno {
            Errno::PIPE | Errno::CONNRESET => self.lost("the connection was closed by the other end"),
            _ => Error { kind: Kind::NoBus, ..Error::from(error) },
        })
    }

    fn receive(&mut self, until: Instant) -> Result<(), Error> {
        let mut part = [0; 4096];
        let left = until.saturating_duration_since(Instant::now());
        let got = if left.is_zero() {
            Err(Errno::AGAIN)
        } else {
            sys::sock::read_stream(self.socket.as_fd(), &mut part, left).map_err(|error| error.errno)
        };
        match got {
            Ok(0) | Err(Errno::CONNRESET) => Err(self.lost("the connection was closed by the other end")),
            Ok(length) => {
                self.buffer.extend(part.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(Errno::AGAIN) => Err(self.lost("no answer")),
            Err(errno) => {
                Err(Error { kind: Kind::NoBus, ..Error::call(format!("recv {}", self.shown), errno) })
            }
        }
    }

    fn lost(&self, why: &str) -> Error {
        Error::new(Kind::NoBus, format!("D-Bus at {}: {why}", self.shown))
    }
}

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A call to the bus itself.
pub(super) const TO_THE_BUS: Call<'_> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "",
    body: &[],
};
