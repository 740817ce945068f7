//! `make bench`: what containers cost, whole processes measured from outside.
//!
//! All runtimes that are found are measured in one run, in turn, so that what
//! else the machine does hits all of them alike. Beside them stands the floor
//! program, which makes the system calls of one container and nothing else.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, clippy::print_stdout)] // a program for the terminal

mod bundles;
mod measure;
mod memory;
mod plot;
mod report;
mod runtimes;
mod sample;
mod statistics;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use clap::Parser;

use measure::{Measure, Operation, Place, Sleeper};
use report::{Results, Series};
use runtimes::Runtime;
use sample::Sampler;

/// After so many failures in one measure a runtime is not called again.
const PATIENCE: usize = 3;

/// Measures container runtimes beside each other. Needs root; see docs/benchmarks.md.
#[derive(Debug, Parser)]
struct Options {
    /// Samples of each measure; a first one is thrown away
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// How many at a time, in the measures of that kind; 0 leaves them out
    #[arg(long, default_value_t = 50)]
    parallel: usize,
    /// How many containers of each runtime are alive, in the measures of that kind; 0 leaves them out
    #[arg(long, default_value_t = 500)]
    alive: usize,
    /// Leave out the search for the smallest memory limit
    #[arg(long)]
    no_memory: bool,
    /// Milliseconds to wait before each sample
    #[arg(long, default_value_t = 12)]
    pause: u64,
    /// Measure under SCHED_FIFO, against other work on the machine
    #[arg(long)]
    fifo: bool,
    /// One more runtime, or another in place of one that is found
    #[arg(long, value_name = "NAME=PATH", value_parser = named_path)]
    runtime: Vec<(String, PathBuf)>,
    /// The runtime to which ratios are; without this the first crun that starts a container
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// A bundle to `run`; without this all of bench/bundles
    #[arg(long, value_name = "NAME")]
    bundle: Vec<String>,
    /// Where containers and their state live: on a tmpfs, as on real hosts
    #[arg(long, default_value = "/run/tare-bench")]
    work: PathBuf,
    /// Where tables, plot and raw data are put
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("not NAME=PATH")?;
    let path = std::path::absolute(path).map_err(|error| format!("{path}: {error}"))?;
    Ok((name.to_owned(), path))
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    // Containers whose runtime has returned become children of this process, which can wait for them.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    fs::create_dir_all(&options.out)?;
    // Not the process's number: in a PID namespace that is the same every time.
    let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().to_string();
    let work = options.work.join(&run);
    fs::create_dir_all(work.join("state"))?;
    let results = measure_all(&options, &run, &work);
    fs::remove_dir_all(&work)?;
    remove_cgroups(&run);
    let results = results?;
    fs::write(options.out.join("results.json"), serde_json::to_vec_pretty(&results)?)?;
    fs::write(options.out.join("results.svg"), plot::svg(&results))?;
    fs::write(options.out.join("results.md"), results.markdown())?;
    println!("{}", results.markdown());
    Ok(())
}

fn measure_all(options: &Options, run: &str, work: &Path) -> Result<Results, Box<dyn Error>> {
    let busybox = runtimes::on_path("busybox").ok_or("no busybox: install busybox-static")?;
    let place = Place {
        run: run.to_owned(),
        work: work.to_owned(),
        rootfs: bundles::make_rootfs(work, &busybox)?,
        sampler: Sampler {
            program: compile("sample", &options.out)?,
            fifo: options.fifo,
            timeout: Duration::from_secs(60),
        },
    };
    let runtimes = find_runtimes(options, work)?;
    let mut alive = Alive::new(&runtimes);
    let mut series = Vec::new();
    alive.grow(&place, 1);
    let reference = options.reference.clone().unwrap_or_else(|| alive.first_crun());
    series.extend(rounds(options, &place, &runtimes, &alive, one_at_a_time(options)?));
    if options.parallel > 1 {
        series.extend(rounds(options, &place, &runtimes, &alive, under_load(options.parallel, 1)));
    }
    if options.alive > 1 {
        alive.grow(&place, options.alive);
        series.extend(rounds(options, &place, &runtimes, &alive, under_load(1, options.alive)));
    }
    alive.end(&place);
    let limits = if options.no_memory || !memory::can_be_limited() {
        Vec::new()
    } else {
        eprintln!("memory limits");
        let limit = |runtime| memory::smallest_limit(|limit| place.fits(runtime, limit).map(drop));
        runtimes.iter().map(limit).collect()
    };
    Ok(Results { environment: environment(options), reference, runtimes, limits, series })
}

