//! `cargo xtask TASK`: the project's own chores.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr)] // its messages are for whoever typed it

mod conformance;
mod pages;
mod syscalls;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["tidy"] => return tidy::run(),
        ["conformance"] => conformance::write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")),
        ["syscalls", dir] => {
            syscalls::write(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), Path::new(dir))
        }
        ["man", dir] => pages::man(Path::new(dir)),
        ["completions", dir] => pages::completions(Path::new(dir)),
        _ => {
            eprintln!("usage: cargo xtask tidy | conformance | syscalls DIR | man DIR | completions DIR");
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}
