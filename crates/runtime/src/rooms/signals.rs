//! Signal masks and dispositions, which a new program expects to be the default.
use std::os::fd::{AsFd, BorrowedFd};

use crate::Result;
use sys::signal::{self, ALL, ASK_TO_END, BACKGROUND_READ, BACKGROUND_WRITE, PIPE, Set, only};

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

/// Holds all signals back until [`init_wait_for_start`] looks at them.
pub fn init_hold() -> Result<()> {
    sys::signal::set_mask(ALL)?;
    Ok(())
}

/// Waits for the byte that `start` writes to the fifo.
///
/// A program has no say yet, so a signal that asks one to end ends the container, though its first process
/// is one that the kernel protects from signals. Others are for nobody: they don't wait for the program.
pub fn init_wait_for_start(fifo: BorrowedFd<'_>) -> Result<()> {
    let signals = signal::descriptor(ALL)?;
    loop {
        let [started, signalled] = sys::process::poll([Some(fifo), Some(signals.as_fd())], -1)?;
        while signalled && let Some(number) = signal::next(signals.as_fd())? {
            if ASK_TO_END.contains(&number) {
                sys::process::exit(128 + number);
            }
        }
        if started {
            // Open for writing too, so there is a byte of `start` and nothing else.
            return Ok(sys::file::read_byte(fifo).map(drop)?);
        }
    }
}

/// Gives the program the defaults, whatever the caller of the runtime ignored or blocked.
pub fn init_reset() -> Result<()> {
    sys::signal::reset_dispositions();
    sys::signal::set_mask(0)?;
    Ok(())
}
