//! From limits to properties of a unit, without asking systemd.
//!
//! The files say everything already, in one form for `linux.resources` and its `unified`: so a property is made of
//! what is written to a file. What has no property is in the file alone.
use crate::devices::{Filter, Kind};
use crate::host::Layout;
use crate::limits::{Limits, Write};
use crate::systemd::{Facts, Unit, Value};

/// A property of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name in D-Bus: `MemoryMax`.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Property {
    /// `name` is `value`.
    pub fn new(name: impl Into<String>, value: Value) -> Property {
        Property { name: name.into(), value }
    }
}

/// No limit.
const INFINITY: u64 = u64::MAX;
/// What systemd keeps quotas in: 1 % of a processor, in microseconds a second.
const PERCENT: u64 = 10_000;
/// The kernel's own period, in microseconds.
const PERIOD: u64 = 100_000;
/// The highest number of a processor or memory node that a mask is made for.
const HIGHEST: u32 = 1 << 16;

/// Versions of systemd from which on there is
mod since {
    /// `CPUQuotaPeriodUSec`
    pub(super) const QUOTA_PERIOD: u32 = 242;
    /// `AllowedCPUs`, `AllowedMemoryNodes`
    pub(super) const CPUSETS: u32 = 244;
    /// `CPUWeight=0` for `cpu.idle`
    pub(super) const IDLE: u32 = 252;
    /// `OOMPolicy` for scopes
    pub(super) const OOM_POLICY: u32 = 253;
    /// `MemoryZSwapMax`
    pub(super) const ZSWAP: u32 = 253;
}

/// What a scope is told when it is made, besides its limits and its first process.
pub fn at_creation(unit: &Unit, facts: &Facts, layout: Layout, limits: &Limits) -> Vec<Property> {
    let text = |text: &str| Value::Str(text.to_owned());
    let io = if layout == Layout::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    let mut list = vec![
        Property::new("Slice", text(&unit.slice)),
        // The cgroup is the container's to write to; systemd leaves alone what is in it.
        Property::new("Delegate", Value::Bool(true)),
        // Dependencies would have it stopped early when the host shuts down, before the engine does that.
        Property::new("DefaultDependencies", Value::Bool(false)),
    ];
    // What is not counted can have no statistics, and joining the memory controller late counts wrong.
    for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        list.push(Property::new(name, Value::Bool(true)));
    }
    let group = limits.writes.iter().rfind(|write| write.file == "memory.oom.group");
    // Which cannot be changed later.
    let policy = match group.map(|write| write.value.trim()) {
        Some("0") => Some("continue"),
        Some("1") => Some("kill"),
        _ => None,
    };
    if let Some(policy) = policy.filter(|_| facts.version >= since::OOM_POLICY) {
        list.push(Property::new("OOMPolicy", text(policy)));
    }
    list
}

/// The properties that stand for these limits, in a systemd of this version.
///
/// systemd knows a quota of processor time in whole percents. One that is none is rounded up, in `limits` too, so
/// that systemd does not change it one day.
pub fn properties(limits: &mut Limits, layout: Layout, facts: &Facts) -> Vec<Property> {
    let mut list = List { properties: Vec::new(), version: facts.version };
    if let Some(filter) = &limits.filter {
        list.devices(filter, layout);
    }
    if layout == Layout::V2 {
        for write in &mut limits.writes {
            let (file, value) = in_force(write, facts.bfq);
            if let Some(rounded) = list.version_2(file, value.trim()) {
                write.value = rounded.into();
            }
        }
    } else {
        let mut quota = Quota::default();
        for write in &limits.writes {
            list.version_1(&write.file, write.value.trim(), &mut quota);
        }
        if let Some(rounded) = list.quota(quota) {
            let write = limits.writes.iter_mut().find(|write| write.file == "cpu.cfs_quota_us");
            write.into_iter().for_each(|write| write.value = rounded.to_string().into());
        }
    }
    list.properties
}

/// The file and the value that will hold: without BFQ another file has its weights.
fn in_force(write: &Write, bfq: bool) -> (&str, &str) {
    match &write.instead {
        Some(instead) if write.file == "io.bfq.weight" && !bfq => (instead.file, &instead.value),
        _ => (&write.file, &write.value),
    }
}

