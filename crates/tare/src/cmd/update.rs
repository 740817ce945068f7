//! `tare update`.
use std::ffi::OsString;
use std::str::FromStr;

use clap::Args;
use oci::{BlockIo, Cpu, Memory, Pids, Resources};
use runtime::ops::{self, UpdateOptions};
use runtime::{Context, Error, Kind, Result};

use super::{Container, lossy};
use crate::cli::Act;
use crate::size;

/// How much is read of a file with resources.
const LIMIT: usize = 16 << 20;

/// Change the limits of a container
///
/// All changes are made or, if one can't be, none; what is not named stays as it is. Sizes are in bytes
/// or have a unit (10M, 1.5g); -1 is no limit. Rules for devices can't be changed.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    container: Container,
    /// Read the limits from FILE, or from standard input if it is -; flags that are limits are not looked at then
    ///
    /// It has the shape of `linux.resources` in config.json: {"memory": {"limit": 33554432}}.
    #[arg(long, short, value_name = "FILE")]
    resources: Option<OsString>,
    #[command(flatten)]
    flags: Flags,
    /// Set the schema of the L3 cache (Intel RDT)
    #[arg(long, value_name = "SCHEMA", value_parser = lossy())]
    l3_cache_schema: Option<String>,
    /// Set the schema of memory bandwidth (Intel RDT)
    #[arg(long, value_name = "SCHEMA", value_parser = lossy())]
    mem_bw_schema: Option<String>,
}

/// The flags that are a limit each. An empty value counts as not given, as in runc.
#[derive(Args, Debug, Default, PartialEq, Eq)]
struct Flags {
    /// Weight of block devices, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Length of a period, in microseconds
    #[arg(long, value_name = "N", value_parser = lossy())]
    cpu_period: Option<String>,
    /// CPU time in a period, in microseconds; -1 is no limit
    #[arg(long, value_name = "N", value_parser = lossy())]
    cpu_quota: Option<String>,
    /// CPU time that may be saved up for a burst, in microseconds
    #[arg(long, value_name = "N", value_parser = lossy())]
    cpu_burst: Option<String>,
    /// Weight among all that want CPU time, from 2 to 262144
    #[arg(long, value_name = "N", value_parser = lossy())]
    cpu_share: Option<String>,
    /// Length of a period for realtime processes, in microseconds (cgroup v1)
    #[arg(long, value_name = "N", value_parser = lossy())]
    cpu_rt_period: Option<String>,
    /// CPU time of realtime processes in a period, in microseconds (cgroup v1)
    #[arg(long, value_name = "N", value_parser = lossy())]
    cpu_rt_runtime: Option<String>,
    /// The CPUs to use, as a list: 0-3,7
    #[arg(long, value_name = "LIST", value_parser = lossy())]
    cpuset_cpus: Option<String>,
    /// The memory nodes to use, as a list
    #[arg(long, value_name = "LIST", value_parser = lossy())]
    cpuset_mems: Option<String>,
    /// Ignored
    #[arg(long, value_name = "SIZE", hide = true, value_parser = lossy())]
    kernel_memory: Option<String>,
    /// Ignored
    #[arg(long, value_name = "SIZE", hide = true, value_parser = lossy())]
    kernel_memory_tcp: Option<String>,
    /// Memory
    #[arg(long, value_name = "SIZE", value_parser = lossy())]
    memory: Option<String>,
    /// 1 to run only when nobody else wants to, 0 to run as others
    #[arg(long, value_name = "N", value_parser = lossy())]
    cpu_idle: Option<String>,
    /// Memory that the container keeps when the host is short of it
    #[arg(long, value_name = "SIZE", value_parser = lossy())]
    memory_reservation: Option<String>,
    /// Memory and swap together
    #[arg(long, value_name = "SIZE", value_parser = lossy())]
    memory_swap: Option<String>,
    /// Number of processes and threads; -1 is no limit
    #[arg(long, value_name = "N")]
    pids_limit: Option<i64>,
}

