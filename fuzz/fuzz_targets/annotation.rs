//! Annotations that become properties of a unit.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cgroup::fuzz::annotation(data));
