//! The lines that `events` prints: statistics of a container's cgroup, and that it is out of memory.
//!
//! The specification has no such types; the shape is that of runc 1.5, which engines parse.
use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::object::{Field, object};

object! {
    /// One line of `events`.
    pub struct Event {
        /// `stats` or `oom`.
        pub r#type: String => "type",
        /// The container.
        pub id: String => "id",
        /// What an event of type `stats` is about.
        pub data: Option<Stats> => "data" omitempty,
    }

    /// What the kernel has counted for a container. What it does not count is 0, or left out.
    pub struct Stats {
        /// Processor time.
        pub cpu: Cpu => "cpu",
        /// Processors and memory nodes (cgroup v1).
        pub cpuset: CpuSet => "cpuset",
        /// Memory.
        pub memory: Memory => "memory",
        /// Processes and threads.
        pub pids: Pids => "pids",
        /// Block devices.
        pub blkio: Blkio => "blkio",
        /// Huge pages, by their size: `2MB`.
        pub hugetlb: BTreeMap<String, Hugetlb> => "hugetlb",
        /// Cache and memory bandwidth, of a container with `linux.intelRdt`.
        pub intel_rdt: IntelRdt => "intel_rdt",
        /// Always `null`: the configuration of a container names no interfaces that the runtime has made.
        pub network_interfaces: Option<Vec<NetworkInterface>> => "network_interfaces",
    }

    /// Processor time.
    pub struct Cpu {
        /// How much was used.
        pub usage: CpuUsage => "usage" omitzero,
        /// How often the quota was used up.
        pub throttling: Throttling => "throttling" omitzero,
        /// How long processes waited for a processor (cgroup v2).
        pub psi: Option<Pressure> => "psi" omitempty,
    }

    /// Used processor time, in nanoseconds.
    pub struct CpuUsage {
        /// All of it.
        pub total: u64 => "total" omitempty,
        /// On each processor (cgroup v1).
        pub percpu: Vec<u64> => "percpu" omitempty,
        /// On each processor, in the kernel (cgroup v1).
        pub percpu_kernel: Vec<u64> => "percpu_kernel" omitempty,
        /// On each processor, in programs (cgroup v1).
        pub percpu_user: Vec<u64> => "percpu_user" omitempty,
        /// In the kernel.
        pub kernel: u64 => "kernel",
        /// In programs.
        pub user: u64 => "user",
    }

    /// How often the quota of processor time was used up.
    pub struct Throttling {
        /// Periods in which there was something to run.
        pub periods: u64 => "periods" omitempty,
        /// Periods in which the quota was used up.
        pub throttled_periods: u64 => "throttledPeriods" omitempty,
        /// How long processes had to wait for the next period, in nanoseconds.
        pub throttled_time: u64 => "throttledTime" omitempty,
    }

    /// Pressure stall information: how long processes waited for a resource.
    pub struct Pressure {
        /// At least one had to wait.
        pub some: Stall => "some" omitzero,
        /// All had to wait.
        pub full: Stall => "full" omitzero,
    }

    /// Shares of time in which processes had to wait.
    pub struct Stall {
        /// Of the last 10 seconds.
        pub avg10: Percent => "avg10",
        /// Of the last minute.
        pub avg60: Percent => "avg60",
        /// Of the last 5 minutes.
        pub avg300: Percent => "avg300",
        /// Microseconds in all.
        pub total: u64 => "total",
    }

