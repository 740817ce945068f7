//! `cargo xtask conformance`: `docs/spec-conformance.md`, one row for each field of `config.json`.
//!
//! The fields come from the types of `crates/oci`, what is said of them from [`table`]. `tidy` fails when a field
//! is not in the table, when the table names what is not there, and when the document is an older one.
mod table;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use table::{CHECKED, OTHER_SYSTEMS, ROWS};

/// What is said of a field, or of all fields that `fields` matches and no longer pattern does.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The path of a field, in which `*` stands for any text.
    fields: &'static str,
    /// The file that owns it, as [`path`] reads it.
    owner: &'static str,
    status: Status,
    /// The integration test that runs a container with it, or is refused one.
    test: &'static str,
    /// What it needs of the kernel beyond what everything needs; often nothing.
    needs: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// It does what the specification says.
    Supported,
    /// It is read and does nothing, with the reason.
    NoEffect(&'static str),
}

impl Status {
    fn text(self) -> String {
        match self {
            Status::Supported => "supported".to_owned(),
            Status::NoEffect(why) => format!("no effect: {why}"),
        }
    }
}

const DOCUMENT: &str = "docs/spec-conformance.md";

const HEAD: &str = "# Conformance to the specification

Every field of `config.json` in version VERSION of the
[OCI runtime specification](https://github.com/opencontainers/runtime-spec), with the file that owns it, an integration
test that runs a container with it, and what it needs of the kernel beyond [what everything needs](kernel-features.md).
`[]` stands for each element of a list, `NAME` for a free name.

This file is written by `cargo xtask conformance` from the types in `crates/oci` and a table in
`xtask/src/conformance/table.rs`; `cargo xtask tidy` fails when it is not up to date.

| Field | Status | Room | Test | Needs |
|---|---|---|---|---|
";

/// Writes the document.
pub fn write(root: &Path) -> io::Result<()> {
    let (document, findings) = document(&oci::Config::fields(), ROWS);
    for finding in findings {
        eprintln!("{finding}");
    }
    fs::write(root.join(DOCUMENT), document)
}

/// What is wrong with the table or the document.
pub fn findings(root: &Path) -> Vec<String> {
    let (document, mut findings) = document(&oci::Config::fields(), ROWS);
    if CHECKED != oci::VERSION {
        findings.push(format!("the fields were compared with the schema of {CHECKED}, not {}", oci::VERSION));
    }
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    for row in ROWS {
        findings.extend(missing(row, read));
    }
    if read(DOCUMENT) != document {
        findings.push(format!("{DOCUMENT} is not up to date: run `cargo xtask conformance`"));
    }
    findings
}

/// What a row names and is not there; `read` gives the text of a file of the tree, or nothing.
fn missing(row: &Row, read: impl Fn(&str) -> String) -> Option<String> {
    let Row { fields, owner, test, .. } = row;
    if read(&path(owner)).is_empty() {
        return Some(format!("{fields}: there is no {}", path(owner)));
    }
    let (file, function) = test.split_once("::").unwrap_or((test, ""));
    let there = read(&format!("tests/{file}.rs")).contains(&format!("\nfn {function}("));
    (!there).then(|| format!("{fields}: there is no test {test}"))
}

/// The path of an owner: `rooms/FILE` is one of the runtime's, all else begins with the name of a crate.
fn path(owner: &str) -> String {
    match owner.split_once('/') {
        Some(("rooms", file)) => format!("crates/runtime/src/rooms/{file}.rs"),
        Some((name, file)) => format!("crates/{name}/src/{file}.rs"),
        None => owner.to_owned(),
    }
}

/// The document, with what is wrong between fields and rows.
fn document(fields: &[String], rows: &[Row]) -> (String, Vec<String>) {
    let mut text = HEAD.replace("VERSION", CHECKED);
    let (mut used, mut findings) = (BTreeSet::new(), Vec::new());
    let (mut supported, mut none) = (0, 0);
    for field in fields {
        let Some(row) = row_of(field, rows) else {
            findings.push(format!("{field} is not in the table of conformance"));
            continue;
        };
        used.insert(row.fields);
        match row.status {
            Status::Supported => supported += 1,
            Status::NoEffect(_) => none += 1,
        }
        let needs = if row.needs.is_empty() { "–" } else { row.needs };
        let (owner, test, status) = (row.owner, row.test, row.status.text());
        let link = format!("[{owner}](../{})", path(owner));
        let _ = writeln!(text, "| `{field}` | {status} | {link} | `{test}` | {needs} |");
    }
    for (field, of) in OTHER_SYSTEMS {
        let _ = writeln!(text, "| `{field}` | not for Linux: {of} | – | – | – |");
    }
    let unused = rows.iter().filter(|row| !used.contains(row.fields));
    findings.extend(unused.map(|row| format!("{} in the table of conformance is no field", row.fields)));
    let _ = write!(text, "\n{}", counts(fields.len(), supported, none, rows));
    (text, findings)
}

fn counts(fields: usize, supported: usize, none: usize, rows: &[Row]) -> String {
    let tests: BTreeSet<_> = rows.iter().map(|row| row.test).collect();
    format!(
        "{fields} fields for Linux: {supported} are supported, {none} have no effect. All have a test that\nruns a container; \
         these are {} tests. {} more fields are for other systems.\n",
        tests.len(),
        OTHER_SYSTEMS.len(),
    )
}

/// The row of the longest pattern that matches.
fn row_of<'a>(field: &str, rows: &'a [Row]) -> Option<&'a Row> {
    rows.iter().filter(|row| matches(row.fields, field)).max_by_key(|row| row.fields.len())
}

