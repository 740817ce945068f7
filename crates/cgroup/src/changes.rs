//! What `update` changes: only what it is asked for, with what belongs to it.
//!
//! Some files hold two limits at once: `cpu.max` of version 2 has quota and period, and `memory.swap.max`
//! is what the specification calls swap without the memory in it. When a change is about one of two, the
//! other comes from what was asked for last, and not from the kernel: it can't tell a limit of swap that
//! belongs to one of memory from another that was set by `unified`.
use oci::{Cpu, Device, Memory, Resources};
use serde::{Deserialize, Serialize};

use crate::devices::{Comparison, Rules};
use crate::error::Fault;
use crate::host::Layout;
use crate::limits::{Limits, Refusal};
use crate::plan::Planner;

/// What has to be known of a container's limits when one of them is changed. 0 is "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// `memory.limit`.
    pub memory: i64,
    /// `memory.swap`.
    pub swap: i64,
    /// `cpu.quota`.
    pub quota: i64,
    /// `cpu.period`.
    pub period: u64,
    /// `devices`.
    #[serde(default)]
    pub rules: Rules,
}

impl Asked {
    /// What a container is made with: its limits, and `devices`, those of `linux.devices`.
    pub fn of(resources: Option<&Resources>, devices: &[Device]) -> Asked {
        let rules = Rules::new(resources.map_or(&[], |resources| &resources.devices), devices);
        let nothing = Asked { rules, ..Asked::default() };
        match resources {
            Some(resources) => nothing.after(resources),
            None => nothing,
        }
    }

    /// What a change says of devices.
    pub fn devices(&self, change: &Resources) -> Comparison {
        self.rules.compare(&change.devices)
    }

    /// What is known while rules for devices take the place of others: a caller that is killed meanwhile leaves
    /// neither, so that the next rules are applied whichever they are.
    pub fn between(&self) -> Asked {
        Asked { rules: self.rules.with(None), ..self.clone() }
    }

    /// What holds when a change has been made of anything but devices.
    fn after(&self, change: &Resources) -> Asked {
        let (limit, swap) = memory(change);
        let (quota, period) = cpu(change);
        let or = |new: i64, old: i64| if new == 0 { old } else { new };
        Asked {
            memory: or(limit, self.memory),
            // Memory without a limit makes one of memory and swap together meaningless.
            swap: if limit == -1 { swap } else { or(swap, self.swap) },
            quota: or(quota, self.quota),
            period: if period == 0 { self.period } else { period },
            rules: self.rules.clone(),
        }
    }
}

/// Translates a change of the limits of a container with this layout.
///
/// Rules for devices take the place of all that there were, and the default ones come after them. But engines send
/// those that they have made with every change, whatever a wrapper around the runtime has added to the config for
/// graphics cards, or a hook to the cgroup. So rules that the container has already change nothing, not even where
/// some are missing that allow more.
///
/// `asked` is what was asked for so far; what it is after the change comes back.
pub fn changes(change: &Resources, asked: &Asked, layout: Layout) -> Result<(Limits, Asked), Vec<Fault>> {
    let mut after = asked.after(change);
    let mut plan = Planner::new(layout);
    if asked.devices(change) == Comparison::Others {
        after.rules = asked.rules.with(Some(&change.devices));
        let held = asked.rules.filter().and_then(Result::ok);
        match after.rules.filter() {
            Some(Ok(filter)) => plan.other_devices(filter, held),
            Some(Err(faults)) => plan.faults(faults),
            None => {}
        }
    }
    all_but_devices(change, &after, layout, &mut plan);
    let (limit, quota) = (memory(change).0, cpu(change).0);
    let mut limits = plan.finish()?;
    if limit == 0 {
        // It was only asked for to find the limit of swap alone.
        limits.writes.retain(|write| write.at != crate::memory::LIMIT);
    }
    if quota == 0 {
        for write in limits.writes.iter_mut().filter(|write| write.at == crate::cpu::QUOTA) {
            write.at = crate::cpu::PERIOD.into();
        }
    }
    Ok((limits, after))
}

