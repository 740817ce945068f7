//! Huge pages of both versions, by their size.
use std::collections::BTreeMap;

use oci::stats::Hugetlb;
use rustix::fs::{CWD, Dir};
use sys::Errno;

use super::{Files, of};
use crate::error::Error;
use crate::file;

/// The kernel's list of the sizes that this host has.
const SIZES: &str = "/sys/kernel/mm/hugepages";

/// Files of `hugetlb` of version 1. Reservations count where the kernel tells them (Linux 5.7): who has
/// reserved a page can be killed for it only then.
pub(super) fn v1(files: &Files) -> Result<BTreeMap<String, Hugetlb>, Error> {
    each(|size| {
        for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let number = |name: &str| files.number(&format!("{prefix}.{name}"));
            if let Some(usage) = number("usage_in_bytes")? {
                let max = number("max_usage_in_bytes")?.unwrap_or(0);
                return Ok(Some(Hugetlb { usage, max, failcnt: number("failcnt")?.unwrap_or(0) }));
            }
        }
        Ok(None)
    })
}

/// Files of version 2, where failures are counted without reservations alone.
pub(super) fn v2(files: &Files) -> Result<BTreeMap<String, Hugetlb>, Error> {
    each(|size| {
        let usage = match files.number(&format!("hugetlb.{size}.rsvd.current"))? {
            None => files.number(&format!("hugetlb.{size}.current"))?,
            usage => usage,
        };
        let Some(usage) = usage else { return Ok(None) };
        let failcnt = of(&files.pairs(&format!("hugetlb.{size}.events"))?, "max");
        Ok(Some(Hugetlb { usage, max: 0, failcnt }))
    })
}

/// What `read` finds for each size of the host.
fn each(
    mut read: impl FnMut(&str) -> Result<Option<Hugetlb>, Error>,
) -> Result<BTreeMap<String, Hugetlb>, Error> {
    let mut all = BTreeMap::new();
    for size in sizes()? {
        if let Some(counted) = read(&size)? {
            all.insert(size, counted);
        }
    }
    Ok(all)
}

/// The sizes of this host, as cgroups name them.
fn sizes() -> Result<Vec<String>, Error> {
    let failed = |errno| Error::call(format!("read {SIZES}"), errno);
    let list = match file::open_readable_dir(CWD, SIZES).and_then(Dir::new) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        list => list.map_err(failed)?,
    };
    let mut sizes = Vec::new();
    for entry in list {
        let entry = entry.map_err(failed)?;
        sizes.extend(entry.file_name().to_str().ok().and_then(size));
    }
    Ok(sizes)
}

/// The size of a directory such as `hugepages-2048kB`, as cgroups name it.
fn size(name: &str) -> Option<String> {
    let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kib {
        0x10_0000.. => format!("{}GB", kib >> 20),
        0x400.. => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sizes() {
        for (name, expected) in [
            ("hugepages-2048kB", Some("2MB")),
            ("hugepages-1048576kB", Some("1GB")),
            ("hugepages-16777216kB", Some("16GB")),
            ("hugepages-64kB", Some("64KB")),
            ("hugepages-1024kB", Some("1MB")),
            ("..", None),
            ("hugepages-kB", None),
        ] {
            assert_eq!(size(name).as_deref(), expected, "{name}");
        }
    }
}
