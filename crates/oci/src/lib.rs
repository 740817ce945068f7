//! Types of the OCI runtime specification 1.3.
#![forbid(unsafe_code)]
/// Placeholder.
#[derive(Clone, Debug, Default)]
pub struct State;
/// Placeholder.
#[derive(Clone, Debug, Default)]
pub struct Features;
