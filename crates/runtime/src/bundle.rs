//! A bundle: a directory with config.json in it.
use std::path::{Path, PathBuf};

use crate::error::On;
use crate::{Error, Kind, Result};

/// Goes to the bundle (relative paths in the config are relative to it) and reads its config.
pub fn load(bundle: Option<&Path>) -> Result<(PathBuf, oci::Config)> {
    if let Some(bundle) = bundle {
        sys::file::chdir(bundle)?;
    }
    let path = sys::file::current_dir()?;
    let data = sys::file::read("config.json").map_err(|e| match e.errno {
        sys::Errno::NOENT => Error::new(Kind::Invalid, "JSON specification file config.json not found")
            .hint("`spec` writes one; --bundle names the directory"),
        _ => e.into(),
    })?;
    let config = oci::Config::parse(&data)
        .map_err(|e| Error::new(Kind::Invalid, e.to_string()))
        .on(|| "config.json".to_owned())?;
    let config = config.ok_or_else(|| Error::new(Kind::Invalid, "config cannot be null"))?;
    Ok((path, config))
}