impl Act for Update {
    fn act(self, ctx: &Context) -> Result<i32> {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let resources = match self.resources.filter(|file| !file.is_empty()) {
            Some(file) => {
                if self.flags != Flags::default() {
                    log::warn!("--resources is given: flags that are limits are not looked at");
                }
                read(&file)?
            }
            None => self.flags.resources()?,
        };
        let options = UpdateOptions {
            resources,
            l3_cache_schema: filled(self.l3_cache_schema),
            mem_bw_schema: filled(self.mem_bw_schema),
        };
        ops::update(ctx, &self.container.id, &options)?;
        Ok(0)
    }
}

/// The limits in a file, or in standard input.
fn read(file: &OsString) -> Result<Resources> {
    let data = if file == "-" {
        sys::file::read_fd(sys::process::stdio()[0], LIMIT).map_err(|errno| {
            Error::new(Kind::System, format!("read standard input: {}", sys::errno_text(errno)))
        })?
    } else {
        sys::file::read(file)?
    };
    let resources = oci::from_json(&data).map_err(|error| {
        Error::new(Kind::Invalid, format!("--resources {}: {error}", file.to_string_lossy()))
    })?;
    Ok(resources.unwrap_or_default())
}

impl Flags {
    fn resources(self) -> Result<Resources> {
        Ok(Resources {
            memory: Some(Memory {
                limit: bytes("memory", self.memory)?,
                reservation: bytes("memory-reservation", self.memory_reservation)?,
                swap: bytes("memory-swap", self.memory_swap)?,
                kernel: bytes("kernel-memory", self.kernel_memory)?,
                kernel_tcp: bytes("kernel-memory-tcp", self.kernel_memory_tcp)?,
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                shares: number("cpu-share", self.cpu_share)?,
                quota: number("cpu-quota", self.cpu_quota)?,
                burst: number("cpu-burst", self.cpu_burst)?,
                period: number("cpu-period", self.cpu_period)?,
                realtime_runtime: number("cpu-rt-runtime", self.cpu_rt_runtime)?,
                realtime_period: number("cpu-rt-period", self.cpu_rt_period)?,
                cpus: self.cpuset_cpus.unwrap_or_default(),
                mems: self.cpuset_mems.unwrap_or_default(),
                idle: number("cpu-idle", self.cpu_idle)?,
            }),
            pids: Some(Pids { limit: self.pids_limit }),
            block_io: Some(BlockIo { weight: self.blkio_weight, ..BlockIo::default() }),
            ..Resources::default()
        })
    }
}

fn number<N: FromStr>(flag: &str, text: Option<String>) -> Result<Option<N>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| wrong(flag, &format!("{text:?} is not a number that it can be")))
}

fn bytes(flag: &str, text: Option<String>) -> Result<Option<i64>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text == "-1" {
        return Ok(Some(-1));
    }
    size::parse(&text).map(Some).map_err(|reason| wrong(flag, &reason))
}

fn wrong(flag: &str, reason: &str) -> Error {
    Error::new(Kind::Invalid, format!("invalid value for {flag}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_limits() {
        let flags =
            Flags { cpu_quota: Some("-1".into()), memory_swap: Some("1.5g".into()), ..Flags::default() };
        let resources = flags.resources().unwrap();
        assert_eq!(resources.cpu.unwrap().quota, Some(-1));
        assert_eq!(resources.memory.unwrap().swap, Some(3 << 29));
        let flags = Flags { cpu_quota: Some(String::new()), ..Flags::default() };
        assert_eq!(flags.resources().unwrap().cpu, Some(Cpu::default()));
    }

    #[test]
    fn wrong_values_name_their_flag() {
        let none = Flags::default;
        for (flags, text) in [
            (
                Flags { cpu_period: Some("-1".into()), ..none() },
                "invalid value for cpu-period: \"-1\" is not a number that it can be",
            ),
            (Flags { memory: Some("10X".into()), ..none() }, "invalid value for memory: invalid suffix: 'x'"),
            (Flags { memory: Some("-2".into()), ..none() }, "invalid value for memory: invalid size: '-2'"),
        ] {
            assert_eq!(flags.resources().unwrap_err().text, text);
        }
    }
}
