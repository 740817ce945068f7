//! Sockets that carry messages and descriptors between processes.
use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Errno, Named, Result};
use crate::file::{retry, show};

/// Two connected sockets that keep messages apart and tell when the other end is gone.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .call("socketpair")
}

/// A stream connection to the Unix socket at the host path `path`.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let address = SocketAddrUnix::new(path).named("connect", || show(path))?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .call("socket")?;
    retry(|| rustix::net::connect(&socket, &address)).named("connect", || show(path))?;
    Ok(socket)
}

/// A datagram socket that is connected to the one called `name`: a path on the host, or, after an `@`, a name
/// in the abstract namespace. A message that the other end does not take for `patience` fails with `EAGAIN`.
pub fn connect_datagram(name: &OsStr, patience: Duration) -> Result<OwnedFd> {
    connect_named(SocketType::DGRAM, name, patience)
}

/// The same with a stream socket; for `patience` it also waits for the other end to take the connection.
pub fn connect_stream(name: &OsStr, patience: Duration) -> Result<OwnedFd> {
    connect_named(SocketType::STREAM, name, patience)
}

fn connect_named(kind: SocketType, name: &OsStr, patience: Duration) -> Result<OwnedFd> {
    let shown = || show(Path::new(name));
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddrUnix::new_abstract_name(rest),
        _ => SocketAddrUnix::new(name),
    };
    let address = address.named("connect", shown)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).call("socket")?;
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, Some(patience))
        .call("setsockopt SO_SNDTIMEO")?;
    retry(|| rustix::net::connect(&socket, &address)).named("connect", shown)?;
    Ok(socket)
}

/// Sends all of `data` over a stream socket.
pub fn write_stream(socket: BorrowedFd<'_>, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        let sent = retry(|| rustix::net::send(socket, data, SendFlags::NOSIGNAL)).call("send")?;
        data = data.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Reads what has come over a stream socket: its length in `buffer`, 0 when the other end is gone. Waits for
/// `patience`, which is not zero, and then fails with `EAGAIN`.
pub fn read_stream(socket: BorrowedFd<'_>, buffer: &mut [u8], patience: Duration) -> Result<usize> {
    rustix::net::sockopt::set_socket_timeout(socket, rustix::net::sockopt::Timeout::Recv, Some(patience))
        .call("setsockopt SO_RCVTIMEO")?;
    let (length, _) = retry(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())).call("recv")?;
    Ok(length)
}

/// A datagram socket with the name `name` in the directory `dir`; reading from it does not block.
pub fn bind_datagram(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    // By the descriptor, since an address has no room for a long path.
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    let address = SocketAddrUnix::new(&path).named("bind", || name.to_owned())?;
    let socket = datagram(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &address).named("bind", || name.to_owned())?;
    Ok(socket)
}

fn datagram(flags: SocketFlags) -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).call("socket")
}

/// Reads one message of a socket that does not block; `None` when there is none. What does not fit into
/// `buffer` is lost, and descriptors that came with the message are closed by the kernel.
pub fn read_datagram<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>> {
    match retry(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())) {
        Ok((length, _)) => Ok(Some(buffer.get(..length).unwrap_or(&[]))),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno).call("recv"),
    }
}

/// Sends one message and, with it, at most one descriptor.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let data = [IoSlice::new(message)];
    retry(|| rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL)).call("sendmsg").map(drop)
}

/// Receives one message: its length in `buffer` (0: the other end is gone) and the descriptor that came with it.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = {
        let mut data = [IoSliceMut::new(buffer)];
        retry(|| rustix::net::recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC))
            .call("recvmsg")?
    };
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last();
        }
    }
    Ok((got.bytes, fd))
}

/// Brings the loopback device of the caller's network namespace up.
pub fn loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .call("socket")?;
    crate::ioctl::interface_up(socket.as_fd(), b"lo").named("ioctl SIOCSIFFLAGS", || "lo".to_owned())
}
