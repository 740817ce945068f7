//! Signal masks and dispositions, which a new program expects to be the default.
use crate::Result;

/// Holds all signals back in the caller. Children of a clone begin that way, so that no signal for
/// the runtime can end a container's first process before it has its own dispositions.
pub fn host_hold() -> Result<()> {
    sys::signal::set_mask(sys::signal::ALL)?;
    Ok(())
}

/// Gives the program the defaults, whatever the caller of the runtime ignored or blocked.
pub fn init_reset() -> Result<()> {
    sys::signal::reset_dispositions();
    sys::signal::set_mask(0)?;
    Ok(())
}
