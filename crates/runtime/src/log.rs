//! Messages for the log file and stderr.
