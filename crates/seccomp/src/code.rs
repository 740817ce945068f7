//! The instructions of classic BPF that programs are made of, and the places of what they look at.
//! See `linux/filter.h` and `struct seccomp_data`.

/// Loads a word of the data.
pub(crate) const LOAD: u16 = 0x20;
/// Keeps these bits.
pub(crate) const AND: u16 = 0x54;
/// Goes on elsewhere, at any distance.
pub(crate) const GO_TO: u16 = 0x05;
/// Equal.
pub(crate) const IF_EQUAL: u16 = 0x15;
/// Greater, unsigned.
pub(crate) const IF_GREATER: u16 = 0x25;
/// Greater or equal, unsigned.
pub(crate) const IF_AT_LEAST: u16 = 0x35;
/// Ends with a verdict.
pub(crate) const RETURN: u16 = 0x06;

/// The number of the call.
pub(crate) const NUMBER: u32 = 0;
/// Its architecture.
pub(crate) const ARCH: u32 = 4;
/// Its six arguments of 64 bits.
pub(crate) const ARGUMENTS: u32 = 16;

/// How many instructions the kernel takes (`BPF_MAXINSNS`).
pub(crate) const MOST: usize = 4096;
