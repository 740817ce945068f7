//! `mounts[].options`: the words of a mount's options and what they mean.
use crate::rooms::rootfs::propagation_of;
use sys::mount::{Change, Propagation, attr};

/// Options with everything in them told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `bind` or `rbind`; the latter with the mounts below.
    pub bind: Option<Depth>,
    /// Attributes of the mount itself.
    pub change: Change,
    /// Attributes of it and all below (`rro` and the like), which need Linux 5.12.
    pub recursive: Change,
    /// Propagation, one after the other.
    pub propagation: Vec<(Propagation, bool)>,
    /// `tmpcopyup`: a tmpfs begins with what it covers.
    pub copy_up: bool,
    /// `idmap` or `ridmap`; the latter with the mounts below.
    pub idmap: Option<Depth>,
    /// Flags of the file system, as `fsconfig(2)` names them.
    pub superblock: Vec<&'static str>,
    /// What the file system itself understands: names with or without values.
    pub data: Vec<(String, Option<String>)>,
    /// `linux.mountLabel`, where it is not an option of the file system.
    pub label: Option<String>,
}

/// Whether mounts below are meant too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only the mount.
    One,
    /// All below it as well.
    All,
}

/// Attributes by option name, with whether the option clears them.
const ATTRIBUTES: [(&str, u64, bool); 16] = [
    ("ro", attr::RDONLY, false),
    ("rw", attr::RDONLY, true),
    ("nosuid", attr::NOSUID, false),
    ("suid", attr::NOSUID, true),
    ("nodev", attr::NODEV, false),
    ("dev", attr::NODEV, true),
    ("noexec", attr::NOEXEC, false),
    ("exec", attr::NOEXEC, true),
    ("nodiratime", attr::NODIRATIME, false),
    ("diratime", attr::NODIRATIME, true),
    ("nosymfollow", attr::NOSYMFOLLOW, false),
    ("symfollow", attr::NOSYMFOLLOW, true),
    // The three ways to update access times exclude each other: see `Options::access_times`.
    ("noatime", attr::NOATIME, false),
    ("atime", attr::NOATIME, true),
    ("strictatime", attr::STRICTATIME, false),
    ("nostrictatime", attr::STRICTATIME, true),
];

/// The option that is the zero among the ways to update access times.
const RELATIME: [&str; 2] = ["relatime", "norelatime"];

/// Flags of a file system by option name; `None` where the option only takes back another.
const SUPERBLOCK: [(&str, Option<&str>, &str); 8] = [
    ("sync", Some("sync"), "sync"),
    ("async", None, "sync"),
    ("dirsync", Some("dirsync"), "dirsync"),
    ("lazytime", Some("lazytime"), "lazytime"),
    ("nolazytime", None, "lazytime"),
    ("mand", Some("mand"), "mand"),
    ("nomand", None, "mand"),
    ("noiversion", None, "iversion"),
];

/// Options that are accepted and ask for nothing: the kernel has no effect for them any more, or they
/// are the default.
const WITHOUT_EFFECT: [&str; 5] = ["defaults", "silent", "loud", "remount", "iversion"];

/// The names of all options that are understood and not passed on to a file system, sorted. Those of id maps have a
/// place of their own in `features`.
pub fn known() -> Vec<String> {
    let mut names: Vec<String> = ["bind", "rbind", "tmpcopyup"].map(String::from).to_vec();
    names.extend(ATTRIBUTES.iter().flat_map(|(name, ..)| [(*name).to_owned(), format!("r{name}")]));
    names.extend(RELATIME.iter().flat_map(|name| [(*name).to_owned(), format!("r{name}")]));
    names.extend(SUPERBLOCK.iter().map(|(name, ..)| (*name).to_owned()));
    names.extend(WITHOUT_EFFECT.map(String::from));
    for kind in ["private", "slave", "shared", "unbindable"] {
        names.extend([kind.to_owned(), format!("r{kind}")]);
    }
    names.sort_unstable();
    names
}

/// Takes options apart; a later one wins over an earlier one that it contradicts.
pub fn parse(options: &[String]) -> Options {
    let mut out = Options::default();
    for option in options {
        out.add(option);
    }
    out
}

impl Options {
    /// Gives the files of a new file system of type `kind` an SELinux label. Those of procfs and sysfs have labels by
    /// their names, from the host's policy, and those of a bind mount their own.
    pub fn set_label(&mut self, kind: &str, label: Option<&str>) {
        let Some(label) = label else { return };
        match kind {
            _ if self.bind.is_some() => {}
            "proc" | "sysfs" => {}
            // The one has no such option, as runc has it; of the other, only the directory around is new.
            "mqueue" | "cgroup" => self.label = Some(label.to_owned()),
            _ => self.data.push(("context".to_owned(), Some(label.to_owned()))),
        }
    }

    /// The length of the longest value for the file system.
    pub fn longest(&self) -> usize {
        self.data.iter().filter_map(|(_, value)| value.as_ref()).map(String::len).max().unwrap_or(0)
    }

