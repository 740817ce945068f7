//! Network devices by rtnetlink(7): found, moved to another namespace, brought up, and their addresses.
//!
//! Five kinds of messages are needed, so they are made and read here. Everything that is read is taken from
//! slices with bounds: what is cut off or strange is not there.
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Errno, Named, Result};
use crate::file::retry;

/// Kinds of messages.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;

/// Flags of messages.
const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x600;
const INTERRUPTED: u16 = 0x10;

/// Attributes of devices.
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_PID: u16 = 19;

/// Attributes of addresses. Those of `KEPT` say what an address is, and not on which device or for how long.
const IFA_FLAGS: u16 = 8;
const KEPT: [u16; 4] = [1, 2, 4, 9]; // IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY

/// Flags of addresses that are settings and no states: `NODAD`, `HOMEADDRESS`, `MANAGETEMPADDR`,
/// `NOPREFIXROUTE`, `MCAUTOJOIN`.
const SETTINGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;
const IFA_F_PERMANENT: u32 = 0x80;

const IFF_UP: u32 = 1;

/// The most that the kernel puts into one answer.
const MAX: usize = 32 << 10;

/// A dump during which something has changed is asked for again, at most so often.
const ATTEMPTS: u32 = 10;

/// A socket that speaks of one network namespace, whoever uses it from wherever.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// A network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Whether it is up.
    pub up: bool,
}

/// An address of a network device, of whatever family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    parts: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Whether somebody has set it, for as long as it is not taken away.
    pub fn is_permanent(&self) -> bool {
        self.flags & IFA_F_PERMANENT != 0
    }

    /// Whether it is valid everywhere (`RT_SCOPE_UNIVERSE`).
    pub fn is_global(&self) -> bool {
        self.scope == 0
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Socket { fd, sequence: 0 }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
    }
}

impl Socket {
    /// A socket for the caller's network namespace.
    pub fn open() -> Result<Socket> {
        // Without a protocol it is NETLINK_ROUTE, which has the number 0.
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .named("socket", || "NETLINK_ROUTE".to_owned())
            .map(Socket::from)
    }

    /// The device called `name`; `ENODEV` when there is none.
    pub fn find(&mut self, name: &str) -> Result<Link> {
        let message = Message::new(GET_LINK, REQUEST | ACK, &link(0, 0, 0)).attribute(IFLA_IFNAME, &c(name));
        let mut found = None;
        self.ask(message, |kind, data| {
            if kind == NEW_LINK {
                found = read_link(data);
            }
        })
        .and_then(|_| found.ok_or(Errno::NODEV))
        .named("netlink RTM_GETLINK", || name.to_owned())
    }