/// Compiles one of the C programs of this directory.
fn compile(name: &str, into: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let program = fs::canonicalize(into)?.join(name);
    let source = bundles::sources().join(name).with_extension("c");
    let status = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).status()?;
    if status.success() { Ok(program) } else { Err(format!("cc failed on {name}.c").into()) }
}

/// tare of this tree, what PATH has, what scripts/peers brought, what the caller names, and the floor.
fn find_runtimes(options: &Options, work: &Path) -> Result<Vec<Runtime>, Box<dyn Error>> {
    let own = bundles::sources().join("../bin/tare");
    let mut paths: Vec<(String, PathBuf)> = Vec::new();
    if let Ok(path) = fs::canonicalize(own) {
        paths.push(("tare".to_owned(), path));
    }
    for name in ["runc", "crun"] {
        paths.extend(runtimes::on_path(name).map(|path| (name.to_owned(), path)));
    }
    for entry in fs::read_dir(bundles::sources().join("../target/peers/bin")).into_iter().flatten() {
        let entry = entry?;
        paths.push((entry.file_name().to_string_lossy().into_owned(), fs::canonicalize(entry.path())?));
    }
    for (name, path) in &options.runtime {
        paths.retain(|(known, _)| known != name);
        paths.push((name.clone(), path.clone()));
    }
    paths.sort_by_key(|(name, _)| (name != "tare", !name.starts_with("runc"), name.clone()));
    paths.push(("floor".to_owned(), compile("floor", &options.out)?));
    paths.iter().map(|(name, path)| Ok(Runtime::new(name, path.clone(), work)?)).collect()
}

fn one_at_a_time(options: &Options) -> std::io::Result<Vec<Measure>> {
    let names = if options.bundle.is_empty() { bundles::names()? } else { options.bundle.clone() };
    let one = |operation, bundle| Measure { operation, bundle, parallel: 1, alive: 1 };
    let mut measures: Vec<_> = names.into_iter().map(|bundle| one(Operation::Run, bundle)).collect();
    measures.extend(under_load(1, 1).into_iter().skip(1));
    measures.push(one(Operation::ExecMuch, bundles::MAIN.to_owned()));
    measures.push(one(Operation::RunCold, bundles::FILTERED.to_owned()));
    measures.push(one(Operation::Exec, bundles::FILTERED.to_owned()));
    Ok(measures)
}

fn under_load(parallel: usize, alive: usize) -> Vec<Measure> {
    [Operation::Run, Operation::Lifecycle, Operation::Exec, Operation::State, Operation::Version]
        .map(|operation| Measure { operation, bundle: bundles::MAIN.to_owned(), parallel, alive })
        .into()
}

/// Takes the samples of some measures, all runtimes in turn within each round.
fn rounds(
    options: &Options,
    place: &Place,
    runtimes: &[Runtime],
    alive: &Alive<'_>,
    measures: Vec<Measure>,
) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for measure in measures {
        for runtime in runtimes.iter().filter(|runtime| Place::applies(&measure, runtime)) {
            let (measure, runtime) = (measure.clone(), runtime.name.clone());
            all.push(Series { measure, runtime, samples: Vec::new(), failures: Vec::new() });
        }
    }
    for round in 0..=options.rounds {
        if let (Some(Series { measure, .. }), true) = (all.first(), round % 10 == 0) {
            let Measure { parallel, alive, .. } = measure;
            eprintln!("{parallel} at a time, {alive} alive: {round} of {}", options.rounds);
        }
        // Who is first changes, so that nobody always follows the same other.
        let first = round % runtimes.len();
        for group in all.chunk_by_mut(|a, b| a.measure == b.measure) {
            group.sort_by_key(|series| {
                let number = runtimes.iter().position(|runtime| runtime.name == series.runtime);
                number.map(|number| (number + first) % runtimes.len())
            });
            for series in group.iter_mut().filter(|series| series.failures.len() < PATIENCE) {
                let Some((runtime, sleeper)) = alive.of(&series.runtime, &series.measure.bundle) else {
                    continue;
                };
                thread::sleep(Duration::from_millis(options.pause));
                match place.sample(&series.measure, runtime, sleeper) {
                    Ok(cost) if round > 0 => series.samples.push(cost),
                    Ok(_) => {}
                    Err(failure) => series.failures.push(failure),
                }
            }
        }
    }
    for group in all.chunk_by_mut(|a, b| a.measure == b.measure) {
        group.sort_by_key(|series| runtimes.iter().position(|runtime| runtime.name == series.runtime));
    }
    all
}

