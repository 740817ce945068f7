//! `linux`: namespaces, devices and everything else that is particular to Linux.
use std::collections::BTreeMap;

use crate::object::object;
use crate::{IdMapping, Resources, Seccomp};

object! {
    /// The settings for Linux.
    pub struct Linux {
        /// User ids of the user namespace.
        pub uid_mappings: Vec<IdMapping> => "uidMappings" omitempty,
        /// Group ids of the user namespace.
        pub gid_mappings: Vec<IdMapping> => "gidMappings" omitempty,
        /// Kernel parameters by name, with dots or slashes.
        pub sysctl: BTreeMap<String, String> => "sysctl" omitempty,
        /// Limits, set by cgroups.
        pub resources: Option<Resources> => "resources" omitempty,
        /// The cgroup: a path, or `slice:prefix:name` for systemd.
        pub cgroups_path: String => "cgroupsPath" omitempty,
        /// The namespaces that are made or joined; the others are the caller's.
        pub namespaces: Vec<Namespace> => "namespaces" omitempty,
        /// Device nodes besides the ones that every container gets.
        pub devices: Vec<Device> => "devices" omitempty,
        /// Network devices to move into the container, by their name on the host.
        pub net_devices: BTreeMap<String, NetDevice> => "netDevices" omitempty,
        /// The system call filter.
        pub seccomp: Option<Seccomp> => "seccomp" omitempty,
        /// The propagation of the root mount, like `slave`.
        pub rootfs_propagation: String => "rootfsPropagation" omitempty,
        /// Paths in the container that can't be read.
        pub masked_paths: Vec<String> => "maskedPaths" omitempty,
        /// Paths in the container that can't be written.
        pub readonly_paths: Vec<String> => "readonlyPaths" omitempty,
        /// The SELinux label of the mounts.
        pub mount_label: String => "mountLabel" omitempty,
        /// The resctrl group.
        pub intel_rdt: Option<IntelRdt> => "intelRdt" omitempty,
        /// The NUMA memory policy.
        pub memory_policy: Option<MemoryPolicy> => "memoryPolicy" omitempty,
        /// The execution domain.
        pub personality: Option<Personality> => "personality" omitempty,
        /// Offsets of the time namespace, by clock: `boottime` and `monotonic`.
        pub time_offsets: BTreeMap<String, TimeOffset> => "timeOffsets" omitempty,
    }

    /// A namespace.
    pub struct Namespace {
        /// Which one: `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
        pub r#type: String => "type",
        /// The namespace to join, as an absolute path; a new one is made when empty.
        pub path: String => "path" omitempty,
    }

    /// A device node.
    pub struct Device {
        /// The path in the container.
        pub path: String => "path",
        /// `c` or `u` (character), `b` (block) or `p` (fifo).
        pub r#type: String => "type",
        /// The major number.
        pub major: i64 => "major",
        /// The minor number.
        pub minor: i64 => "minor",
        /// Permission bits; 0666 when absent.
        pub file_mode: Option<u32> => "fileMode" omitempty,
        /// The owner, as an id in the container; 0 when absent.
        pub uid: Option<u32> => "uid" omitempty,
        /// The group, as an id in the container; 0 when absent.
        pub gid: Option<u32> => "gid" omitempty,
    }

    /// A network device to move into the container.
    pub struct NetDevice {
        /// Its name in the container; the same as on the host when empty.
        pub name: String => "name" omitempty,
    }

    /// A class of service of Intel's RDT, AMD's QoS or Arm's MPAM.
    pub struct IntelRdt {
        /// The class; one named after the container when empty.
        pub clos_id: String => "closID" omitempty,
        /// Whole lines for the `schemata` file.
        pub schemata: Vec<String> => "schemata" omitempty,
        /// The `L3:` line for the `schemata` file.
        pub l3_cache_schema: String => "l3CacheSchema" omitempty,
        /// The `MB:` line for the `schemata` file, in percent or MB/s.
        pub mem_bw_schema: String => "memBwSchema" omitempty,
        /// Whether the container gets a monitoring group.
        pub enable_monitoring: bool => "enableMonitoring" omitempty,
    }

    /// What `set_mempolicy(2)` is given.
    pub struct MemoryPolicy {
        /// The mode, like `MPOL_BIND`.
        pub mode: String => "mode",
        /// The nodes, as a list like `0-3,7`.
        pub nodes: String => "nodes" omitempty,
        /// Flags, like `MPOL_F_STATIC_NODES`.
        pub flags: Vec<String> => "flags" omitempty,
    }

    /// What `personality(2)` is given.
    pub struct Personality {
        /// `LINUX` or `LINUX32`.
        pub domain: String => "domain",
        /// Flags; the specification defines none.
        pub flags: Vec<String> => "flags" omitempty,
    }

    /// How far a clock is off from the host's.
    pub struct TimeOffset {
        /// Seconds.
        pub secs: i64 => "secs" omitempty,
        /// Nanoseconds besides the seconds.
        pub nanosecs: u32 => "nanosecs" omitempty,
    }
}
