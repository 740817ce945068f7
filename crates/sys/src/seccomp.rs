//! seccomp(2): the filter that the kernel asks about every system call.
use std::os::fd::{FromRawFd, OwnedFd};

use crate::error::{Errno, Named, Result, check};

/// One instruction of classic BPF, as the kernel has it in memory (`struct sock_filter`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// What is done, on what, and with what.
    pub code: u16,
    /// How many instructions a jump leaves out when its condition holds.
    pub yes: u8,
    /// The same when it does not.
    pub no: u8,
    /// The operand.
    pub k: u32,
}

/// Flags of [`set_filter`] (`SECCOMP_FILTER_FLAG_*`).
pub mod flag {
    /// What is neither allowed nor asked about is logged (Linux 4.14).
    pub const LOG: u32 = 1 << 1;
    /// Without the mitigation of speculative store bypass (Linux 4.17).
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// The call returns a descriptor for notifications (Linux 5.0).
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// A call that its listener has received is interrupted by fatal signals only (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

const SET_MODE_FILTER: libc::c_uint = 1;

/// What the kernel reads a program by (`struct sock_fprog`).
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Insn,
}

/// Has `program` decide about every further system call of the caller and of what it becomes and makes.
///
/// Needs `CAP_SYS_ADMIN` or no_new_privs. With [`flag::NEW_LISTENER`] the descriptor for notifications is returned,
/// close-on-exec.
pub fn set_filter(program: &[Insn], flags: u32) -> Result<Option<OwnedFd>> {
    let count = program.len();
    let named = || format!("SECCOMP_SET_MODE_FILTER, flags={flags:#x}, {count} instructions");
    let length = u16::try_from(count).map_err(|_| Errno::INVAL).named("seccomp", named)?;
    let program = Program { length, instructions: program.as_ptr() };
    // SAFETY: program names `length` instructions, which live through the call and are only read.
    let ret =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::addr_of!(program)) };
    let ret = check(ret).named("seccomp", named)?;
    if flags & flag::NEW_LISTENER == 0 {
        return Ok(None);
    }
    let fd = libc::c_int::try_from(ret).map_err(|_| Errno::BADF).named("seccomp", named)?;
    // SAFETY: the call succeeded with the flag, so this is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Whether the kernel knows a flag of [`set_filter`].
pub fn knows(flag: u32) -> bool {
    let none = std::ptr::null::<Program>();
    // This one is refused alone.
    let flag = if flag == flag::WAIT_KILLABLE_RECV { flag | flag::NEW_LISTENER } else { flag };
    // SAFETY: without a program the call only looks at its flags, and then fails.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flag, none) };
    check(ret) == Err(Errno::FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_the_kernel_s_layout() {
        assert_eq!((size_of::<Insn>(), std::mem::offset_of!(Insn, k)), (8, 4));
        assert_eq!(size_of::<Program>(), size_of::<libc::sock_fprog>());
    }

    #[test]
    fn flags_are_asked_of_the_kernel() {
        assert!(knows(flag::LOG) && knows(flag::SPEC_ALLOW) && knows(flag::WAIT_KILLABLE_RECV));
        assert!(!knows(1 << 30));
    }
}
