//! Messages of the container's first process and of its program.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| runtime::fuzz::message(data));
