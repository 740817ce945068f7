//! `linux.sysctl`: kernel parameters of the container's own namespaces.
use std::collections::BTreeMap;

use crate::error::On;
use crate::faults::Faults;
use crate::rooms::namespaces::{self, Namespace};
use crate::{Error, Kind, Result};

/// Parameters as paths below `/proc/sys`, with their values.
pub type Plan = Vec<(String, String)>;

/// System V parameters of the IPC namespace.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Decides what is written: only what belongs to a namespace that the container does not share.
///
/// `own_network` says whether a joined network namespace is another than the caller's.
pub fn plan(
    raw: &BTreeMap<String, String>,
    namespaces: &namespaces::Plan,
    own_network: impl Fn(&std::path::Path) -> bool,
    faults: &mut Faults,
) -> Plan {
    let network = match &namespaces.network {
        Namespace::Inherit => false,
        Namespace::New => true,
        Namespace::Join(path) => own_network(path),
    };
    let mut plan = Plan::new();
    for (key, value) in raw {
        let name = dotted(key);
        match refuse(&name, namespaces, network) {
            Some(text) => faults.add(format!("linux.sysctl.{key}"), text),
            None => plan.push((path_of(&name), value.clone())),
        }
    }
    plan
}

fn refuse(name: &str, namespaces: &namespaces::Plan, network: bool) -> Option<String> {
    // `net/../kernel/core_pattern` would belong to the network by its name, and to the host by its path.
    if path_of(name).split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some(format!("sysctl {name:?} is no name of a parameter"));
    }
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return (!namespaces.ipc.is_private())
            .then(|| format!("sysctl {name:?} is not allowed in the hosts ipc namespace"));
    }
    if name.starts_with("net.") {
        return (!network).then(|| format!("sysctl {name:?} not allowed in host network namespace"));
    }
    if namespaces.uts.is_private() {
        match name {
            "kernel.domainname" => return None,
            "kernel.hostname" => {
                let text = "is not allowed as it conflicts with the OCI \"hostname\" field";
                return Some(format!("sysctl {name:?} {text}"));
            }
            _ => {}
        }
    }
    if name.starts_with("user.") {
        return (!namespaces.user.is_private())
            .then(|| format!("setting ucounts without a user namespace not allowed: {name}"));
    }
    Some(format!("sysctl {name:?} is not in a separate kernel namespace"))
}

/// The name with dots between its parts. When the first separator is a slash, the two change their
/// meaning, as for sysctl(8): `net/ipv4/conf/eth0.1/forwarding`.
fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('/') => swap(key),
        _ => key.to_owned(),
    }
}

fn swap(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

/// The path below `/proc/sys` of a dotted name.
fn path_of(name: &str) -> String {
    swap(name)
}

/// Writes the parameters. The host's procfs is used, which the image can't have touched, and gives
/// each process the files of its own namespaces; symlinks and `..` are refused all the same.
pub fn init_apply(plan: &Plan) -> Result<()> {
    if plan.is_empty() {
        return Ok(());
    }
    let base = sys::file::open_dir("/proc/sys")?;
    for (path, value) in plan {
        let name = swap(path);
        sys::root::write_beneath(std::os::fd::AsFd::as_fd(&base), path, value.as_bytes()).map_err(
            |e| match e.errno {
                sys::Errno::NOENT => {
                    Error::new(Kind::Invalid, format!("open sysctl {name} file: no such file or directory"))
                        .hint(format!("this kernel has no parameter {name} in the container's namespaces"))
                }
                _ => Error::from(e).context(format!("write sysctl {name}={value:?}")),
            },
        )?;
    }
    Ok(())
}

/// Whether the network namespace at `path` is another than the caller's.
pub fn is_other_network(path: &std::path::Path, own: Option<(u64, u64)>) -> Result<bool> {
    let stat = sys::file::stat(path).on(|| "invalid netns path".to_owned())?;
    Ok(own != Some((stat.st_dev, stat.st_ino)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaced_parameters() {
        let all = namespaces::Plan {
            ipc: Namespace::New,
            network: Namespace::New,
            uts: Namespace::New,
            user: Namespace::New,
            ..Default::default()
        };
        let none = namespaces::Plan::default();
        for (key, namespaces, want) in [
            ("kernel.shmmax", &all, Ok("kernel/shmmax")),
            ("fs.mqueue.msg_max", &all, Ok("fs/mqueue/msg_max")),
            ("net.ipv4.ip_forward", &all, Ok("net/ipv4/ip_forward")),
            ("net/ipv4/conf/eno2.100/rp_filter", &all, Ok("net/ipv4/conf/eno2.100/rp_filter")),
            ("kernel.domainname", &all, Ok("kernel/domainname")),
            ("user.max_user_namespaces", &all, Ok("user/max_user_namespaces")),
            (
                "user.max_user_namespaces",
                &none,
                Err("setting ucounts without a user namespace not allowed: user.max_user_namespaces"),
            ),
            (
                "kernel.domainname",
                &none,
                Err("sysctl \"kernel.domainname\" is not in a separate kernel namespace"),
            ),
            (
                "kernel.hostname",
                &none,
                Err("sysctl \"kernel.hostname\" is not in a separate kernel namespace"),
            ),
            (
                "fs.mqueue.msg_max",
                &none,
                Err("sysctl \"fs.mqueue.msg_max\" is not allowed in the hosts ipc namespace"),
            ),
            (
                "kernel.hostname",
                &all,
                Err(
                    "sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
                ),
            ),
            (
                "net/../kernel/core_pattern",
                &all,
                Err("sysctl \"net.//.kernel.core_pattern\" is no name of a parameter"),
            ),
            ("net..ipv4", &all, Err("sysctl \"net..ipv4\" is no name of a parameter")),
            ("vm.swappiness", &all, Err("sysctl \"vm.swappiness\" is not in a separate kernel namespace")),
            (
                "kernel.shmmax",
                &none,
                Err("sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace"),
            ),
            (
                "net.ipv4.ip_forward",
                &none,
                Err("sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace"),
            ),
        ] {
            let mut faults = Faults::default();
            let plan =
                plan(&BTreeMap::from([(key.to_owned(), "1".to_owned())]), namespaces, |_| true, &mut faults);
            match want {
                Ok(path) => assert_eq!(plan, [(path.to_owned(), "1".to_owned())]),
                Err(text) => assert_eq!(faults.texts(), [format!("{text} (linux.sysctl.{key})")]),
            }
        }
    }
}
