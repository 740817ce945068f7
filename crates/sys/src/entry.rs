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
//! panic; and it reads and writes memory by volatile accesses, which no compiler turns into a call of
//! `memcpy`, since that is a function that a relocation chooses.
// A descriptor, an errno and a pointer are all one machine word to the kernel.
#![allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::addr_of;

use libc::c_long;
use rustix::mount::{FsMountFlags, FsOpenFlags};

use crate::error::{Errno, Error, Result};
use crate::mount::attr;

/// The program's file.
const OWN: &CStr = c"/proc/self/exe";
/// The longest value that `fsconfig(2)` takes, with its NUL.
const VALUE: usize = 256;

/// Opens the program's own file through an overlay over its directory. It is mounted nowhere, so nobody else
/// sees it, and it has no upper layer, so it can't be written to.
///
/// Only for files whose path is shorter than about 250 bytes and has no `:` or `\` in its directory, and not
/// for those in the root directory.
pub fn open_own_through_overlay() -> Result<OwnedFd> {
    match open_view() {
        // SAFETY: the descriptor was opened for this and has no other owner.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(Failure { call, errno }) => {
            let errno = Errno::from_raw_os_error(i32::try_from(errno).unwrap_or(libc::EIO));
            Err(Error { call, args: "for an overlay of the program's directory".to_owned(), errno })
        }
    }
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

/// Starts the program again through an overlay if it is called for that; returns when it is not, or can't.
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
        // Where a flag's value is taken for the command, the overlay is made for nothing.
        makes_container |= begins_with(argument, b"create\0")
            | begins_with(argument, b"run\0")
            | begins_with(argument, b"exec\0");
        at += 1;
    }
    if !makes_container || !is_on_plain_file_system() {
        return;
    }
    let Ok(view) = open_view() else { return };
    // SAFETY: the environment comes after the arguments and their null pointer.
    let envp = unsafe { argv.add(count + 1) };
    // SAFETY: both lists are the kernel's own, and the path is a string.
    unsafe {
        call(libc::SYS_execveat, [word_of(view), word(c"".as_ptr()), word(argv), word(envp), EMPTY_PATH]);
    }
    close(view);
}

/// What could not be done, and why.
struct Failure {
    call: &'static str,
    errno: isize,
}

const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;

/// Whether the program lies where an overlay of it is of use: not when it is seen through one already, nor
/// in memory, where the sealed copies are.
fn is_on_plain_file_system() -> bool {
    const OVERLAY: i64 = 0x794c_7630;
    const TMPFS: i64 = 0x0102_1994;
    let mut fs = MaybeUninit::<libc::statfs>::uninit();
    let fs = fs.as_mut_ptr();
    // SAFETY: the kernel fills the structure whose address it gets.
    if unsafe { call(libc::SYS_statfs, [word(OWN.as_ptr()), word(fs), 0, 0, 0]) } != 0 {
        return false;
    }
    // SAFETY: it is filled.
    let magic = unsafe { addr_of!((*fs).f_type) };
    // SAFETY: it points into the structure.
    let magic = unsafe { magic.read_volatile() };
    magic != OVERLAY && magic != TMPFS
}

fn open_view() -> Result<RawFd, Failure> {
    let (mut layers, mut path) = (MaybeUninit::<[u8; VALUE]>::uninit(), MaybeUninit::<[u8; VALUE]>::uninit());
    let (layers, path) = (layers.as_mut_ptr().cast::<u8>(), path.as_mut_ptr().cast::<u8>());
    let (length, again) = (read_own_path(layers)?, read_own_path(path)?);
    let unfit = Failure { call: "readlink", errno: libc::ENAMETOOLONG as isize };
    // One more than the slash before the name.
    let (mut name, mut at, mut special) = (0, 0, false);
    while at < length {
        // SAFETY: at is less than what was read.
        let byte = unsafe { layers.add(at) };
        // SAFETY: it points into the array.
        let byte = unsafe { byte.read_volatile() };
        at += 1;
        if byte == b'/' {
            name = at;
        }
        special |= byte == b':' || byte == b'\\';
    }
    if name < 2 || special || length != again {
        return Err(unfit);
    }
    // SAFETY: the slash is part of what was read.
    let end = unsafe { layers.add(name - 1) };
    // An overlay must have two layers, and the kernel refuses, and logs, a layer within another.
    let second = if begins_with(layers, b"/run") { b":/dev\0" } else { b":/run\0" };
    // SAFETY: read_own_path has left more room than that.
    unsafe { copy(second, end) };
    // SAFETY: the same.
    let name = unsafe { path.add(name) };
    let mount = mount_overlay(layers)?;
    let view = open_at(mount, name);
    close(mount);
    let view = view?;
    // The path was right when the program was started: by now another file may be there.
    match is_own(view) {
        Ok(true) => Ok(view),
        other => {
            close(view);
            Err(other.err().unwrap_or(Failure { call: "statx", errno: libc::ESTALE as isize }))
        }
    }
}

