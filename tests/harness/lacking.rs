//! An older kernel, or a sandbox around the runtime: a filter on the thread of a test, and so on all that it starts, that
//! answers system calls as these would. The project's own compiler makes it.

use super::{Value, json};

/// A call that is not there.
#[derive(Clone, Copy, Debug)]
pub struct Lack {
    pub call: &'static str,
    /// It is there, but not this bit of the argument with this index.
    pub flag: Option<(u32, u64)>,
}

impl Lack {
    /// All of `call`.
    pub const fn of(call: &'static str) -> Self {
        Self { call, flag: None }
    }

    fn rule(&self) -> Value {
        let (name, errno) = (self.call, if self.flag.is_some() { 22 } else { 38 });
        let args: Vec<Value> = self.flag.iter().map(condition).collect();
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args})
    }
}

fn condition((index, bit): &(u32, u64)) -> Value {
    json!({"index": index, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"})
}

/// Takes them away from this thread and what it will start.
pub fn take_away(lacks: &[Lack]) {
    let rules: Vec<Value> = lacks.iter().map(Lack::rule).collect();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let profile: oci::Seccomp = serde_json::from_value(profile).unwrap();
    let filter = seccomp::compile(&profile, seccomp::Arch::NATIVE.unwrap()).unwrap();
    assert!(filter.unknown.is_empty(), "{:?}", filter.unknown);
    sys::seccomp::set_filter(&filter.program, 0).unwrap();
}