/// A limit of processor time: so many microseconds in each period of so many.
#[derive(Clone, Copy, Debug, Default)]
struct Quota {
    /// 0 when nothing is said of it, `None` for no limit.
    quota: Option<u64>,
    period: Option<u64>,
    given: bool,
}

/// Properties in the making.
struct List {
    properties: Vec<Property>,
    version: u32,
}

impl List {
    /// A later one takes the place of an earlier one, as a later write does.
    fn set(&mut self, name: &str, value: Value) {
        self.properties.retain(|property| property.name != name);
        self.properties.push(Property::new(name, value));
    }

    /// Takes a number with `max`; what is none is left to the file, of which the kernel will say what is wrong.
    fn number(&mut self, name: &str, value: &str) {
        if let Some(number) = size(value) {
            self.set(name, Value::Uint64(number));
        }
    }

    /// One write of version 2; the value to write instead, where that is another.
    fn version_2(&mut self, file: &str, value: &str) -> Option<String> {
        match file {
            "memory.max" => self.number("MemoryMax", value),
            "memory.high" => self.number("MemoryHigh", value),
            "memory.low" => self.number("MemoryLow", value),
            "memory.min" => self.number("MemoryMin", value),
            "memory.swap.max" => self.number("MemorySwapMax", value),
            "memory.zswap.max" if self.version >= since::ZSWAP => self.number("MemoryZSwapMax", value),
            "pids.max" => self.tasks(value),
            "cpu.weight" if !self.is_idle() => self.number("CPUWeight", value),
            "cpu.idle" if value == "1" && self.version >= since::IDLE => self.number("CPUWeight", "0"),
            "cpuset.cpus" => self.set_of("AllowedCPUs", value),
            "cpuset.mems" => self.set_of("AllowedMemoryNodes", value),
            "io.weight" => self.weight(value, |weight| weight),
            "io.bfq.weight" => self.weight(value, of_bfq),
            "io.max" => self.throttle(value),
            "cpu.max" => {
                let mut words = value.split_whitespace();
                let quota = size(words.next()?)?;
                let period = match words.next() {
                    Some(period) => Some(period.parse().ok().filter(|period| *period > 0)?),
                    None => None,
                };
                let given =
                    Quota { quota: Some(quota).filter(|quota| *quota != INFINITY), period, given: true };
                let rounded = self.quota(given)?;
                return Some(match period {
                    Some(period) => format!("{rounded} {period}"),
                    None => rounded.to_string(),
                });
            }
            _ => {}
        }
        None
    }

    fn version_1(&mut self, file: &str, value: &str, quota: &mut Quota) {
        let number = || value.parse::<u64>().ok();
        match file {
            // -1 is no limit here.
            "memory.limit_in_bytes" => self.number("MemoryLimit", if value == "-1" { "max" } else { value }),
            "pids.max" => self.tasks(value),
            "cpu.shares" => self.number("CPUShares", value),
            "blkio.weight" | "blkio.bfq.weight" => self.number("BlockIOWeight", value),
            "cpuset.cpus" => self.set_of("AllowedCPUs", value),
            "cpuset.mems" => self.set_of("AllowedMemoryNodes", value),
            "cpu.cfs_period_us" => {
                *quota = Quota { period: number().filter(|period| *period > 0), given: true, ..*quota };
            }
            "cpu.cfs_quota_us" => *quota = Quota { quota: number(), given: true, ..*quota },
            _ => {}
        }
    }

    fn is_idle(&self) -> bool {
        self.properties.iter().any(|p| p.name == "CPUWeight" && p.value == Value::Uint64(0))
    }

    /// systemd has no limit of 0; the least that there is comes to the same.
    fn tasks(&mut self, value: &str) {
        self.number("TasksMax", if value == "0" { "1" } else { value });
    }

