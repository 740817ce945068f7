//! `linux.intelRdt`: the container's class of service, which has a share of caches and memory bandwidth; see
//! Documentation/filesystems/resctrl.rst of the kernel.
//!
//! A class is a directory of the file system resctrl; `/` is the default one, at its root. Without a name in the
//! config it is the container's own, is named after it, and goes with it.
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sys::{Errno, OFlags};

use crate::faults::Faults;
use crate::{Error, Kind, Result};

const FIELD: &str = "linux.intelRdt";
/// Where the kernel makes a directory for it, if it has resctrl.
const USUAL: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC` of linux/magic.h.
const MAGIC: u64 = 0x0765_5821;
/// Directories of the root that are no classes.
const RESERVED: [&str; 3] = ["info", "mon_data", "mon_groups"];
/// How long to wait for others who change classes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The class to put the container into, if any.
pub type Plan = Option<Wish>;

/// A class, and what is to be in its file `schemata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The class.
    pub group: Group,
    /// Whether the config names the class, so that others may be in it.
    named: bool,
    /// Lines for its file `schemata`.
    lines: Vec<String>,
}

/// A class of service with a container in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where resctrl is mounted.
    pub(super) root: PathBuf,
    /// The directory of the class; empty for the default one.
    class: String,
    /// Whether the class is the container's own.
    own: bool,
    /// The monitoring group of the container, below the class.
    monitor: Option<String>,
}

/// What this host has of resctrl.
#[derive(Clone, Debug)]
pub struct Resctrl {
    /// Where it is mounted.
    root: PathBuf,
    /// Whether L3 caches can be divided.
    l3: bool,
    /// Whether memory bandwidth can be limited.
    bandwidth: bool,
    /// Whether the class in question exists.
    exists: bool,
}

/// Decides the class. `find` looks at the host, and at the class of a name.
pub fn plan(
    raw: Option<&oci::IntelRdt>,
    id: &str,
    find: impl FnOnce(&str) -> Option<Resctrl>,
    faults: &mut Faults,
) -> Plan {
    let oci::IntelRdt { clos_id, schemata, l3_cache_schema, mem_bw_schema, enable_monitoring } = raw?;
    let class = match clos_id.as_str() {
        "" => id,
        "/" => "",
        name => name,
    };
    let Some(host) = find(class) else {
        faults.add(FIELD, "intelRdt is specified in config, but Intel RDT is not enabled");
        return None;
    };
    if matches!(class, "." | "..") || class.contains(['/', '\0', '\n']) || RESERVED.contains(&class) {
        faults.add(format!("{FIELD}.closID"), format!("invalid intelRdt.ClosID {class:?}"));
        return None;
    }
    for (at, schema, enabled, name) in [
        ("l3CacheSchema", l3_cache_schema, host.l3, "CAT"),
        ("memBwSchema", mem_bw_schema, host.bandwidth, "MBA"),
    ] {
        if !schema.is_empty() && !enabled {
            let text = format!("intelRdt.{at} is specified in config, but Intel RDT/{name} is not enabled");
            faults.add(format!("{FIELD}.{at}"), text);
        }
    }
    // The specification has this order.
    let lines = [l3_cache_schema, mem_bw_schema].into_iter().chain(schemata).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.cloned().collect();
    if let Some(line) = lines.iter().find(|line| line.contains('\n')) {
        faults.add(FIELD, format!("a schema is one line: {line:?}"));
    }
    let named = !clos_id.is_empty();
    let monitor = enable_monitoring.then(|| id.to_owned());
    let group = Group { root: host.root, class: class.to_owned(), own: !named && !host.exists, monitor };
    Some(Wish { group, named, lines })
}

/// Lines for `update`, which changes what the container's class has. `find` looks at the host.
pub fn plan_change(
    group: Option<&Group>,
    l3_cache_schema: Option<&str>,
    mem_bw_schema: Option<&str>,
    find: impl FnOnce(&str) -> Option<Resctrl>,
) -> Result<Vec<String>> {
    let lines: Vec<String> =
        [l3_cache_schema, mem_bw_schema].into_iter().flatten().map(str::to_owned).collect();
    if lines.is_empty() {
        return Ok(lines);
    }
    let host = find(group.map_or("", |group| &group.class));
    let enabled = |what: fn(&Resctrl) -> bool| host.as_ref().is_some_and(what);
    if l3_cache_schema.is_some() && !enabled(|host| host.l3) {
        return Err(Error::new(Kind::Unsupported, "Intel RDT/CAT: l3 cache schema is not enabled"));
    }
    if mem_bw_schema.is_some() && !enabled(|host| host.bandwidth) {
        return Err(Error::new(Kind::Unsupported, "Intel RDT/MBA: memory bandwidth schema is not enabled"));
    }
    match (group, lines.iter().find(|line| line.contains('\n'))) {
        (None, _) => {
            Err(Error::new(Kind::State, "updating a non-existent Intel RDT configuration is not supported"))
        }
        (_, Some(line)) => Err(Error::new(Kind::Invalid, format!("a schema is one line: {line:?}"))),
        (Some(_), None) => Ok(lines),
    }
}

