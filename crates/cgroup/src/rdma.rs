//! Limits of RDMA devices, which are the same on both versions.
//!
//! Owns: `linux.resources.rdma`.
use std::collections::BTreeMap;

use oci::Rdma;

use crate::limits::Refusal;
use crate::plan::Planner;

const FIELD: &str = "linux.resources.rdma";

impl Planner {
    pub(crate) fn rdma(&mut self, devices: &BTreeMap<String, Rdma>) {
        for (name, Rdma { hca_handles, hca_objects }) in devices {
            let at = format!("{FIELD}.{name}");
            if name.is_empty() || name.contains(char::is_whitespace) {
                self.fault(FIELD, format!("{name:?} is no name for an RDMA device"));
                continue;
            }
            let mut value = name.clone();
            for (key, limit) in [("hca_handle", hca_handles), ("hca_object", hca_objects)] {
                if let Some(limit) = limit {
                    value += &format!(" {key}={limit}");
                }
            }
            if value == *name {
                self.fault(at, "at least one of hcaHandles and hcaObjects must be set");
                continue;
            }
            self.write("rdma.max", value, at, Refusal::Error);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::host::Layout;
    use crate::plan::tests::check;

    #[test]
    fn limits_of_devices() {
        for layout in [Layout::V1, Layout::V2] {
            check(
                layout,
                &[
                    (r#"{"rdma":{}}"#, &[]),
                    (
                        r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"a":{"hcaObjects":0}}}"#,
                        &["rdma.max=a hca_object=0", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"],
                    ),
                    (
                        r#"{"rdma":{"mlx5_1":{}}}"#,
                        &[
                            "at least one of hcaHandles and hcaObjects must be set (linux.resources.rdma.mlx5_1)",
                        ],
                    ),
                    (
                        r#"{"rdma":{"a b":{"hcaHandles":3}}}"#,
                        &["\"a b\" is no name for an RDMA device (linux.resources.rdma)"],
                    ),
                ],
            );
        }
    }
}
