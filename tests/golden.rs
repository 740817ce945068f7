//! The comparison with runc: situations, what runc says in them, and what we say.
//!
//! The expectation stands in tables, so that no runc is needed to check us. Where one is at hand the same
//! calls go to it, which checks the tables.

use crate::harness::runtime::without_hints;
use crate::harness::{Container, Lab, Outcome, Output, Runtime, tests};
use crate::{golden_cli, golden_config, golden_exec};

tests![
    we_answer_a_wrong_config_as_agreed,
    runc_answers_a_wrong_config_as_written,
    we_answer_a_life_as_agreed,
    runc_answers_a_life_as_written,
    we_answer_wrong_calls_as_agreed,
    runc_answers_wrong_calls_as_written,
    we_answer_exec_as_agreed,
    runc_answers_exec_as_written,
];

/// How our words relate to runc's.
pub enum Words {
    /// The same, but for the name of the program.
    Same,
    /// The same, followed by the field in parentheses.
    Field(&'static str),
    /// The same, followed by this.
    Then(&'static str),
    /// Another text.
    Ours(&'static str),
    /// Another text of which only this part is agreed.
    Has(&'static str),
}

/// One situation.
pub struct Row {
    pub what: &'static str,
    pub setup: Box<dyn Fn(&mut Container)>,
    /// The command; `--bundle` and the id follow by themselves.
    pub call: &'static [&'static str],
    pub code: i32,
    /// What runc prints on stderr. `RT` is the name of the program, `BUNDLE` the directory of the bundle.
    pub text: String,
    pub words: Words,
    /// How messages of level warning in the log begin.
    pub warnings: &'static [&'static str],
    /// runc before 1.5 says something else.
    pub newer: bool,
    /// We refuse what runc does.
    pub ours_only: bool,
    /// Told by the process that takes the container's place: runc's log lacks it, ours has it.
    pub late: bool,
}

impl Row {
    pub fn new(
        what: &'static str,
        setup: Box<dyn Fn(&mut Container)>,
        call: &'static [&'static str],
        code: i32,
        text: &str,
        words: Words,
    ) -> Self {
        let text = text.to_owned();
        Self {
            what,
            setup,
            call,
            code,
            text,
            words,
            warnings: &[],
            newer: false,
            ours_only: false,
            late: false,
        }
    }

    pub fn newer(mut self) -> Self {
        self.newer = true;
        self
    }

    pub fn ours_only(mut self) -> Self {
        self.ours_only = true;
        self
    }

    pub fn late(mut self) -> Self {
        self.late = true;
        self
    }

    pub fn warns(mut self, warnings: &'static [&'static str]) -> Self {
        self.warnings = warnings;
        self
    }

    /// Whether this runtime is one the row speaks of.
    pub fn is_about(&self, runtime: &Runtime) -> bool {
        runtime.name() == "tare" || !(self.ours_only || self.newer && runtime.is_runc_before(1, 5))
    }

    /// What `runtime` must print on stderr; `Err` when only a part is agreed.
    fn text_for(&self, runtime: &Runtime) -> Result<String, &'static str> {
        let tare = runtime.name() == "tare";
        let text = match self.words {
            Words::Field(field) if tare => format!("{} ({field})", self.text),
            Words::Then(more) if tare => format!("{}{more}", self.text),
            Words::Ours(text) if tare => text.to_owned(),
            Words::Has(part) if tare => return Err(part),
            _ => self.text.clone(),
        };
        Ok(text.replace("RT", runtime.name()))
    }

    /// The differences between the agreed answer and `output`, in words.
    pub fn check(&self, c: &Container, output: &Output) -> Vec<String> {
        let mut faults = Vec::new();
        let mut want = |what: &str, expected: String, got: String| {
            if expected != got {
                faults
                    .push(format!("{}: {what}\n    expected {expected:?}\n    got      {got:?}", self.what));
            }
        };
        let err = normal(&without_hints(&output.err), c);
        let errors: Vec<String> = output.errors().iter().map(|e| normal(e, c)).collect();
        want("exit code", self.code.to_string(), output.code.to_string());
        match self.text_for(&output.runtime) {
            Ok(text) => {
                // What is told late is not in runc's log, and has no prefix on stderr.
                let logged = !text.is_empty() && (!self.late || output.runtime.name() == "tare");
                want("log", format!("{:?}", Vec::from_iter(logged.then_some(&text))), format!("{errors:?}"));
                want("stderr", text, err);
            }
            Err(part) => {
                want(
                    &format!("one error line with {part:?}"),
                    "true".into(),
                    format!("{}", errors.len() == 1 && errors[0].contains(part)),
                );
                want(&format!("stderr with {part:?}"), "true".into(), err.contains(part).to_string());
            }
        }
        let warnings: Vec<String> = output.messages("warning").iter().map(|w| normal(w, c)).collect();
        // runc warns of more, some of it in logrus' own shape.
        let missing: Vec<_> =
            self.warnings.iter().filter(|w| !warnings.iter().any(|have| have.starts_with(**w))).collect();
        want("warnings", "[]".into(), format!("{missing:?}"));
        faults
    }
}

/// Whether `text` is `pattern`, where `…` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.split_once('…') else { return text == pattern };
    let (middle, last) = others.rsplit_once('…').unwrap_or(("", others));
    let inner = text.strip_prefix(first).and_then(|text| text.strip_suffix(last));
    let found = |mut text: &str| {
        middle.split('…').all(|part| text.split_once(part).map(|(_, after)| text = after).is_some())
    };
    inner.is_some_and(found)
}

/// Takes out what changes from call to call: the bundle, and the number of a file.
fn normal(text: &str, c: &Container) -> String {
    let mut text = text.trim_end_matches('\n').replace(c.bundle.to_str().unwrap(), "BUNDLE");
    while let Some(at) = text.find(", dstFd=") {
        let end = text[at + 2..].find([',', ':']).map_or(text.len(), |n| at + 2 + n);
        text.replace_range(at..end, "");
    }
    text
}

/// Puts every row to `runtime` and fails with all that differs.
fn compare(lab: &Lab, runtime: &Runtime, rows: &[Row]) -> Outcome {
    let mut faults = Vec::new();
    for row in rows.iter().filter(|r| r.is_about(runtime)) {
        let mut c = lab.container_of(runtime, &["true"]);
        (row.setup)(&mut c);
        let output = c.with_bundle(row.call[0], &row.call[1..]);
        faults.extend(row.check(&c, &output));
    }
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}

fn we_answer_a_wrong_config_as_agreed(lab: &Lab) -> Outcome {
    compare(lab, &lab.tare, &golden_config::rows())
}

fn runc_answers_a_wrong_config_as_written(lab: &Lab) -> Outcome {
    compare(lab, &lab.runc()?, &golden_config::rows())
}

fn we_answer_a_life_as_agreed(lab: &Lab) -> Outcome {
    golden_cli::life(lab, &lab.tare)
}

fn runc_answers_a_life_as_written(lab: &Lab) -> Outcome {
    golden_cli::life(lab, &lab.runc()?)
}

fn we_answer_wrong_calls_as_agreed(lab: &Lab) -> Outcome {
    golden_cli::wrong_calls(lab, &lab.tare)
}

fn runc_answers_wrong_calls_as_written(lab: &Lab) -> Outcome {
    golden_cli::wrong_calls(lab, &lab.runc()?)
}

fn we_answer_exec_as_agreed(lab: &Lab) -> Outcome {
    golden_exec::compare(lab, &lab.tare)
}

fn runc_answers_exec_as_written(lab: &Lab) -> Outcome {
    golden_exec::compare(lab, &lab.runc()?)
}