/// Whether `text` is like `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row =
        Row { fields: "a", owner: "rooms/a", status: Status::Supported, test: "t::works", needs: "" };

    #[test]
    fn patterns() {
        for (pattern, text, want) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.b*", "a.bc", true),
            ("a*", "a", true),
            ("a.*[].c", "a.b[].c", true),
            ("a.*[].c", "a.b[].d", false),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn the_longest_pattern_counts() {
        let rows = [Row { fields: "a.*", ..ROW }, Row { fields: "a.b", needs: "x", ..ROW }];
        assert_eq!(row_of("a.b", &rows).map(|row| row.needs), Some("x"));
        assert_eq!(row_of("a.c", &rows).map(|row| row.needs), Some(""));
        assert!(row_of("b", &rows).is_none());
    }

    #[test]
    fn fields_and_rows_belong_together() {
        let fields = ["a".to_owned(), "b".to_owned()];
        let (text, findings) = document(&fields, &[ROW, Row { fields: "c*", ..ROW }]);
        assert_eq!(
            findings,
            ["b is not in the table of conformance", "c* in the table of conformance is no field"]
        );
        let row = "| `a` | supported | [rooms/a](../crates/runtime/src/rooms/a.rs) | `t::works` | – |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn what_is_named_is_there() {
        let tree = |path: &str| match path {
            "crates/runtime/src/rooms/a.rs" => "//! A room.\n".to_owned(),
            "tests/t.rs" => "//! Tests.\nfn works(lab: &Lab) -> Outcome {\n".to_owned(),
            _ => String::new(),
        };
        assert_eq!(missing(&ROW, tree), None);
        let cases = [
            (Row { owner: "rooms/b", ..ROW }, "a: there is no crates/runtime/src/rooms/b.rs"),
            (Row { owner: "cgroup/cpu", ..ROW }, "a: there is no crates/cgroup/src/cpu.rs"),
            (Row { test: "t::work", ..ROW }, "a: there is no test t::work"),
            (Row { test: "u::works", ..ROW }, "a: there is no test u::works"),
            (Row { test: "t", ..ROW }, "a: there is no test t"),
        ];
        for (row, want) in cases {
            assert_eq!(missing(&row, tree).as_deref(), Some(want));
        }
    }
}