fn all_but_devices(change: &Resources, after: &Asked, layout: Layout, plan: &mut Planner) {
    let (limit, swap) = memory(change);
    let (quota, period) = cpu(change);
    let v2 = layout == Layout::V2;
    let mut whole = change.clone();
    if v2
        && (limit == 0) != (swap == 0)
        && let Some(memory) = &mut whole.memory
    {
        (memory.limit, memory.swap) = (Some(after.memory), Some(after.swap));
    }
    // Version 1 has a file for each, but systemd a property that is made of both.
    if (quota == 0) != (period == 0)
        && let Some(cpu) = &mut whole.cpu
    {
        (cpu.quota, cpu.period) = (Some(after.quota), Some(after.period));
    }
    plan.all_but_devices(&whole);
    if !v2 && matches!(change.memory, Some(Memory { disable_oom_killer: Some(false), .. })) {
        // In a new cgroup it is so.
        plan.write("memory.oom_control", 0, crate::memory::KILLER, Refusal::Error);
    }
}

fn memory(resources: &Resources) -> (i64, i64) {
    let Some(Memory { limit, swap, .. }) = resources.memory else { return (0, 0) };
    (limit.unwrap_or(0), swap.unwrap_or(0))
}

fn cpu(resources: &Resources) -> (i64, u64) {
    let Some(Cpu { quota, period, .. }) = resources.cpu else { return (0, 0) };
    (quota.unwrap_or(0), period.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> Resources {
        serde_json::from_str(json).unwrap()
    }

    /// What is written for each of these changes, one after the other.
    fn written(layout: Layout, made_with: &str, updates: &[&str]) -> Vec<String> {
        let mut asked = Asked::of(Some(&resources(made_with)), &[]);
        let mut all = Vec::new();
        for update in updates {
            match changes(&resources(update), &asked, layout) {
                Ok((limits, after)) => {
                    asked = after;
                    let writes = limits.writes.iter().map(|w| format!("{}={}", w.file, w.value));
                    all.push(writes.collect::<Vec<_>>().join(" "));
                }
                Err(faults) => all.extend(faults.iter().map(|fault| fault.text.clone())),
            }
        }
        all
    }

    #[test]
    fn one_of_two_in_a_file_of_version_2() {
        let cpu = r#"{"cpu":{"quota":50,"period":100,"shares":2}}"#;
        let memory = r#"{"memory":{"limit":10,"swap":30}}"#;
        for (made_with, updates, expected) in [
            (
                cpu,
                &[r#"{"cpu":{"quota":60}}"#, r#"{"cpu":{"period":200}}"#][..],
                &["cpu.max=60 100", "cpu.max=60 200"][..],
            ),
            // A change of something else forgets nothing.
            (
                cpu,
                &[r#"{"pids":{"limit":5}}"#, r#"{"cpu":{"period":200}}"#],
                &["pids.max=5", "cpu.max=50 200"],
            ),
            (
                cpu,
                &[r#"{"cpu":{"quota":-1}}"#, r#"{"cpu":{"period":70}}"#],
                &["cpu.max=max 100", "cpu.max=max 70"],
            ),
            (
                "{}",
                &[r#"{"cpu":{"period":70}}"#, r#"{"cpu":{"quota":7}}"#],
                &["cpu.max=max 70", "cpu.max=7 70"],
            ),
            ("{}", &[r#"{"cpu":{"quota":7}}"#], &["cpu.max=7 100000"]),
            (
                memory,
                &[r#"{"memory":{"limit":20}}"#, r#"{"memory":{"swap":50}}"#, r#"{"memory":{"limit":60}}"#],
                &[
                    "memory.swap.max=10 memory.max=20",
                    "memory.swap.max=30",
                    "memory+swap limit should be >= memory limit",
                ],
            ),
            (
                memory,
                &[r#"{"memory":{"swap":-1}}"#, r#"{"memory":{"limit":90}}"#],
                &["memory.swap.max=max", "memory.swap.max=max memory.max=90"],
            ),
            (
                memory,
                &[r#"{"memory":{"limit":-1}}"#, r#"{"memory":{"limit":40}}"#],
                &["memory.swap.max=max memory.max=max", "memory.max=40"],
            ),
            // The limit of swap is somebody else's.
            (r#"{"memory":{"limit":10}}"#, &[r#"{"memory":{"limit":20}}"#], &["memory.max=20"]),
            ("{}", &[r#"{"memory":{"swap":20}}"#], &["unable to set swap limit without memory limit"]),
            (memory, &[r#"{"memory":{"reservation":5}}"#], &["memory.low=5"]),
        ] {
            assert_eq!(written(Layout::V2, made_with, updates), expected, "{made_with} {updates:?}");
        }
    }

    #[test]
    fn an_error_names_what_was_asked_for() {
        let asked = Asked::of(Some(&resources(r#"{"cpu":{"quota":50,"period":100}}"#)), &[]);
        for layout in [Layout::V1, Layout::V2] {
            let (limits, _) = changes(&resources(r#"{"cpu":{"period":5}}"#), &asked, layout).unwrap();
            assert!(limits.writes.iter().all(|write| write.at == "linux.resources.cpu.period"), "{limits:?}");
        }
    }

    #[test]
    fn version_1_has_a_file_for_each() {
        let made_with = r#"{"cpu":{"quota":50,"period":100},"memory":{"limit":10,"swap":30}}"#;
        for (update, expected) in [
            ("{}", ""),
            (r#"{"cpu":{"quota":60}}"#, "cpu.cfs_period_us=100 cpu.cfs_quota_us=60"),
            (r#"{"cpu":{"period":60}}"#, "cpu.cfs_period_us=60 cpu.cfs_quota_us=50"),
            (r#"{"memory":{"limit":20}}"#, "memory.limit_in_bytes=20"),
            (r#"{"memory":{"swap":20}}"#, "memory.memsw.limit_in_bytes=20"),
            (r#"{"memory":{"limit":-1}}"#, "memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1"),
            (r#"{"memory":{"disableOOMKiller":false}}"#, "memory.oom_control=0"),
            // It depends on what is there.
            (r#"{"devices":[{"allow":true,"access":"rwm"}]}"#, ""),
        ] {
            assert_eq!(written(Layout::V1, made_with, &[update]), [expected], "{update}");
        }
    }

    fn asked(texts: &[&str]) -> Asked {
        let devices = crate::devices::tests::rules(texts);
        Asked::of(Some(&Resources { devices, ..Resources::default() }), &[])
    }

    #[test]
    fn rules_for_devices_are_recognised() {
        use Comparison::{Fewer, Others, Same};
        let has = &["deny a *:* rwm", "allow c 10:229 rw", "allow c 195:* rwm"];
        for (rules, want) in [
            (&[][..], Same),
            (has, Same),
            (&["deny - -1:-1 mwr", "allow c 10:229 wr", "allow c 195:-1 rwm"], Same),
            (&["deny a *:* rwm", "allow c 10:229 rw"], Fewer),
            (&["deny a *:* rwm"], Fewer),
            (&["deny a *:* rwm", "allow c 10:229 r", "allow c 195:* rwm"], Others),
            (&["deny a *:* rwm", "allow c 195:* rwm", "allow c 10:229 rw"], Others),
            (&["deny a *:* rwm", "allow c 10:229 rw", "allow c 195:* rwm", "allow c 195:* rwm"], Others),
            (&["allow c 10:229 rw", "allow c 195:* rwm"], Others),
            (&["deny c 195:* rwm"], Others),
        ] {
            let change = Resources { devices: crate::devices::tests::rules(rules), ..Resources::default() };
            let asked = asked(has);
            assert_eq!(asked.devices(&change), want, "{rules:?}");
            // Not known, it is something else than whatever is asked for.
            let between = if rules.is_empty() { Same } else { Others };
            assert_eq!(asked.between().devices(&change), between, "{rules:?}");
            for layout in [Layout::V1, Layout::V2] {
                let (limits, after) = changes(&change, &asked, layout).unwrap();
                assert_eq!(limits.is_empty(), want != Others, "{rules:?}");
                // The next one is compared with these.
                assert_eq!(after.devices(&change), if want == Fewer { Fewer } else { Same }, "{rules:?}");
                assert_eq!((after == asked, limits.held.is_some()), (want != Others, want == Others));
                assert_eq!(limits.program.is_some(), layout == Layout::V2 && want == Others);
            }
        }
    }

    #[test]
    fn a_default_device_that_the_config_replaces_stays_so() {
        let tty = [Device { path: "/dev/tty".to_owned(), ..Device::default() }];
        let change =
            Resources { devices: crate::devices::tests::rules(&["allow b 8:0 r"]), ..Resources::default() };
        for asked in [Asked::of(None, &tty), Asked::of(None, &tty).between()] {
            let (limits, _) = changes(&change, &asked, Layout::V1).unwrap();
            let lines: Vec<_> = limits.filter.unwrap().exceptions.iter().map(ToString::to_string).collect();
            assert!(
                lines.contains(&"b 8:0 r".to_owned()) && !lines.contains(&"c 5:0 rwm".to_owned()),
                "{lines:?}"
            );
        }
    }
}
