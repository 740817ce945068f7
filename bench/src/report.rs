//! The results: everything as JSON, and the medians as tables in Markdown.
use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::measure::Measure;
use crate::runtimes::Runtime;
use crate::sample::Cost;
use crate::statistics::{median, quantile};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Results {
    /// One line on the machine and on how it was measured.
    pub environment: String,
    /// The runtime to which ratios are.
    pub reference: String,
    /// Who was compared.
    pub runtimes: Vec<Runtime>,
    /// The smallest memory limit of each runtime, or why there is none; empty where memory cannot be limited.
    pub limits: Vec<Result<u64, String>>,
    /// All samples, in the order of the tables.
    pub series: Vec<Series>,
}

/// The samples of one runtime in one measure.
#[derive(Debug, Serialize)]
pub struct Series {
    /// What was measured.
    pub measure: Measure,
    /// Of whom.
    pub runtime: String,
    /// The samples that succeeded.
    pub samples: Vec<Cost>,
    /// What those that did not said.
    pub failures: Vec<String>,
}

impl Series {
    /// The median of the wall clock in milliseconds.
    pub fn wall(&self) -> Option<f64> {
        median(&self.of(|cost| cost.wall))
    }

    /// The 95th percentile of the wall clock in milliseconds.
    pub fn slow_wall(&self) -> Option<f64> {
        quantile(&self.of(|cost| cost.wall), 0.95)
    }

    /// The median of the CPU time in milliseconds.
    pub fn cpu(&self) -> Option<f64> {
        median(&self.of(|cost| cost.cpu))
    }

    /// The greatest peak resident size in kB.
    pub fn rss(&self) -> Option<f64> {
        quantile(&self.of(|cost| cost.rss as f64), 1.0)
    }

    fn of(&self, part: impl Fn(&Cost) -> f64) -> Vec<f64> {
        self.samples.iter().map(part).collect()
    }
}

impl Results {
    /// The series of one measure, in the order of the runtimes.
    pub fn groups(&self) -> impl Iterator<Item = &[Series]> {
        self.series.chunk_by(|a, b| a.measure == b.measure)
    }

    /// All tables.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.environment);
        self.runtimes_table(&mut text);
        self.ratios_table(&mut text);
        self.samples_table(&mut text);
        self.failures_list(&mut text);
        text
    }

    fn runtimes_table(&self, text: &mut String) {
        text.push_str("| runtime | version | size, kB | smallest memory limit, kB |\n|---|---|---:|---:|\n");
        for (number, runtime) in self.runtimes.iter().enumerate() {
            let limit = match self.limits.get(number) {
                Some(Ok(bytes)) => (bytes / 1024).to_string(),
                Some(Err(_)) => "fails".to_owned(),
                None => "–".to_owned(),
            };
            let (name, version, size) = (&runtime.name, &runtime.version, runtime.size / 1000);
            line(text, format_args!("| {name} | {version} | {size} | {limit} |"));
        }
    }

    fn ratios_table(&self, text: &mut String) {
        line(text, format_args!("\nMedians of wall clock / CPU time, as shares of {}'s:\n", self.reference));
        line(text, format_args!("| measure | {} |", self.names().join(" | ")));
        line(text, format_args!("|---|{}", "---:|".repeat(self.runtimes.len())));
        for group in self.groups() {
            let reference = group.iter().find(|series| series.runtime == self.reference);
            let cells: Vec<String> = self
                .names()
                .iter()
                .map(|name| {
                    let series = group.iter().find(|series| series.runtime == *name);
                    ratio_cell(series, reference)
                })
                .collect();
            line(text, format_args!("| {} | {} |", title(&group[0].measure), cells.join(" | ")));
        }
    }

    fn samples_table(&self, text: &mut String) {
        text.push_str("\n| measure | runtime | wall, ms | 95 % | CPU, ms | peak RSS, kB | samples |\n");
        text.push_str("|---|---|---:|---:|---:|---:|---:|\n");
        for group in self.groups() {
            for (number, series) in group.iter().enumerate() {
                let title = if number == 0 { title(&series.measure) } else { String::new() };
                let (wall, slow) = (milliseconds(series.wall()), milliseconds(series.slow_wall()));
                let (cpu, rss) = (milliseconds(series.cpu()), series.rss().unwrap_or_default());
                let (runtime, count) = (&series.runtime, series.samples.len());
                if count == 0 {
                    line(text, format_args!("| {title} | {runtime} | fails | | | | 0 |"));
                } else {
                    line(
                        text,
                        format_args!("| {title} | {runtime} | {wall} | {slow} | {cpu} | {rss} | {count} |"),
                    );
                }
            }
        }
    }

    fn failures_list(&self, text: &mut String) {
        let of_series = self.series.iter().filter_map(|series| {
            let first = series.failures.first()?;
            Some((&series.runtime, first, title(&series.measure)))
        });
        let of_limits = self.runtimes.iter().zip(&self.limits).filter_map(|(runtime, limit)| {
            Some((&runtime.name, limit.as_ref().err()?, "memory limit".to_owned()))
        });
        // Most often one reason makes a runtime fail at everything.
        let mut reasons: BTreeMap<(&String, &String), Vec<String>> = BTreeMap::new();
        for (runtime, reason, title) in of_series.chain(of_limits) {
            reasons.entry((runtime, reason)).or_default().push(title);
        }
        if !reasons.is_empty() {
            text.push_str("\nFailures, which are in no figure above:\n\n");
        }
        for ((runtime, reason), titles) in reasons {
            line(text, format_args!("- {runtime}: {reason} ({})", titles.join("; ")));
        }
    }

    fn names(&self) -> Vec<&str> {
        self.runtimes.iter().map(|runtime| runtime.name.as_str()).collect()
    }
}