/// Reads the path of the program's file, ends it with a NUL, and gives its length, which leaves room for
/// what [`open_view`] puts behind it.
fn read_own_path(into: *mut u8) -> Result<usize, Failure> {
    const ROOM: usize = VALUE - 8;
    // SAFETY: the kernel writes at most as many bytes as it is told, which is less than the array has.
    let length = unsafe { call(libc::SYS_readlinkat, [CWD, word(OWN.as_ptr()), word(into), ROOM, 0]) };
    let length = done("readlink", length)?;
    if length >= ROOM {
        return Err(Failure { call: "readlink", errno: libc::ENAMETOOLONG as isize });
    }
    // SAFETY: the length is less than that of the array.
    let end = unsafe { into.add(length) };
    // SAFETY: it points into the array.
    unsafe { end.write_volatile(0) };
    Ok(length)
}

const CWD: usize = libc::AT_FDCWD as usize;

/// Makes an overlay of `layers` that is attached nowhere.
fn mount_overlay(layers: *const u8) -> Result<RawFd, Failure> {
    /// `enum fsconfig_command` of `linux/mount.h`.
    const SET_STRING: usize = 1;
    const CREATE: usize = 6;
    const ATTRIBUTES: usize = (attr::RDONLY | attr::NOSUID | attr::NODEV) as usize;
    let cloexec = FsOpenFlags::FSOPEN_CLOEXEC.bits() as usize;
    // SAFETY: the kernel reads a string.
    let fs = unsafe { call(libc::SYS_fsopen, [word(c"overlay".as_ptr()), cloexec, 0, 0, 0]) };
    let fs = done("fsopen", fs)?;
    let (key, xino, off) = (word(c"lowerdir".as_ptr()), word(c"xino".as_ptr()), word(c"off".as_ptr()));
    // SAFETY: the kernel reads two strings.
    let mut ret = unsafe { call(libc::SYS_fsconfig, [fs, SET_STRING, key, word(layers), 0]) };
    if ret == 0 {
        // Inode numbers need not be unique across the layers; without this the kernel may log that they
        // aren't. Some have no such option.
        // SAFETY: the kernel reads two strings.
        unsafe { call(libc::SYS_fsconfig, [fs, SET_STRING, xino, off, 0]) };
        // SAFETY: the kernel reads no memory for this.
        ret = unsafe { call(libc::SYS_fsconfig, [fs, CREATE, 0, 0, 0]) };
    }
    let mut made = done("fsconfig", ret);
    if made.is_ok() {
        let cloexec = FsMountFlags::FSMOUNT_CLOEXEC.bits() as usize;
        // SAFETY: the kernel reads no memory for this.
        made = done("fsmount", unsafe { call(libc::SYS_fsmount, [fs, cloexec, ATTRIBUTES, 0, 0]) });
    }
    close(fs as RawFd);
    made.map(|fd| fd as RawFd)
}

fn open_at(dir: RawFd, name: *const u8) -> Result<RawFd, Failure> {
    const FLAGS: usize = (libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC) as usize;
    // SAFETY: the kernel reads a string.
    let ret = unsafe { call(libc::SYS_openat, [word_of(dir), word(name), FLAGS, 0, 0]) };
    done("openat", ret).map(|fd| fd as RawFd)
}

/// Whether `view` shows the program's own file.
fn is_own(view: RawFd) -> Result<bool, Failure> {
    Ok(identity(word_of(view), c"", EMPTY_PATH)? == identity(CWD, OWN, 0)?)
}

/// What a file and the view of it through an overlay have in common: number, size, time of the last change.
fn identity(dir: usize, path: &CStr, flags: usize) -> Result<(u64, u64, i64, u32), Failure> {
    const MASK: usize = (libc::STATX_INO | libc::STATX_SIZE | libc::STATX_MTIME) as usize;
    let mut stat = MaybeUninit::<libc::statx>::uninit();
    let stat = stat.as_mut_ptr();
    // SAFETY: the kernel reads a string and fills the structure whose address it gets.
    let ret = unsafe { call(libc::SYS_statx, [dir, word(path.as_ptr()), flags, MASK, word(stat)]) };
    done("statx", ret)?;
    // SAFETY: it is filled.
    let stat = unsafe { &*stat };
    Ok((stat.stx_ino, stat.stx_size, stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec))
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

/// Copies `text`.
///
/// # Safety
/// There is room for it at `to`.
unsafe fn copy(text: &[u8], to: *mut u8) {
    let mut at = 0;
    while at < text.len() {
        // SAFETY: at is less than the length.
        let byte = unsafe { text.as_ptr().add(at) };
        // SAFETY: it points into the slice.
        let byte = unsafe { byte.read_volatile() };
        // SAFETY: the caller vouches for the room.
        let place = unsafe { to.add(at) };
        // SAFETY: the same.
        unsafe { place.write_volatile(byte) };
        at += 1;
    }
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
