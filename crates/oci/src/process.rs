//! `process`: the program of a container and what it may do. `exec` takes the
//! same object from a file.
use crate::object::object;

object! {
    /// A process to start in a container.
    pub struct Process {
        /// Whether it gets a terminal.
        pub terminal: bool => "terminal" omitempty,
        /// The first size of the terminal.
        pub console_size: Option<ConsoleSize> => "consoleSize" omitempty,
        /// Who it runs as.
        pub user: User => "user",
        /// The program and its arguments.
        pub args: Vec<String> => "args" omitempty,
        /// The whole environment, as `NAME=value`.
        pub env: Vec<String> => "env" omitempty,
        /// The working directory: an absolute path in the container.
        pub cwd: String => "cwd",
        /// The capability sets; all are empty when absent.
        pub capabilities: Option<Capabilities> => "capabilities" omitempty,
        /// Resource limits.
        pub rlimits: Vec<Rlimit> => "rlimits" omitempty,
        /// Whether executing a file can never give more privileges.
        pub no_new_privileges: bool => "noNewPrivileges" omitempty,
        /// The AppArmor profile.
        pub apparmor_profile: String => "apparmorProfile" omitempty,
        /// What is written to `oom_score_adj`, from -1000 to 1000; inherited when absent.
        pub oom_score_adj: Option<i64> => "oomScoreAdj" omitempty,
        /// The CPU scheduler.
        pub scheduler: Option<Scheduler> => "scheduler" omitempty,
        /// The SELinux label.
        pub selinux_label: String => "selinuxLabel" omitempty,
        /// The I/O priority.
        pub io_priority: Option<IoPriority> => "ioPriority" omitempty,
        /// The CPUs of processes that `exec` starts.
        pub exec_cpu_affinity: Option<CpuAffinity> => "execCPUAffinity" omitempty,
    }

    /// The size of a terminal.
    pub struct ConsoleSize {
        /// In rows.
        pub height: u64 => "height",
        /// In columns.
        pub width: u64 => "width",
    }

    /// User and groups, as ids in the container.
    pub struct User {
        /// The user id.
        pub uid: u32 => "uid",
        /// The group id.
        pub gid: u32 => "gid",
        /// The file mode creation mask; 0022 when absent.
        pub umask: Option<u32> => "umask" omitempty,
        /// The supplementary groups.
        pub additional_gids: Vec<u32> => "additionalGids" omitempty,
    }

    /// The five capability sets, each a list of names like `CAP_KILL`.
    pub struct Capabilities {
        /// What executing a file can give at most.
        pub bounding: Vec<String> => "bounding" omitempty,
        /// What the kernel checks.
        pub effective: Vec<String> => "effective" omitempty,
        /// What is kept when a file is executed that asks for it.
        pub inheritable: Vec<String> => "inheritable" omitempty,
        /// What can be made effective.
        pub permitted: Vec<String> => "permitted" omitempty,
        /// What is kept when an ordinary file is executed.
        pub ambient: Vec<String> => "ambient" omitempty,
    }

    /// A resource limit. The unit depends on the type; `u64::MAX` is no limit.
    pub struct Rlimit {
        /// The name, like `RLIMIT_NOFILE`.
        pub r#type: String => "type",
        /// The ceiling.
        pub hard: u64 => "hard",
        /// What is enforced.
        pub soft: u64 => "soft",
    }

    /// What `sched_setattr(2)` is given.
    pub struct Scheduler {
        /// The policy, like `SCHED_BATCH`.
        pub policy: String => "policy",
        /// The nice value, from -20 to 19.
        pub nice: i32 => "nice" omitempty,
        /// The static priority of `SCHED_FIFO` and `SCHED_RR`, from 1 to 99.
        pub priority: i32 => "priority" omitempty,
        /// Flags, like `SCHED_FLAG_RESET_ON_FORK`.
        pub flags: Vec<String> => "flags" omitempty,
        /// Nanoseconds of CPU in a period (`SCHED_DEADLINE`).
        pub runtime: u64 => "runtime" omitempty,
        /// Nanoseconds from the start of a period to the deadline (`SCHED_DEADLINE`).
        pub deadline: u64 => "deadline" omitempty,
        /// The length of a period in nanoseconds (`SCHED_DEADLINE`).
        pub period: u64 => "period" omitempty,
    }

    /// What `ioprio_set(2)` is given.
    pub struct IoPriority {
        /// The class, like `IOPRIO_CLASS_BE`.
        pub class: String => "class",
        /// The level in the class, from 0 (first) to 7.
        pub priority: i64 => "priority",
    }

    /// The CPUs of a process started by `exec`, as lists like `0-3,7`.
    pub struct CpuAffinity {
        /// Before it is moved to the container's cgroup.
        pub initial: String => "initial" omitempty,
        /// After that.
        pub r#final: String => "final" omitempty,
    }
}