    /// What the cpuset controller of cgroup v1 allows.
    pub struct CpuSet {
        /// The processors.
        pub cpus: Vec<u16> => "cpus" omitempty,
        /// Whether no sibling may have the same processors.
        pub cpu_exclusive: u64 => "cpu_exclusive",
        /// The memory nodes.
        pub mems: Vec<u16> => "mems" omitempty,
        /// Whether memory of the kernel stays on the nodes as well.
        pub mem_hardwall: u64 => "mem_hardwall",
        /// Whether no sibling may have the same memory nodes.
        pub mem_exclusive: u64 => "mem_exclusive",
        /// Whether memory moves when the nodes change.
        pub memory_migrate: u64 => "memory_migrate",
        /// Whether the page cache is spread over the nodes.
        pub memory_spread_page: u64 => "memory_spread_page",
        /// Whether caches of the kernel are spread over the nodes.
        pub memory_spread_slab: u64 => "memory_spread_slab",
        /// How hard it is to find free memory on the nodes.
        pub memory_pressure: u64 => "memory_pressure",
        /// Whether load is balanced over the processors.
        pub sched_load_balance: u64 => "sched_load_balance",
        /// How far processes are moved to be run; -1 is the system's default.
        pub sched_relax_domain_level: i64 => "sched_relax_domain_level",
    }

    /// Memory, in bytes.
    pub struct Memory {
        /// The page cache.
        pub cache: u64 => "cache" omitempty,
        /// Memory.
        pub usage: MemoryUse => "usage" omitzero,
        /// Memory and swap together.
        pub swap: MemoryUse => "swap" omitzero,
        /// The kernel's own (cgroup v1).
        pub kernel: MemoryUse => "kernel" omitzero,
        /// Buffers of TCP (cgroup v1).
        pub kernel_tcp: MemoryUse => "kernelTCP" omitzero,
        /// Everything in `memory.stat`.
        pub raw: BTreeMap<String, u64> => "raw" omitempty,
        /// How long processes waited for memory (cgroup v2).
        pub psi: Option<Pressure> => "psi" omitempty,
    }

    /// One kind of memory, in bytes.
    pub struct MemoryUse {
        /// As much as there may be; 2^64-1 (cgroup v2) or the largest number of pages (v1) is no limit.
        pub limit: u64 => "limit",
        /// As much as there is.
        pub usage: u64 => "usage" omitempty,
        /// As much as there ever was.
        pub max: u64 => "max" omitempty,
        /// How often there was no more to be had (cgroup v1).
        pub failcnt: u64 => "failcnt",
    }

    /// Processes and threads.
    pub struct Pids {
        /// So many there are.
        pub current: u64 => "current" omitempty,
        /// So many there may be; 0 is no limit.
        pub limit: u64 => "limit" omitempty,
    }

    /// What went to block devices and came from them, in the cgroup and those below.
    pub struct Blkio {
        /// Bytes.
        pub service_bytes: Vec<BlkioEntry> => "ioServiceBytesRecursive" omitempty,
        /// Reads and writes.
        pub serviced: Vec<BlkioEntry> => "ioServicedRecursive" omitempty,
        /// Reads and writes that wait (cgroup v1).
        pub queued: Vec<BlkioEntry> => "ioQueueRecursive" omitempty,
        /// Nanoseconds from start to end (cgroup v1).
        pub service_time: Vec<BlkioEntry> => "ioServiceTimeRecursive" omitempty,
        /// Nanoseconds of waiting (cgroup v1).
        pub wait_time: Vec<BlkioEntry> => "ioWaitTimeRecursive" omitempty,
        /// Reads and writes that were put together with others (cgroup v1).
        pub merged: Vec<BlkioEntry> => "ioMergedRecursive" omitempty,
        /// Milliseconds that devices were the cgroup's (cgroup v1).
        pub time: Vec<BlkioEntry> => "ioTimeRecursive" omitempty,
        /// Sectors (cgroup v1).
        pub sectors: Vec<BlkioEntry> => "sectorsRecursive" omitempty,
        /// How long processes waited for devices (cgroup v2).
        pub psi: Option<Pressure> => "psi" omitempty,
    }

    /// A number for a block device.
    pub struct BlkioEntry {
        /// The device's major number.
        pub major: u64 => "major" omitempty,
        /// The device's minor number.
        pub minor: u64 => "minor" omitempty,
        /// What was done, where the kernel tells it apart: `Read`, `Write`.
        pub op: String => "op" omitempty,
        /// The number.
        pub value: u64 => "value" omitempty,
    }