/// Looks for resctrl on this host, and for a class in it.
pub fn host_find(class: &str) -> Option<Resctrl> {
    let magic = sys::file::file_system(Path::new(USUAL)).ok()?;
    let root = if magic == MAGIC { PathBuf::from(USUAL) } else { mounted_elsewhere()? };
    Some(look(root, class))
}

/// What there is in resctrl at `root`.
fn look(root: PathBuf, class: &str) -> Resctrl {
    let has = |path: &str| sys::file::stat(root.join(path)).is_ok();
    Resctrl { l3: has("info/L3"), bandwidth: has("info/MB"), exists: has(class), root }
}

/// Where it is mounted when not at its usual place.
fn mounted_elsewhere() -> Option<PathBuf> {
    let text = sys::file::read("/proc/self/mountinfo").ok()?;
    String::from_utf8_lossy(&text).lines().find_map(mount_point)
}

/// The mount point in a line of `/proc/self/mountinfo` for resctrl.
fn mount_point(line: &str) -> Option<PathBuf> {
    let (mount, file_system) = line.split_once(" - ")?;
    let point = file_system.starts_with("resctrl ").then(|| mount.split(' ').nth(4)).flatten()?;
    Some(point.replace("\\040", " ").into())
}

/// Makes the class, or checks that it is as it should be; and makes the monitoring group. `recorded` is then
/// what there is of it.
pub fn host_create(plan: &Plan, recorded: &mut Option<Group>) -> Result<()> {
    *recorded = None;
    if let Some(wish) = plan {
        *recorded = Some(create(wish).map_err(|e| e.context("unable to apply Intel RDT configuration"))?);
    }
    Ok(())
}

fn create(wish: &Wish) -> Result<Group> {
    let Wish { group, named, lines } = wish;
    let path = group.path();
    let _lock = lock(&group.root)?;
    let made = if group.class.is_empty() || (*named && lines.is_empty()) {
        if let Err(e) = sys::file::stat(&path) {
            let text = "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema \
                        are empty)";
            return Err(Error::from(e).context(text).context(FIELD));
        }
        false
    } else {
        make_dir(&group.root, &path)?
    };
    let done = fill(group, made || !named, lines);
    if done.is_err() && made {
        // The error is what counts.
        sys::file::rmdir_at(sys::file::CWD, &path).ok();
    }
    done.map(|()| Group { own: group.own && made, ..group.clone() })
}

/// Writes the schemata of a class that nobody else has, or compares those of one that others may have.
fn fill(group: &Group, fresh: bool, lines: &[String]) -> Result<()> {
    if fresh {
        write(group, lines)?;
    } else if let Some(other) = differing(lines, &group.schemata()?, granularity(&group.root)) {
        let text = format!("{FIELD}: the class {:?} is there already, and has not {other:?}", group.class);
        return Err(Error::new(Kind::Invalid, text));
    }
    match group.monitor_path() {
        Some(path) => make_dir(&group.root, &path).map(drop),
        None => Ok(()),
    }
}

/// Puts a process into the class, and into the monitoring group.
pub fn host_join(group: Option<&Group>, pid: i32) -> Result<()> {
    let Some(group) = group else { return Ok(()) };
    for path in [Some(group.path()), group.monitor_path()].into_iter().flatten() {
        put(&path, "tasks", &pid.to_string()).map_err(|e| {
            explain(&group.root, Error::from(e).context(format!("intelrdt: unable to add pid {pid}")))
        })?;
    }
    Ok(())
}

/// Writes lines to the file `schemata` of the class, then does the rest of the change. If that fails the class has
/// again what it had.
pub fn host_change(group: Option<&Group>, lines: &[String], rest: impl FnOnce() -> Result<()>) -> Result<()> {
    let Some(group) = group.filter(|_| !lines.is_empty()) else { return rest() };
    let before = replaced(&group.schemata()?, lines);
    write(group, lines)?;
    let done = rest();
    if done.is_err() {
        // The failure of the rest is what counts.
        let _ = write(group, &before);
    }
    done
}

/// Writes lines to the file `schemata` of the class. The kernel takes all of them or none.
fn write(group: &Group, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    put(&group.path(), "schemata", &text).map_err(|e| {
        explain(&group.root, Error::from(e).context(format!("intelrdt: unable to write {text:?}")))
    })
}

