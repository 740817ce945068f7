//! `--pid-file`: the number of the container's first process, for the caller.
use std::path::Path;

use crate::Result;
use crate::error::On;

/// Writes the number, without a newline, to a temporary name and renames it: a reader never sees half of it.
pub fn host_write(path: &Path, pid: i32) -> Result<()> {
    sys::file::replace_at(sys::file::CWD, path, pid.to_string().as_bytes(), 0o666)
        .on(|| "--pid-file".to_owned())
}
