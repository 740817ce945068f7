//! The program `tare`. Everything is in the library beside it, so that `xtask` can read the definitions.
#![no_main]
#![forbid(unsafe_code)]

sys::main!(tare::main);
sys::entry!();
