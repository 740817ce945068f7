//! Files of an image that could not be executed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| runtime::fuzz::program(data));
