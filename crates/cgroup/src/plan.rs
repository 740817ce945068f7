//! From `linux.resources` to what is written to which file, without touching the kernel.
//!
//! Owns: `linux.resources.pids`, `.hugepageLimits` and `.unified`. What the other fields mean is in files of
//! their own: `memory.rs`, `cpu.rs`, `block_io.rs`, `network.rs`, `rdma.rs` and `devices.rs`.
//!
//! A number of 0 means "not set" where runc says so, which is nearly everywhere.
use std::borrow::Cow;

use oci::{Device, HugepageLimit, Pids, Resources};
use sys::bpf::Insn;

use crate::devices::{self, Filter};
use crate::error::Fault;
use crate::host::Layout;
use crate::limits::{Instead, Limits, MemoryCheck, Refusal, Write};
use crate::program;

/// Translates the resources of a config for a host with this layout.
///
/// `own` are the devices of `linux.devices`. Without resources there is still a device filter.
/// Every field that cannot be honoured is a fault; none is passed over in silence.
pub fn plan(resources: Option<&Resources>, own: &[Device], layout: Layout) -> Result<Limits, Vec<Fault>> {
    let absent = Resources::default();
    let resources = resources.unwrap_or(&absent);
    let mut plan = Planner::new(layout);
    match devices::filter(&resources.devices, &devices::replaced(own)) {
        Ok(filter) => plan.devices(filter),
        Err(faults) => plan.faults(faults),
    }
    plan.all_but_devices(resources);
    plan.finish()
}

/// A plan in the making.
pub(crate) struct Planner {
    /// Whether the limits are those of version 2.
    pub(crate) v2: bool,
    writes: Vec<Write>,
    faults: Vec<Fault>,
    check_usage: Option<MemoryCheck>,
    program: Option<Vec<Insn>>,
    filter: Option<Filter>,
    held: Option<Filter>,
}

impl Planner {
    pub(crate) fn new(layout: Layout) -> Planner {
        let v2 = layout == Layout::V2;
        Planner {
            v2,
            writes: Vec::with_capacity(24),
            faults: Vec::new(),
            check_usage: None,
            program: None,
            filter: None,
            held: None,
        }
    }

    /// The limits.
    pub(crate) fn finish(self) -> Result<Limits, Vec<Fault>> {
        let Planner { v2: _, writes, faults, check_usage, program, filter, held } = self;
        if faults.is_empty() {
            Ok(Limits { writes, program, filter, held, check_usage })
        } else {
            Err(faults)
        }
    }

    /// What is the same for a new container and for one that lives.
    pub(crate) fn all_but_devices(&mut self, resources: &Resources) {
        let Resources { devices: _, memory, cpu, pids, block_io, hugepage_limits, network, rdma, unified } =
            resources;
        if let Some(Pids { limit: Some(limit) }) = pids {
            self.pids(*limit);
        }
        if let Some(memory) = memory {
            self.check_usage = self.memory(memory);
        }
        if let Some(cpu) = cpu {
            self.cpu(cpu);
        }
        if let Some(io) = block_io {
            self.block_io(io);
        }
        self.hugepages(hugepage_limits);
        if let Some(network) = network {
            self.network(network);
        }
        self.rdma(rdma);
        for (file, value) in unified {
            self.unified(file, value);
        }
    }

    pub(crate) fn faults(&mut self, faults: Vec<Fault>) {
        self.faults.extend(faults);
    }

    pub(crate) fn fault(&mut self, at: impl Into<String>, text: impl Into<String>) {
        self.faults.push(Fault::new(at, text));
    }

    /// A write whose controller is the file's first part, as everywhere but in cgroup's own files.
    pub(crate) fn write(
        &mut self,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        at: impl Into<Cow<'static, str>>,
        refusal: Refusal,
    ) {
        let file = file.into();
        let controller = file.split('.').next().unwrap_or_default().to_owned().into();
        let value = value.to_string().into();
        self.writes.push(Write { controller, file, value, at: at.into(), refusal, instead: None });
    }

    /// The same for a setting that some kernels have in another file.
    pub(crate) fn write_either(
        &mut self,
        file: &'static str,
        value: impl ToString,
        instead: Instead,
        at: impl Into<Cow<'static, str>>,
    ) {
        self.write(file, value, at, Refusal::Error);
        if let Some(write) = self.writes.last_mut() {
            write.instead = Some(instead);
        }
    }

    fn pids(&mut self, limit: i64) {
        let value = match limit {
            // systemd has no limit of 0, so runc takes the least that there is, which comes to the same.
            0 => "1".to_owned(),
            1.. => limit.to_string(),
            _ => "max".to_owned(),
        };
        self.write("pids.max", value, "linux.resources.pids.limit", Refusal::Error);
    }

