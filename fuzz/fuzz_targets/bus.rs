//! Messages of D-Bus.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cgroup::fuzz::bus(data));
