//! What the fuzzers call; see `fuzz/`. Only their builds have it.
use crate::host;

/// What procfs says of mounts and cgroups.
pub fn texts(data: &[u8]) {
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