/// The containers that sleep while others are measured.
struct Alive<'a> {
    of: Vec<(&'a Runtime, Vec<Sleeper>)>,
    /// One of each runtime that has a filter.
    filtered: Vec<(&'a Runtime, Vec<Sleeper>)>,
}

impl<'a> Alive<'a> {
    fn new(runtimes: &'a [Runtime]) -> Self {
        let none = || runtimes.iter().map(|runtime| (runtime, Vec::new())).collect();
        Alive { of: none(), filtered: none() }
    }

    /// The runtime of that name, and the container whose state it is asked for, or in which it executes.
    fn of(&self, name: &str, bundle: &str) -> Option<(&Runtime, Option<&str>)> {
        let all = if bundle == bundles::FILTERED { &self.filtered } else { &self.of };
        let (runtime, sleepers) = all.iter().find(|(runtime, _)| runtime.name == name)?;
        Some((runtime, sleepers.last().map(|sleeper| sleeper.id.as_str())))
    }

    /// The name of the first crun that runs here: those of some years refuse some hosts.
    fn first_crun(&self) -> String {
        let crun = self
            .of
            .iter()
            .find(|(runtime, sleepers)| runtime.name.starts_with("crun") && !sleepers.is_empty());
        crun.map_or_else(|| "crun".to_owned(), |(runtime, _)| runtime.name.clone())
    }

    /// Starts containers until each runtime that can has `count`, and one with a filter.
    fn grow(&mut self, place: &Place, count: usize) {
        let kinds = [(&mut self.of, bundles::MAIN, count), (&mut self.filtered, bundles::FILTERED, 1)];
        for (all, bundle, count) in kinds {
            for (runtime, sleepers) in all.iter_mut().filter(|(runtime, _)| !runtime.is_floor) {
                while sleepers.len() < count {
                    match place.start_sleeper(runtime, bundle, sleepers.len()) {
                        Ok(sleeper) => sleepers.push(sleeper),
                        Err(failure) => {
                            let (name, is) = (&runtime.name, sleepers.len());
                            eprintln!("{name}, {bundle}: {is} of {count} alive: {failure}");
                            break;
                        }
                    }
                }
            }
        }
    }

    fn end(self, place: &Place) {
        for (runtime, sleepers) in self.of.into_iter().chain(self.filtered) {
            for sleeper in sleepers {
                if let Err(failure) = place.end_sleeper(runtime, &sleeper) {
                    eprintln!("{}: {} is left: {failure}", runtime.name, sleeper.id);
                }
            }
        }
    }
}

/// Removes the benchmark's control groups, in every hierarchy: some runtimes leave theirs when they fail.
fn remove_cgroups(run: &str) {
    let top = Path::new("/sys/fs/cgroup");
    let entries = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
    let own = format!("-{run}-");
    for hierarchy in entries(top).map(|entry| entry.path()).chain([top.to_owned()]) {
        let parent = hierarchy.join("tare-bench");
        for group in entries(&parent).filter(|group| group.file_name().to_string_lossy().contains(&own)) {
            let _ = fs::remove_dir(group.path());
        }
        // Not there, or in use by another run of the benchmark: both are fine.
        let _ = fs::remove_dir(parent);
    }
}

fn environment(options: &Options) -> String {
    let uname = rustix::system::uname();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let exists = |path: &str| Path::new("/sys/fs/cgroup").join(path).exists();
    let cgroup = match (exists("cgroup.procs"), exists("unified")) {
        (true, _) => "v2",
        (false, true) => "v1 and v2 (hybrid)",
        (false, false) => "v1",
    };
    format!(
        "Linux {}, {processors} processors, cgroup {cgroup}; {} rounds, a pause of {} ms before each sample{}.",
        uname.release().to_string_lossy(),
        options.rounds,
        options.pause,
        if options.fifo { ", under SCHED_FIFO" } else { "" }
    )
}
