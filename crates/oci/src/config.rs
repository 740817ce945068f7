//! The top of `config.json`: root, mounts, host names and annotations.
use std::collections::BTreeMap;

use crate::object::object;
use crate::{Hooks, Linux, ParseError, Process};

object! {
    /// A `config.json`. The sections of other systems (`windows`, `solaris`,
    /// `vm`, `zos`, `freebsd`) are not read.
    pub struct Config {
        /// The version of the specification that the file was written for.
        pub oci_version: String => "ociVersion",
        /// The program to run; a container can't be started without.
        pub process: Option<Process> => "process" omitempty,
        /// The root filesystem.
        pub root: Option<Root> => "root" omitempty,
        /// The host name; left alone when empty.
        pub hostname: String => "hostname" omitempty,
        /// The NIS domain name; left alone when empty.
        pub domainname: String => "domainname" omitempty,
        /// What is mounted over the root filesystem, in this order.
        pub mounts: Vec<Mount> => "mounts" omitempty,
        /// Programs that run at points of the container's life.
        pub hooks: Option<Hooks> => "hooks" omitempty,
        /// Free data, handed on in the state.
        pub annotations: BTreeMap<String, String> => "annotations" omitempty,
        /// All that is particular to Linux.
        pub linux: Option<Linux> => "linux" omitempty,
    }

    /// The root filesystem.
    pub struct Root {
        /// The directory, absolute or relative to the bundle.
        pub path: String => "path",
        /// Whether the root is mounted read-only.
        pub readonly: bool => "readonly" omitempty,
    }

    /// A mount.
    pub struct Mount {
        /// Where, as a path in the container.
        pub destination: String => "destination",
        /// The filesystem type; has no meaning for a bind mount.
        pub r#type: String => "type" omitempty,
        /// The device or, for a bind mount, the path on the host, absolute or
        /// relative to the bundle.
        pub source: String => "source" omitempty,
        /// Options in fstab style: flags, propagation and data for the filesystem.
        pub options: Vec<String> => "options" omitempty,
        /// User ids of the mount (an idmapped mount).
        pub uid_mappings: Vec<IdMapping> => "uidMappings" omitempty,
        /// Group ids of the mount (an idmapped mount).
        pub gid_mappings: Vec<IdMapping> => "gidMappings" omitempty,
    }

    /// A range of user or group ids.
    pub struct IdMapping {
        /// The first id in the container.
        pub container_id: u32 => "containerID",
        /// The first id on the host.
        pub host_id: u32 => "hostID",
        /// How many ids.
        pub size: u32 => "size",
    }
}

impl Config {
    /// The path of every field, such as `mounts[].destination` or `linux.netDevices.NAME.name`, in the order of
    /// printing.
    pub fn fields() -> Vec<String> {
        let mut paths = Vec::new();
        <Config as crate::object::Field>::list("", &mut paths);
        paths
    }

    /// Reads a `config.json`; `None` when it is `null`.
    ///
    /// # Errors
    /// As [`from_json`](crate::from_json).
    pub fn parse(bytes: &[u8]) -> Result<Option<Config>, ParseError> {
        crate::from_json(bytes)
    }
}
