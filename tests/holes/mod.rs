//! Every hole that a program of this class is known to have had, each with the test that shows it closed, named after
//! the hole. The table is in SECURITY.md.
//!
//! The image and what runs in it are hostile, config.json and the caller are trusted. A test fails on a runtime that
//! has the hole: `TARE=/usr/sbin/runc cargo test -p integration -- holes` tells which it has.

use crate::harness::{Lab, Outcome, tests};

mod entering;
mod paths;
mod races;
mod rights;

pub use entering::TESTS as ENTERING;
pub use paths::TESTS as PATHS;
pub use races::TESTS as RACES;
pub use rights::TESTS as RIGHTS;

tests![the_table_is_complete];

/// Every hole of the table in SECURITY.md has a test, and every test that is named after one is in the table.
fn the_table_is_complete(_: &Lab) -> Outcome {
    let is_hole = |name: &str| name.contains("::cve_") || name.contains("::ghsa_");
    let rows: Vec<&str> = include_str!("../../SECURITY.md")
        .split('`')
        .filter_map(|text| text.strip_suffix('*').map(|text| text.trim_start_matches("holes::")))
        .filter(|name| is_hole(name))
        .collect();
    let tests = [ENTERING, PATHS, RACES, RIGHTS].concat();
    let names = tests.iter().filter_map(|test| test.name.split_once("holes::").map(|(_, name)| name));
    let names: Vec<&str> = names.filter(|name| is_hole(name)).collect();
    for name in &names {
        assert!(rows.iter().any(|row| name.starts_with(row)), "{name} is not in SECURITY.md");
    }
    for row in rows {
        assert!(names.iter().any(|name| name.starts_with(row)), "there is no test {row}*");
    }
    assert!(names.len() > 30, "{names:?}");
    Ok(())
}
