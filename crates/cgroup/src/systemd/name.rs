//! Names: of the unit that a container is, of the slice it is in, and where systemd has its cgroup.
//!
//! Owns: `linux.cgroupsPath` of the form `slice:prefix:name`.
use crate::error::{Error, Kind};
use crate::host::{Host, Layout};
use crate::place::{Cgroup, Directory};
use crate::systemd::{Facts, Scope, Unit};

const FIELD: &str = "linux.cgroupsPath";
/// The longest name of a unit (`UNIT_NAME_MAX` of systemd, with its terminating zero).
const LONGEST: usize = 255;

/// What a container is called when its config does not say.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// What the program was called as.
    pub program: &'a str,
    /// The container's id.
    pub id: &'a str,
}

/// Decides the container's unit, and with it its cgroup, as runc does. Nothing in `cgroups_path` stands for
/// `:PROGRAM:ID`, and nothing as the slice for `system.slice`, or for `user.slice` of a user.
pub fn place(
    host: &Host,
    facts: &Facts,
    cgroups_path: &str,
    names: Names<'_>,
) -> Result<(Unit, Cgroup), Error> {
    if facts.scope == Scope::User && host.layout != Layout::V2 {
        let text = "cannot use rootless systemd cgroups manager on cgroup v1";
        return Err(Error::new(Kind::Unsupported, text));
    }
    let (slice, name) = parse(facts.scope, cgroups_path, names)?;
    let below = expand(&slice).ok_or_else(|| invalid(format!("invalid slice name: {slice}")))?;
    let parts = facts.control_group.split('/').filter(|part| !part.is_empty()).map(str::to_owned);
    let parts = parts.chain(below.iter().map(|slice| escape(slice))).chain([escape(&name)]);
    let path = parts.collect::<Vec<_>>().join("/");
    let directory = |hierarchy: &crate::Hierarchy| {
        let (controllers, mount) = (hierarchy.controllers.clone(), hierarchy.mount.clone());
        Directory { controllers, mount, path: path.clone() }
    };
    let directories = host.hierarchies.iter().map(directory).collect();
    let unit = Unit { name, slice, scope: facts.scope, path: format!("/{path}") };
    Ok((unit, Cgroup { layout: host.layout, directories }))
}

/// The slice and the name of the unit.
fn parse(scope: Scope, cgroups_path: &str, names: Names<'_>) -> Result<(String, String), Error> {
    let default = format!(":{}:{}", names.program, names.id);
    let given = if cgroups_path.is_empty() { &default } else { cgroups_path };
    let [slice, prefix, name] = given.split(':').collect::<Vec<_>>()[..] else {
        return Err(invalid(format!(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {given:?} instead"
        )));
    };
    let slice = match (slice, scope) {
        ("", Scope::System) => "system.slice",
        ("", Scope::User) => "user.slice",
        (slice, _) => slice,
    };
    // systemd lets no process into a slice.
    if name.ends_with(".slice") {
        return Err(invalid(format!("{name} is a slice, which has no processes of its own")));
    }
    let unit = format!("{prefix}-{name}.scope");
    for name in [slice, &unit] {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if !name.bytes().all(good) || name.len() > LONGEST {
            return Err(invalid(format!("invalid name of a systemd unit: {name:?}")));
        }
    }
    Ok((slice.to_owned(), unit))
}

fn invalid(text: String) -> Error {
    Error::new(Kind::Invalid, text).at(FIELD)
}

/// The slices from the top down to this one: `a-b.slice` is in `a.slice`. `-.slice` is the top itself.
fn expand(slice: &str) -> Option<Vec<String>> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(Vec::new());
    }
    if name.split('-').any(str::is_empty) {
        return None;
    }
    let ends = name.match_indices('-').map(|(end, _)| end).chain([name.len()]);
    ends.map(|end| Some(format!("{}.slice", name.get(..end)?))).collect()
}

