//! State.json.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| runtime::fuzz::state(data));
