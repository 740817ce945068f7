//! What every test works with: the binary under test, a bundle, a container, and the oracle that
//! looks for what is left behind.

pub mod attacker;
pub mod bundle;
pub mod helper;
pub mod lab;
pub mod lacking;
pub mod leaks;
pub mod pty;
pub mod race;
pub mod report;
pub mod runtime;
pub mod screen;
pub mod session;
pub mod settings;
pub mod user;

use std::time::{Duration, Instant};

pub use lab::{Container, Lab};
pub use runtime::{Output, Runtime};
pub use serde_json::{Value, json};

/// A test passes with `Ok`, fails with a panic, and is reported as ignored with `Err`.
pub type Outcome = Result<(), Skip>;

/// Why a test cannot run on this host.
pub struct Skip(pub String);

/// One test: its name (`file::function`) and its body.
#[derive(Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    pub run: fn(&Lab) -> Outcome,
    /// The system calls that are not there for it.
    pub lacks: &'static [lacking::Lack],
}

/// Lists the tests of a file. One that is forgotten here is an unused function, so the compiler says so.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::harness::Test] = &[$(crate::harness::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: $name,
            lacks: &[],
        }),*];
    };
}
pub(crate) use tests;

/// How long anything may take before the test gives up. Generous: it only bounds failures.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `probe` gives a value, and fails the test with `what` when it does not.
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
