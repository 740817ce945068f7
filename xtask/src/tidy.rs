//! `cargo xtask tidy`: the conventions that neither the compiler nor clippy can hold.
//!
//! Every check is a pure function from the text of one file to findings, so
//! that each has a table of its own below.
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

/// Names that say nothing about what a module is for.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "manager", "builder"];

/// Marks of unfinished work. Split, so that this file does not find itself.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// What belongs to one machine or one mirror and not to the project.
const FOREIGN: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/Us", "ers/"),
    concat!("deb.debian", ".org"),
    concat!("index.crates", ".io"),
];

/// What each crate of the program may depend on within the tree: dependencies point down only.
const LAYERS: [(&str, &[&str]); 6] = [
    ("oci", &[]),
    ("sys", &[]),
    ("cgroup", &["oci", "sys"]),
    ("seccomp", &["oci", "sys"]),
    ("runtime", &["oci", "sys", "cgroup", "seccomp"]),
    ("tare", &["oci", "sys", "cgroup", "seccomp", "runtime"]),
];

/// One broken rule: where, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: usize,
    text: String,
}

impl Finding {
    fn new(line: usize, text: impl Into<String>) -> Self {
        Finding { line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

/// Checks the whole tree, prints what it finds and fails if that is anything.
pub fn run() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    if let Err(error) = collect(&root, Path::new(""), &mut files) {
        eprintln!("tidy: {error}");
        return ExitCode::FAILURE;
    }
    let mut findings = 0;
    for path in &files {
        // What is not text (a plot, an image) has no conventions to hold.
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        for finding in check(path, &text) {
            eprintln!("{}:{finding}", path.display());
            findings += 1;
        }
    }
    for finding in crate::conformance::findings(&root) {
        eprintln!("{finding}");
        findings += 1;
    }
    eprintln!("tidy: {} files, {findings} findings", files.len());
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lists every file below `root`, as paths relative to it, without what is built or git's own.
fn collect(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(root.join(below))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        let untracked = [".git", "target", "bin"].iter().any(|name| path == Path::new(name));
        let kind = entry.file_type()?;
        if kind.is_dir() && !untracked {
            collect(root, &path, files)?;
        } else if kind.is_file() && path != Path::new("Cargo.lock") {
            files.push(path);
        }
    }
    Ok(())
}

/// All findings in one file.
fn check(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = words(text);
    if path.file_name().is_some_and(|name| name == "Cargo.toml") {
        findings.extend(dependencies(text));
        findings.extend(layers(path, text));
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        findings.extend(rust(path, text));
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// Marks of unfinished work, and names of one machine.
fn words(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut of_line = line.split(|c: char| !c.is_ascii_alphanumeric());
        if let Some(mark) = of_line.find(|word| MARKS.contains(word)) {
            findings.push(Finding::new(number + 1, format!("{mark}: do it, or write an issue")));
        }
        if let Some(foreign) = FOREIGN.iter().find(|foreign| line.contains(**foreign)) {
            findings.push(Finding::new(number + 1, format!("\"{foreign}\" does not belong to the project")));
        }
    }
    findings
}

/// Dependencies without a reason beside them.
///
/// A comment above covers all entries up to the next blank line. An entry that
/// only refers to the workspace's table or to a crate of this tree needs none.
fn dependencies(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut in_table, mut explained) = (false, false);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            in_table = line.trim_end_matches(']').ends_with("dependencies");
            explained = false;
        } else if line.is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if in_table && !explained {
            let settled_elsewhere =
                ["workspace = true", "path = ", " # "].iter().any(|mark| line.contains(mark));
            if let (Some((name, _)), false) = (line.split_once('='), settled_elsewhere) {
                findings
                    .push(Finding::new(number + 1, format!("dependency {}has no reason beside it", name)));
            }
        }
    }
    findings
}

/// Dependencies of a crate of the program on one that is not below it.
fn layers(path: &Path, text: &str) -> Vec<Finding> {
    let own = path.parent().filter(|parent| parent.starts_with("crates")).and_then(Path::file_name);
    let Some((name, below)) = LAYERS.iter().find(|(name, _)| own.is_some_and(|own| own == *name)) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wanted = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let is_crate = line.contains("workspace = true") && LAYERS.iter().any(|(other, _)| *other == wanted);
        if is_crate && !below.contains(&wanted) {
            findings.push(Finding::new(number + 1, format!("{name} may not depend on {wanted}")));
        }
    }
    findings
}

