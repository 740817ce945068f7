//! The program's own file, seen so that nobody can write to it, and starting again from there before the C
//! library begins.
//!
//! `create`, `run` and `exec` run the program twice (CVE-2019-5736), and the first time it needs no more than
//! a dozen system calls. Setting up the C library costs more than they do: in a virtual machine it is most of
//! a start, as it asks the processor for its features some forty times and the hypervisor answers each
//! question. So the entry point of the program makes those calls and only then goes on to the C library's.
//!
//! It is a short cut: `main` judges by the file that it runs from whether that is safe, and does the same and
//! more when it is not.
//!
//! At the entry point nothing is set up: no relocations, no thread-local storage, no `errno`. So what runs
//! there makes its system calls by instruction and has no tables of pointers; it does not format, allocate or
//! panic; and it reads memory by volatile accesses, which no compiler turns into a call of `strlen`
//! or `memcmp`, since those are functions that a relocation chooses.
// A descriptor, an errno and a pointer are all one machine word to the kernel.
#![allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::addr_of;

use libc::c_long;

use crate::error::{Errno, Error, Result};
use crate::mount::attr;

/// The program's file.
const OWN: &CStr = c"/proc/self/exe";

/// Opens the program's own file through a read-only mount of just this file. It is attached nowhere, so that
/// no process, whatever its rights, can make it writable again, or bind it elsewhere: the kernel lets nobody
/// change a mount that is in no mount namespace.
pub fn open_own_read_only() -> Result<OwnedFd> {
    match mount_own_read_only() {
        // SAFETY: the descriptor was opened for this and has no other owner.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(Failure { call, errno }) => {
            let errno = Errno::from_raw_os_error(i32::try_from(errno).unwrap_or(libc::EIO));
            Err(Error { call, args: OWN.to_string_lossy().into_owned(), errno })
        }
    }
}

/// Whether `magic`, of statfs(2), is of a file system that nobody can write to: cramfs, erofs, iso9660, romfs,
/// squashfs.
pub fn is_never_written(magic: u64) -> bool {
    magic == 0x28cd_3d45 || magic == 0xe0f5_e1e2 || magic == 0x9660 || magic == 0x7275 || magic == 0x7371_7368
}

/// Makes [`begin`] the program's first function in release builds for processors whose first instructions
/// are written here. `build.rs` names the symbol `entry` to the linker under the same conditions.
#[macro_export]
#[doc(hidden)]
macro_rules! entry {
    () => {
        #[cfg(all(not(debug_assertions), any(target_arch = "x86_64", target_arch = "aarch64")))]
        unsafe extern "C" {
            /// The C library's entry point.
            fn _start();
        }

        // The C library's entry point finds the stack and the one register that counts as the kernel left
        // them.
        #[cfg(all(not(debug_assertions), any(target_arch = "x86_64", target_arch = "aarch64")))]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn entry() {
            #[cfg(target_arch = "x86_64")]
            std::arch::naked_asm!(
                "mov rbx, rdx",
                "mov rdi, rsp",
                "call {begin}",
                "mov rdx, rbx",
                "xor ebp, ebp",
                "jmp {start}",
                begin = sym $crate::entry::begin,
                start = sym _start,
            );
            #[cfg(target_arch = "aarch64")]
            std::arch::naked_asm!(
                "mov x19, x0",
                "mov x0, sp",
                "bl {begin}",
                "mov x0, x19",
                "mov x29, xzr",
                "mov x30, xzr",
                "b {start}",
                begin = sym $crate::entry::begin,
                start = sym _start,
            );
        }
    };
}

/// Starts the program again through a read-only mount if it is called for that; returns when it is not, or
/// can't.
///
/// # Safety
/// `stack` points at what execve(2) leaves there: the number of arguments, the arguments, a null pointer, the
/// environment and a null pointer.
#[doc(hidden)]
pub unsafe extern "C" fn begin(stack: *const usize) {
    // SAFETY: the number of arguments comes first.
    let count = unsafe { stack.read_volatile() };
    // SAFETY: the arguments follow it.
    let argv = unsafe { stack.add(1) }.cast::<*const c_char>();
    let mut makes_container = false;
    let mut at = 1;
    while at < count {
        // SAFETY: there are as many arguments.
        let argument = unsafe { argv.add(at) };
        // SAFETY: it is one of them, and a string.
        let argument = unsafe { argument.read_volatile() }.cast::<u8>();
        // Where a flag's value is taken for the command, the mount is made for nothing.
        makes_container |= begins_with(argument, b"create\0")
            | begins_with(argument, b"run\0")
            | begins_with(argument, b"exec\0");
        at += 1;
    }
    if !makes_container || is_attached_nowhere() || is_on_such_a_file_system() {
        return;
    }
    let Ok(own) = mount_own_read_only() else { return };
    // SAFETY: the environment comes after the arguments and their null pointer.
    let envp = unsafe { argv.add(count + 1) };
    // SAFETY: both lists are the kernel's own, and the path is a string.
    unsafe {
        call(libc::SYS_execveat, [word_of(own), word(c"".as_ptr()), word(argv), word(envp), EMPTY_PATH]);
    }
    close(own);
}