    /// Huge pages of one size, in bytes.
    pub struct Hugetlb {
        /// In use.
        pub usage: u64 => "usage" omitempty,
        /// In use at any time (cgroup v1).
        pub max: u64 => "max" omitempty,
        /// How often there were no more to be had.
        pub failcnt: u64 => "failcnt",
    }

    /// The class of service of a container with `linux.intelRdt`, and what its processes use.
    pub struct IntelRdt {
        /// What the host's L3 caches are like.
        pub l3_cache_info: Option<L3CacheInfo> => "l3_cache_info" omitempty,
        /// The part of them of everybody without a class.
        pub l3_cache_schema_root: String => "l3_cache_schema_root" omitempty,
        /// The part of them of the container's class.
        pub l3_cache_schema: String => "l3_cache_schema" omitempty,
        /// What the control of the host's memory bandwidth is like.
        pub mem_bw_info: Option<MemBwInfo> => "mem_bw_info" omitempty,
        /// The bandwidth of everybody without a class.
        pub mem_bw_schema_root: String => "mem_bw_schema_root" omitempty,
        /// The bandwidth of the container's class.
        pub mem_bw_schema: String => "mem_bw_schema" omitempty,
        /// All lines of the class.
        pub schemata: Vec<String> => "schemata" omitempty,
        /// Memory bandwidth in use, for each L3 cache.
        pub mbm_stats: Option<Vec<MbmStats>> => "mbm_stats" omitempty,
        /// L3 cache in use, for each one.
        pub cmt_stats: Option<Vec<CmtStats>> => "cmt_stats" omitempty,
    }

    /// What the host's L3 caches are like.
    pub struct L3CacheInfo {
        /// All bits of a mask, in hexadecimal.
        pub cbm_mask: String => "cbm_mask" omitempty,
        /// So many bits must be set.
        pub min_cbm_bits: u64 => "min_cbm_bits" omitempty,
        /// So many classes there can be.
        pub num_closids: u64 => "num_closids" omitempty,
    }

    /// What the control of the host's memory bandwidth is like.
    pub struct MemBwInfo {
        /// The step of percentages.
        pub bandwidth_gran: u64 => "bandwidth_gran" omitempty,
        /// Whether delays are linear.
        pub delay_linear: u64 => "delay_linear" omitempty,
        /// The lowest percentage.
        pub min_bandwidth: u64 => "min_bandwidth" omitempty,
        /// So many classes there can be.
        pub num_closids: u64 => "num_closids" omitempty,
    }

    /// Memory bandwidth in use.
    pub struct MbmStats {
        /// Bytes, to all memory.
        pub mbm_total_bytes: u64 => "mbm_total_bytes",
        /// Bytes, to memory of the same node.
        pub mbm_local_bytes: u64 => "mbm_local_bytes",
    }

    /// L3 cache in use.
    pub struct CmtStats {
        /// Bytes.
        pub llc_occupancy: u64 => "llc_occupancy",
    }

    /// What went over a network interface.
    pub struct NetworkInterface {
        /// The interface.
        pub name: String => "Name",
        /// Received bytes.
        pub rx_bytes: u64 => "RxBytes",
        /// Received packets.
        pub rx_packets: u64 => "RxPackets",
        /// Failures to receive.
        pub rx_errors: u64 => "RxErrors",
        /// Received packets that were dropped.
        pub rx_dropped: u64 => "RxDropped",
        /// Sent bytes.
        pub tx_bytes: u64 => "TxBytes",
        /// Sent packets.
        pub tx_packets: u64 => "TxPackets",
        /// Failures to send.
        pub tx_errors: u64 => "TxErrors",
        /// Packets that were dropped rather than sent.
        pub tx_dropped: u64 => "TxDropped",
    }
}