    /// Moves the device `index` into the network namespace of the process `pid`, where it is called `name`.
    /// The kernel takes it down and its addresses away.
    pub fn move_link(&mut self, index: u32, name: &str, pid: i32) -> Result<()> {
        let message = Message::new(NEW_LINK, REQUEST | ACK, &link(index, 0, 0))
            .attribute(IFLA_IFNAME, &c(name))
            .attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes());
        let done = self.ask(message, |_, _| ());
        done.named("netlink RTM_NEWLINK", || format!("index={index}, name={name}, netns of {pid}")).map(drop)
    }

    /// Brings the device `index` up.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        let done = self.ask(Message::new(NEW_LINK, REQUEST | ACK, &link(index, IFF_UP, IFF_UP)), |_, _| ());
        done.named("netlink RTM_NEWLINK", || format!("index={index}, up")).map(drop)
    }

    /// All addresses of the device `index`, in the kernel's order: among those of one network the first is the
    /// one that packets are sent from.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Address>> {
        let mut list = Vec::new();
        for _ in 0..ATTEMPTS {
            list.clear();
            let fixed = [0; 8];
            let whole = self
                .ask(Message::new(GET_ADDRESS, REQUEST | DUMP, &fixed), |kind, data| {
                    if kind == NEW_ADDRESS {
                        list.extend(read_address(data, index));
                    }
                })
                .named("netlink RTM_GETADDR", || format!("index={index}"))?;
            if whole {
                break;
            }
        }
        Ok(list)
    }

    /// Gives the device `index` an address.
    pub fn add_address(&mut self, index: u32, address: &Address) -> Result<()> {
        let Address { family, prefix, scope, flags, parts } = address;
        let [a, b, c, d] = index.to_ne_bytes();
        let fixed = [*family, *prefix, 0, *scope, a, b, c, d];
        let mut message = Message::new(NEW_ADDRESS, REQUEST | ACK | CREATE, &fixed);
        for (kind, value) in parts {
            message = message.attribute(*kind, value);
        }
        message = message.attribute(IFA_FLAGS, &(flags & SETTINGS).to_ne_bytes());
        self.ask(message, |_, _| ())
            .named("netlink RTM_NEWADDR", || format!("index={index}, {address:x?}"))
            .map(drop)
    }

    /// Sends a request and hands every answer to `each`, by kind and content, until the kernel says that this
    /// was all. False when something has changed meanwhile, so that some may be missing.
    fn ask(&mut self, message: Message, mut each: impl FnMut(u16, &[u8])) -> Result<bool, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        // With the kernel's address, what counts are the rights of who sends, not of who opened the socket.
        let kernel = SocketAddrNetlink::new(0, 0);
        let data = message.finish(self.sequence);
        retry(|| rustix::net::sendto(&self.fd, &data, SendFlags::empty(), &kernel))?;
        let mut whole = true;
        let mut buffer = vec![0; MAX];
        loop {
            let (_, length, from) =
                retry(|| rustix::net::recvfrom(&self.fd, buffer.as_mut_slice(), RecvFlags::TRUNC))?;
            let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
            if from != Some(kernel) {
                continue; // Somebody in the namespace has written to this socket.
            }
            let answers = messages(buffer.get(..length).ok_or(Errno::MSGSIZE)?);
            for (head, content) in answers.filter(|(head, _)| head.sequence == self.sequence) {
                whole &= head.flags & INTERRUPTED == 0;
                match head.kind {
                    // Both have a negated errno, which is 0 for success.
                    ERROR | DONE => {
                        let code = content.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        return if code == 0 { Ok(whole) } else { Err(Errno::from_raw_os_error(-code)) };
                    }
                    kind => each(kind, content),
                }
            }
        }
    }
}

/// A message in the making.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        // Length and sequence come last; the sender's number is filled in by the kernel.
        let mut data = vec![0; 4];
        data.extend_from_slice(&kind.to_ne_bytes());
        data.extend_from_slice(&flags.to_ne_bytes());
        data.extend_from_slice(&[0; 8]);
        data.extend_from_slice(fixed);
        Message(data)
    }

    /// Values are shorter than 64 KiB: they are names, numbers, and what the kernel itself has sent.
    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(aligned(self.0.len()), 0);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_ne_bytes();
        for (at, value) in [(0, length), (8, sequence.to_ne_bytes())] {
            if let Some(place) = self.0.get_mut(at..at + 4) {
                place.copy_from_slice(&value);
            }
        }
        self.0
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// `struct ifinfomsg`: `flags` are set as far as `change` says so.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut fixed = [0; 16];
    for (place, value) in fixed.chunks_exact_mut(4).skip(1).zip([index, flags, change]) {
        place.copy_from_slice(&value.to_ne_bytes());
    }
    fixed
}

/// The text with its end.
fn c(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The header of a message.
struct Head {
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// The messages of one answer with their contents.
fn messages(mut data: &[u8]) -> impl Iterator<Item = (Head, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(data, 0)?).ok()?;
        let head = Head { kind: half(data, 4)?, flags: half(data, 6)?, sequence: number(data, 8)? };
        let content = data.get(16..length)?;
        data = data.get(aligned(length)..).unwrap_or(&[]);
        Some((head, content))
    })
}

