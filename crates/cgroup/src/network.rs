//! Marks on packets, which only version 1 sets: there they are made by programs of netfilter or BPF that ask
//! for the cgroup.
//!
//! Owns: `linux.resources.network`.
use oci::{InterfacePriority, Network};

use crate::limits::Refusal;
use crate::plan::Planner;

const CLASS: &str = "linux.resources.network.classID";
const PRIORITIES: &str = "linux.resources.network.priorities";
const ON_VERSION_2: &str = "cgroup v2 has no marks on packets";

impl Planner {
    pub(crate) fn network(&mut self, network: &Network) {
        let Network { class_id, priorities } = network;
        if let Some(class) = class_id.filter(|class| *class != 0) {
            if self.v2 {
                self.fault(CLASS, ON_VERSION_2);
            } else {
                self.write("net_cls.classid", class, CLASS, Refusal::Error);
            }
        }
        if self.v2 && !priorities.is_empty() {
            return self.fault(PRIORITIES, ON_VERSION_2);
        }
        for (n, InterfacePriority { name, priority }) in priorities.iter().enumerate() {
            let at = format!("{PRIORITIES}[{n}]");
            if name.is_empty() || name.contains(char::is_whitespace) {
                self.fault(format!("{at}.name"), format!("{name:?} is no name for a network interface"));
                continue;
            }
            self.write("net_prio.ifpriomap", format!("{name} {priority}"), at, Refusal::Error);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::host::Layout;
    use crate::plan::tests::check;

    #[test]
    fn marks_on_packets() {
        let json = r#"{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5},{"name":"lo","priority":0}]}}"#;
        check(
            Layout::V1,
            &[
                (json, &["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 5", "net_prio.ifpriomap=lo 0"]),
                (
                    r#"{"network":{"priorities":[{"name":"lo","priority":1},{"name":"a b","priority":1}]}}"#,
                    &[
                        "\"a b\" is no name for a network interface (linux.resources.network.priorities[1].name)",
                    ],
                ),
            ],
        );
        check(
            Layout::V2,
            &[(
                json,
                &[
                    "cgroup v2 has no marks on packets (linux.resources.network.classID)",
                    "cgroup v2 has no marks on packets (linux.resources.network.priorities)",
                ],
            )],
        );
        for layout in [Layout::V1, Layout::V2] {
            check(
                layout,
                &[(r#"{"network":{}}"#, &[]), (r#"{"network":{"classID":0,"priorities":[]}}"#, &[])],
            );
        }
    }
}
