//! Every hole that a program of this class is known to have had, each with the test that shows it closed, named after
//! the hole. The table is in SECURITY.md.
//!
//! The image and what runs in it are hostile, config.json and the caller are trusted. A test fails on a runtime that
//! has the hole: `TARE=/usr/sbin/runc cargo test -p integration -- holes` tells which it has.

mod races;

pub use races::TESTS as RACES;