/// The directory that systemd has for a unit: what would look like a file of the kernel has an `_` before it.
fn escape(unit: &str) -> String {
    const CONTROLLERS: [&str; 16] = [
        "cgroup",
        "cpu",
        "cpuacct",
        "cpuset",
        "io",
        "blkio",
        "memory",
        "devices",
        "pids",
        "freezer",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
        "misc",
    ];
    let first = unit.split('.').next().unwrap_or_default();
    if unit.starts_with(['_', '.']) || CONTROLLERS.contains(&first) {
        format!("_{unit}")
    } else {
        unit.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Hierarchy;

    fn host(layout: Layout) -> Host {
        let hierarchy = |controllers: &[&str], mount: &str| Hierarchy {
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            mount: mount.to_owned(),
            own: Some("/elsewhere".to_owned()),
        };
        let hierarchies = match layout {
            Layout::V2 => vec![hierarchy(&[], "/c")],
            Layout::V1 | Layout::Hybrid => {
                vec![hierarchy(&["cpu", "cpuacct"], "/c/cpu"), hierarchy(&[], "/c/u")]
            }
        };
        Host { layout, hierarchies }
    }

    fn placed(scope: Scope, path: &str) -> Result<(String, String), String> {
        let control_group = match scope {
            Scope::System => String::new(),
            Scope::User => "/user.slice/user@7.service".to_owned(),
        };
        let facts = Facts { scope, control_group, version: 252, bfq: false };
        let names = Names { program: "tare", id: "c1" };
        let (unit, cgroup) =
            place(&host(Layout::V2), &facts, path, names).map_err(|error| error.to_string())?;
        assert_eq!(format!("/c{}", unit.path), cgroup.directories[0].absolute());
        Ok((unit.slice, cgroup.directories[0].path.clone()))
    }

    #[test]
    fn units_and_their_places() {
        for (path, slice, place) in [
            ("", "system.slice", "system.slice/tare-c1.scope"),
            (":docker:5f", "system.slice", "system.slice/docker-5f.scope"),
            ("system.slice:docker:5f", "system.slice", "system.slice/docker-5f.scope"),
            ("-.slice:p:n", "-.slice", "p-n.scope"),
            ("a-b-c.slice:p:n", "a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
            // What runc makes of nothing.
            ("::", "system.slice", "system.slice/-.scope"),
            (":_a:b", "system.slice", "system.slice/__a-b.scope"),
            (":cpu.x:b", "system.slice", "system.slice/_cpu.x-b.scope"),
            ("_m.slice:cpu:b", "_m.slice", "__m.slice/cpu-b.scope"),
            ("memory.slice:p:n.s", "memory.slice", "_memory.slice/p-n.s.scope"),
        ] {
            assert_eq!(placed(Scope::System, path), Ok((slice.to_owned(), place.to_owned())), "{path}");
        }
        for (path, slice, place) in [
            ("", "user.slice", "user.slice/tare-c1.scope"),
            ("a-b.slice:p:n", "a-b.slice", "a.slice/a-b.slice/p-n.scope"),
        ] {
            let place = format!("user.slice/user@7.service/{place}");
            assert_eq!(placed(Scope::User, path), Ok((slice.to_owned(), place)), "{path}");
        }
    }

    #[test]
    fn what_is_no_unit() {
        let format = "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got";
        for (path, text) in [
            ("/a/b", &*format!("{format} \"/a/b\" instead")),
            ("a:b", &format!("{format} \"a:b\" instead")),
            ("a:b:c:d", &format!("{format} \"a:b:c:d\" instead")),
            ("-:p:n", "invalid slice name: -"),
            ("foo:p:n", "invalid slice name: foo"),
            (".slice:p:n", "invalid slice name: .slice"),
            ("-a.slice:p:n", "invalid slice name: -a.slice"),
            ("a--b.slice:p:n", "invalid slice name: a--b.slice"),
            ("a-.slice:p:n", "invalid slice name: a-.slice"),
            ("a/b.slice:p:n", "invalid name of a systemd unit: \"a/b.slice\""),
            (":a/b:n", "invalid name of a systemd unit: \"a/b-n.scope\""),
            (":a+b:n", "invalid name of a systemd unit: \"a+b-n.scope\""),
            (":p:n.slice", "n.slice is a slice, which has no processes of its own"),
        ] {
            let found = placed(Scope::System, path);
            assert_eq!(found, Err(format!("{text} (linux.cgroupsPath)")), "{path}");
        }
        assert!(placed(Scope::System, &format!(":p:{}", "n".repeat(260))).is_err());
    }

    #[test]
    fn on_version_1_every_hierarchy_has_the_same_place() {
        let facts = Facts { scope: Scope::System, control_group: String::new(), version: 252, bfq: false };
        let names = Names { program: "tare", id: "c1" };
        let (_, cgroup) = place(&host(Layout::Hybrid), &facts, "", names).unwrap();
        let paths: Vec<_> = cgroup.directories.iter().map(Directory::absolute).collect();
        assert_eq!(paths, ["/c/cpu/system.slice/tare-c1.scope", "/c/u/system.slice/tare-c1.scope"]);
        let facts = Facts { scope: Scope::User, ..facts };
        let error = place(&host(Layout::V1), &facts, "", names).unwrap_err();
        assert_eq!(error.to_string(), "cannot use rootless systemd cgroups manager on cgroup v1");
    }
}