/// The measure with its circumstances.
pub fn title(measure: &Measure) -> String {
    match (measure.parallel, measure.alive) {
        (1, 0 | 1) => measure.to_string(),
        (1, alive) => format!("{measure}, {alive} alive"),
        (parallel, _) => format!("{measure}, {parallel} at a time"),
    }
}

fn ratio_cell(series: Option<&Series>, reference: Option<&Series>) -> String {
    let Some(series) = series else { return "–".to_owned() };
    if series.samples.is_empty() {
        return "fails".to_owned();
    }
    let ratio = |part: fn(&Series) -> Option<f64>| match (part(series), reference.and_then(part)) {
        (Some(own), Some(other)) if other > 0.0 => format!("{:.2}", own / other),
        _ => "–".to_owned(),
    };
    format!("{} / {}", ratio(Series::wall), ratio(Series::cpu))
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Operation;

    fn series(runtime: &str, walls: &[f64]) -> Series {
        Series {
            measure: Measure { operation: Operation::State, bundle: "plain".into(), parallel: 1, alive: 1 },
            runtime: runtime.into(),
            samples: walls.iter().map(|&wall| Cost { wall, cpu: wall / 2.0, rss: 100 }).collect(),
            failures: if walls.is_empty() { vec!["exit status 1: no".into()] } else { vec![] },
        }
    }

    fn results() -> Results {
        let runtime = |name: &str| Runtime {
            name: name.into(),
            path: "/x".into(),
            version: format!("{name} version 1"),
            size: 2_000_000,
            is_floor: false,
            root: "/r".into(),
        };
        Results {
            environment: "Linux 6".into(),
            reference: "b".into(),
            runtimes: ["a", "b", "c"].map(runtime).into(),
            limits: vec![Ok(131_072), Err("killed".into()), Ok(4096)],
            series: vec![series("a", &[1.0, 3.0]), series("b", &[4.0]), series("c", &[])],
        }
    }

    #[test]
    fn tables_name_medians_ratios_and_failures() {
        let text = results().markdown();
        for expected in [
            "| a | a version 1 | 2000 | 128 |",
            "| b | b version 1 | 2000 | fails |",
            "| state | 0.50 / 0.50 | 1.00 / 1.00 | fails |",
            "| state | a | 2.00 | 2.90 | 1.00 | 100 | 2 |",
            "|  | c | fails | | | | 0 |",
            "- c: exit status 1: no (state)",
            "- b: killed (memory limit)",
        ] {
            assert!(text.contains(&format!("{expected}\n")), "{expected}\nnot in\n{text}");
        }
    }

    #[test]
    fn without_the_reference_there_are_no_ratios() {
        let mut results = results();
        results.reference = "nobody".into();
        assert!(results.markdown().contains("| state | – / – | – / – | fails |\n"));
    }
}
