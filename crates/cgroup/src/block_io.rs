//! Weights and limits of block devices.
//!
//! Owns: `linux.resources.blockIO`.
//!
//! Weights are the scheduler's. On version 1 that was cfq, which Linux 5.0 has removed, and is bfq since; on
//! version 2 it is bfq, or else the cost model (`io.weight`), whose scale is another.
use oci::{BlockIo, ThrottleDevice, WeightDevice};

use crate::limits::{Instead, Refusal};
use crate::plan::Planner;

const FIELD: &str = "linux.resources.blockIO";

/// What the specification allows as a weight.
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

impl Planner {
    pub(crate) fn block_io(&mut self, io: &BlockIo) {
        let BlockIo {
            weight,
            leaf_weight,
            weight_device,
            throttle_read_bps_device,
            throttle_write_bps_device,
            throttle_read_iops_device,
            throttle_write_iops_device,
        } = io;
        if let Some(weight) = self.weight(*weight, || format!("{FIELD}.weight")) {
            self.block_weight(weight);
        }
        if let Some(weight) = self.leaf_weight(*leaf_weight, || format!("{FIELD}.leafWeight")) {
            self.write("blkio.leaf_weight", weight, format!("{FIELD}.leafWeight"), Refusal::Error);
        }
        for (n, device) in weight_device.iter().enumerate() {
            self.weight_device(device, &format!("{FIELD}.weightDevice[{n}]"));
        }
        for (list, name, v1, v2) in [
            (throttle_read_bps_device, "throttleReadBpsDevice", "read_bps", "rbps"),
            (throttle_write_bps_device, "throttleWriteBpsDevice", "write_bps", "wbps"),
            (throttle_read_iops_device, "throttleReadIOPSDevice", "read_iops", "riops"),
            (throttle_write_iops_device, "throttleWriteIOPSDevice", "write_iops", "wiops"),
        ] {
            for (n, device) in list.iter().enumerate() {
                self.throttle(device, &format!("{FIELD}.{name}[{n}]"), v1, v2);
            }
        }
    }

    /// The weight of all devices.
    fn block_weight(&mut self, weight: u16) {
        let at = format!("{FIELD}.weight");
        let (file, other, value) = if self.v2 {
            ("io.bfq.weight", "io.weight", of_cost_model(weight))
        } else {
            ("blkio.weight", "blkio.bfq.weight", weight)
        };
        self.write_either(file, weight, Instead { file: other, value: value.to_string() }, at);
    }

    fn weight_device(&mut self, device: &WeightDevice, at: &str) {
        let WeightDevice { major, minor, weight, leaf_weight } = device;
        let Some(device) = self.device(*major, *minor, at) else { return };
        if let Some(weight) = self.weight(*weight, || format!("{at}.weight")) {
            let (file, other, value) = if self.v2 {
                ("io.bfq.weight", "io.weight", of_cost_model(weight))
            } else {
                ("blkio.weight_device", "blkio.bfq.weight_device", weight)
            };
            let instead = Instead { file: other, value: format!("{device} {value}") };
            self.write_either(file, format!("{device} {weight}"), instead, format!("{at}.weight"));
        }
        if let Some(weight) = self.leaf_weight(*leaf_weight, || format!("{at}.leafWeight")) {
            let value = format!("{device} {weight}");
            self.write("blkio.leaf_weight_device", value, format!("{at}.leafWeight"), Refusal::Error);
        }
    }

    /// At most so many bytes or operations in a second. 0 is no limit: version 1 takes it as that.
    fn throttle(&mut self, device: &ThrottleDevice, at: &str, v1: &str, v2: &str) {
        let ThrottleDevice { major, minor, rate } = device;
        let Some(device) = self.device(*major, *minor, at) else { return };
        let at = at.to_owned();
        match (self.v2, rate) {
            (false, _) => {
                let file = format!("blkio.throttle.{v1}_device");
                self.write(file, format!("{device} {rate}"), at, Refusal::Error);
            }
            (true, 0) => self.write("io.max", format!("{device} {v2}=max"), at, Refusal::Error),
            (true, _) => self.write("io.max", format!("{device} {v2}={rate}"), at, Refusal::Error),
        }
    }

    /// A weight that is set and may be.
    fn weight(&mut self, given: Option<u16>, at: impl FnOnce() -> String) -> Option<u16> {
        let weight = given.filter(|weight| *weight != 0)?;
        if !WEIGHTS.contains(&weight) {
            self.fault(at(), format!("invalid weight {weight} (valid range is 10-1000)"));
            return None;
        }
        Some(weight)
    }

    /// The same for a weight against child cgroups.
    fn leaf_weight(&mut self, given: Option<u16>, at: impl Fn() -> String) -> Option<u16> {
        let weight = self.weight(given, &at)?;
        if self.v2 {
            self.fault(at(), "cgroup v2 has no weights against child cgroups");
            return None;
        }
        Some(weight)
    }

