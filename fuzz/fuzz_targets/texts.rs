//! Files of the host and of an image: users, subordinate ids, mounts, cgroups, processes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    runtime::fuzz::texts(data);
    cgroup::fuzz::texts(data);
});
