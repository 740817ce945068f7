//! What is measured, and how one sample of it is taken.
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};
use serde::Serialize;

use crate::bundles::{self, Changes};
use crate::runtimes::{Call, Runtime};
use crate::sample::{Cost, Sampler};

/// The calls that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// `run` of a container that executes `true`.
    Run,
    /// The same with nothing kept from earlier calls: crun keeps the filters that it has compiled.
    RunCold,
    /// `create`, `start` and `delete` of one; not the time between, in which `true` ends.
    Lifecycle,
    /// `exec` of `true` in a running container.
    Exec,
    /// The same with much environment.
    ExecMuch,
    /// `state` of a running container.
    State,
    /// `--version`.
    Version,
}

/// An operation, and the circumstances under which it is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// What is called.
    pub operation: Operation,
    /// The bundle of the container.
    pub bundle: String,
    /// How many at a time; the cost is then that of one in the mean.
    pub parallel: usize,
    /// How many other containers of each runtime are alive.
    pub alive: usize,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            Operation::Run => write!(f, "run true, {}", self.bundle),
            Operation::RunCold => write!(f, "run true, {}, nothing kept", self.bundle),
            Operation::Lifecycle => write!(f, "create + start + delete"),
            Operation::Exec if self.bundle != bundles::MAIN => write!(f, "exec true, {}", self.bundle),
            Operation::Exec => write!(f, "exec true"),
            Operation::ExecMuch => write!(f, "exec true, 128 KiB environment"),
            Operation::State => write!(f, "state"),
            Operation::Version => write!(f, "--version"),
        }
    }
}

/// Why there is nothing to ask for a state.
const NO_SLEEPER: &str = "no container of it runs";

/// Where samples are taken.
#[derive(Clone, Debug)]
pub struct Place {
    /// The name of this run of the benchmark, which is in the names of all its containers.
    pub run: String,
    /// The directory for everything that is written.
    pub work: PathBuf,
    /// The root file system.
    pub rootfs: PathBuf,
    /// How calls are measured.
    pub sampler: Sampler,
}

/// A container that runs until it is killed.
#[derive(Clone, Debug)]
pub struct Sleeper {
    /// Its name.
    pub id: String,
    pid: Pid,
}

impl Place {
    /// Whether the runtime can do the operation at all: the floor program can not do most.
    pub fn applies(measure: &Measure, runtime: &Runtime) -> bool {
        !runtime.is_floor
            || match measure.operation {
                Operation::Run => bundles::OF_FLOOR.contains(&measure.bundle.as_str()),
                Operation::Version => true,
                Operation::RunCold
                | Operation::Lifecycle
                | Operation::Exec
                | Operation::ExecMuch
                | Operation::State => false,
            }
    }

    /// Takes one sample. `sleeper` is the container for `exec` and `state`.
    pub fn sample(
        &self,
        measure: &Measure,
        runtime: &Runtime,
        sleeper: Option<&str>,
    ) -> Result<Cost, String> {
        if measure.parallel == 1 {
            let slot = self.slot(measure, runtime, 0)?;
            return self.perform(measure, runtime, &slot, sleeper);
        }
        let ready = Barrier::new(measure.parallel + 1);
        thread::scope(|scope| {
            let calls: Vec<_> = (0..measure.parallel)
                .map(|number| {
                    let ready = &ready;
                    scope.spawn(move || {
                        let slot = self.slot(measure, runtime, number);
                        ready.wait();
                        self.perform(measure, runtime, &slot?, sleeper)
                    })
                })
                .collect();
            ready.wait();
            let start = Instant::now();
            let mut sum = Ok(Cost::default());
            for call in calls {
                let cost = call.join().map_err(|_| "a thread of the benchmark panicked")?;
                sum = sum.and_then(|sum: Cost| Ok(sum.plus(cost?)));
            }
            let wall = start.elapsed().as_secs_f64() * 1e3;
            let each = measure.parallel as f64;
            sum.map(|sum| Cost { wall: wall / each, cpu: sum.cpu / each, rss: sum.rss })
        })
    }

    fn perform(
        &self,
        measure: &Measure,
        runtime: &Runtime,
        slot: &Slot,
        sleeper: Option<&str>,
    ) -> Result<Cost, String> {
        let Slot { id, bundle, .. } = slot;
        let result = match measure.operation {
            Operation::Run => self.call(runtime, slot, Call::Run { bundle, id, memory: None }),
            Operation::RunCold => {
                // Only crun has one.
                let _ = fs::remove_dir_all(runtime.root.join(".cache"));
                self.call(runtime, slot, Call::Run { bundle, id, memory: None })
            }
            Operation::Lifecycle => self.lifecycle(runtime, slot),
            Operation::Exec => {
                return self.call(runtime, slot, Call::Exec { id: sleeper.ok_or(NO_SLEEPER)?, much: false });
            }
            Operation::ExecMuch => {
                return self.call(runtime, slot, Call::Exec { id: sleeper.ok_or(NO_SLEEPER)?, much: true });
            }
            Operation::State => {
                return self.call(runtime, slot, Call::State { id: sleeper.ok_or(NO_SLEEPER)? });
            }
            Operation::Version => return self.call(runtime, slot, Call::Version),
        };
        if result.is_err() && !runtime.is_floor {
            // Whatever it left must not be in the way of the next sample.
            let _ = self.call(runtime, slot, Call::DeleteForce { id });
        }
        result
    }