/// The lines of the file `schemata` that others would replace.
fn replaced(schemata: &str, by: &[String]) -> Vec<String> {
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_owned());
    let names: Vec<_> = by.iter().filter_map(|line| name(line)).collect();
    let replaced = schemata.lines().filter(|line| name(line).is_some_and(|name| names.contains(&name)));
    replaced.map(|line| line.trim().to_owned()).collect()
}

/// Removes what is the container's own. The kernel moves processes that are left to the default class.
pub fn host_remove(group: Option<&Group>) -> Result<()> {
    let Some(group) = group else { return Ok(()) };
    let path = if group.own { Some(group.path()) } else { group.monitor_path() };
    let Some(path) = path else { return Ok(()) };
    match sys::file::rmdir_at(sys::file::CWD, &path) {
        Err(e) if e.errno != Errno::NOENT => {
            Err(Error::from(e).context("unable to remove container's IntelRDT group"))
        }
        _ => Ok(()),
    }
}

impl Group {
    /// Whether its class is still there.
    pub fn exists(&self) -> bool {
        sys::file::stat(self.path()).is_ok()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.root.join(&self.class)
    }

    pub(super) fn monitor_path(&self) -> Option<PathBuf> {
        self.monitor.as_ref().map(|id| self.path().join("mon_groups").join(id))
    }

    pub(super) fn schemata(&self) -> Result<String> {
        read(&self.path().join("schemata"))
    }
}

pub(super) fn read(path: &Path) -> Result<String> {
    let data = sys::file::read(path)?;
    Ok(String::from_utf8_lossy(&data).into_owned())
}

/// Writes to a file, which on resctrl is there since the directory is.
fn put(dir: &Path, name: &str, text: &str) -> Result<(), sys::Error> {
    let dir = sys::file::open_dir(dir)?;
    let file = sys::file::open_at(dir.as_fd(), name, OFlags::WRONLY | OFlags::CREATE, 0o600)?;
    sys::file::write_fd(file.as_fd(), text.as_bytes()).map_err(|errno| sys::Error {
        call: "write",
        args: name.to_owned(),
        errno,
    })
}

/// Makes a directory; says whether it is new.
fn make_dir(root: &Path, path: &Path) -> Result<bool> {
    match sys::file::mkdir_at(sys::file::CWD, path, 0o755) {
        Ok(()) => Ok(true),
        Err(e) if e.errno == Errno::EXIST => Ok(false),
        Err(e) => Err(explain(root, Error::from(e).context(FIELD))),
    }
}

/// Adds why the kernel did not do it.
fn explain(root: &Path, error: Error) -> Error {
    match read(&root.join("info/last_cmd_status")).unwrap_or_default().trim() {
        "" | "ok" => error,
        status => Error { text: format!("{}, last_cmd_status: {status}", error.text), ..error },
    }
}

/// The lock that all take who change several files of resctrl as one, by the kernel's documentation.
fn lock(root: &Path) -> Result<OwnedFd> {
    let dir = sys::file::open_at(sys::file::CWD, root, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    let until = Instant::now() + PATIENCE;
    while !sys::file::try_lock(dir.as_fd()) {
        if Instant::now() >= until {
            return Err(Error::new(Kind::State, format!("{}: somebody else holds the lock", root.display())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(dir)
}

/// The step in which memory bandwidth can be had: the kernel rounds up to the next one.
fn granularity(root: &Path) -> u64 {
    let text = read(&root.join("info/MB/bandwidth_gran")).unwrap_or_default();
    text.trim().parse().ok().filter(|step| *step > 0).unwrap_or(1)
}

/// The first of the lines that is not met by the file `schemata`.
fn differing<'a>(lines: &'a [String], schemata: &str, granularity: u64) -> Option<&'a str> {
    let now: BTreeMap<_, _> = schemata.lines().filter_map(|line| shares(line, granularity)).collect();
    let met = |line: &str| {
        let (name, wanted) = shares(line, granularity)?;
        let now = now.get(name)?;
        wanted.iter().all(|(id, share)| now.get(id) == Some(share)).then_some(())
    };
    lines.iter().map(String::as_str).find(|line| met(line).is_none())
}

/// A line such as `L3:0=7f0;1=1f`: what it is about, and for each cache its share.
fn shares(line: &str, granularity: u64) -> Option<(&str, BTreeMap<u64, u64>)> {
    let (name, list) = line.trim().split_once(':')?;
    let share = |text: &str| match name {
        // AMD has a second one.
        "MB" | "SMBA" => text.parse().ok().map(|share: u64| share.next_multiple_of(granularity)),
        _ => u64::from_str_radix(text, 16).ok(),
    };
    let part = |part: &str| {
        let (id, text) = part.trim().split_once('=')?;
        Some((id.trim().parse().ok()?, share(text.trim())?))
    };
    Some((name, list.split(';').map(part).collect::<Option<_>>()?))
}

#[cfg(test)]
#[path = "rdt_tests.rs"]
mod tests;
