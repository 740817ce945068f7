//! What `events` tells of a container with `linux.intelRdt`.
use std::os::fd::AsFd;
use std::path::Path;

use oci::stats::{CmtStats, IntelRdt, L3CacheInfo, MbmStats, MemBwInfo};

use crate::Result;
use crate::rooms::rdt::{Group, read};

/// What resctrl says of the container's class, and what the container's processes use: all of those in the class
/// when they have no monitoring group of their own.
pub fn host_count(group: &Group) -> Result<IntelRdt> {
    let root = &group.root;
    let (everybody, own) = (read(&root.join("schemata"))?, group.schemata()?);
    let mut stats =
        IntelRdt { schemata: own.trim().split('\n').map(str::to_owned).collect(), ..IntelRdt::default() };
    let info = |dir: &str| Some(root.join("info").join(dir)).filter(|path| sys::file::stat(path).is_ok());
    if let Some(l3) = info("L3") {
        stats.l3_cache_info = Some(L3CacheInfo {
            cbm_mask: read(&l3.join("cbm_mask"))?.trim().to_owned(),
            min_cbm_bits: number(&l3, "min_cbm_bits")?,
            num_closids: number(&l3, "num_closids")?,
        });
        stats.l3_cache_schema_root = line(&everybody, "L3");
        stats.l3_cache_schema = line(&own, "L3");
    }
    if let Some(bandwidth) = info("MB") {
        stats.mem_bw_info = Some(MemBwInfo {
            bandwidth_gran: number(&bandwidth, "bandwidth_gran")?,
            delay_linear: number(&bandwidth, "delay_linear")?,
            min_bandwidth: number(&bandwidth, "min_bandwidth")?,
            num_closids: number(&bandwidth, "num_closids")?,
        });
        stats.mem_bw_schema_root = line(&everybody, "MB");
        stats.mem_bw_schema = line(&own, "MB");
    }
    if let Some(monitoring) = info("L3_MON") {
        let features = read(&monitoring.join("mon_features"))?;
        let has = |name: &str| features.lines().any(|feature| feature == name);
        let (total, local) = (has("mbm_total_bytes"), has("mbm_local_bytes"));
        let counted = |enabled, dir: &Path, name| if enabled { number(dir, name) } else { Ok(0) };
        let data = group.monitor_path().unwrap_or_else(|| group.path()).join("mon_data");
        let (mut bandwidth, mut occupancy) = (Vec::new(), Vec::new());
        for dir in directories(&data)? {
            let dir = data.join(dir);
            bandwidth.push(MbmStats {
                mbm_total_bytes: counted(total, &dir, "mbm_total_bytes")?,
                mbm_local_bytes: counted(local, &dir, "mbm_local_bytes")?,
            });
            occupancy.push(CmtStats { llc_occupancy: counted(has("llc_occupancy"), &dir, "llc_occupancy")? });
        }
        stats.mbm_stats = (total || local).then_some(bandwidth);
        stats.cmt_stats = has("llc_occupancy").then_some(occupancy);
    }
    Ok(stats)
}

/// The last line that is about `name`, or about a part of it such as `L3CODE`.
fn line(schemata: &str, name: &str) -> String {
    schemata.lines().rfind(|line| line.contains(name)).unwrap_or_default().trim().to_owned()
}

/// The number in a file; 0 for a counter that the processor can't read at the moment (`Unavailable`).
fn number(dir: &Path, name: &str) -> Result<u64> {
    Ok(read(&dir.join(name))?.trim().parse().unwrap_or(0))
}

/// The directories in one, sorted: one for each L3 cache.
fn directories(dir: &Path) -> Result<Vec<String>> {
    let list = sys::file::open_at(sys::file::CWD, dir, sys::OFlags::RDONLY | sys::OFlags::DIRECTORY, 0)?;
    let mut names = sys::file::names(list.as_fd())?;
    names.retain(|name| sys::file::stat(dir.join(name)).is_ok_and(|stat| sys::file::is_dir(&stat)));
    Ok(names)
}
