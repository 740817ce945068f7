//! Points in time as text: RFC 3339 in UTC, with the fraction cut as Go does it.
use std::time::SystemTime;

/// The time to the second, as log lines carry it: `2026-11-21T16:20:31Z`.
pub fn rfc3339_seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// The time to the nanosecond without trailing zeros (Go's `RFC3339Nano`): `2026-11-21T16:20:28.5835Z`.
pub fn rfc3339_nanos(time: SystemTime) -> String {
    let nine_digits = humantime::format_rfc3339_nanos(time.max(SystemTime::UNIX_EPOCH)).to_string();
    let cut = nine_digits.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{cut}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fractions_lose_their_trailing_zeros() {
        for (seconds, nanos, to_second, exact) in [
            (0, 0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            (1_795_278_028, 583_537_507, "2026-11-21T16:20:28Z", "2026-11-21T16:20:28.583537507Z"),
            (1_795_278_028, 500_000_000, "2026-11-21T16:20:28Z", "2026-11-21T16:20:28.5Z"),
            (1_795_278_030, 10, "2026-11-21T16:20:30Z", "2026-11-21T16:20:30.00000001Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
            assert_eq!(rfc3339_seconds(time), to_second);
            assert_eq!(rfc3339_nanos(time), exact);
        }
    }

    #[test]
    fn a_clock_before_1970_does_no_harm() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339_nanos(time), "1970-01-01T00:00:00Z");
    }
}
