//! What the fuzzers call; see `fuzz/`. Only their builds have it, and the tests, for what is in the corpus.
use crate::{host, kernel_log, systemd};

/// What procfs says of mounts and cgroups, and the kernel's log of processes that were killed.
pub fn texts(data: &[u8]) {
    let _ = kernel_log::victim(data, "a.slice/b.scope", Some(1));
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        let _ = (host::mount(line), host::entry(line));
        if let Some((root, own)) = line.split_once(' ') {
            // A container must not lead out of what is mounted.
            let found = host::below(root, own);
            assert!(found.is_none_or(|path| !path.split('/').any(|part| part == "..")), "{line}");
        }
    }
}

/// What a pod may have written into an annotation that becomes a property of a unit.
pub fn annotation(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for name in ["Description", "TimeoutStopSec"] {
        drop(systemd::annotation(&format!("org.systemd.property.{name}"), &text));
    }
}

/// What comes over D-Bus.
pub fn bus(data: &[u8]) {
    systemd::take_messages(data);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn what_is_in_the_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: [(&str, Target); 3] = [("texts", texts), ("annotation", annotation), ("bus", bus)];
        for (name, target) in targets {
            let files = std::fs::read_dir(corpus.join(name)).unwrap();
            assert!(files.map(|file| target(&std::fs::read(file.unwrap().path()).unwrap())).count() > 0);
        }
    }
}
