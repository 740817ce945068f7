//! The faults of a configuration, collected so that all are told at once.
use std::fmt;

use crate::{Error, Kind};

/// Faults found so far, each with the path of its field, and what could be done about them.
#[derive(Debug, Default)]
pub struct Faults {
    found: Vec<(String, String)>,
    hints: Vec<String>,
}

impl Faults {
    /// Notes that the field `at` is wrong. `text` begins the message, as engines and users look for
    /// the words of it and not for the path.
    pub fn add(&mut self, at: impl Into<String>, text: impl Into<String>) {
        self.found.push((at.into(), text.into()));
    }

    /// Says once what could be done about one of the faults.
    pub fn hint(&mut self, hint: impl Into<String>) {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// An error with all faults, if there are any.
    pub fn into_result(self) -> Result<(), Error> {
        if self.found.is_empty() {
            return Ok(());
        }
        let text = self.to_string();
        Err(Error { kind: Kind::Invalid, text, hints: self.hints })
    }

    /// The faults as they would be told, for tables in tests.
    #[cfg(test)]
    pub fn texts(&self) -> Vec<String> {
        self.found.iter().map(|(at, text)| format!("{text} ({at})")).collect()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (at, text)) in self.found.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            // A text that names its field already is not made longer.
            if text.contains(at.as_str()) { f.write_str(text)? } else { write!(f, "{text} ({at})")? }
        }
        Ok(())
    }
}
