//! How a setting is taken back: pure, from what its file said before.

/// What has to be written to `file` for it to say `old` again after `value` has been written; `None` where
/// that is not possible.
///
/// Files that have a line for each device say nothing of one that has no setting of its own.
pub(crate) fn undo(file: &str, value: &str, old: &str) -> Option<String> {
    if file == "memory.oom_control" {
        return old.lines().find_map(|line| line.strip_prefix("oom_kill_disable ")).map(str::to_owned);
    }
    // Such values are changes themselves: "+memory".
    if value.starts_with(['+', '-']) && value.parse::<i64>().is_err() {
        return None;
    }
    let key = value.split_whitespace().next().unwrap_or_default();
    let of = |key: &str| {
        old.lines()
            .find(|line| line.split_whitespace().next() == Some(key))
            .map(|line| line.trim_end().to_owned())
    };
    if is_device(key) {
        return of(key).or_else(|| no_setting(file).map(|nothing| format!("{key} {nothing}")));
    }
    let mut lines = old.lines();
    match (lines.next(), lines.next()) {
        // cgroupfs takes no empty write everywhere.
        (None | Some(""), None) => Some("\n".to_owned()),
        (Some(line), None) => Some(line.to_owned()),
        (_, Some(_)) => of(key).or_else(|| of("default")),
    }
}

/// Whether a change from `old` by `value` would be none.
pub(crate) fn is_set(value: &str, undo: &str) -> bool {
    value.trim_end() == undo.trim_end()
}

/// `8:0`
fn is_device(word: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
}

/// What takes a device's own setting away.
fn no_setting(file: &str) -> Option<&'static str> {
    match file {
        "io.max" => Some("rbps=max wbps=max riops=max wiops=max"),
        "io.latency" => Some("target=0"),
        "io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device" => Some("default"),
        _ if file.starts_with("blkio.") => Some("0"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_back() {
        let io_max = "8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=2 wbps=max riops=max wiops=max\n";
        let rdma = "mlx5_0 hca_handle=1 hca_object=2\nmlx5_1 hca_handle=3 hca_object=max\n";
        for (file, value, old, expected) in [
            ("pids.max", "5", "max\n", Some("max")),
            ("cpu.max", "5 10", "max 100000\n", Some("max 100000")),
            ("cpu.cfs_quota_us", "-1", "500\n", Some("500")),
            ("memory.limit_in_bytes", "5", "9223372036854771712\n", Some("9223372036854771712")),
            ("cpuset.cpus", "0", "\n", Some("\n")),
            ("cpuset.cpus", "0", "", Some("\n")),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", Some("0")),
            ("io.max", "8:16 rbps=9", io_max, Some("8:16 rbps=2 wbps=max riops=max wiops=max")),
            ("io.max", "8:32 rbps=9", io_max, Some("8:32 rbps=max wbps=max riops=max wiops=max")),
            ("io.max", "8:32 rbps=9", "", Some("8:32 rbps=max wbps=max riops=max wiops=max")),
            ("io.weight", "200", "default 100\n8:0 50\n", Some("default 100")),
            ("io.weight", "default 200", "default 100\n", Some("default 100")),
            ("io.weight", "8:16 200", "default 100\n8:0 50\n", Some("8:16 default")),
            ("io.bfq.weight", "8:0 200", "default 100\n8:0 50\n", Some("8:0 50")),
            ("blkio.bfq.weight", "200", "100\n", Some("100")),
            ("blkio.bfq.weight_device", "8:0 200", "default 100\n", Some("8:0 default")),
            ("blkio.throttle.read_bps_device", "8:0 5", "", Some("8:0 0")),
            ("blkio.throttle.read_bps_device", "8:0 5", "8:0 7\n", Some("8:0 7")),
            ("rdma.max", "mlx5_1 hca_handle=9", rdma, Some("mlx5_1 hca_handle=3 hca_object=max")),
            ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 2\n", Some("eth0 2")),
            ("cgroup.subtree_control", "+memory", "cpu\n", None),
            ("memory.numa_stat", "1", "a 1\nb 2\n", None),
            ("misc.max", "8:0 1", "", None),
        ] {
            assert_eq!(undo(file, value, old).as_deref(), expected, "{file} {value} {old:?}");
        }
    }
}
