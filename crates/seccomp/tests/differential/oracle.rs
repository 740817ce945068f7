//! libseccomp, by a C program beside this file that is asked line by line.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use seccomp::Insn;

use crate::generate;

/// What libseccomp makes of a profile.
pub enum Answer {
    Program(Vec<Insn>),
    /// What, with which call, and why, as a negative errno.
    Refused(String),
}

/// A running program.
pub struct Oracle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    numbers: BTreeMap<(String, String), Option<u32>>,
}

impl Oracle {
    /// Builds and starts it, or says what is missing for that.
    pub fn start() -> Result<Oracle, String> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/libseccomp.c");
        let program =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("libseccomp-{}", std::process::id()));
        let words = |name: &str, default: &str| {
            let value = std::env::var(name).unwrap_or_else(|_| default.to_owned());
            value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let built = Command::new("cc")
            .args(words("CFLAGS", "-O1"))
            .arg("-o")
            .arg(&program)
            .arg(source)
            .args(words("LDLIBS", "-lseccomp"))
            .output()
            .map_err(|e| format!("cc: {e}"))?;
        if !built.status.success() {
            return Err(format!("libseccomp can't be asked: {}", String::from_utf8_lossy(&built.stderr)));
        }
        let child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        std::fs::remove_file(&program).ok();
        let mut child = child.map_err(|e| e.to_string())?;
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Ok(Oracle { child, input, output, numbers: BTreeMap::new() })
    }

    fn ask(&mut self, question: &str) -> String {
        self.input.write_all(question.as_bytes()).unwrap();
        let mut answer = String::new();
        assert_ne!(self.output.read_line(&mut answer).unwrap(), 0, "no answer to {question}");
        answer.trim_end().to_owned()
    }

    /// Whether it has a table for an architecture.
    pub fn knows(&mut self, arch: &str) -> bool {
        self.number(arch, "read").is_some()
    }

    /// The number of a call that is one on its own.
    pub fn number(&mut self, arch: &str, call: &str) -> Option<u32> {
        let key = (arch.to_owned(), call.to_owned());
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        let number = self.ask(&format!("number {arch} {call}\n")).parse().ok();
        self.numbers.insert(key, number);
        number
    }

    /// Whether it does not take a call for another on the way from this machine's numbers to those of others.
    pub fn is_unmistakable(&mut self, call: &str) -> bool {
        let key = (String::new(), call.to_owned());
        if let Some(known) = self.numbers.get(&key) {
            return known.is_some();
        }
        let same = self.ask(&format!("same {call}\n")) == "yes";
        self.numbers.insert(key, same.then_some(0));
        same
    }

    /// Whether it has a number for a call, but also another way in, and so gives none.
    pub fn is_multiplexed(&mut self, arch: &str, call: &str) -> bool {
        let several = ["x86", "ppc64le", "s390x"].contains(&arch);
        several && generate::MULTIPLEXED.contains(&call)
    }

    /// The program for a profile, as runc has it made.
    pub fn program(&mut self, raw: &oci::Seccomp, default: u32, archs: &[&str], big_endian: bool) -> Answer {
        let mut question = format!("begin {default:#x} {}\n", archs.join(" "));
        for rule in &raw.syscalls {
            let verdict = generate::verdict(&rule.action, rule.errno_ret);
            if verdict == default {
                continue;
            }
            let args: Vec<String> = rule
                .args
                .iter()
                .map(|arg| {
                    let op = generate::OPERATORS.iter().position(|op| *op == arg.op).unwrap() + 1;
                    format!(" {} {op} {} {}", arg.index, arg.value, arg.value_two)
                })
                .collect();
            let mut indexes: Vec<u64> = rule.args.iter().map(|arg| arg.index).collect();
            indexes.sort_unstable();
            let lists =
                if indexes.windows(2).any(|two| two[0] == two[1]) { args } else { vec![args.concat()] };
            for name in &rule.names {
                for list in &lists {
                    question.push_str(&format!("rule {verdict:#x} {name}{list}\n"));
                }
            }
        }
        question.push_str("end\n");
        let answer = self.ask(&question);
        if let Some(why) = answer.strip_prefix("error ") {
            let (why, _) = why.rsplit_once(' ').unwrap();
            return Answer::Refused(why.to_owned());
        }
        let (program, _) = answer.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..program.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&program[at..at + 2], 16).unwrap())
            .collect();
        let insn = |bytes: &[u8]| {
            let (code, k) = ([bytes[0], bytes[1]], [bytes[4], bytes[5], bytes[6], bytes[7]]);
            let k = if big_endian && !is_verdict(u32::from_le_bytes(k), &bytes[..2]) {
                u32::from_be_bytes(k)
            } else {
                u32::from_le_bytes(k)
            };
            Insn {
                code: if big_endian { u16::from_be_bytes(code) } else { u16::from_le_bytes(code) },
                yes: bytes[2],
                no: bytes[3],
                k,
            }
        };
        Answer::Program(bytes.chunks(8).map(insn).collect())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Made for another byte order, a program of libseccomp has its verdicts in the one of the machine that it was made on.
fn is_verdict(k: u32, code: &[u8]) -> bool {
    let known = [0x8000, 0x0003, 0x0005, 0x7fc0, 0x7ff0, 0x7ffc, 0x7fff];
    code == [0, 6] && known.contains(&(k >> 16))
}
