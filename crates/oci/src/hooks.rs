//! `hooks`: programs that run at points of the container's life.
use crate::object::object;

object! {
    /// The six lists of hooks, each run in its order.
    pub struct Hooks {
        /// On the host, before `createRuntime`. Deprecated by the specification.
        pub prestart: Vec<Hook> => "prestart" omitempty,
        /// On the host, when the namespaces exist, before the root is changed.
        pub create_runtime: Vec<Hook> => "createRuntime" omitempty,
        /// In the container's namespaces with paths of the host, before the root is changed.
        pub create_container: Vec<Hook> => "createContainer" omitempty,
        /// In the container, just before its program is executed.
        pub start_container: Vec<Hook> => "startContainer" omitempty,
        /// On the host, after the program was started.
        pub poststart: Vec<Hook> => "poststart" omitempty,
        /// On the host, after the container was deleted.
        pub poststop: Vec<Hook> => "poststop" omitempty,
    }

    /// A hook.
    pub struct Hook {
        /// The absolute path of the program.
        pub path: String => "path",
        /// Its arguments with argument 0; the path alone when empty.
        pub args: Vec<String> => "args" omitempty,
        /// Its whole environment, as `NAME=value`.
        pub env: Vec<String> => "env" omitempty,
        /// Seconds after which the hook is killed; no limit when absent.
        pub timeout: Option<i64> => "timeout" omitempty,
    }
}
