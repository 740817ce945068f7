//! The start of the program, without that of Rust's standard library.
//!
//! The library's own start reads `/proc/self/maps`, makes a stack for signal handlers and installs two of
//! them: 17 system calls, to word the message about a stack overflow. A container runtime is started many
//! times, twice for `create`, and a child that it clones would have to undo all that.
use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// Makes `$run`, a `fn(&[&OsStr]) -> u8`, the main function of a program with `#![no_main]`: it gets
/// the arguments, the program's name first, and gives the exit status.
#[macro_export]
macro_rules! main {
    ($run:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(argc: std::ffi::c_int, argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: the C library passes on what the kernel laid out for this program.
            unsafe { $crate::start::enter(argc, argv, $run) }
        }
    };
}

/// What [`main!`] makes of the C library's call.
///
/// # Safety
/// `argv` is an array of `argc` strings that end with a NUL, in memory that can be written to, which nobody else refers to.
#[doc(hidden)]
pub unsafe fn enter(argc: c_int, argv: *const *const c_char, run: fn(&[&OsStr]) -> u8) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: the caller vouches for the array.
    let argv = unsafe { std::slice::from_raw_parts(argv, count) };
    // Copies: what the kernel shows to others can be taken away then.
    let args = argv.iter().map(|&arg| {
        // SAFETY: the caller vouches for the strings.
        let arg = unsafe { CStr::from_ptr(arg) };
        OsStr::from_bytes(arg.to_bytes()).to_owned()
    });
    let args: Vec<_> = args.collect();
    let args: Vec<_> = args.iter().map(OsString::as_os_str).collect();
    crate::exe::remember_arguments(argv);
    // The standard library takes care of these two as well: no file of ours gets the number of a stream
    // that the caller closed, and a write to a pipe without a reader is an error instead of the end.
    if crate::process::fill_stdio().is_err() {
        return 1;
    }
    // SAFETY: no code of ours runs when the signal comes.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // A caller that ignores its children has made that so for this program too, and the kernel would tell
    // of no end of a child.
    // SAFETY: no code of ours runs when the signal comes.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    c_int::from(run(&args))
}
