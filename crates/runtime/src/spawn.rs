//! Which kernel calls bring a process into the namespaces of the plan: decided, not flag arithmetic.
//!
//! | case | the runtime before the clone | the clone | the process then | processes |
//! |---|---|---|---|---|
//! | A: no change of user namespace | visits the PID namespace to join | new PID, mount, network, IPC, UTS | joins the others | 1 |
//! | B: new user namespace | – | new user, PID, mount, UTS | is mapped, becomes root, makes network and IPC | 1 |
//! | C: new user namespace, others joined | visits those to join | as B | as B | 1 |
//! | D: joined user namespace, no new PID namespace | visits the PID namespace to join | – | joins, becomes root, makes the new ones | 1 |
//! | E: joined user namespace with a new PID namespace, or joined by an ordinary user | makes a helper, which joins and becomes root | by the helper: all new ones | – | 2 |
//! | F: A or C, by root of a user namespace who could not come back from a visit; C with a cgroup namespace to join | makes a helper, which visits in its place | by the helper: as A or C | as A or C | 2 |
//!
//! The reasons: a namespace belongs to the user namespace of its maker, and only root of that one may mount
//! procfs or set its host name. The files of network and IPC namespaces belong to whom root is when they
//! are made. Only a child can be in another PID namespace. Joining needs privileges in the namespace that is
//! joined, which are gone for those of the host once the process is in another user namespace; and an
//! ordinary user has them only after joining the user namespace that owns the others. Nobody comes back out of
//! a user namespace. And where cgroup2 is mounted with `nsdelegate`, as systemd does, no process is cloned into a
//! cgroup from within a cgroup namespace that does not have it: there a helper is put into the cgroup first.
//!
//! Others see a process from its first moment on where its PID namespace is joined. There it begins in the network
//! namespace that it is to be in, and a process of `exec` in the mount namespace as well: what the host has of these could be
//! read by procfs otherwise.
//!
//! When a container is made, mount namespaces are joined late, since the host's procfs is needed until then; cgroup
//! namespaces are made after the process is in its cgroup; time namespaces hold for children, until they are
//! entered.
use crate::rooms::namespaces::{Namespace, Plan};
use sys::ns::flag;

/// Who calls the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Root of the host, or of the user namespace that its other namespaces belong to.
    Root,
    /// Root of a user namespace, but in namespaces of somebody above: from others it can't come back to those.
    Guest,
    /// Anybody else, with no rights but over user namespaces of their own.
    Ordinary,
}

/// How a process comes to be in its namespaces. Sets of namespaces are `CLONE_NEW*` flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spawn {
    /// Those that the runtime itself is in while it clones.
    pub visit: u64,
    /// Those that a helper joins, which then clones in place of the runtime; none without a helper.
    pub helper: u64,
    /// Those that the clone makes.
    pub clone: u64,
    /// Those that the process joins.
    pub join: u64,
    /// Whether the process waits for the runtime to write the id maps of its new user namespace.
    pub map: bool,
    /// Whether it has to become root of its user namespace by itself.
    pub become_root: bool,
    /// Those that it makes after that.
    pub unshare: u64,
}

/// What is joined, made or left alone at its own time, whatever the case, when a container is made.
const LATE: u64 = flag::MOUNT;
/// Whoever sees a process can read by procfs which mounts and which network connections there are where it is: nothing
/// keeps them from that, as there is for memory and files.
const LOOKED_INTO: u64 = flag::MOUNT | flag::NET;
const AFTER_THE_CLONE: u64 = flag::CGROUP | flag::TIME;

/// Decides from the namespaces.
pub fn spawn(plan: &Plan, caller: Caller) -> Spawn {
    let new = flags(plan, |namespace| *namespace == Namespace::New) & !AFTER_THE_CLONE;
    let join = flags(plan, |namespace| matches!(namespace, Namespace::Join(_))) & !LATE;
    match plan.user {
        // A
        Namespace::Inherit => {
            let visit = to_visit(join);
            visited(Spawn { visit, clone: new, join: join & !visit, ..Spawn::default() }, caller)
        }
        // B, C
        Namespace::New => {
            let later = flag::NET | flag::IPC;
            let spawn = Spawn {
                visit: join,
                clone: new & !later,
                map: true,
                become_root: true,
                unshare: new & later,
                ..Spawn::default()
            };
            if join & flag::CGROUP != 0 { by_helper(spawn) } else { visited(spawn, caller) }
        }
        Namespace::Join(_) => joined_user(new, join, caller),
    }
}

/// Those of `join` that the process has to be in from its first moment on: where others see it already, so are those
/// that these could look into.
fn to_visit(join: u64) -> u64 {
    if join & flag::PID != 0 { join & (flag::PID | LOOKED_INTO) } else { 0 }
}

/// The visit of the runtime, or of a helper where the runtime could not come back.
fn visited(spawn: Spawn, caller: Caller) -> Spawn {
    match caller {
        Caller::Root | Caller::Ordinary => spawn,
        Caller::Guest => by_helper(spawn),
    }
}

/// F
fn by_helper(spawn: Spawn) -> Spawn {
    Spawn { helper: spawn.visit, visit: 0, ..spawn }
}

fn joined_user(new: u64, join: u64, caller: Caller) -> Spawn {
    if new & flag::PID != 0 || caller != Caller::Root {
        // E
        return Spawn { helper: join, clone: new, ..Spawn::default() };
    }
    // D
    let visit = to_visit(join);
    Spawn { visit, join: join & !visit, become_root: true, unshare: new, ..Spawn::default() }
}

