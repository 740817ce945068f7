//! Profiles for system calls, and what their programs say of some.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ::seccomp::fuzz::profile(data));