    /// Processor time; the quota as systemd has it, where that is another.
    fn quota(&mut self, Quota { quota, period, given }: Quota) -> Option<u64> {
        if !given {
            return None;
        }
        if let Some(period) = period.filter(|_| self.version >= since::QUOTA_PERIOD) {
            self.set("CPUQuotaPeriodUSec", Value::Uint64(period));
        }
        let period = period.unwrap_or(PERIOD);
        let Some(asked) = quota else {
            self.set("CPUQuotaPerSecUSec", Value::Uint64(INFINITY));
            return None;
        };
        let a_second =
            (u128::from(asked) * 1_000_000 / u128::from(period)).next_multiple_of(u128::from(PERCENT));
        let rounded = u64::try_from(a_second * u128::from(period) / 1_000_000).ok()?;
        self.set("CPUQuotaPerSecUSec", Value::Uint64(u64::try_from(a_second).ok()?));
        (rounded != asked).then_some(rounded)
    }

    /// A list of numbers, as a set of bits. An empty one takes nothing back, and so has no property.
    fn set_of(&mut self, name: &str, value: &str) {
        if self.version >= since::CPUSETS
            && let Some(bits) = bits(value)
        {
            self.set(name, Value::bytes(&bits));
        }
    }

    /// A weight for all block devices, or one for one of them.
    fn weight(&mut self, value: &str, scale: fn(u64) -> u64) {
        let (device, weight) = value.split_once(' ').unwrap_or(("default", value));
        let Ok(weight) = weight.trim().parse().map(scale) else { return };
        match node(device) {
            Some(node) => self.append("IODeviceWeight", node, weight),
            None => self.set("IOWeight", Value::Uint64(weight)),
        }
    }

    /// Limits of one block device: `8:0 rbps=1 wiops=max`.
    fn throttle(&mut self, value: &str) {
        let mut words = value.split_whitespace();
        let Some(node) = words.next().and_then(node) else { return };
        for (key, limit) in words.filter_map(|word| word.split_once('=')) {
            let name = match key {
                "rbps" => "IOReadBandwidthMax",
                "wbps" => "IOWriteBandwidthMax",
                "riops" => "IOReadIOPSMax",
                "wiops" => "IOWriteIOPSMax",
                _ => continue,
            };
            if let Some(limit) = size(limit) {
                self.append(name, node.clone(), limit);
            }
        }
    }

    /// Adds a device to a list of devices.
    fn append(&mut self, name: &str, node: String, value: u64) {
        let entry = Value::Struct(vec![Value::Str(node), Value::Uint64(value)]);
        match self.properties.iter_mut().find(|property| property.name == name) {
            Some(Property { value: Value::Array(_, list), .. }) => list.push(entry),
            _ => self.set(name, Value::Array("(st)".to_owned(), vec![entry])),
        }
    }

    /// Devices. systemd knows only lists of what is allowed, and no rule for a minor number of every major.
    ///
    /// What it cannot be told it must not spoil. On version 2 the container has a program of its own, besides which
    /// systemd needs none. On version 1 both write to the same files, and systemd again after a reload: there it is
    /// told less, so that what it writes allows nothing that is denied.
    fn devices(&mut self, filter: &Filter, layout: Layout) {
        let entries: Option<Vec<Value>> = filter.exceptions.iter().map(device).collect();
        let allowed = match (filter.allow, entries) {
            (false, Some(entries)) => Some(entries),
            (false, None) if layout == Layout::V2 => None,
            (false, None) => Some(filter.exceptions.iter().filter_map(device).collect()),
            (true, _) if layout == Layout::V2 || filter.allows_all() => None,
            (true, _) => Some(Vec::new()),
        };
        let policy = if allowed.is_some() { "strict" } else { "auto" };
        self.set("DevicePolicy", Value::Str(policy.to_owned()));
        // An empty list takes away what the unit has; another one is added to that.
        for entries in [Some(Vec::new()), allowed].into_iter().flatten() {
            self.properties.push(Property::new("DeviceAllow", Value::Array("(ss)".to_owned(), entries)));
        }
    }
}

