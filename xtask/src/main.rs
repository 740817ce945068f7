//! `cargo xtask TASK`: the project's own chores.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr)] // its messages are for whoever typed it

mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(),
        _ => {
            eprintln!("usage: cargo xtask tidy");
            ExitCode::FAILURE
        }
    }
}
