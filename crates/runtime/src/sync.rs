//! What the runtime and the container's first process tell each other while the container is made.
//!
//! One pair of sockets that keep messages apart, one enum for each direction. When the other end is
//! gone a message comes as [`None`].
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::{Error, Kind, Result};

/// From init to the runtime.
#[derive(Debug)]
pub enum FromInit {
    /// A helper has made the process of this number.
    Cloned(i32),
    /// It is in a new user namespace and waits for its ids.
    NeedMaps,
    /// It is in its network namespace, speaks of that by this socket, and waits for its devices.
    NeedDevices(OwnedFd),
    /// Its mount namespace is there, and this is its root directory: it waits for what it may not open itself.
    NeedTrees(OwnedFd),
    /// The master of the container's terminal.
    Console(OwnedFd),
    /// It loads its filter now, whose listener will be the descriptor of this number.
    Listener(i32),
    /// Its filter is loaded, and this is the listener.
    Listening(OwnedFd),
    /// Mounts and devices are in place: `prestart` and `createRuntime` hooks may run.
    RootfsReady,
    /// All is set up; only the program is not executed yet.
    Ready,
    /// It went wrong, and init is gone.
    Failed(Error),
}

/// From the runtime to init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToInit {
    /// It is in its cgroup, which systemd has made.
    Placed,
    /// The id maps are written.
    Mapped,
    /// The network devices are there.
    DevicesMoved,
    /// The hooks have run.
    HooksDone,
    /// The state is stored: wait for the word of `start` on the fifo.
    WaitForStart,
    /// The state is stored: go on at once.
    Start,
}

/// Longer texts are cut: a message must fit the socket's buffer.
const MAX: usize = 32 << 10;

const CONSOLE: u8 = 1;
const ROOTFS_READY: u8 = 2;
const READY: u8 = 3;
const FAILED: u8 = 4;
const CLONED: u8 = 5;
const NEED_MAPS: u8 = 6;
const NEED_DEVICES: u8 = 7;
const NEED_TREES: u8 = 8;
const LISTENER: u8 = 9;
const LISTENING: u8 = 10;

const KINDS: [Kind; 7] =
    [Kind::NotFound, Kind::Exists, Kind::State, Kind::Invalid, Kind::Unsupported, Kind::System, Kind::Exec];

/// Tells the runtime something.
pub fn tell_runtime(socket: &OwnedFd, message: &FromInit) -> Result<()> {
    let socket = socket.as_fd();
    match message {
        FromInit::Cloned(pid) => {
            let [a, b, c, d] = pid.to_ne_bytes();
            sys::sock::send(socket, &[CLONED, a, b, c, d], None)?;
        }
        FromInit::Listener(number) => {
            let [a, b, c, d] = number.to_ne_bytes();
            sys::sock::send(socket, &[LISTENER, a, b, c, d], None)?;
        }
        FromInit::NeedMaps => sys::sock::send(socket, &[NEED_MAPS], None)?,
        FromInit::NeedDevices(fd) => sys::sock::send(socket, &[NEED_DEVICES], Some(fd.as_fd()))?,
        FromInit::NeedTrees(fd) => sys::sock::send(socket, &[NEED_TREES], Some(fd.as_fd()))?,
        FromInit::Console(fd) => sys::sock::send(socket, &[CONSOLE], Some(fd.as_fd()))?,
        FromInit::Listening(fd) => sys::sock::send(socket, &[LISTENING], Some(fd.as_fd()))?,
        FromInit::RootfsReady => sys::sock::send(socket, &[ROOTFS_READY], None)?,
        FromInit::Ready => sys::sock::send(socket, &[READY], None)?,
        FromInit::Failed(error) => sys::sock::send(socket, &encode(error), None)?,
    }
    Ok(())
}

/// What init has to say next; `None` when it is gone.
pub fn hear_init(socket: &OwnedFd) -> Result<Option<FromInit>> {
    let mut buffer = vec![0; MAX];
    let (length, fd) = sys::sock::receive(socket.as_fd(), &mut buffer)?;
    let message = buffer.get(..length).unwrap_or(&[]);
    Ok(Some(match (message.split_first(), fd) {
        (None, _) => return Ok(None),
        (Some((&CLONED, &[a, b, c, d])), _) => FromInit::Cloned(i32::from_ne_bytes([a, b, c, d])),
        (Some((&LISTENER, &[a, b, c, d])), _) => FromInit::Listener(i32::from_ne_bytes([a, b, c, d])),
        (Some((&NEED_MAPS, _)), _) => FromInit::NeedMaps,
        (Some((&NEED_DEVICES, _)), Some(fd)) => FromInit::NeedDevices(fd),
        (Some((&NEED_TREES, _)), Some(fd)) => FromInit::NeedTrees(fd),
        (Some((&CONSOLE, _)), Some(fd)) => FromInit::Console(fd),
        (Some((&LISTENING, _)), Some(fd)) => FromInit::Listening(fd),
        (Some((&ROOTFS_READY, _)), _) => FromInit::RootfsReady,
        (Some((&READY, _)), _) => FromInit::Ready,
        (Some((&FAILED, rest)), _) => FromInit::Failed(decode(rest)),
        (Some((tag, _)), _) => return Err(unknown("init", *tag)),
    }))
}