/// Everything that is asked of a Rust source.
fn rust(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !text.starts_with("//! ") {
        findings.push(Finding::new(1, "does not start with //! and what it is for"));
    }
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        findings.push(Finding::new(lines, format!("{lines} lines, of at most {MAX_FILE_LINES}")));
    }
    for part in path.iter().filter_map(|part| Path::new(part).file_stem()?.to_str()) {
        if EMPTY_NAMES.contains(&part) {
            findings.push(Finding::new(1, format!("the name \"{part}\" says nothing")));
        }
    }
    if is_crate_root(path) && !may_be_unsafe(path) && !text.contains("#![forbid(unsafe_code)]") {
        findings.push(Finding::new(1, "a crate without #![forbid(unsafe_code)]"));
    }
    match text.parse::<TokenStream>() {
        Ok(tokens) => code(tokens, path, &mut findings),
        Err(error) => findings.push(Finding::new(error.span().start().line, "not Rust")),
    }
    findings
}

fn may_be_unsafe(path: &Path) -> bool {
    path.starts_with("crates/sys")
}

/// Whether the file is the root of a crate, by its name and place.
fn is_crate_root(path: &Path) -> bool {
    let named =
        path.file_name().is_some_and(|name| name == "lib.rs" || name == "main.rs" || name == "build.rs");
    named || path.parent().is_some_and(|parent| parent.ends_with("bin"))
}

