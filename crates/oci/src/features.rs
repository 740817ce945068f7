//! The features document: what a runtime says that it can do. A list or a
//! value that is absent means "not known", not "none".
use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// What a runtime can do, whether or not this host can.
    pub struct Features {
        /// The oldest version of the specification that it takes.
        pub oci_version_min: String => "ociVersionMin" omitempty,
        /// The newest version of the specification that it takes.
        pub oci_version_max: String => "ociVersionMax" omitempty,
        /// The names of the hooks.
        pub hooks: Vec<String> => "hooks" omitempty,
        /// The mount options that it takes for itself; others go to the filesystem.
        pub mount_options: Vec<String> => "mountOptions" omitempty,
        /// What is particular to Linux.
        pub linux: Option<Linux> => "linux" omitempty,
        /// Free data, such as the version of the runtime.
        pub annotations: BTreeMap<String, String> => "annotations" omitempty,
        /// Annotations of a config that change what the runtime does, and so should not be
        /// taken from strangers; one that ends with a dot is a prefix.
        pub potentially_unsafe_config_annotations: Vec<String> => "potentiallyUnsafeConfigAnnotations" omitempty,
    }

    /// What is particular to Linux.
    pub struct Linux {
        /// The kinds of namespaces.
        pub namespaces: Vec<String> => "namespaces" omitempty,
        /// The names of the capabilities.
        pub capabilities: Vec<String> => "capabilities" omitempty,
        /// cgroups.
        pub cgroup: Option<Cgroup> => "cgroup" omitempty,
        /// System call filters.
        pub seccomp: Option<Seccomp> => "seccomp" omitempty,
        /// AppArmor.
        pub apparmor: Option<Apparmor> => "apparmor" omitempty,
        /// SELinux.
        pub selinux: Option<Selinux> => "selinux" omitempty,
        /// resctrl.
        pub intel_rdt: Option<IntelRdt> => "intelRdt" omitempty,
        /// NUMA memory policies.
        pub memory_policy: Option<MemoryPolicy> => "memoryPolicy" omitempty,
        /// Special kinds of mounts.
        pub mount_extensions: Option<MountExtensions> => "mountExtensions" omitempty,
        /// Moving network devices into a container.
        pub net_devices: Option<NetDevices> => "netDevices" omitempty,
    }

    /// cgroups.
    pub struct Cgroup {
        /// Version 1.
        pub v1: Option<bool> => "v1" omitempty,
        /// Version 2.
        pub v2: Option<bool> => "v2" omitempty,
        /// By way of systemd.
        pub systemd: Option<bool> => "systemd" omitempty,
        /// By way of a user's systemd.
        pub systemd_user: Option<bool> => "systemdUser" omitempty,
        /// The rdma controller.
        pub rdma: Option<bool> => "rdma" omitempty,
    }

    /// System call filters.
    pub struct Seccomp {
        /// Whether there are any.
        pub enabled: Option<bool> => "enabled" omitempty,
        /// The names of the actions.
        pub actions: Vec<String> => "actions" omitempty,
        /// The names of the comparisons.
        pub operators: Vec<String> => "operators" omitempty,
        /// The names of the architectures.
        pub archs: Vec<String> => "archs" omitempty,
        /// The names of the flags.
        pub known_flags: Vec<String> => "knownFlags" omitempty,
        /// The flags that this kernel takes.
        pub supported_flags: Vec<String> => "supportedFlags" omitempty,
    }

    /// AppArmor.
    pub struct Apparmor {
        /// Whether profiles can be set.
        pub enabled: Option<bool> => "enabled" omitempty,
    }

    /// SELinux.
    pub struct Selinux {
        /// Whether labels can be set.
        pub enabled: Option<bool> => "enabled" omitempty,
    }

    /// resctrl.
    pub struct IntelRdt {
        /// Whether `linux.intelRdt` can be set.
        pub enabled: Option<bool> => "enabled" omitempty,
        /// Whether `schemata` can be set.
        pub schemata: Option<bool> => "schemata" omitempty,
        /// Whether `enableMonitoring` can be set.
        pub monitoring: Option<bool> => "monitoring" omitempty,
    }

    /// NUMA memory policies.
    pub struct MemoryPolicy {
        /// The names of the modes.
        pub modes: Vec<String> => "modes" omitempty,
        /// The names of the flags.
        pub flags: Vec<String> => "flags" omitempty,
    }

    /// Special kinds of mounts.
    pub struct MountExtensions {
        /// Idmapped mounts.
        pub idmap: Option<Idmap> => "idmap" omitempty,
    }

    /// Idmapped mounts.
    pub struct Idmap {
        /// Whether there are any.
        pub enabled: Option<bool> => "enabled" omitempty,
    }

    /// Moving network devices into a container.
    pub struct NetDevices {
        /// Whether that is possible.
        pub enabled: Option<bool> => "enabled" omitempty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_false_from_not_known() {
        let cgroup = |v1| Features {
            linux: Some(Linux { cgroup: Some(Cgroup { v1, ..Cgroup::default() }), ..Linux::default() }),
            ..Features::default()
        };
        let cases = [
            (Features::default(), "{}"),
            (cgroup(None), r#"{"linux":{"cgroup":{}}}"#),
            (cgroup(Some(false)), r#"{"linux":{"cgroup":{"v1":false}}}"#),
        ];
        for (features, printed) in cases {
            assert_eq!(serde_json::to_string(&features).unwrap(), printed);
            assert_eq!(crate::from_json(printed.as_bytes()), Ok(Some(features)));
        }
    }
}
