//! Reads a JSON document, and says what is wrong with one that can't be read:
//! which field, on which line, in which column.
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Why a document can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The field, like `linux.resources.pids.limit` or `mounts[3].options`;
    /// empty for the document as a whole.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1; 0 when the line is empty.
    pub column: usize,
    /// What is wrong there.
    pub text: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} (line {}, column {})", self.text, self.line, self.column)
    }
}

impl std::error::Error for ParseError {}

/// Reads the first JSON value in `bytes`; `None` when it is `null`.
///
/// What comes after that value is not looked at: runc does the same.
///
/// # Errors
/// When it is not JSON, or a field has the wrong type or is out of range.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, ParseError> {
    // Tracking the path takes time, so it is done only for a document that is
    // already known to be wrong.
    let mut json = serde_json::Deserializer::from_slice(bytes);
    Option::deserialize(&mut json).or_else(|_| with_path(bytes))
}

fn with_path<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, ParseError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        let text = match error.classify() {
            // Go's words, which engines and people search for.
            Category::Eof => format!("unexpected EOF: the file ends too early ({text})"),
            Category::Io | Category::Syntax | Category::Data => text.to_owned(),
        };
        let path = if path == "." { String::new() } else { path };
        ParseError { path, line, column, text }
    })
}