/// One entry of `DeviceAllow`, if there can be one.
fn device(exception: &crate::devices::Exception) -> Option<Value> {
    let crate::devices::Exception { devices, access } = exception;
    let kind = if devices.kind == Kind::Block { "block" } else { "char" };
    let node = match (devices.major, devices.minor) {
        (None, None) => format!("{kind}-*"),
        (Some(major), None) => format!("{kind}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (None, Some(_)) => return None,
    };
    Some(Value::Struct(vec![Value::Str(node), Value::Str(access.to_string())]))
}

/// systemd makes a weight of BFQ's, from 1 to 1000, of its own, from 1 to 10000. This is the way back.
fn of_bfq(weight: u64) -> u64 {
    if weight <= 100 { weight } else { 100 + (weight - 100).saturating_mul(11) }
}

/// The device node of `8:0`.
fn node(device: &str) -> Option<String> {
    let (major, minor) = device.split_once(':')?;
    let number = |text: &str| text.parse::<u32>().is_ok();
    (number(major) && number(minor)).then(|| format!("/dev/block/{device}"))
}

/// A number as the kernel takes it, with `max` and the suffixes of sizes.
fn size(value: &str) -> Option<u64> {
    if value == "max" {
        return Some(INFINITY);
    }
    let shift = match value.bytes().last()?.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        b't' => 40,
        _ => 0,
    };
    let digits = if shift == 0 { value } else { value.get(..value.len() - 1)? };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `0-2,8` as bits, the lowest first.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits: Vec<u8> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > HIGHEST {
            return None;
        }
        for n in first..=last {
            let byte = usize::try_from(n / 8).ok()?;
            bits.resize(bits.len().max(byte + 1), 0);
            *bits.get_mut(byte)? |= 1 << (n % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::Scope;

    fn facts(version: u32) -> Facts {
        Facts { scope: Scope::System, version, control_group: String::new(), bfq: false }
    }

    fn show(property: &Property) -> String {
        let value = match &property.value {
            Value::Uint64(u64::MAX) => "infinity".to_owned(),
            Value::Uint64(number) => number.to_string(),
            Value::Str(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Array(element, items) if element == "y" => format!("{items:?}").replace("Byte", ""),
            Value::Array(_, items) => {
                let fields = |item: &Value| match item {
                    Value::Struct(fields) => fields
                        .iter()
                        .map(|field| match field {
                            Value::Str(text) => text.clone(),
                            Value::Uint64(number) => number.to_string(),
                            other => format!("{other:?}"),
                        })
                        .collect::<Vec<_>>()
                        .join(" "),
                    other => format!("{other:?}"),
                };
                items.iter().map(fields).collect::<Vec<_>>().join(", ")
            }
            other => format!("{other:?}"),
        };
        format!("{}={value}", property.name)
    }

    /// The properties for a config, without those of its devices.
    fn told(layout: Layout, facts: &Facts, json: &str) -> Vec<String> {
        let mut limits = crate::plan(Some(&serde_json::from_str(json).unwrap()), &[], layout).unwrap();
        let list = properties(&mut limits, layout, facts);
        list.iter().filter(|property| !property.name.starts_with("Device")).map(show).collect()
    }

    #[test]
    fn resources_on_version_2() {
        for (json, want) in [
            ("{}", &[][..]),
            (
                r#"{"memory":{"limit":7,"swap":9,"reservation":5}}"#,
                &["MemorySwapMax=2", "MemoryMax=7", "MemoryLow=5"],
            ),
            (r#"{"memory":{"limit":-1}}"#, &["MemorySwapMax=infinity", "MemoryMax=infinity"]),
            (r#"{"pids":{"limit":0}}"#, &["TasksMax=1"]),
            (r#"{"pids":{"limit":-1}}"#, &["TasksMax=infinity"]),
            (
                r#"{"cpu":{"shares":512,"cpus":"0-1,8","mems":"0"}}"#,
                &["CPUWeight=59", "AllowedCPUs=[(3), (1)]", "AllowedMemoryNodes=[(1)]"],
            ),
            (r#"{"cpu":{"shares":512,"idle":1}}"#, &["CPUWeight=0"]),
            (r#"{"cpu":{"shares":512,"idle":0}}"#, &["CPUWeight=59"]),
            (
                r#"{"cpu":{"quota":50000,"period":100000}}"#,
                &["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=500000"],
            ),
            (r#"{"cpu":{"quota":-1}}"#, &["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=infinity"]),
            (r#"{"cpu":{"period":5000}}"#, &["CPUQuotaPeriodUSec=5000", "CPUQuotaPerSecUSec=infinity"]),
            (
                r#"{"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":1000}]}}"#,
                &["IOWeight=1", "IODeviceWeight=/dev/block/8:0 10000"],
            ),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":5},{"major":8,"minor":16,"rate":6}],
                    "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":7}]}}"#,
                &[
                    "IOReadBandwidthMax=/dev/block/8:0 5, /dev/block/8:16 6",
                    "IOWriteIOPSMax=/dev/block/8:0 7",
                ],
            ),
            // What the kernel can read of it, and last what it can't, of which it will say so itself.
            (
                r#"{"memory":{"limit":7},"unified":{"memory.max":"1G","memory.high":"max","memory.min":" 5\n",
                    "memory.zswap.max":"3","cpu.weight":"x","pids.max":"0","cpuset.cpus":"3","io.latency":"1"}}"#,
                &[
                    "AllowedCPUs=[(8)]",
                    "MemoryHigh=infinity",
                    "MemoryMax=1073741824",
                    "MemoryMin=5",
                    "MemoryZSwapMax=3",
                    "TasksMax=1",
                ],
            ),
        ] {
            assert_eq!(told(Layout::V2, &facts(260), json), want, "{json}");
        }
    }

    #[test]
    fn what_an_older_systemd_is_not_told() {
        let json = r#"{"cpu":{"shares":512,"quota":5000,"period":10000,"cpus":"0","idle":1},
            "unified":{"memory.zswap.max":"3"}}"#;
        for (version, want) in [
            (241, &["CPUWeight=59", "CPUQuotaPerSecUSec=500000"][..]),
            (242, &["CPUWeight=59", "CPUQuotaPeriodUSec=10000", "CPUQuotaPerSecUSec=500000"]),
            (
                251,
                &[
                    "CPUWeight=59",
                    "CPUQuotaPeriodUSec=10000",
                    "CPUQuotaPerSecUSec=500000",
                    "AllowedCPUs=[(1)]",
                ],
            ),
            (
                253,
                &[
                    "CPUWeight=0",
                    "CPUQuotaPeriodUSec=10000",
                    "CPUQuotaPerSecUSec=500000",
                    "AllowedCPUs=[(1)]",
                    "MemoryZSwapMax=3",
                ],
            ),
        ] {
            assert_eq!(told(Layout::V2, &facts(version), json), want, "{version}");
        }
    }

    #[test]
    fn resources_on_version_1() {
        for (json, want) in [
            (r#"{"memory":{"limit":7,"swap":9,"reservation":5}}"#, &["MemoryLimit=7"][..]),
            (r#"{"memory":{"limit":-1}}"#, &["MemoryLimit=infinity"]),
            (r#"{"cpu":{"shares":512,"cpus":"1"}}"#, &["CPUShares=512", "AllowedCPUs=[(2)]"]),
            (
                r#"{"cpu":{"quota":5000,"period":10000}}"#,
                &["CPUQuotaPeriodUSec=10000", "CPUQuotaPerSecUSec=500000"],
            ),
            (r#"{"cpu":{"quota":50000}}"#, &["CPUQuotaPerSecUSec=500000"]),
            (r#"{"cpu":{"quota":-1}}"#, &["CPUQuotaPerSecUSec=infinity"]),
            (r#"{"blockIO":{"weight":10}}"#, &["BlockIOWeight=10"]),
            (r#"{"pids":{"limit":3}}"#, &["TasksMax=3"]),
        ] {
            assert_eq!(told(Layout::V1, &facts(250), json), want, "{json}");
        }
    }

    #[test]
    fn quotas_are_whole_percents_in_the_files_too() {
        for (layout, json, file, want) in [
            (Layout::V2, r#"{"cpu":{"quota":33333}}"#, "cpu.max", "34000 100000"),
            (Layout::V2, r#"{"cpu":{"quota":50000}}"#, "cpu.max", "50000 100000"),
            (Layout::V2, r#"{"cpu":{"quota":-1}}"#, "cpu.max", "max 100000"),
            (Layout::V2, r#"{"unified":{"cpu.max":"1001"}}"#, "cpu.max", "2000"),
            (Layout::V2, r#"{"unified":{"cpu.max":"nonsense"}}"#, "cpu.max", "nonsense"),
            (Layout::V1, r#"{"cpu":{"quota":33333,"period":50000}}"#, "cpu.cfs_quota_us", "33500"),
            (Layout::V1, r#"{"cpu":{"quota":-1}}"#, "cpu.cfs_quota_us", "-1"),
        ] {
            let mut limits = crate::plan(Some(&serde_json::from_str(json).unwrap()), &[], layout).unwrap();
            properties(&mut limits, layout, &facts(250));
            let write = limits.writes.iter().find(|write| write.file == file);
            assert_eq!(write.map(|write| &*write.value), Some(want), "{json}");
        }
    }

    #[test]
    fn weights_of_bfq_come_back_as_they_were() {
        // `BFQ_WEIGHT` of systemd.
        let back = |weight: u64| if weight <= 100 { weight } else { 100 + (weight - 100) * 900 / 9900 };
        assert!((1..=1000).all(|weight| back(of_bfq(weight)) == weight));
        let with = Facts { bfq: true, ..facts(250) };
        let json = r#"{"blockIO":{"weight":300,"weightDevice":[{"major":8,"minor":0,"weight":10}]}}"#;
        assert_eq!(told(Layout::V2, &with, json), ["IOWeight=2300", "IODeviceWeight=/dev/block/8:0 10"]);
    }

    #[test]
    fn devices() {
        let allowed = |layout, texts: &[&str]| {
            let devices = crate::devices::tests::rules(texts);
            let resources = oci::Resources { devices, ..oci::Resources::default() };
            let mut limits = crate::plan(Some(&resources), &[], layout).unwrap();
            let list = properties(&mut limits, layout, &facts(250));
            list.iter().map(|p| show(p).replace("/dev/", "")).collect::<Vec<_>>()
        };
        let defaults = "DeviceAllow=char-* m, block-* m, char/1:3 rwm, char/1:8 rwm, char/1:7 rwm, char/5:0 rwm, \
                        char/1:5 rwm, char/1:9 rwm, char-136 rwm, char/5:2 rwm, char/10:200 rwm";
        let (strict, none) = ("DevicePolicy=strict", "DeviceAllow=");
        for layout in [Layout::V1, Layout::V2] {
            assert_eq!(allowed(layout, &[]), [strict, none, defaults]);
            assert_eq!(allowed(layout, &["allow a *:* rwm"]), ["DevicePolicy=auto", none]);
            let one = defaults.replace("=char-* m", "=block/8:0 r, char-* m");
            assert_eq!(allowed(layout, &["allow b 8:0 r"]), [strict, none, &one]);
        }
        // What systemd has no words for: on version 1 it writes to the same files, so it is told less.
        for rules in [&["allow c *:7 r"][..], &["allow a *:* rwm", "deny b 8:0 w"]] {
            assert_eq!(allowed(Layout::V2, rules), ["DevicePolicy=auto", none]);
        }
        assert_eq!(allowed(Layout::V1, &["allow c *:7 r"]), [strict, none, defaults]);
        assert_eq!(allowed(Layout::V1, &["allow a *:* rwm", "deny b 8:0 w"]), [strict, none, none]);
    }

    #[test]
    fn what_a_scope_is_told_besides() {
        let unit = Unit {
            name: "p-n.scope".to_owned(),
            slice: "a.slice".to_owned(),
            scope: Scope::System,
            path: "/a.slice/p-n.scope".to_owned(),
        };
        let json = r#"{"unified":{"memory.oom.group":"1"}}"#;
        let limits = crate::plan(Some(&serde_json::from_str(json).unwrap()), &[], Layout::V2).unwrap();
        let told = |layout, version| {
            at_creation(&unit, &facts(version), layout, &limits).iter().map(show).collect::<Vec<_>>()
        };
        let mut want = vec![
            "Slice=a.slice",
            "Delegate=true",
            "DefaultDependencies=false",
            "MemoryAccounting=true",
            "CPUAccounting=true",
            "IOAccounting=true",
            "TasksAccounting=true",
        ];
        assert_eq!(told(Layout::V2, 252), want);
        want.push("OOMPolicy=kill");
        assert_eq!(told(Layout::V2, 253), want);
        assert!(told(Layout::V1, 250).contains(&"BlockIOAccounting=true".to_owned()));
    }
}
