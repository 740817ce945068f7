//! `linux.resources`: limits that cgroups set. `update` takes the same object.
use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// The limits of a container. What is absent is left as it is.
    pub struct Resources {
        /// Which devices may be used; later rules go over earlier ones.
        pub devices: Vec<DeviceRule> => "devices" omitempty,
        /// Memory.
        pub memory: Option<Memory> => "memory" omitempty,
        /// CPU time and placement.
        pub cpu: Option<Cpu> => "cpu" omitempty,
        /// The number of processes.
        pub pids: Option<Pids> => "pids" omitempty,
        /// Block devices.
        pub block_io: Option<BlockIo> => "blockIO" omitempty,
        /// Huge pages.
        pub hugepage_limits: Vec<HugepageLimit> => "hugepageLimits" omitempty,
        /// Marks on network packets (cgroup v1).
        pub network: Option<Network> => "network" omitempty,
        /// RDMA, by the name of the device.
        pub rdma: BTreeMap<String, Rdma> => "rdma" omitempty,
        /// What is written to files of cgroup v2, by the file's name.
        pub unified: BTreeMap<String, String> => "unified" omitempty,
    }

    /// A rule about devices.
    pub struct DeviceRule {
        /// Whether it allows or denies.
        pub allow: bool => "allow",
        /// `a` (all, also when empty), `c` (character) or `b` (block).
        pub r#type: String => "type" omitempty,
        /// The major number; all when absent.
        pub major: Option<i64> => "major" omitempty,
        /// The minor number; all when absent.
        pub minor: Option<i64> => "minor" omitempty,
        /// Letters out of `r` (read), `w` (write) and `m` (mknod).
        pub access: String => "access" omitempty,
    }

    /// Limits of memory, in bytes; -1 is no limit.
    pub struct Memory {
        /// Memory.
        pub limit: Option<i64> => "limit" omitempty,
        /// What the container keeps when the host is short of memory.
        pub reservation: Option<i64> => "reservation" omitempty,
        /// Memory and swap together.
        pub swap: Option<i64> => "swap" omitempty,
        /// Kernel memory (cgroup v1). Deprecated by the specification.
        pub kernel: Option<i64> => "kernel" omitempty,
        /// Buffers of TCP (cgroup v1). Deprecated by the specification.
        pub kernel_tcp: Option<i64> => "kernelTCP" omitempty,
        /// How readily pages are swapped out, from 0 to 100 (cgroup v1).
        pub swappiness: Option<u64> => "swappiness" omitempty,
        /// Whether processes wait rather than being killed for memory (cgroup v1).
        pub disable_oom_killer: Option<bool> => "disableOOMKiller" omitempty,
        /// Whether child cgroups count (cgroup v1).
        pub use_hierarchy: Option<bool> => "useHierarchy" omitempty,
        /// Whether a limit below the current usage is refused.
        pub check_before_update: Option<bool> => "checkBeforeUpdate" omitempty,
    }

    /// CPU time and placement.
    pub struct Cpu {
        /// The weight among cgroups, from 2 to 262144 (1024 is the kernel's default).
        pub shares: Option<u64> => "shares" omitempty,
        /// Microseconds of CPU in a period, over all CPUs; negative is no limit.
        pub quota: Option<i64> => "quota" omitempty,
        /// Microseconds that may be saved up for a burst.
        pub burst: Option<u64> => "burst" omitempty,
        /// The length of a period in microseconds.
        pub period: Option<u64> => "period" omitempty,
        /// Microseconds of CPU in a realtime period, for realtime processes.
        pub realtime_runtime: Option<i64> => "realtimeRuntime" omitempty,
        /// The length of a realtime period in microseconds.
        pub realtime_period: Option<u64> => "realtimePeriod" omitempty,
        /// The CPUs, as a list like `0-3,7`; all when empty.
        pub cpus: String => "cpus" omitempty,
        /// The memory nodes, as a list like `0-3,7`; all when empty.
        pub mems: String => "mems" omitempty,
        /// 1 for a cgroup that runs only when no other wants to, 0 otherwise.
        pub idle: Option<i64> => "idle" omitempty,
    }

    /// The number of processes and threads.
    pub struct Pids {
        /// At most so many; -1 is no limit.
        pub limit: Option<i64> => "limit" omitempty,
    }

    /// Block devices.
    pub struct BlockIo {
        /// The weight among cgroups, from 10 to 1000.
        pub weight: Option<u16> => "weight" omitempty,
        /// The weight against child cgroups, from 10 to 1000 (cgroup v1).
        pub leaf_weight: Option<u16> => "leafWeight" omitempty,
        /// Weights for single devices.
        pub weight_device: Vec<WeightDevice> => "weightDevice" omitempty,
        /// Bytes read in a second.
        pub throttle_read_bps_device: Vec<ThrottleDevice> => "throttleReadBpsDevice" omitempty,
        /// Bytes written in a second.
        pub throttle_write_bps_device: Vec<ThrottleDevice> => "throttleWriteBpsDevice" omitempty,
        /// Reads in a second.
        pub throttle_read_iops_device: Vec<ThrottleDevice> => "throttleReadIOPSDevice" omitempty,
        /// Writes in a second.
        pub throttle_write_iops_device: Vec<ThrottleDevice> => "throttleWriteIOPSDevice" omitempty,
    }

    /// The weight for a block device.
    pub struct WeightDevice {
        /// The major number.
        pub major: i64 => "major",
        /// The minor number.
        pub minor: i64 => "minor",
        /// The weight among cgroups, from 10 to 1000.
        pub weight: Option<u16> => "weight" omitempty,
        /// The weight against child cgroups, from 10 to 1000 (cgroup v1).
        pub leaf_weight: Option<u16> => "leafWeight" omitempty,
    }

    /// A limit for a block device.
    pub struct ThrottleDevice {
        /// The major number.
        pub major: i64 => "major",
        /// The minor number.
        pub minor: i64 => "minor",
        /// Bytes or operations in a second, as the list says that it is in.
        pub rate: u64 => "rate",
    }

    /// A limit of huge pages of one size.
    pub struct HugepageLimit {
        /// The size, like `2MB`.
        pub page_size: String => "pageSize",
        /// At most so many bytes.
        pub limit: u64 => "limit",
    }

    /// Marks on network packets (cgroup v1).
    pub struct Network {
        /// The class of the packets (`net_cls`).
        pub class_id: Option<u32> => "classID" omitempty,
        /// Priorities by interface (`net_prio`).
        pub priorities: Vec<InterfacePriority> => "priorities" omitempty,
    }

    /// The priority of packets on a network interface.
    pub struct InterfacePriority {
        /// The interface.
        pub name: String => "name",
        /// The priority.
        pub priority: u32 => "priority",
    }

    /// Limits of an RDMA device.
    pub struct Rdma {
        /// At most so many open handles; no limit when absent.
        pub hca_handles: Option<u32> => "hcaHandles" omitempty,
        /// At most so many objects; no limit when absent.
        pub hca_objects: Option<u32> => "hcaObjects" omitempty,
    }
}
