//! `features`: what this build can do, whatever the kernel under it can.
use oci::features::{
    Apparmor, Cgroup, Features, Idmap, IntelRdt, Linux, MemoryPolicy, MountExtensions, NetDevices, Seccomp,
    Selinux,
};

use crate::rooms::{memory_policy, mount_options, privileges, seccomp as room};

/// The oldest version of the specification whose configs can be run.
const OLDEST: &str = "1.0.0";

const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// What this build can do.
///
/// A part that is missing says so with `false`: left out, it would count as not known.
pub fn features() -> Features {
    Features {
        oci_version_min: OLDEST.to_owned(),
        oci_version_max: oci::VERSION.to_owned(),
        hooks: strings(HOOKS),
        mount_options: mount_options::known(),
        linux: Some(linux()),
        // With --systemd-cgroup these are properties of a unit, which can have it stop others or run programs.
        potentially_unsafe_config_annotations: vec!["org.systemd.property.".to_owned()],
        ..Features::default()
    }
}

fn linux() -> Linux {
    let yes = Some(true);
    let mut modes = strings(memory_policy::MODES.map(|(name, _)| name));
    modes.sort();
    let mut flags = strings(memory_policy::FLAGS.map(|(name, _)| name));
    flags.sort();
    Linux {
        namespaces: strings(NAMESPACES),
        capabilities: privileges::CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect(),
        cgroup: Some(Cgroup { v1: yes, v2: yes, systemd: yes, systemd_user: yes, rdma: yes }),
        seccomp: Some(seccomp()),
        apparmor: Some(Apparmor { enabled: yes }),
        selinux: Some(Selinux { enabled: yes }),
        intel_rdt: Some(IntelRdt { enabled: yes, schemata: yes, monitoring: yes }),
        memory_policy: Some(MemoryPolicy { modes, flags }),
        mount_extensions: Some(MountExtensions { idmap: Some(Idmap { enabled: yes }) }),
        net_devices: Some(NetDevices { enabled: yes }),
    }
}

/// The one part that also says what this kernel can do.
fn seccomp() -> Seccomp {
    let (known_flags, supported_flags) = room::flags(sys::seccomp::knows);
    Seccomp {
        enabled: Some(seccomp::Arch::NATIVE.is_some()),
        actions: strings(seccomp::ACTIONS),
        operators: strings(seccomp::OPERATORS),
        archs: strings(seccomp::ARCHITECTURES.map(|(name, _)| name)),
        known_flags,
        supported_flags,
    }
}

fn strings<const N: usize>(list: [&str; N]) -> Vec<String> {
    list.map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_runc() {
        let features = features();
        let linux = features.linux.unwrap();
        let policy = linux.memory_policy.unwrap();
        for sorted in [&linux.namespaces, &policy.modes, &policy.flags] {
            assert!(sorted.is_sorted(), "{sorted:?}");
        }
        assert_eq!(features.hooks[0], "prestart");
        assert_eq!((linux.capabilities.len(), linux.capabilities[0].as_str()), (41, "CAP_CHOWN"));
    }
}
