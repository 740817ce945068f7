//! `linux.seccomp`: which system calls the container's processes may do.
use crate::object::object;

object! {
    /// A system call filter.
    pub struct Seccomp {
        /// What happens to a call that no rule matches, like `SCMP_ACT_ERRNO`.
        pub default_action: String => "defaultAction",
        /// The errno of the default action; EPERM when absent.
        pub default_errno_ret: Option<u64> => "defaultErrnoRet" omitempty,
        /// Architectures besides the native one, like `SCMP_ARCH_X86`.
        pub architectures: Vec<String> => "architectures" omitempty,
        /// Flags for `seccomp(2)`, like `SECCOMP_FILTER_FLAG_LOG`. None at all is not the same as no list.
        pub flags: Option<Vec<String>> => "flags" omitempty,
        /// The socket that gets the descriptor of `SCMP_ACT_NOTIFY`.
        pub listener_path: String => "listenerPath" omitempty,
        /// Free data for who listens there.
        pub listener_metadata: String => "listenerMetadata" omitempty,
        /// The rules.
        pub syscalls: Vec<Syscall> => "syscalls" omitempty,
    }

    /// A rule.
    pub struct Syscall {
        /// The calls it is about.
        pub names: Vec<String> => "names",
        /// What happens to them, like `SCMP_ACT_ALLOW`.
        pub action: String => "action",
        /// The errno of the action; EPERM when absent.
        pub errno_ret: Option<u64> => "errnoRet" omitempty,
        /// Conditions on the arguments; all must hold.
        pub args: Vec<SyscallArg> => "args" omitempty,
    }

    /// A condition on an argument.
    pub struct SyscallArg {
        /// Which argument, from 0 to 5.
        pub index: u64 => "index",
        /// What it is compared with, or the mask of `SCMP_CMP_MASKED_EQ`.
        pub value: u64 => "value",
        /// What the masked argument is compared with (`SCMP_CMP_MASKED_EQ`).
        pub value_two: u64 => "valueTwo" omitempty,
        /// The comparison, like `SCMP_CMP_EQ`.
        pub op: String => "op",
    }
}
