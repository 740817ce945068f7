//! The session keyring of the container, `_ses.<id>`; `--no-new-keyring` leaves the caller's.
use std::ffi::CString;

use crate::{Error, Kind, Result};

/// The owner of the keyring may search it (`KEY_USR_SEARCH`).
const USER_SEARCH: u32 = 0x0008_0000;

/// The name of the keyring to join; `None` with `--no-new-keyring`.
pub type Plan = Option<CString>;

/// Decides the name.
pub fn plan(id: &str, no_new_keyring: bool) -> Result<Plan> {
    if no_new_keyring {
        return Ok(None);
    }
    CString::new(format!("_ses.{id}"))
        .map(Some)
        .map_err(|_| Error::new(Kind::Invalid, "invalid container ID format"))
}

/// Joins the keyring, so that keys of the caller's session are out of reach.
pub fn init_apply(plan: &Plan) -> Result<()> {
    match plan {
        Some(name) => Ok(sys::cred::join_session_keyring(name, USER_SEARCH)?),
        None => Ok(()),
    }
}