/// The same for a process of `exec`, which joins all namespaces that a container does not share with its
/// maker.
pub fn exec(private: u64, caller: Caller) -> Spawn {
    match (private & flag::USER, caller) {
        (0, _) => {
            let visit = to_visit(private);
            visited(Spawn { visit, join: private & !visit, ..Spawn::default() }, caller)
        }
        (..) => joined_user(0, private, caller),
    }
}

/// The kinds of namespaces that the container does not share with its maker.
pub fn private(plan: &Plan) -> u64 {
    flags(plan, Namespace::is_private)
}

/// The `CLONE_NEW*` flags of those namespaces that `which` is true of.
fn flags(plan: &Plan, which: impl Fn(&Namespace) -> bool) -> u64 {
    let Plan { user, pid, network, mount, ipc, uts, cgroup, time } = plan;
    let table = [
        (user, flag::USER),
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

    const KINDS: [u64; 8] =
        [flag::USER, flag::PID, flag::NET, flag::MOUNT, flag::IPC, flag::UTS, flag::CGROUP, flag::TIME];

    fn combination(n: u32) -> (Plan, u64, u64) {
        let (mut new, mut joined) = (0, 0);
        let mut choice = |place: u32| match n / 3u32.pow(place) % 3 {
            0 => Namespace::Inherit,
            1 => {
                new |= KINDS[place as usize];
                Namespace::New
            }
            _ => {
                joined |= KINDS[place as usize];
                Namespace::Join("/ns".into())
            }
        };
        let plan = Plan {
            user: choice(0),
            pid: choice(1),
            network: choice(2),
            mount: choice(3),
            ipc: choice(4),
            uts: choice(5),
            cgroup: choice(6),
            time: choice(7),
        };
        (plan, new, joined)
    }

    /// The kernel's rules, kept in a small model: 3^8 combinations, by root of both kinds and by an ordinary user.
    #[test]
    fn every_combination() {
        let mut rows = 0;
        for n in 0..3u32.pow(8) {
            for caller in [Caller::Root, Caller::Guest, Caller::Ordinary] {
                let (plan, new, joined) = combination(n);
                let got = spawn(&plan, caller);
                let at = format!("{caller:?} {plan:?}: {got:?}");
                ends_where_it_should(got, new, joined, &at);
                keeps_the_rules(got, &plan, caller, &at);
                rows += 1;
            }
        }
        assert_eq!(rows, 19_683);
    }

    /// Every namespace is made or joined once, by one of those who can.
    fn ends_where_it_should(got: Spawn, new: u64, joined: u64, at: &str) {
        let made = got.clone | got.unshare;
        assert_eq!(got.clone & got.unshare, 0, "made twice: {at}");
        assert_eq!(made | new & AFTER_THE_CLONE, new, "{at}");
        let joins = [got.visit, got.helper, got.join];
        assert_eq!(joins.iter().fold(0, |all, set| all | set) | joined & LATE, joined, "{at}");
        assert_eq!(
            joins.iter().map(|set| set.count_ones()).sum::<u32>(),
            (joined & !LATE).count_ones(),
            "{at}"
        );
    }

    fn keeps_the_rules(got: Spawn, plan: &Plan, caller: Caller, at: &str) {
        // Only a child is in another PID namespace, so the process itself can't join or make it.
        assert_eq!((got.join | got.unshare) & flag::PID, 0, "{at}");
        // The runtime does not come back from a user namespace.
        assert_eq!(got.visit & flag::USER, 0, "{at}");
        // Maps are written for a new user namespace and for no other, and there must be a root before
        // anything is made whose files belong to one.
        assert_eq!(got.map, plan.user == Namespace::New, "{at}");
        assert_eq!(got.map, got.clone & flag::USER != 0, "{at}");
        if got.map {
            assert_eq!(got.clone & (flag::NET | flag::IPC), 0, "files of nobody: {at}");
            assert_eq!(got.join, 0, "no rights in the host's namespaces any more: {at}");
        }
        // Another cgroup namespace does not have the cgroup that is cloned into.
        assert_eq!(got.visit & flag::CGROUP, 0, "{at}");
        // A new namespace belongs to the user namespace of the container.
        if caller == Caller::Guest {
            assert_eq!(got.visit, 0, "it could not come back: {at}");
        }
        if matches!(plan.user, Namespace::Join(_)) {
            let owned = got.helper & flag::USER != 0 || got.clone == 0;
            assert!(owned, "made in the wrong user namespace: {at}");
            assert!(got.helper != 0 || got.become_root, "{at}");
            assert!(caller == Caller::Root || got.helper != 0, "no rights outside: {at}");
        } else {
            let to_visit =
                caller == Caller::Guest || plan.user == Namespace::New && got.helper & flag::CGROUP != 0;
            assert!(got.helper == 0 || to_visit, "{at}");
        }
        if plan.user == Namespace::Inherit {
            assert!(!got.become_root && got.unshare == 0, "{at}");
        }
    }

    #[test]
    fn processes_of_exec() {
        let seen = flag::PID | flag::NET | flag::MOUNT;
        let all = seen | flag::IPC;
        let got = exec(all, Caller::Root);
        assert_eq!((got.visit, got.join, got.helper, got.become_root), (seen, flag::IPC, 0, false));
        let got = exec(all, Caller::Guest);
        assert_eq!((got.visit, got.join, got.helper), (0, flag::IPC, seen));
        // Nobody sees it who does not see the host's processes.
        let got = exec(all & !flag::PID, Caller::Root);
        assert_eq!((got.visit, got.join, got.helper), (0, all & !flag::PID, 0));
        let all = all | flag::USER;
        let got = exec(all, Caller::Root);
        assert_eq!((got.visit, got.join, got.helper, got.become_root), (seen, all & !seen, 0, true));
        let got = exec(all, Caller::Ordinary);
        assert_eq!((got.visit, got.join, got.helper, got.become_root), (0, 0, all, false));
    }
}
