//! The program `tare`. Everything is in the library beside it, so that `xtask` can read the definitions.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tare::main()
}
