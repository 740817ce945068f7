//! The few `ioctl(2)` requests that rustix has not.
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Errno, check};

/// Sets the flags "up" and "running" of a network interface, and no other.
pub(crate) fn interface_up(socket: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    // SAFETY: ifreq is a plain structure for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(|_| Errno::INVAL)?;
    // SAFETY: the request lives through the call and its name ends with a NUL, being shorter than the field.
    let ret = unsafe { libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) };
    check(ret).map(drop)
}
