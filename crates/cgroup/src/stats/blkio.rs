//! Block devices: `blkio` of version 1, `io` of version 2.
use oci::stats::{Blkio, BlkioEntry};

use super::{Files, pressure};
use crate::error::Error;

/// A file of version 1, and the list that it is for.
type Source = (&'static str, fn(&mut Blkio) -> &mut Vec<BlkioEntry>);

/// Which files there are depends on the kernel and on the scheduler of the devices: of the first group
/// whose first file has something in it, all are read up to one that has nothing.
const SOURCES: [&[Source]; 5] = [
    // BFQ, with its debugging compiled in.
    &[
        ("blkio.bfq.sectors_recursive", |b| &mut b.sectors),
        ("blkio.bfq.io_service_time_recursive", |b| &mut b.service_time),
        ("blkio.bfq.io_wait_time_recursive", |b| &mut b.wait_time),
        ("blkio.bfq.io_merged_recursive", |b| &mut b.merged),
        ("blkio.bfq.io_queued_recursive", |b| &mut b.queued),
        ("blkio.bfq.time_recursive", |b| &mut b.time),
        ("blkio.bfq.io_serviced_recursive", |b| &mut b.serviced),
        ("blkio.bfq.io_service_bytes_recursive", |b| &mut b.service_bytes),
    ],
    &[
        ("blkio.bfq.io_serviced_recursive", |b| &mut b.serviced),
        ("blkio.bfq.io_service_bytes_recursive", |b| &mut b.service_bytes),
    ],
    // CFQ, until Linux 5.0.
    &[
        ("blkio.sectors_recursive", |b| &mut b.sectors),
        ("blkio.io_service_time_recursive", |b| &mut b.service_time),
        ("blkio.io_wait_time_recursive", |b| &mut b.wait_time),
        ("blkio.io_merged_recursive", |b| &mut b.merged),
        ("blkio.io_queued_recursive", |b| &mut b.queued),
        ("blkio.time_recursive", |b| &mut b.time),
        ("blkio.io_serviced_recursive", |b| &mut b.serviced),
        ("blkio.io_service_bytes_recursive", |b| &mut b.service_bytes),
    ],
    // Any scheduler, or none.
    &[
        ("blkio.throttle.io_serviced_recursive", |b| &mut b.serviced),
        ("blkio.throttle.io_service_bytes_recursive", |b| &mut b.service_bytes),
    ],
    &[
        ("blkio.throttle.io_serviced", |b| &mut b.serviced),
        ("blkio.throttle.io_service_bytes", |b| &mut b.service_bytes),
    ],
];

/// Everything from files of `blkio` of version 1.
pub(super) fn v1(files: &Files) -> Result<Blkio, Error> {
    choose(|name| Ok(files.parsed(name, entries)?.unwrap_or_default()))
}

/// Everything from files of version 2.
pub(super) fn v2(files: &Files) -> Result<Blkio, Error> {
    let counted = files.parsed("io.stat", unified)?.unwrap_or_default();
    Ok(Blkio { psi: pressure::read(files, "io.pressure")?, ..counted })
}

/// The lists of the first group of files that has any.
fn choose(mut read: impl FnMut(&str) -> Result<Vec<BlkioEntry>, Error>) -> Result<Blkio, Error> {
    let mut counted = Blkio::default();
    for group in SOURCES {
        for (at, (name, list)) in group.iter().enumerate() {
            let entries = read(name)?;
            match (entries.is_empty(), at) {
                (true, 0) => break,
                (true, _) => return Ok(counted),
                (false, _) => *list(&mut counted) = entries,
            }
            if at + 1 == group.len() {
                return Ok(counted);
            }
        }
    }
    Ok(counted)
}

/// Lines such as `8:0 Read 4096`, or `8:0 4096`, without the sum over all devices at the end.
fn entries(text: &str) -> Option<Vec<BlkioEntry>> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split([' ', ':']).filter(|word| !word.is_empty()).collect();
        let (major, minor, op, value) = match *words.as_slice() {
            ["Total", _] => continue,
            [major, minor, value] => (major, minor, "", value),
            [major, minor, op, value] => (major, minor, op, value),
            _ => return None,
        };
        entries.push(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        });
    }
    Some(entries)
}

/// Lines of `io.stat`, such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn unified(text: &str) -> Option<Blkio> {
    let mut counted = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        // A device that is just going away has no number.
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut counted.service_bytes, "Read"),
                "wbytes" => (&mut counted.service_bytes, "Write"),
                "rios" => (&mut counted.serviced, "Read"),
                "wios" => (&mut counted.serviced, "Write"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? });
        }
    }
    Some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(major: u64, minor: u64, op: &str, value: u64) -> BlkioEntry {
        BlkioEntry { major, minor, op: op.to_owned(), value }
    }

    #[test]
    fn lines_of_version_1() {
        assert_eq!(
            entries("8:0 Read 124\n8:0 Total 228\n259:1 Write 3\nTotal 231\n"),
            Some(vec![entry(8, 0, "Read", 124), entry(8, 0, "Total", 228), entry(259, 1, "Write", 3)])
        );
        assert_eq!(entries("8:0 6792\n"), Some(vec![entry(8, 0, "", 6792)]));
        assert_eq!(entries("Total 0\n"), Some(vec![]));
        for broken in ["8:0\n", "8 Read\n", "8:0 Read x\n", "a:0 Read 1\n", "8:0 Read 1 2\n"] {
            assert_eq!(entries(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn lines_of_version_2() {
        let text = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n253:1 cost.usage=7 rbytes=8\n(unknown) x=1\n";
        let counted = unified(text).unwrap();
        assert_eq!(
            counted.service_bytes,
            [entry(8, 0, "Read", 1), entry(8, 0, "Write", 2), entry(253, 1, "Read", 8)]
        );
        assert_eq!(counted.serviced, [entry(8, 0, "Read", 3), entry(8, 0, "Write", 4)]);
        assert_eq!(unified("8:0 rbytes=x\n"), None);
        assert_eq!(unified(""), Some(Blkio::default()));
    }

    /// Which lists come of these files, each with one line.
    fn chosen(files: &[&str]) -> [usize; 4] {
        let read = |name: &str| Ok(vec![entry(1, 1, "", 1); usize::from(files.contains(&name))]);
        let Blkio { service_bytes, serviced, sectors, time, .. } = choose(read).unwrap();
        [service_bytes.len(), serviced.len(), sectors.len(), time.len()]
    }

    #[test]
    fn the_first_files_with_something_in_them_count() {
        let all = |group: usize| SOURCES[group].iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(chosen(&[]), [0; 4]);
        assert_eq!(chosen(&all(0)), [1; 4]);
        assert_eq!(chosen(&all(1)), [1, 1, 0, 0]);
        assert_eq!(chosen(&all(2)), [1; 4]);
        assert_eq!(chosen(&all(3)), [1, 1, 0, 0]);
        assert_eq!(chosen(&all(4)), [1, 1, 0, 0]);
        assert_eq!(chosen(&[all(1), all(4)].concat()), [1, 1, 0, 0]);
        // What begins a group ends the search, however much of it there is.
        assert_eq!(chosen(&["blkio.sectors_recursive", "blkio.throttle.io_serviced"]), [0, 0, 1, 0]);
        assert_eq!(chosen(&["blkio.io_service_bytes_recursive"]), [0; 4]);
    }
}