/// Attributes with their values.
fn attributes(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(data, 0)?);
        let kind = half(data, 2)?;
        let value = data.get(4..length)?;
        data = data.get(aligned(length)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn read_link(data: &[u8]) -> Option<Link> {
    Some(Link { index: number(data, 4)?, up: number(data, 8)? & IFF_UP != 0 })
}

/// The address, if it is one of the device `index`.
fn read_address(data: &[u8], index: u32) -> Option<Address> {
    let &[family, prefix, flags, scope] = data.first_chunk()?;
    if number(data, 4)? != index {
        return None;
    }
    let mut address = Address { family, prefix, scope, flags: flags.into(), parts: Vec::new() };
    for (kind, value) in attributes(data.get(8..)?) {
        if kind == IFA_FLAGS {
            address.flags = number(value, 0)?;
        } else if KEPT.contains(&kind) {
            address.parts.push((kind, value.to_vec()));
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.1.2.3/24 on device 7 as the kernel tells of it: with a label, flags beyond 8 bits and times.
    fn told() -> Vec<u8> {
        Message::new(NEW_ADDRESS, 0, &[2, 24, 0x80, 0, 7, 0, 0, 0])
            .attribute(1, &[10, 1, 2, 3])
            .attribute(2, &[10, 1, 2, 3])
            .attribute(3, b"v1\0")
            .attribute(IFA_FLAGS, &0x280_u32.to_ne_bytes())
            .attribute(6, &[0xff; 16])
            .finish(5)
    }

    #[test]
    fn requests_have_the_layout_of_the_kernel() {
        let message = Message::new(NEW_LINK, REQUEST | ACK, &link(3, IFF_UP, IFF_UP))
            .attribute(IFLA_IFNAME, &c("eth0"))
            .finish(9);
        let want = [
            &44_u32.to_ne_bytes()[..],
            &16_u16.to_ne_bytes(),
            &5_u16.to_ne_bytes(),
            &9_u32.to_ne_bytes(),
            &[0; 8],
            &3_u32.to_ne_bytes(),
            &1_u32.to_ne_bytes(),
            &1_u32.to_ne_bytes(),
            &9_u16.to_ne_bytes(),
            &3_u16.to_ne_bytes(),
            b"eth0\0\0\0\0",
        ];
        assert_eq!(message, want.concat());
    }

    #[test]
    fn addresses_are_read() {
        let data = told();
        let (head, content) = messages(&data).next().expect("a message");
        assert_eq!((head.kind, head.sequence), (NEW_ADDRESS, 5));
        let address = read_address(content, 7).expect("an address");
        assert!(address.is_permanent() && address.is_global(), "{address:?}");
        assert_eq!(address.flags & SETTINGS, 0x200);
        let local = vec![10, 1, 2, 3];
        assert_eq!(address.parts, [(1, local.clone()), (2, local)]);
        assert_eq!(read_address(content, 8), None);
    }

    #[test]
    fn messages_come_one_after_another() {
        let two = [Message::new(DONE, 0, &[1, 2, 3]).finish(1), vec![0], told()].concat();
        let kinds: Vec<_> = messages(&two).map(|(head, content)| (head.kind, content.len())).collect();
        assert_eq!(kinds, [(DONE, 3), (NEW_ADDRESS, told().len() - 16)]);
    }

    #[test]
    fn cut_off_or_strange_bytes_are_not_read() {
        let whole = told();
        for end in 0..whole.len() {
            assert_eq!(messages(&whole[..end]).count(), 0, "{end}");
        }
        let content = &whole[16..];
        for end in 0..content.len() {
            drop(read_address(&content[..end], 7));
        }
        for length in [0, 1, 3, 15] {
            let mut data = whole.clone();
            data[..4].copy_from_slice(&u32::to_ne_bytes(length));
            assert_eq!(messages(&data).count(), 0, "{length}");
            data[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
            assert_eq!(messages(&data).count(), 0);
        }
        for length in [0_u16, 3, u16::MAX] {
            let mut list = Message(Vec::new()).attribute(1, &[1, 2, 3, 4]).0;
            list[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(attributes(&list).count(), 0, "{length}");
        }
    }

    /// Without any rights: what is only asked for works for everybody.
    #[test]
    fn the_kernel_answers() {
        let mut socket = Socket::open().expect("a socket");
        let lo = socket.find("lo").expect("every namespace has one");
        assert_eq!(lo.index, 1);
        let missing = socket.find("no-such-device").expect_err("there is none");
        assert_eq!(missing.to_string(), "netlink RTM_GETLINK no-such-device: no such device");
        let addresses = socket.addresses(lo.index).expect("a list");
        assert!(!lo.up || !addresses.is_empty());
    }
}
