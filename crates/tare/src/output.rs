//! What commands print on stdout: the shapes that other programs parse, and writing them.
use std::io;
use std::str::FromStr;

use runtime::{Error, Kind, Result};
use serde_json::ser::PrettyFormatter;

/// The values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One line of JSON.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Format> {
        match name {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            _ => Err(Error::new(Kind::Invalid, "invalid format option").hint("--format takes table or json")),
        }
    }
}

/// Writes `text` to stdout in one piece; a reader who has gone is an error, not a signal.
pub fn print(text: &[u8]) -> Result<()> {
    sys::file::write_fd(sys::process::stdio()[1], text)
        .map_err(|errno| Error::new(Kind::System, format!("write stdout: {}", sys::errno_text(errno))))
}

/// Writes `text` to stderr; when that fails there is nobody to tell.
pub fn complain(text: &str) {
    let _ = sys::file::write_fd(sys::process::stdio()[2], text.as_bytes());
}

/// The reason of a failed call of the standard library, in the words that engines look for.
pub fn reason(error: &io::Error) -> String {
    let errno = sys::Errno::from_io_error(error);
    errno.map_or_else(|| error.to_string(), sys::errno_text)
}

/// `value` as JSON in lines, each step indented by `indent`, without a newline at the end.
pub fn indented_json<T: serde::Serialize>(value: &T, indent: &str) -> Vec<u8> {
    let mut json = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
    value
        .serialize(&mut serializer)
        .expect("a Vec takes every byte, and no map has keys that are not strings");
    json
}

/// A list as one line of JSON; an empty one is `null`, as Go prints it.
pub fn json_line<T: serde::Serialize>(list: &[T]) -> Vec<u8> {
    line(&(!list.is_empty()).then_some(list))
}

/// A value as one line of JSON.
pub fn line<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut json = serde_json::to_vec(value).expect("no map has keys that are not strings");
    json.push(b'\n');
    json
}

/// Rows of cells as lines with aligned columns, each at least 12 wide with 3 spaces to the next.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for (column, width) in widths.iter_mut().enumerate().take(N - 1) {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        *width = (longest + 3).max(12);
    }
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_two_names() {
        assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
        assert_eq!("table".parse::<Format>().unwrap(), Format::Table);
        for name in ["", "JSON", "yaml"] {
            assert_eq!(name.parse::<Format>().unwrap_err().text, "invalid format option");
        }
    }

    #[test]
    fn lists_are_one_line() {
        assert_eq!(json_line::<i32>(&[]), b"null\n");
        assert_eq!(json_line(&[1, 23]), b"[1,23]\n");
    }

    #[test]
    fn a_state_has_runcs_shape() {
        let state = oci::State { id: "c1".to_owned(), pid: 7, ..oci::State::default() };
        let json = String::from_utf8(indented_json(&state, "  ")).unwrap();
        assert!(json.starts_with("{\n  \"ociVersion\": \"\",\n  \"id\": \"c1\",\n  \"pid\": 7,\n"), "{json}");
        assert!(json.ends_with("\"owner\": \"\"\n}"), "{json}");
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows =
            [["ID", "PID"], ["a-name-of-20-letters", "1"], ["é", "22"]].map(|row| row.map(str::to_owned));
        let lines =
            ["ID                     PID", "a-name-of-20-letters   1", "é                      22", ""];
        assert_eq!(aligned(&rows), lines.join("\n"));
    }
}
