//! The state of a container, in the three shapes in which it is handed out.
use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// What `state` and `list` print: the specification's state and what runc adds.
    pub struct State {
        /// The version of the specification that the config was written for.
        pub oci_version: String => "ociVersion",
        /// The container.
        pub id: String => "id",
        /// Its first process, as the host numbers it; 0 when it has stopped.
        pub pid: i32 => "pid",
        /// `creating`, `created`, `running`, `paused` or `stopped`.
        pub status: String => "status",
        /// The absolute path of the bundle.
        pub bundle: String => "bundle",
        /// The absolute path of the root filesystem on the host.
        pub rootfs: String => "rootfs",
        /// When it was created: RFC 3339, UTC.
        pub created: String => "created",
        /// The annotations of the config.
        pub annotations: BTreeMap<String, String> => "annotations" omitempty,
        /// The owner of the container; only `list` fills it in.
        pub owner: String => "owner",
    }

    /// What a hook reads from its standard input: the specification's state.
    pub struct HookState {
        /// The version of the specification that the runtime follows.
        pub oci_version: String => "ociVersion",
        /// The container.
        pub id: String => "id",
        /// `creating`, `created`, `running` or `stopped`.
        pub status: String => "status",
        /// Its first process, as the host numbers it; 0, and not printed, when it has stopped.
        pub pid: i32 => "pid" omitempty,
        /// The absolute path of the bundle.
        pub bundle: String => "bundle",
        /// The annotations of the config.
        pub annotations: BTreeMap<String, String> => "annotations" omitempty,
    }

    /// What the listener of a seccomp filter gets with its descriptors.
    pub struct ProcessState {
        /// The version of the specification that the runtime follows.
        pub oci_version: String => "ociVersion",
        /// The names of the descriptors that come along, in their order.
        pub fds: Vec<String> => "fds",
        /// The process, as the runtime's namespace numbers it.
        pub pid: i32 => "pid",
        /// `linux.seccomp.listenerMetadata`.
        pub metadata: String => "metadata" omitempty,
        /// The container.
        pub state: HookState => "state",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_keys_that_engines_read() {
        let hook = HookState { id: "c".into(), status: "stopped".into(), ..HookState::default() };
        let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let cases = [
            (
                serde_json::to_string(&State::default()),
                r#"{"ociVersion":"","id":"","pid":0,"status":"","bundle":"","rootfs":"","created":"","owner":""}"#,
            ),
            (
                serde_json::to_string(&State { pid: 7, annotations, ..State::default() }),
                r#"{"ociVersion":"","id":"","pid":7,"status":"","bundle":"","rootfs":"","created":"","annotations":{"k":"v"},"owner":""}"#,
            ),
            (serde_json::to_string(&hook), r#"{"ociVersion":"","id":"c","status":"stopped","bundle":""}"#),
            (
                serde_json::to_string(&ProcessState {
                    state: HookState { pid: 7, ..hook },
                    ..ProcessState::default()
                }),
                r#"{"ociVersion":"","fds":[],"pid":0,"state":{"ociVersion":"","id":"c","status":"stopped","pid":7,"bundle":""}}"#,
            ),
        ];
        for (printed, expected) in cases {
            assert_eq!(printed.unwrap(), expected);
        }
    }
}
