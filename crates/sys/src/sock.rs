//! Sockets that carry messages and descriptors between processes.
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Named, Result};
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