/// What could not be done, and why.
struct Failure {
    call: &'static str,
    errno: isize,
}

const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
const CWD: usize = libc::AT_FDCWD as usize;

/// Whether the program runs through such a mount: its path there is `/`, which no file has elsewhere.
fn is_attached_nowhere() -> bool {
    let mut path = MaybeUninit::<[u8; 2]>::uninit();
    let path = path.as_mut_ptr();
    // SAFETY: the kernel reads a string, and writes no more bytes than it is told.
    unsafe { call(libc::SYS_readlinkat, [CWD, word(OWN.as_ptr()), word(path), 2, 0]) == 1 }
}

/// Whether the program lies where it can't be written to anyway.
fn is_on_such_a_file_system() -> bool {
    let mut fs = MaybeUninit::<libc::statfs>::uninit();
    let fs = fs.as_mut_ptr();
    // SAFETY: the kernel reads a string and fills the structure whose address it gets.
    if unsafe { call(libc::SYS_statfs, [word(OWN.as_ptr()), word(fs), 0, 0, 0]) } != 0 {
        return false;
    }
    // SAFETY: it is filled.
    let magic = unsafe { addr_of!((*fs).f_type) };
    // SAFETY: it points into the structure.
    is_never_written(unsafe { magic.read_volatile() } as u64)
}

fn mount_own_read_only() -> Result<RawFd, Failure> {
    const FLAGS: usize = (libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC) as usize;
    // SAFETY: the kernel reads a string.
    let own = unsafe { call(libc::SYS_open_tree, [CWD, word(OWN.as_ptr()), FLAGS, 0, 0]) };
    let own = done("open_tree", own)? as RawFd;
    let change = libc::mount_attr {
        attr_set: attr::RDONLY | attr::NOSUID | attr::NODEV,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    const SIZE: usize = size_of::<libc::mount_attr>();
    let arguments = [word_of(own), word(c"".as_ptr()), EMPTY_PATH, word(&raw const change), SIZE];
    // SAFETY: the kernel reads a string and the structure.
    match done("mount_setattr", unsafe { call(libc::SYS_mount_setattr, arguments) }) {
        Ok(_) => Ok(own),
        Err(failure) => {
            close(own);
            Err(failure)
        }
    }
}

fn close(fd: RawFd) {
    // SAFETY: the callers have opened it and don't use it again.
    unsafe { call(libc::SYS_close, [word_of(fd), 0, 0, 0, 0]) };
}

/// Whether `from` begins with `text`. It is a string, and `text` has no NUL but one at its end.
fn begins_with(from: *const u8, text: &[u8]) -> bool {
    let mut at = 0;
    while at < text.len() {
        // SAFETY: all bytes up to here are the same, and not the NUL, so the string has not ended.
        let one = unsafe { from.add(at) };
        // SAFETY: the same.
        let one = unsafe { one.read_volatile() };
        // SAFETY: at is less than the length.
        let other = unsafe { text.as_ptr().add(at) };
        // SAFETY: it points into the slice.
        if one != unsafe { other.read_volatile() } {
            return false;
        }
        at += 1;
    }
    true
}

fn word_of(fd: RawFd) -> usize {
    fd as usize
}

fn word<T>(pointer: *const T) -> usize {
    pointer.expose_provenance()
}

/// What a system call has returned, or why it has failed.
fn done(name: &'static str, ret: isize) -> Result<usize, Failure> {
    if ret < 0 { Err(Failure { call: name, errno: -ret }) } else { Ok(ret as usize) }
}

/// Makes a system call by instruction.
///
/// # Safety
/// As for the call: `arguments` are what it expects, and pointers among them lead to what it reads and writes.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: c_long, arguments: [usize; 5]) -> isize {
    let ret;
    let [a, b, c, d, e] = arguments;
    // SAFETY: the caller vouches for the call; the kernel changes no register but these.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => ret,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

/// Makes a system call by instruction.
///
/// # Safety
/// As for the call: `arguments` are what it expects, and pointers among them lead to what it reads and writes.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: c_long, arguments: [usize; 5]) -> isize {
    let ret;
    let [a, b, c, d, e] = arguments;
    // SAFETY: the caller vouches for the call; the kernel changes no register but x0.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => ret,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack),
        );
    }
    ret
}

/// Makes a system call by the C library, as the entry point is not ours for this processor.
///
/// # Safety
/// As for the call: `arguments` are what it expects, and pointers among them lead to what it reads and writes.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call(number: c_long, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the caller vouches for the call.
    match crate::error::check(unsafe { libc::syscall(number, a, b, c, d, e) }) {
        Ok(ret) => ret as isize,
        Err(errno) => -(errno.raw_os_error() as isize),
    }
}
