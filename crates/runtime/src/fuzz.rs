//! What the fuzzers call, each with the bytes that it made up; see `fuzz/`. Only their builds have it, and the
//! tests, for what is in the corpus.
//!
//! A function here must return, whatever the bytes are, within the fuzzer's limits of time and memory. What else
//! must hold is asserted.
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use cgroup::systemd::{Facts, Scope};
use cgroup::{Denied, Hierarchy, Host, Layout};

use crate::facts::HostFacts;
use crate::ops::CreateOptions;
use crate::plan::{self, Inputs};
use crate::rooms::{executable, fds, mount_options, notify, process, subids};
use crate::spawn::Caller;
use crate::store::State;
use crate::{status, sync, users};

/// A config.json after a byte that picks the host, up to the plan.
pub fn config(data: &[u8]) {
    let Some((host, json)) = data.split_first() else { return };
    let parsed = oci::from_json::<oci::Config>(json);
    if let Err(error) = &parsed {
        // It counts lines and columns of what was given, and is told on one line.
        assert!(error.line <= json.len() + 1 && error.column <= json.len(), "{error:?}");
    }
    let Ok(Some(config)) = parsed else { return };
    let facts = facts(*host);
    let options = CreateOptions::default();
    let inputs = Inputs {
        id: "fuzz",
        bundle: Path::new("/bundle"),
        options: &options,
        detach: host & 8 != 0,
        program: "tare",
        notify: notify::plan_new((host & 16 != 0).then(|| OsString::from("/notify")), &config),
        listen: fds::listen(|_| None, 1),
    };
    if let Ok(plan) = plan::plan(&config, &inputs, &facts) {
        // What is stored of it comes back as it was.
        let state = State::new(&plan, "2000-01-01T00:00:00Z".to_owned());
        let stored = serde_json::to_vec(&state).expect("a state has no maps with other keys than strings");
        let read: State = serde_json::from_slice(&stored).expect("what was stored is a state");
        assert_eq!(serde_json::to_vec(&read).expect("the same"), stored);
    }
}

/// A host that `choice` picks.
fn facts(choice: u8) -> HostFacts {
    let hierarchy = |controllers: &[&str], mount: &str| Hierarchy {
        controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
        mount: mount.to_owned(),
        own: Some("/user.slice/own".to_owned()),
    };
    let v1 = || ["devices", "memory", "cpu", "pids"].map(|c| hierarchy(&[c], &format!("/sys/fs/cgroup/{c}")));
    let (layout, hierarchies) = match choice & 3 {
        0 => (Layout::V1, v1().to_vec()),
        1 => (Layout::Hybrid, [&v1()[..], &[hierarchy(&[], "/sys/fs/cgroup/unified")]].concat()),
        _ => (Layout::V2, vec![hierarchy(&[], "/sys/fs/cgroup")]),
    };
    let systemd = (choice & 64 != 0).then(|| Facts {
        scope: if choice & 4 == 0 { Scope::System } else { Scope::User },
        version: 240 + u32::from(choice >> 3),
        control_group: String::new(),
        bfq: choice & 8 != 0,
    });
    HostFacts {
        caller: if choice & 4 == 0 { Caller::Root } else { Caller::Ordinary },
        in_user_namespace: choice & 32 != 0,
        ids: if choice & 4 == 0 { (0, 0) } else { (1000, 1000) },
        last_capability: 40,
        cgroups: Host { layout, hierarchies },
        denied: Denied::Error,
        network_namespace: Some((4, 0xf000_0000)),
        systemd,
    }
}

/// Options of a mount, one a line.
pub fn mounts(data: &[u8]) {
    let options: Vec<String> = String::from_utf8_lossy(data).lines().map(str::to_owned).collect();
    drop(mount_options::parse(&options));
}

/// A message of the container's first process.
pub fn message(data: &[u8]) {
    // The kernel takes no longer ones, and an empty one is the end.
    let Some(data) = data.get(..data.len().min(32 << 10)).filter(|data| !data.is_empty()) else { return };
    let (host, init) = sys::sock::pair().expect("a pair of sockets");
    sys::sock::send(init.as_fd(), data, None).expect("the message fits");
    drop(sync::hear_init(&host));
    sys::sock::send(host.as_fd(), data, None).expect("the message fits");
    drop(sync::hear_runtime(&init));
    notify::says_ready(data);
}

/// A state.json that somebody else has written.
pub fn state(data: &[u8]) {
    let Ok(state) = serde_json::from_slice::<State>(data) else { return };
    for directory in &state.cgroup.directories {
        drop(directory.absolute());
    }
    let stored = serde_json::to_vec(&state).expect("a state has no maps with other keys than strings");
    let read: State = serde_json::from_slice(&stored).expect("what was stored is a state");
    assert_eq!(serde_json::to_vec(&read).expect("the same"), stored);
}

/// The files of a host and of an image about users, and the lines of procfs.
pub fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    users::name_in(&text, 1000);
    process::home_in(&text, 1000);
    let grants = subids::Grants {
        uid: 1000,
        name: Some("alice".to_owned()),
        text: Some(text.clone().into_owned()),
        tool: Some("/usr/bin/newuidmap".into()),
    };
    let ids = [oci::IdMapping { container_id: 0, host_id: 100_000, size: 65536 }];
    subids::check(subids::UIDS, &ids, 1000, &grants, &mut crate::faults::Faults::default());
    status::parse_stat(&text);
    let name = OsString::from_vec(data.to_vec());
    notify::plan(Some(name));
}

/// A file of an image that could not be executed.
pub fn program(data: &[u8]) {
    let read = |offset: u64, length: usize| {
        let rest = data.get(usize::try_from(offset).ok()?..)?;
        Some(rest.get(..length.min(rest.len()))?.to_vec())
    };
    let head = data.get(..data.len().min(executable::HEAD)).unwrap_or_default();
    for errno in [sys::Errno::NOENT, sys::Errno::NOEXEC] {
        drop(executable::look(head, read, errno));
        drop(executable::look_at_loader(head, errno));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn what_is_in_the_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: [(&str, Target); 6] = [
            ("config", config),
            ("mounts", mounts),
            ("message", message),
            ("state", state),
            ("texts", texts),
            ("program", program),
        ];
        for (name, target) in targets {
            let flags = sys::OFlags::RDONLY | sys::OFlags::DIRECTORY;
            let dir = sys::file::open_at(sys::file::CWD, corpus.join(name), flags, 0).unwrap();
            let names = sys::file::names(dir.as_fd()).unwrap();
            assert!(!names.is_empty(), "{name}");
            names.iter().for_each(|file| target(&sys::file::read(corpus.join(name).join(file)).unwrap()));
        }
    }
}
