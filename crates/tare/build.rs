//! Finds out which commit the program is built from, for `--version`, and names the program's entry point.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // that is how a build script speaks to cargo

use std::path::Path;
use std::process::Command;

fn main() {
    // A packager who builds from an archive names the commit.
    println!("cargo::rerun-if-env-changed=TARE_COMMIT");
    let named = std::env::var("TARE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = named.or_else(of_checkout).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=TARE_COMMIT={commit}");
    // Without optimization the first steps of the program would call functions that need relocations.
    let is = |name: &str, values: &[&str]| std::env::var(name).is_ok_and(|v| values.contains(&v.as_str()));
    if is("PROFILE", &["release"]) && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"]) {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=entry");
    }
}

/// The commit of the checkout that this source is part of.
fn of_checkout() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // An archive that was unpacked inside of somebody else's checkout is not that checkout.
    if !root.join(".git").exists() {
        return None;
    }
    // Every commit, checkout and reset writes a line here.
    let log = git(&root, &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&root, &["describe", "--always", "--abbrev=12", "--long", "--tags"])
}

/// What git says, if there is a git and it is content.
fn git(root: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