    fn lifecycle(&self, runtime: &Runtime, slot: &Slot) -> Result<Cost, String> {
        let Slot { id, bundle, pid_file, .. } = slot;
        let create = self.call(runtime, slot, Call::Create { bundle, id, pid_file })?;
        let pid = read_pid(pid_file)?;
        let start = self.call(runtime, slot, Call::Start { id })?;
        reap(pid)?;
        let delete = self.call(runtime, slot, Call::Delete { id })?;
        Ok(create.plus(start).plus(delete))
    }

    /// Runs `true` under a memory limit in bytes.
    pub fn fits(&self, runtime: &Runtime, memory: u64) -> Result<Cost, String> {
        let id = self.identity(runtime, "memory");
        let slot = self.prepare(&id, bundles::MAIN, &["true"], Some(memory))?;
        let result =
            self.call(runtime, &slot, Call::Run { bundle: &slot.bundle, id: &id, memory: Some(memory) });
        if result.is_err() && !runtime.is_floor {
            let _ = self.call(runtime, &slot, Call::DeleteForce { id: &id });
        }
        result
    }

    /// Starts a container that sleeps.
    pub fn start_sleeper(&self, runtime: &Runtime, bundle: &str, number: usize) -> Result<Sleeper, String> {
        let id = self.identity(runtime, &format!("{bundle}{number}"));
        // If the benchmark is killed outside of a PID namespace they end by themselves some day.
        let slot = self.prepare(&id, bundle, &["sleep", "7200"], None)?;
        let Slot { bundle, pid_file, .. } = &slot;
        self.call(runtime, &slot, Call::RunDetached { bundle, id: &id, pid_file })?;
        Ok(Sleeper { pid: read_pid(pid_file)?, id })
    }

    /// Ends and removes a container that sleeps.
    pub fn end_sleeper(&self, runtime: &Runtime, sleeper: &Sleeper) -> Result<(), String> {
        let slot = self.prepare(&sleeper.id, bundles::MAIN, &["sleep", "7200"], None)?;
        self.call(runtime, &slot, Call::DeleteForce { id: &sleeper.id })?;
        reap(sleeper.pid)
    }

    fn call(&self, runtime: &Runtime, slot: &Slot, call: Call<'_>) -> Result<Cost, String> {
        let line = runtime.command(call, slot.user).map_err(|error| error.to_string())?;
        self.sampler.measure(&line, slot.user, &slot.errors)
    }

    fn slot(&self, measure: &Measure, runtime: &Runtime, number: usize) -> Result<Slot, String> {
        self.prepare(&self.identity(runtime, &number.to_string()), &measure.bundle, &["true"], None)
    }

    /// A name that no other run of the benchmark uses, not even for a control group.
    fn identity(&self, runtime: &Runtime, what: &str) -> String {
        format!("{}-{}-{what}", runtime.name, self.run)
    }

    fn prepare(&self, id: &str, bundle: &str, args: &[&str], memory: Option<u64>) -> Result<Slot, String> {
        let user = (bundle == bundles::ROOTLESS).then_some(bundles::USER);
        let changes = Changes { rootfs: &self.rootfs, args, id, memory, user };
        let bundle =
            bundles::make(&self.work, bundle, changes).map_err(|error| format!("bundle: {error}"))?;
        Ok(Slot {
            pid_file: bundle.with_extension("pid"),
            errors: bundle.with_extension("stderr"),
            id: id.to_owned(),
            bundle,
            user,
        })
    }
}

/// A container to come: its name and its files.
#[derive(Clone, Debug)]
struct Slot {
    id: String,
    bundle: PathBuf,
    pid_file: PathBuf,
    errors: PathBuf,
    user: Option<u32>,
}

fn read_pid(file: &Path) -> Result<Pid, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    text.trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| format!("{}: no pid: {text}", file.display()))
}

/// Waits for an orphaned container: the benchmark is its subreaper.
fn reap(pid: Pid) -> Result<(), String> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(None) => thread::sleep(Duration::from_micros(200)),
            Ok(Some(_)) => return Ok(()),
            Err(error) => return Err(format!("waitpid {pid}: {error}")),
        }
    }
    Err(format!("process {pid} of the container does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_measured_where_it_does_the_same_work() {
        let runtime = |is_floor| Runtime {
            name: "x".into(),
            path: "/x".into(),
            version: String::new(),
            size: 0,
            is_floor,
            root: "/r".into(),
        };
        for (operation, bundle, applies) in [
            (Operation::Run, "plain", true),
            (Operation::Run, "plain-cgns", true),
            (Operation::Run, "minimal", false),
            (Operation::Version, "plain", true),
            (Operation::State, "plain", false),
            (Operation::RunCold, "plain", false),
            (Operation::Exec, "plain", false),
            (Operation::ExecMuch, "plain", false),
            (Operation::Lifecycle, "plain", false),
        ] {
            let measure = Measure { operation, bundle: bundle.into(), parallel: 1, alive: 1 };
            assert_eq!(Place::applies(&measure, &runtime(true)), applies, "{measure:?}");
            assert!(Place::applies(&measure, &runtime(false)));
        }
    }
}
