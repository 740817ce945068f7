//! linux.resources.blockIO: what the kernel does to reads and writes of a loop device.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::bundle::push;
use crate::harness::settings::{controller, program, unified};
use crate::harness::{Container, Lab, Outcome, Skip, Value, eventually, json, tests};

tests![throttles_hold, throttles_are_in_the_files, weights, leaf_weights, a_wrong_device_is_named];

/// The controller of block devices, which has another name on each version.
fn block_controller() -> Result<&'static str, Skip> {
    let name = if unified() { "io" } else { "blkio" };
    controller(name).map(|_| name)
}

/// A loop device of 1 MiB.
pub struct Disk {
    node: String,
    major: u64,
    minor: u64,
    /// What the device's scheduler was, if it has been changed.
    scheduler: Option<String>,
}

impl Disk {
    pub fn new(lab: &Lab) -> Result<Self, Skip> {
        let losetup = program("losetup")?;
        let image = lab.next_file("disk");
        fs::write(&image, vec![0; 1 << 20]).unwrap();
        let made = Command::new(losetup).args(["-f", "--show"]).arg(&image).output().unwrap();
        if !made.status.success() {
            return Err(Skip(format!("no loop device: {}", String::from_utf8_lossy(&made.stderr).trim())));
        }
        let node = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let mut disk = Self { node, major: 0, minor: 0, scheduler: None };
        let numbers = fs::read_to_string(disk.sysfs("dev")).unwrap();
        let (major, minor) = numbers.trim().split_once(':').unwrap();
        (disk.major, disk.minor) = (major.parse().unwrap(), minor.parse().unwrap());
        Ok(disk)
    }

    fn sysfs(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/sys/block/{}/{file}", self.node.trim_start_matches("/dev/")))
    }

    /// Puts the device under the scheduler bfq, if the kernel has it.
    pub fn schedule_by_bfq(&mut self) -> bool {
        let file = self.sysfs("queue/scheduler");
        let list = fs::read_to_string(&file).unwrap();
        let before = list.split_whitespace().find_map(|name| name.strip_prefix('[')?.strip_suffix(']'));
        self.scheduler = before.map(str::to_owned);
        fs::write(file, "bfq").is_ok()
    }

    /// A limit for this device.
    pub fn rate(&self, rate: u64) -> Value {
        json!([{"major": self.major, "minor": self.minor, "rate": rate}])
    }

    /// A weight for this device.
    pub fn weight(&self, weight: u16) -> Value {
        json!([{"major": self.major, "minor": self.minor, "weight": weight}])
    }

    /// Lets a container use it as `/dev/disk`.
    fn lend(&self, config: &mut Value) {
        let Self { major, minor, .. } = self;
        let node =
            json!({"path": "/dev/disk", "type": "b", "major": major, "minor": minor, "fileMode": 0o600});
        push(&mut config["linux"]["devices"], node);
        let rule = json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "rw"});
        push(&mut config["linux"]["resources"]["devices"], rule);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(name) = &self.scheduler {
            let _ = fs::write(self.sysfs("queue/scheduler"), name);
        }
        let _ = Command::new("losetup").args(["-d", &self.node]).status();
    }
}

fn container<'l>(lab: &'l Lab, script: &str, disk: &Disk, block_io: &Value) -> Container<'l> {
    let mut c = lab.container(&["sh", "-c", script]);
    c.edit(|v| {
        disk.lend(v);
        v["linux"]["resources"]["blockIO"] = block_io.clone();
    });
    c
}

/// Half a MiB at a quarter of a MiB a second, and 32 reads at 16 a second, cannot be done in one second.
fn throttles_hold(lab: &Lab) -> Outcome {
    let of = block_controller()?;
    let disk = Disk::new(lab)?;
    let bytes = |way: &str| format!("dd {way} bs=64k count=8");
    let blocks = |way: &str| format!("dd {way} bs=4k count=32");
    let write = "if=/dev/zero of=/dev/disk oflag=direct";
    let read = "if=/dev/disk of=/dev/null iflag=direct";
    for (limits, first, second) in [
        (
            json!({"throttleWriteBpsDevice": disk.rate(1 << 18), "throttleReadIOPSDevice": disk.rate(16)}),
            bytes(write),
            blocks(read),
        ),
        (
            json!({"throttleReadBpsDevice": disk.rate(1 << 18), "throttleWriteIOPSDevice": disk.rate(16)}),
            bytes(read),
            blocks(write),
        ),
    ] {
        for script in [first, second] {
            // What it has transferred is asked while it lives: systemd removes the control group with its end.
            let c = container(lab, &format!("{script} && exec sleep 1000"), &disk, &limits);
            c.create(&[]).ok();
            let begin = Instant::now();
            c.start();
            let name = format!("/proc/{}/comm", c.pid());
            eventually("the work", || (fs::read_to_string(&name).unwrap() == "sleep\n").then_some(()));
            let took = begin.elapsed();
            assert!(took >= Duration::from_secs(1), "{limits} {script}: {took:?}");
            // All of it was done, and in this cgroup.
            let expected = if script.contains("64k") { 1 << 19 } else { 1 << 17 };
            assert_eq!(transferred(&c, of, &disk, script.contains("oflag"))?, expected, "{script}");
            c.delete(&["--force"]).ok();
        }
    }
    Ok(())
}

