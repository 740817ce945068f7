//! What a container's cgroup is to be set to: the result of planning, the input of applying.
use std::borrow::Cow;

use sys::bpf::Insn;

use crate::devices::Filter;

/// What a container's cgroup is to be set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What is written, in this order.
    pub writes: Vec<Write>,
    /// The device program of version 2; none where every device is allowed, and on version 1.
    pub program: Option<Vec<Insn>>,
    /// The devices once more: for systemd, and for a change, which writes what differs from what is there.
    pub(crate) filter: Option<Filter>,
    /// The devices before a change, where it is known what was asked for.
    pub(crate) held: Option<Filter>,
    /// Whether memory limits at or below the current usage are refused (version 2).
    pub check_usage: Option<MemoryCheck>,
}

impl Limits {
    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.filter.is_none()
    }

    /// The same to be made once more, after somebody else has written part of it in their own way.
    pub fn again(self) -> Limits {
        Limits { check_usage: None, held: None, ..self }
    }
}

/// New limits that are compared with the usage before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCheck {
    /// The limit of memory in bytes, when it is one.
    pub memory: Option<u64>,
    /// The limit of memory and swap together in bytes, when it is one.
    pub with_swap: Option<u64>,
}

/// One setting: a value for a file of the cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The controller whose directory has the file. Version 2 has one directory for all.
    pub controller: Cow<'static, str>,
    /// The file.
    pub file: Cow<'static, str>,
    /// What is written to it, in one call.
    pub value: Cow<'static, str>,
    /// The field that asks for it: `linux.resources.pids.limit`.
    pub at: Cow<'static, str>,
    /// What it means when the kernel refuses.
    pub refusal: Refusal,
    /// What is written if the file is missing, where that is another one.
    pub instead: Option<Instead>,
}

/// The same setting for a kernel that has it in another file of the same controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instead {
    /// The file.
    pub file: &'static str,
    /// What is written to it, in one call.
    pub value: String,
}

/// What it means when the kernel refuses a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is an error.
    Error,
    /// It is an error, unless the file is missing: then this kernel has nothing to set.
    Missing,
    /// "Invalid" may mean that a value written later has to come first: it is tried again at the end.
    TooEarly,
    /// Both of the latter.
    MissingOrTooEarly,
}

impl Refusal {
    pub(crate) fn may_be_missing(self) -> bool {
        matches!(self, Refusal::Missing | Refusal::MissingOrTooEarly)
    }

    pub(crate) fn may_be_too_early(self) -> bool {
        matches!(self, Refusal::TooEarly | Refusal::MissingOrTooEarly)
    }
}
