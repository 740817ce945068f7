//! When and where a process runs: scheduling policy, I/O priority, memory policy.
use crate::error::{Named, Result, check};

/// What `sched_setattr(2)` sets; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`.
    pub period: u64,
}

#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    clamp_min: u32,
    clamp_max: u32,
}

/// Sets the scheduling policy of the caller.
pub fn set_scheduler(s: &Scheduler) -> Result<()> {
    let attr = SchedAttr {
        size: 56,
        policy: s.policy,
        flags: s.flags,
        nice: s.nice,
        priority: s.priority,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
        // Flags may speak of these, for which the specification has no fields.
        clamp_min: 0,
        clamp_max: 0,
    };
    // SAFETY: attr has the layout of the kernel's second version (older ones take it, as what they don't know is zero), names its size, and lives through the call.
    let ret = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::addr_of!(attr), 0) };
    check(ret).named("sched_setattr", || format!("{s:?}")).map(drop)
}

/// Sets the I/O priority of the caller: class 1 to 3, level 0 (first) to 7.
pub fn set_io_priority(class: u32, level: u32) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: ioprio_set takes integers.
    let ret = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, (class << 13) | level) };
    check(ret).named("ioprio_set", || format!("class={class}, level={level}")).map(drop)
}

/// Sets the memory policy of the caller: `MPOL_*` with its flags, and a mask of nodes, 64 a word.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel takes the number of bits plus one.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the mask has at least the number of bits given, less one, which is how the kernel counts.
    let ret = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    check(ret).named("set_mempolicy", || format!("mode={mode:#x}, nodes={nodes:x?}")).map(drop)
}

/// The processors that the caller may run on: a mask, 64 a word.
pub fn set_affinity(mask: &[u64]) -> Result<()> {
    let size = std::mem::size_of_val(mask);
    // SAFETY: the mask has the size given and lives through the call; 0 is the caller.
    let ret = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size, mask.as_ptr()) };
    check(ret).named("sched_setaffinity", || format!("{mask:x?}")).map(drop)
}