/// Tells init to go on.
pub fn tell_init(socket: &OwnedFd, message: ToInit) -> Result<()> {
    let tag = match message {
        ToInit::HooksDone => 1,
        ToInit::WaitForStart => 2,
        ToInit::Start => 3,
        ToInit::Mapped => 4,
        ToInit::DevicesMoved => 5,
        ToInit::Placed => 7,
    };
    Ok(sys::sock::send(socket.as_fd(), &[tag], None)?)
}

/// What the runtime has to say next; `None` when it is gone.
pub fn hear_runtime(socket: &OwnedFd) -> Result<Option<ToInit>> {
    let mut buffer = [0; 1];
    let (length, _) = sys::sock::receive(socket.as_fd(), &mut buffer)?;
    match (length, buffer) {
        (0, _) => Ok(None),
        (_, [1]) => Ok(Some(ToInit::HooksDone)),
        (_, [2]) => Ok(Some(ToInit::WaitForStart)),
        (_, [3]) => Ok(Some(ToInit::Start)),
        (_, [4]) => Ok(Some(ToInit::Mapped)),
        (_, [5]) => Ok(Some(ToInit::DevicesMoved)),
        (_, [7]) => Ok(Some(ToInit::Placed)),
        (_, [tag]) => Err(unknown("the runtime", tag)),
    }
}

/// What comes with a descriptor that init has asked for.
const HANDED: u8 = 6;

/// Hands init a descriptor, the next of those that it has asked for.
pub fn hand_to_init(socket: &OwnedFd, fd: BorrowedFd<'_>) -> Result<()> {
    Ok(sys::sock::send(socket.as_fd(), &[HANDED], Some(fd))?)
}

/// The next descriptor that the runtime hands over; `None` when it is gone.
pub fn take_from_runtime(socket: &OwnedFd) -> Result<Option<OwnedFd>> {
    let mut buffer = [0; 1];
    match sys::sock::receive(socket.as_fd(), &mut buffer)? {
        (0, _) => Ok(None),
        (_, Some(fd)) if buffer == [HANDED] => Ok(Some(fd)),
        _ => Err(unknown("the runtime", buffer[0])),
    }
}

fn unknown(from: &str, tag: u8) -> Error {
    Error::new(Kind::System, format!("unknown message {tag} from {from}"))
}

/// Kind, text and hints, with a zero byte before each hint.
fn encode(error: &Error) -> Vec<u8> {
    let Error { kind, text, hints } = error;
    let number = (0u8..).zip(KINDS).find(|(_, known)| known == kind).map_or(5, |(number, _)| number);
    let mut data = vec![FAILED, number];
    data.extend_from_slice(text.as_bytes());
    for hint in hints {
        data.push(0);
        data.extend_from_slice(hint.as_bytes());
    }
    data.truncate(MAX);
    data
}

fn decode(data: &[u8]) -> Error {
    let (number, rest) = data.split_first().map_or((5, data), |(number, rest)| (usize::from(*number), rest));
    let kind = KINDS.get(number).copied().unwrap_or(Kind::System);
    let mut parts = rest.split(|&b| b == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    let text = parts.next().unwrap_or_default();
    Error { kind, text, hints: parts.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_way() {
        let (host, init) = sys::sock::pair().expect("a pair of sockets");
        let error = Error::new(Kind::Exec, "exec: \"x\": no").hint("one").hint("two");
        tell_runtime(&init, &FromInit::Failed(error.clone())).expect("sent");
        let Ok(Some(FromInit::Failed(got))) = hear_init(&host) else { panic!("not an error") };
        assert_eq!((got.kind, got.text, got.hints), (error.kind, error.text, error.hints));
        for message in [
            ToInit::Placed,
            ToInit::Mapped,
            ToInit::DevicesMoved,
            ToInit::HooksDone,
            ToInit::WaitForStart,
            ToInit::Start,
        ] {
            tell_init(&host, message).expect("sent");
            assert_eq!(hear_runtime(&init).expect("received"), Some(message));
        }
        hand_to_init(&host, init.as_fd()).expect("sent");
        assert!(take_from_runtime(&init).expect("received").is_some());
        drop(host);
        assert!(take_from_runtime(&init).expect("received").is_none());
        assert_eq!(hear_runtime(&init).expect("received"), None);
    }

    #[test]
    fn no_bytes_are_too_strange() {
        for data in [&[][..], &[9], &[9, 0, 0, 255], &[0, 0xff, 0xfe]] {
            drop(decode(data));
        }
    }
}