    /// `8:0`.
    fn device(&mut self, major: i64, minor: i64, at: &str) -> Option<String> {
        let wrong =
            [("major", major), ("minor", minor)].into_iter().find(|(_, n)| u32::try_from(*n).is_err());
        if let Some((name, number)) = wrong {
            self.fault(format!("{at}.{name}"), format!("invalid device number {number}"));
            return None;
        }
        Some(format!("{major}:{minor}"))
    }
}

/// A weight from 10 to 1000 on the scale of `io.weight`, from 1 to 10000.
fn of_cost_model(weight: u16) -> u16 {
    let scaled = 1 + u32::from(weight.saturating_sub(10)) * 9999 / 990;
    u16::try_from(scaled).unwrap_or(10_000).min(10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Layout;
    use crate::plan::tests::check;

    const ALL: &str = r#"{"blockIO":{"weight":100,"weightDevice":[{"major":8,"minor":0,"weight":500}],
        "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":16,"rate":0}],
        "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":18446744073709551615}],
        "throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],
        "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":4}]}}"#;
    const NOTHING: [&str; 3] = [
        r#"{"blockIO":{}}"#,
        r#"{"blockIO":{"weight":0,"leafWeight":0,"weightDevice":[]}}"#,
        r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":0}]}}"#,
    ];

    #[test]
    fn version_1() {
        let leaf = r#"{"blockIO":{"leafWeight":30,"weightDevice":[{"major":8,"minor":1,"leafWeight":40}]}}"#;
        check(
            Layout::Hybrid,
            &[
                (
                    ALL,
                    &[
                        "blkio.weight=100 or blkio.bfq.weight=100",
                        "blkio.weight_device=8:0 500 or blkio.bfq.weight_device=8:0 500",
                        "blkio.throttle.read_bps_device=8:0 1",
                        "blkio.throttle.read_bps_device=8:16 0",
                        "blkio.throttle.write_bps_device=8:0 18446744073709551615",
                        "blkio.throttle.read_iops_device=8:0 3",
                        "blkio.throttle.write_iops_device=8:0 4",
                    ],
                ),
                (leaf, &["blkio.leaf_weight=30", "blkio.leaf_weight_device=8:1 40"]),
            ],
        );
        for nothing in NOTHING {
            check(Layout::V1, &[(nothing, &[])]);
        }
    }

    #[test]
    fn version_2() {
        check(
            Layout::V2,
            &[
                (
                    ALL,
                    &[
                        "io.bfq.weight=100 or io.weight=910",
                        "io.bfq.weight=8:0 500 or io.weight=8:0 4950",
                        "io.max=8:0 rbps=1",
                        "io.max=8:16 rbps=max",
                        "io.max=8:0 wbps=18446744073709551615",
                        "io.max=8:0 riops=3",
                        "io.max=8:0 wiops=4",
                    ],
                ),
                (
                    r#"{"blockIO":{"leafWeight":30,"weightDevice":[{"major":8,"minor":1,"leafWeight":40}]}}"#,
                    &[
                        "cgroup v2 has no weights against child cgroups (linux.resources.blockIO.leafWeight)",
                        "cgroup v2 has no weights against child cgroups \
                         (linux.resources.blockIO.weightDevice[0].leafWeight)",
                    ],
                ),
            ],
        );
        for nothing in NOTHING {
            check(Layout::V2, &[(nothing, &[])]);
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let json = r#"{"blockIO":{"weight":9,
            "weightDevice":[{"major":8,"minor":0,"weight":10},{"major":-1,"minor":0,"weight":10},
                {"major":1,"minor":0,"weight":1001}],
            "throttleWriteIOPSDevice":[{"major":1,"minor":4294967296,"rate":4}]}}"#;
        let expected: &[&str] = &[
            "invalid weight 9 (valid range is 10-1000) (linux.resources.blockIO.weight)",
            "invalid device number -1 (linux.resources.blockIO.weightDevice[1].major)",
            "invalid weight 1001 (valid range is 10-1000) (linux.resources.blockIO.weightDevice[2].weight)",
            "invalid device number 4294967296 (linux.resources.blockIO.throttleWriteIOPSDevice[0].minor)",
        ];
        for layout in [Layout::V1, Layout::V2] {
            check(layout, &[(json, expected)]);
        }
    }

    #[test]
    fn weights_of_the_cost_model() {
        for (weight, expected) in [(10, 1), (11, 11), (100, 910), (500, 4950), (750, 7475), (1000, 10_000)] {
            assert_eq!(of_cost_model(weight), expected, "{weight}");
        }
    }
}