/// What only the tokens show: comments and strings are no code.
fn code(tokens: TokenStream, path: &Path, findings: &mut Vec<Finding>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => code(group.stream(), path, findings),
            TokenTree::Ident(word) => {
                let line = word.span().start().line;
                if word == "oci" && path.starts_with("crates/runtime") && leaves_fields(&tokens[at + 1..]) {
                    findings.push(Finding::new(line, "takes a type of the specification apart with `..`"));
                }
                if word == "unsafe" && !may_be_unsafe(path) {
                    findings.push(Finding::new(line, "unsafe outside of crates/sys"));
                }
                let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { continue };
                if word == "mod" && EMPTY_NAMES.iter().any(|empty| name == empty) {
                    findings.push(Finding::new(line, format!("the name \"{name}\" says nothing")));
                }
                let lines = if word == "fn" { function_lines(&tokens[at..]) } else { 0 };
                if lines > MAX_FUNCTION_LINES {
                    let text = format!("{name} has {lines} lines, of at most {MAX_FUNCTION_LINES}");
                    findings.push(Finding::new(line, text));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether what follows `oci` is `::Type { …, .. }`: a pattern that leaves fields out.
///
/// A field that is new in the specification must not compile until somebody owns it.
fn leaves_fields(after: &[TokenTree]) -> bool {
    let [TokenTree::Punct(_), TokenTree::Punct(_), TokenTree::Ident(_), TokenTree::Group(fields), ..] = after
    else {
        return false;
    };
    if fields.delimiter() != Delimiter::Brace {
        return false;
    }
    let fields: Vec<String> = fields.stream().into_iter().map(|token| token.to_string()).collect();
    // `..Default::default()`, which makes a value, does not end so.
    fields.ends_with(&[".".to_owned(), ".".to_owned()])
}

/// The lines from a function's `fn` to its last brace, where a table in brackets counts as one; 0 for one
/// without a body.
fn function_lines(tokens: &[TokenTree]) -> usize {
    for token in tokens {
        match token {
            TokenTree::Punct(end) if end.as_char() == ';' => return 0,
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                let lines = body.span_close().end().line - tokens[0].span().start().line + 1;
                return lines - table_lines(body.stream());
            }
            _ => {}
        }
    }
    0
}

/// The lines that tables take up beyond their first.
fn table_lines(tokens: TokenStream) -> usize {
    let of_token = |token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
            group.span_close().end().line - group.span_open().start().line
        }
        TokenTree::Group(group) => table_lines(group.stream()),
        _ => 0,
    };
    tokens.into_iter().map(of_token).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of the findings in `text`, were it the file `path`.
    fn texts(path: &str, text: &str) -> Vec<String> {
        check(Path::new(path), text).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn tidy_code_has_no_findings() {
        let source =
            "//! What it is for.\n#![forbid(unsafe_code)]\n// not unsafe\nfn f() { let _ = \"unsafe\"; }\n";
        assert_eq!(texts("crates/oci/src/lib.rs", source), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_found() {
        for mark in MARKS {
            assert_eq!(texts("README.md", &format!("fine\n{mark}: later")).len(), 1, "{mark}");
        }
        assert_eq!(texts("README.md", "mastodon, X, x").len(), 0);
    }

    #[test]
    fn names_of_one_machine_are_found() {
        for name in FOREIGN {
            assert_eq!(texts("docs/a.md", &format!("see {name}x")).len(), 1, "{name}");
        }
    }

    #[test]
    fn dependencies_need_reasons() {
        let table = "[package]\nname = \"x\"\n[dependencies]\n";
        for (entries, findings) in [
            ("log = \"1\"\n", 1),
            ("# Why.\nlog = \"1\"\n", 0),
            ("# Why.\nserde = \"1\"\nserde_json = \"1\"\n", 0),
            ("# Why.\nserde = \"1\"\n\nlog = \"1\"\n", 1),
            ("log.workspace = true\n", 0),
            ("log = { workspace = true, features = [\"std\"] }\n", 0),
            ("oci = { path = \"crates/oci\" }\n", 0),
            ("# Why.\nlog = \"1\"\n[dev-dependencies]\nfoo = \"1\"\n", 1),
            ("[target.'cfg(unix)'.dependencies]\nfoo = \"1\"\n", 1),
            ("[lints.clippy]\nfoo = \"1\"\n", 0),
        ] {
            assert_eq!(dependencies(&format!("{table}{entries}")).len(), findings, "{entries}");
        }
    }

    #[test]
    fn dependencies_point_down() {
        for (path, line, findings) in [
            ("crates/sys/Cargo.toml", "oci.workspace = true", 1),
            ("crates/cgroup/Cargo.toml", "runtime = { workspace = true }", 1),
            ("crates/cgroup/Cargo.toml", "sys.workspace = true", 0),
            ("crates/sys/Cargo.toml", "libc.workspace = true", 0),
            ("xtask/Cargo.toml", "tare.workspace = true", 0),
        ] {
            assert_eq!(texts(path, &format!("[dependencies]\n{line}\n")).len(), findings, "{path} {line}");
        }
    }

    #[test]
    fn no_field_of_the_specification_is_left_out() {
        for (pattern, findings) in [
            ("let oci::User { uid, gid } = user;", 0),
            ("let oci::User { uid, .. } = user;", 1),
            ("let user = oci::User { uid: 1, ..Default::default() };", 0),
            ("let user = oci::user(1..);", 0),
        ] {
            assert_eq!(
                texts("crates/runtime/src/a.rs", &format!("//! x\nfn f() {{ {pattern} }}\n")).len(),
                findings,
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_source_says_what_it_is_for() {
        assert_eq!(texts("a/b.rs", "fn f() {}\n"), ["1: does not start with //! and what it is for"]);
    }

    #[test]
    fn long_files_are_found() {
        let source = format!("//! x\n{}", "const A: u8 = 1;\n".repeat(MAX_FILE_LINES));
        assert_eq!(texts("a/b.rs", &source), ["601: 601 lines, of at most 600"]);
    }

    #[test]
    fn long_functions_are_found_wherever_they_are() {
        for (lines, findings) in [(68, 0), (69, 1)] {
            let body = "    // x\n".repeat(lines);
            let source = format!("//! x\nimpl A {{\nfn f() -> [u8; 2] {{\n{body}}}\n}}\n");
            assert_eq!(texts("a/b.rs", &source).len(), findings, "{lines}");
        }
        let table = format!("//! x\nfn f() {{\n[\n{}]\n}}\n", "1,\n".repeat(80));
        assert_eq!(texts("a/b.rs", &table), [""; 0]);
        let declared = format!("//! x\ntrait A {{\nfn f();\nfn g() {{}}\n{}}}", "const B: u8;\n".repeat(80));
        assert_eq!(texts("a/b.rs", &declared), [""; 0]);
    }

    #[test]
    fn unsafe_stays_in_its_crate() {
        let source = "//! x\nfn f() { unsafe { g() } }\n";
        assert_eq!(texts("crates/runtime/src/a.rs", source), ["2: unsafe outside of crates/sys"]);
        assert_eq!(texts("crates/sys/src/a.rs", source), [""; 0]);
    }

    #[test]
    fn every_crate_forbids_unsafe_code() {
        for (path, findings) in [
            ("crates/oci/src/lib.rs", 1),
            ("crates/tare/src/main.rs", 1),
            ("crates/tare/build.rs", 1),
            ("tests/src/bin/probe.rs", 1),
            ("tests/main.rs", 1),
            ("crates/oci/src/config.rs", 0),
            ("crates/sys/src/lib.rs", 0),
        ] {
            assert_eq!(texts(path, "//! x\n").len(), findings, "{path}");
        }
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(texts("crates/oci/src/utils.rs", "//! x\n").len(), 1);
        assert_eq!(texts("crates/oci/src/common/mod.rs", "//! x\n").len(), 1);
        assert_eq!(texts("a/b.rs", "//! x\nmod helpers {}\n"), ["2: the name \"helpers\" says nothing"]);
    }
}
