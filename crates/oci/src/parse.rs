//! Reads a JSON document, and says what is wrong with one that can't be read:
//! which field, on which line, in which column.
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

/// Why a document can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The field, like `linux.resources.pids.limit` or `mounts[3].options`;
    /// empty for the document as a whole.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// How many bytes of that line were read.
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
        let path = field(error.path());
        let error = error.into_inner();
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        let text = match error.classify() {
            // Go's words, which engines and people search for.
            Category::Eof => format!("unexpected EOF: the file ends too early ({text})"),
            Category::Io | Category::Syntax | Category::Data => text.to_owned(),
        };
        ParseError { path, line, column, text }
    })
}

/// The path up to where a key was expected and none was found.
fn field(path: &Path) -> String {
    let mut name = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } if name.is_empty() => name.push_str(key),
            Segment::Map { key } => name.extend([".", key]),
            Segment::Seq { index } => name.push_str(&format!("[{index}]")),
            Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn says_where_and_what() {
        let cases = [
            ("", "unexpected EOF: the file ends too early (EOF while parsing a value) (line 1, column 0)"),
            (
                "{\n \"process\": {\"args\": [\"sh\"",
                "process.args: unexpected EOF: the file ends too early (EOF while parsing a list) (line 2, column 26)",
            ),
            ("[]", "invalid type: sequence, expected an object (line 1, column 0)"),
            ("{\"process\": {]", "process: key must be a string (line 1, column 14)"),
            ("{]", "key must be a string (line 1, column 2)"),
            ("{\"hostname\": \"a\" \"b\": 1}", "expected `,` or `}` (line 1, column 18)"),
            (
                "{\"mounts\": [{}, {\"options\": \"ro\"}]}",
                "mounts[1].options: invalid type: string \"ro\", expected a list (line 1, column 32)",
            ),
            (
                "{\"linux\":\n{\"resources\":\n{\"pids\": {\"limit\": \"many\"}}}}",
                "linux.resources.pids.limit: invalid type: string \"many\", expected i64 (line 3, column 25)",
            ),
            (
                "{\"process\": {\"user\": {\"uid\": -1}}}",
                "process.user.uid: invalid value: integer `-1`, expected u32 (line 1, column 31)",
            ),
        ];
        for (document, expected) in cases {
            let error = Config::parse(document.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{document}");
        }
    }

    #[test]
    fn tells_null_from_a_document() {
        assert_eq!(Config::parse(b"null"), Ok(None));
        assert_eq!(Config::parse(b"{}"), Ok(Some(Config::default())));
    }

    #[test]
    fn does_not_mind_what_comes_after() {
        assert_eq!(Config::parse(b"{} }"), Ok(Some(Config::default())));
    }

    #[test]
    fn refuses_depth_without_a_crash() {
        for open in ["[", "{\"a\":"] {
            for before in ["", "{\"x\":", "{\"linux\":", "{\"mounts\":"] {
                let document = before.to_owned() + &open.repeat(100_000);
                Config::parse(document.as_bytes()).unwrap_err();
            }
        }
    }
}
