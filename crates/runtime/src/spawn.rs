//! Which kernel calls bring a process into the namespaces of the plan: decided, not flag arithmetic.
use crate::rooms::namespaces::{Namespace, Plan};
use sys::ns::flag;

/// How the container's first process comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// `CLONE_NEW*` flags of the one clone. New cgroup and time namespaces are not among them: the
    /// first must be made after the process is in its cgroup, the second holds for children only.
    pub clone: u64,
    /// The runtime itself is in the PID namespace to join while it clones: only a child can be in it.
    pub visit_pid: bool,
}

/// Decides from the namespaces.
pub fn spawn(plan: &Plan) -> Spawn {
    let after_the_clone = flag::CGROUP | flag::TIME;
    Spawn {
        clone: flags(plan, |namespace| *namespace == Namespace::New) & !after_the_clone,
        visit_pid: matches!(plan.pid, Namespace::Join(_)),
    }
}

/// The kinds of namespaces that the container does not share with its maker.
pub fn private(plan: &Plan) -> u64 {
    flags(plan, Namespace::is_private)
}

/// The `CLONE_NEW*` flags of those namespaces that `which` is true of.
fn flags(plan: &Plan, which: impl Fn(&Namespace) -> bool) -> u64 {
    let Plan { pid, network, mount, ipc, uts, cgroup, time } = plan;
    let table = [
        (pid, flag::PID),
        (network, flag::NET),
        (mount, flag::MOUNT),
        (ipc, flag::IPC),
        (uts, flag::UTS),
        (cgroup, flag::CGROUP),
        (time, flag::TIME),
    ];
    table.iter().filter(|(namespace, _)| which(namespace)).fold(0, |flags, (_, flag)| flags | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All 3^7 combinations of seven namespaces that are new, joined or inherited.
    #[test]
    fn every_combination() {
        let choice = |n: u32, place: u32| match n / 3u32.pow(place) % 3 {
            0 => Namespace::Inherit,
            1 => Namespace::New,
            _ => Namespace::Join("/ns".into()),
        };
        for n in 0..3u32.pow(7) {
            let plan = Plan {
                pid: choice(n, 0),
                network: choice(n, 1),
                mount: choice(n, 2),
                ipc: choice(n, 3),
                uts: choice(n, 4),
                cgroup: choice(n, 5),
                time: choice(n, 6),
            };
            let got = spawn(&plan);
            for (namespace, flag) in [
                (&plan.pid, flag::PID),
                (&plan.network, flag::NET),
                (&plan.mount, flag::MOUNT),
                (&plan.ipc, flag::IPC),
                (&plan.uts, flag::UTS),
            ] {
                assert_eq!(got.clone & flag != 0, *namespace == Namespace::New, "{plan:?}");
            }
            assert_eq!(got.clone & (flag::CGROUP | flag::TIME), 0, "{plan:?}");
            assert_eq!(got.visit_pid, matches!(plan.pid, Namespace::Join(_)), "{plan:?}");
        }
    }
}
