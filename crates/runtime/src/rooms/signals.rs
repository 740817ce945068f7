//! Signal masks and dispositions, which a new program expects to be the default.
use crate::Result;
use sys::signal::{ALL, BACKGROUND_READ, BACKGROUND_WRITE, PIPE, Set, only};

/// The signals that a runtime in the foreground passes on.
///
/// The others are about what it does itself: a write that nobody reads, which is an error for it, and
/// the use of a terminal from the background, which stops it as it stops any job.
pub const HELD: Set = ALL & !(only(PIPE) | only(BACKGROUND_READ) | only(BACKGROUND_WRITE));

/// Holds signals back in the caller. Children of a clone begin that way, so that no signal for
/// the runtime can end a container's first process before it has its own dispositions.
pub fn host_hold() -> Result<()> {
    sys::signal::set_mask(HELD)?;
    Ok(())
}

/// Gives the program the defaults, whatever the caller of the runtime ignored or blocked.
pub fn init_reset() -> Result<()> {
    sys::signal::reset_dispositions();
    sys::signal::set_mask(0)?;
    Ok(())
}