    fn hugepages(&mut self, limits: &[HugepageLimit]) {
        const FIELD: &str = "linux.resources.hugepageLimits";
        let suffix = if self.v2 { "max" } else { "limit_in_bytes" };
        for (n, HugepageLimit { page_size, limit }) in limits.iter().enumerate() {
            if page_size.is_empty() || !page_size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                self.fault(format!("{FIELD}[{n}].pageSize"), format!("invalid page size {page_size:?}"));
                continue;
            }
            let at = format!("{FIELD}[{n}].limit");
            self.write(format!("hugetlb.{page_size}.{suffix}"), limit, at.clone(), Refusal::Error);
            // Pages that are only reserved count since Linux 5.7.
            self.write(format!("hugetlb.{page_size}.rsvd.{suffix}"), limit, at, Refusal::Missing);
        }
    }

    /// Writes on version 1; the program on version 2.
    fn devices(&mut self, filter: Filter) {
        if !self.v2 {
            for (file, value) in filter.files(None) {
                self.write(file, value, devices::FIELD, Refusal::Error);
            }
        }
        self.other_devices(filter, None);
    }

    /// The same for a container that lives: what is written on version 1 depends on what is found there. `held` is
    /// what held so far, as far as it is known.
    pub(crate) fn other_devices(&mut self, filter: Filter, held: Option<Filter>) {
        if self.v2 {
            let program = program::program(&filter);
            if program.is_none() {
                self.fault(devices::FIELD, "too many rules for a device program");
            }
            self.program = program.filter(|_| !filter.allows_all());
        }
        (self.filter, self.held) = (Some(filter), held);
    }

    fn unified(&mut self, file: &str, value: &str) {
        let at = format!("linux.resources.unified.{file}");
        if !self.v2 {
            return self.fault(at, "invalid configuration: cannot use unified on cgroup v1");
        }
        if file.contains('/') {
            return self.fault(at, format!("unified resource {file:?} must be a file name (no slashes)"));
        }
        let Some((controller, _)) = file.split_once('.').filter(|(controller, _)| !controller.is_empty())
        else {
            let text = format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER");
            return self.fault(at, text);
        };
        // Files that hold one setting a line take one a call. An empty value is written too.
        for line in value.split_inclusive('\n').chain(value.is_empty().then_some("")) {
            self.writes.push(Write {
                controller: controller.to_owned().into(),
                file: file.to_owned().into(),
                value: line.to_owned().into(),
                at: at.clone().into(),
                refusal: Refusal::Error,
                instead: None,
            });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The writes for a config on this layout, without those of the devices, or its faults.
    fn told(layout: Layout, json: &str) -> Vec<String> {
        let resources: Resources = serde_json::from_str(json).unwrap();
        match plan(Some(&resources), &[], layout) {
            Ok(limits) => limits.writes.iter().filter(|w| w.controller != "devices").map(show).collect(),
            Err(faults) => faults.iter().map(Fault::to_string).collect(),
        }
    }

    fn show(write: &Write) -> String {
        let refusal = match write.refusal {
            Refusal::Error => "",
            Refusal::Missing => " if there",
            Refusal::TooEarly => " or later",
            Refusal::MissingOrTooEarly => " if there or later",
        };
        let instead = write.instead.as_ref().map(|other| format!(" or {}={}", other.file, other.value));
        format!("{}={}{refusal}{}", write.file, write.value, instead.unwrap_or_default())
    }

    pub(crate) fn check(layout: Layout, table: &[(&str, &[&str])]) {
        for (json, expected) in table {
            assert_eq!(told(layout, json), *expected, "{json}");
        }
    }

    #[test]
    fn pids_and_hugepages() {
        for layout in [Layout::V1, Layout::V2] {
            check(
                layout,
                &[
                    (r#"{"pids":{}}"#, &[]),
                    (r#"{"pids":{"limit":7}}"#, &["pids.max=7"]),
                    (r#"{"pids":{"limit":0}}"#, &["pids.max=1"]),
                    (r#"{"pids":{"limit":-1}}"#, &["pids.max=max"]),
                    (
                        r#"{"hugepageLimits":[{"pageSize":"../x","limit":1}]}"#,
                        &["invalid page size \"../x\" (linux.resources.hugepageLimits[0].pageSize)"],
                    ),
                ],
            );
        }
        let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#;
        assert_eq!(
            told(Layout::V1, json),
            ["hugetlb.2MB.limit_in_bytes=0", "hugetlb.2MB.rsvd.limit_in_bytes=0 if there"]
        );
        assert_eq!(told(Layout::V2, json), ["hugetlb.2MB.max=0", "hugetlb.2MB.rsvd.max=0 if there"]);
    }

    #[test]
    fn unified() {
        let json = r#"{"unified":{"memory.high":"5","io.max":"a\nb\n","cgroup.freeze":""}}"#;
        assert_eq!(told(Layout::V2, json), ["cgroup.freeze=", "io.max=a\n", "io.max=b\n", "memory.high=5"]);
        assert_eq!(told(Layout::V1, r#"{"unified":{}}"#), [""; 0]);
        check(
            Layout::Hybrid,
            &[(
                r#"{"unified":{"memory.high":"5"}}"#,
                &[
                    "invalid configuration: cannot use unified on cgroup v1 (linux.resources.unified.memory.high)",
                ],
            )],
        );
        check(
            Layout::V2,
            &[
                (
                    r#"{"unified":{"../memory.high":"5"}}"#,
                    &["unified resource \"../memory.high\" must be a file name (no slashes) \
                       (linux.resources.unified.../memory.high)"],
                ),
                (
                    r#"{"unified":{"high":"5"}}"#,
                    &["unified resource \"high\" must be in the form CONTROLLER.PARAMETER \
                       (linux.resources.unified.high)"],
                ),
            ],
        );
    }

    #[test]
    fn devices_go_to_files_on_version_1_and_into_a_program_on_version_2() {
        let v1 = plan(None, &[], Layout::V1).unwrap();
        assert_eq!(
            (show(&v1.writes[0]), v1.writes.len(), v1.program),
            ("devices.deny=a".to_owned(), 12, None)
        );
        let all = serde_json::from_str(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#).unwrap();
        let v1 = plan(Some(&all), &[], Layout::V1).unwrap();
        assert_eq!(v1.writes.iter().map(show).collect::<Vec<_>>(), ["devices.allow=a"]);
        assert!(plan(None, &[], Layout::V2).unwrap().program.is_some());
        assert_eq!(plan(Some(&all), &[], Layout::V2).unwrap().program, None);
    }
}