/// A percentage with the two decimals of the kernel, printed as Go prints a number: `1.5`, `20`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percent {
    /// Hundredths of a percent.
    pub hundredths: u32,
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self.hundredths % 100 {
            0 => json.serialize_u32(self.hundredths / 100),
            _ => json.serialize_f64(f64::from(self.hundredths) / 100.0),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Percent, D::Error> {
        let hundredths = (f64::deserialize(json)? * 100.0).round();
        if !(0.0..=f64::from(u32::MAX)).contains(&hundredths) {
            return Err(D::Error::custom("not a percentage"));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was looked at")]
        Ok(Percent { hundredths: hundredths as u32 })
    }
}

impl Field for Percent {
    fn read<'de, D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Percent::deserialize(json)
    }

    fn is_empty(&self) -> bool {
        *self == Percent::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(json: &str) {
        let event: Event = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
    }

    #[test]
    fn nothing_counted_is_what_runc_prints() {
        let event = Event { r#type: "stats".into(), id: "c".into(), data: Some(Stats::default()) };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"type":"stats","id":"c","data":{"cpu":{},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{},"pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}}"#
        );
        let event = Event { r#type: "oom".into(), id: "c".into(), data: None };
        assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"type":"oom","id":"c"}"#);
    }

    #[test]
    fn everything_counted_comes_in_the_order_of_runc() {
        let psi = r#""psi":{"some":{"avg10":0.07,"avg60":1.5,"avg300":20,"total":3},"full":{"avg10":0,"avg60":0,"avg300":0,"total":1}}"#;
        let entry = r#"[{"major":8,"minor":1,"op":"Read","value":9}]"#;
        let usage = r#"{"limit":4,"usage":3,"max":5,"failcnt":0}"#;
        let blkio = ["ServiceBytes", "Serviced", "Queue", "ServiceTime", "WaitTime", "Merged", "Time"]
            .map(|name| format!(r#""io{name}Recursive":{entry},"#))
            .concat();
        round_trip(&format!(
            concat!(
                r#"{{"type":"stats","id":"c","data":{{"cpu":{{"usage":{{"total":7,"percpu":[3,4],"percpu_kernel":[1,1],"#,
                r#""percpu_user":[2,3],"kernel":2,"user":5}},"#,
                r#""throttling":{{"periods":3,"throttledPeriods":2,"throttledTime":1}},{psi}}},"#,
                r#""cpuset":{{"cpus":[0,1],"cpu_exclusive":1,"mems":[0],"mem_hardwall":1,"mem_exclusive":1,"#,
                r#""memory_migrate":1,"memory_spread_page":1,"memory_spread_slab":1,"memory_pressure":1,"#,
                r#""sched_load_balance":1,"sched_relax_domain_level":-1}},"#,
                r#""memory":{{"cache":1,"usage":{usage},"swap":{usage},"kernel":{usage},"kernelTCP":{usage},"#,
                r#""raw":{{"anon":1,"file":2}},{psi}}},"pids":{{"current":1,"limit":2}},"#,
                r#""blkio":{{{blkio}"sectorsRecursive":{entry},{psi}}},"#,
                r#""hugetlb":{{"1GB":{{"failcnt":0}},"2MB":{{"usage":1,"max":2,"failcnt":3}}}},"#,
                r#""intel_rdt":{{"l3_cache_info":{{"cbm_mask":"7ff","min_cbm_bits":1,"num_closids":16}},"#,
                r#""l3_cache_schema_root":"L3:0=7ff","l3_cache_schema":"L3:0=f","#,
                r#""mem_bw_info":{{"bandwidth_gran":10,"delay_linear":1,"min_bandwidth":10,"num_closids":8}},"#,
                r#""mem_bw_schema_root":"MB:0=100","mem_bw_schema":"MB:0=20","schemata":["L3:0=f","MB:0=20"],"#,
                r#""mbm_stats":[{{"mbm_total_bytes":2,"mbm_local_bytes":1}}],"cmt_stats":[{{"llc_occupancy":3}}]}},"#,
                r#""network_interfaces":[{{"Name":"eth0","RxBytes":1,"RxPackets":2,"RxErrors":3,"RxDropped":4,"#,
                r#""TxBytes":5,"TxPackets":6,"TxErrors":7,"TxDropped":8}}]}}}}"#
            ),
            psi = psi,
            entry = entry,
            usage = usage,
            blkio = blkio
        ));
    }
}