    fn add(&mut self, option: &str) {
        if let Some((bits, clear)) = attribute(option) {
            apply(&mut self.change, bits, clear);
        } else if let Some((bits, clear)) = option.strip_prefix('r').and_then(attribute) {
            apply(&mut self.recursive, bits, clear);
        } else if let Some(propagation) = propagation_of(option) {
            self.propagation.push(propagation);
        } else if let Some((_, set, name)) = SUPERBLOCK.iter().find(|(known, ..)| *known == option) {
            self.superblock.retain(|flag| flag != name);
            self.superblock.extend(set);
        } else {
            match option {
                "bind" => self.bind = Some(self.bind.unwrap_or(Depth::One)),
                "rbind" => self.bind = Some(Depth::All),
                "tmpcopyup" => self.copy_up = true,
                "idmap" => self.idmap = Some(Depth::One),
                "ridmap" => self.idmap = Some(Depth::All),
                "" => {}
                other if WITHOUT_EFFECT.contains(&other) => {}
                // mount(2), which runc calls, takes all of them as one text with commas.
                other if other.contains('"') => self.data.push(name_and_value(other)),
                other => self.data.extend(other.split(',').filter(|o| !o.is_empty()).map(name_and_value)),
            }
        }
    }
}

fn name_and_value(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((name, value)) => {
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let value = bare.filter(|_| sys::mount::LABELS.contains(&name)).unwrap_or(value);
            (name.to_owned(), Some(value.to_owned()))
        }
        None => (option.to_owned(), None),
    }
}

/// The attribute that an option sets or clears. The bits of access times come as a whole.
fn attribute(option: &str) -> Option<(u64, bool)> {
    match option {
        "relatime" => return Some((attr::RELATIME, false)),
        // Not relative is strict, as in util-linux.
        "norelatime" => return Some((attr::STRICTATIME, false)),
        _ => {}
    }
    ATTRIBUTES.iter().find(|(name, ..)| *name == option).map(|(_, bits, clear)| (*bits, *clear))
}

fn apply(change: &mut Change, bits: u64, clear: bool) {
    if bits == attr::RELATIME || bits & attr::ATIME != 0 {
        // mount_setattr(2) wants the whole field cleared whenever a part of it is set.
        change.clear |= attr::ATIME;
        change.set &= !attr::ATIME;
        if !clear {
            change.set |= bits;
        }
    } else if clear {
        change.set &= !bits;
        change.clear |= bits;
    } else {
        change.clear &= !bits;
        change.set |= bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        parse(&text.split(',').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn attributes_and_their_opposites() {
        for (text, set, clear) in [
            ("ro,nosuid", attr::RDONLY | attr::NOSUID, 0),
            ("ro,rw", 0, attr::RDONLY),
            ("rw,ro", attr::RDONLY, 0),
            ("noatime", attr::NOATIME, attr::ATIME),
            ("noatime,relatime", 0, attr::ATIME),
            ("strictatime,nodiratime", attr::STRICTATIME | attr::NODIRATIME, attr::ATIME),
            ("defaults,silent", 0, 0),
        ] {
            assert_eq!(options(text).change, Change { set, clear }, "{text}");
        }
        assert_eq!(options("rro,rnosuid,rsuid").recursive, Change { set: attr::RDONLY, clear: attr::NOSUID });
    }

    #[test]
    fn the_rest_goes_to_the_file_system() {
        let all = options("rbind,rprivate,mode=755,newinstance,sync,async,dirsync,tmpcopyup");
        assert_eq!(all.bind, Some(Depth::All));
        assert_eq!(all.propagation, [(Propagation::Private, true)]);
        assert_eq!(all.superblock, ["dirsync"]);
        assert!(all.copy_up);
        assert_eq!(all.data, [("mode".into(), Some("755".into())), ("newinstance".into(), None)]);
        let one = parse(&["size=64k,mode=700".to_owned(), "context=\"a:c1,c2\"".to_owned()]);
        assert_eq!(one.data.len(), 3, "{:?}", one.data);
        assert_eq!(one.data[2], ("context".into(), Some("a:c1,c2".into())));
    }

    #[test]
    fn labels_by_type() {
        let labelled = |kind, options: &str| {
            let mut options = self::options(options);
            options.set_label(kind, Some("u:r:t:s0:c1,c2"));
            let context = |(name, value)| (name == "context").then_some(value).flatten();
            (options.label, options.data.into_iter().find_map(context))
        };
        let label = || Some("u:r:t:s0:c1,c2".to_owned());
        assert_eq!(labelled("tmpfs", "mode=755"), (None, label()));
        assert_eq!(labelled("devpts", ""), (None, label()));
        for kind in ["mqueue", "cgroup"] {
            assert_eq!(labelled(kind, ""), (label(), None));
        }
        for (kind, options) in [("proc", ""), ("sysfs", ""), ("tmpfs", "rbind")] {
            assert_eq!(labelled(kind, options), (None, None));
        }
    }

    #[test]
    fn known_options_are_those_of_runc() {
        let known = known();
        assert_eq!(known.len(), 60, "{known:?}");
        assert!(known.is_sorted() && known.contains(&"rnostrictatime".to_owned()));
    }
}