/// How many bytes the cgroup has read or written.
fn transferred(c: &Container, of: &str, disk: &Disk, write: bool) -> Result<u64, Skip> {
    let file = if unified() { "io.stat" } else { "blkio.throttle.io_service_bytes" };
    let text = c.cgroup(of, file)?;
    let device = format!("{}:{} ", disk.major, disk.minor);
    let key = match (unified(), write) {
        (true, true) => "wbytes=",
        (true, false) => "rbytes=",
        (false, true) => "Write ",
        (false, false) => "Read ",
    };
    let number = text.lines().filter_map(|line| line.strip_prefix(&device)).find_map(|line| {
        let rest = line.split_once(key)?.1;
        rest.split_whitespace().next()?.parse().ok()
    });
    Ok(number.unwrap_or(0))
}

fn throttles_are_in_the_files(lab: &Lab) -> Outcome {
    let of = block_controller()?;
    let disk = Disk::new(lab)?;
    let limits = json!({
        "throttleReadBpsDevice": disk.rate(1000),
        "throttleWriteBpsDevice": disk.rate(2000),
        "throttleReadIOPSDevice": disk.rate(30),
        "throttleWriteIOPSDevice": disk.rate(40),
    });
    let c = container(lab, "true", &disk, &limits);
    c.create(&[]).ok();
    let device = format!("{}:{}", disk.major, disk.minor);
    if unified() {
        assert_eq!(c.cgroup(of, "io.max")?, format!("{device} rbps=1000 wbps=2000 riops=30 wiops=40"));
    } else {
        for (file, rate) in [("read_bps", 1000), ("write_bps", 2000), ("read_iops", 30), ("write_iops", 40)] {
            let file = format!("blkio.throttle.{file}_device");
            assert_eq!(c.cgroup(of, &file)?, format!("{device} {rate}"), "{file}");
        }
    }
    // Both versions take 0 for no limit.
    let c = container(lab, "true", &disk, &json!({"throttleReadBpsDevice": disk.rate(0)}));
    c.create(&[]).ok();
    let file = if unified() { "io.max" } else { "blkio.throttle.read_bps_device" };
    assert_eq!(c.cgroup(of, file)?, "");
    Ok(())
}

fn weights(lab: &Lab) -> Outcome {
    let of = block_controller()?;
    let mut disk = Disk::new(lab)?;
    let c = container(lab, "true", &disk, &json!({"weight": 300}));
    let has = |file: &str| c.cgroups().iter().any(|dir| dir.join(file).exists());
    let made = c.create(&[]);
    let (file, expected) = match unified() {
        false if has("blkio.weight") => ("blkio.weight", "300"),
        false if has("blkio.bfq.weight") => ("blkio.bfq.weight", "300"),
        true if has("io.bfq.weight") => ("io.bfq.weight", "default 300"),
        true if has("io.weight") => ("io.weight", "default 2930"),
        _ => {
            made.fails_with("this kernel has no such limit (linux.resources.blockIO.weight)");
            return Err(Skip("the kernel has no weights of block devices".into()));
        }
    };
    made.ok();
    assert_eq!(c.cgroup(of, file)?.lines().next(), Some(expected), "{file}");
    if !disk.schedule_by_bfq() {
        return Err(Skip(
            "only checked without a device: the loop device cannot have the scheduler bfq".into(),
        ));
    }
    let c = container(lab, "true", &disk, &json!({"weightDevice": disk.weight(500)}));
    c.create(&[]).ok();
    let file = if unified() { "io.bfq.weight" } else { "blkio.bfq.weight_device" };
    let text = c.cgroup(of, file)?;
    assert!(text.contains(&format!("{}:{} 500", disk.major, disk.minor)), "{file}: {text}");
    Ok(())
}

/// Gone with the scheduler cfq in Linux 5.0, and never in version 2.
fn leaf_weights(lab: &Lab) -> Outcome {
    let of = block_controller()?;
    let c = |limits: &Value| {
        let mut c = lab.container(&["true"]);
        c.edit(|v| v["linux"]["resources"]["blockIO"] = limits.clone());
        c
    };
    let all = json!({"leafWeight": 300});
    let made = c(&all);
    let done = made.create(&[]);
    if made.cgroups().iter().any(|dir| dir.join("blkio.leaf_weight").exists()) {
        done.ok();
        assert_eq!(made.cgroup(of, "blkio.leaf_weight")?, "300");
        return Ok(());
    }
    lab.not_runc("ignores them on version 2, and says less about them on version 1")?;
    let device = json!({"weightDevice": [{"major": 7, "minor": 0, "leafWeight": 300}]});
    for (limits, field) in [(all, "leafWeight"), (device, "weightDevice[0].leafWeight")] {
        let text = if unified() {
            "cgroup v2 has no weights against child cgroups"
        } else {
            "no such file or directory: this kernel has no such limit"
        };
        c(&limits).create(&[]).fails_with(&format!("{text} (linux.resources.blockIO.{field})"));
    }
    Ok(())
}

fn a_wrong_device_is_named(lab: &Lab) -> Outcome {
    block_controller()?;
    let disk = Disk::new(lab)?;
    let mut rates = disk.rate(1000);
    // Major 240 is for local use.
    push(&mut rates, json!({"major": 240, "minor": 77, "rate": 1000}));
    let run = container(lab, "true", &disk, &json!({"throttleReadBpsDevice": rates})).run(&[]);
    run.fails_with(": no such device (linux.resources.blockIO.throttleReadBpsDevice[1])");
    assert_eq!(run.code, 1);
    assert_eq!(lab.leaks(), [""; 0]);
    Ok(())
}
