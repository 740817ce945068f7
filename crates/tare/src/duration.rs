//! Lengths of time as Go writes them: `500ms`, `1m30s`, `1.5h`.

/// The units, in nanoseconds.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds, by the rules and with the errors of Go's `time.ParseDuration`.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let nanoseconds = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanoseconds)| *nanoseconds);
        let nanoseconds =
            nanoseconds.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total += i128::from(whole) * nanoseconds + part(fraction, nanoseconds);
        rest = after;
    }
    i64::try_from(sign * total).map_err(|_| invalid())
}

/// The digits at the beginning, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The decimals of a number of units. More than there are nanoseconds in the longest unit don't count.
fn part(decimals: &str, unit: i128) -> i128 {
    let digits = decimals.bytes().take(18).map(|digit| i128::from(digit - b'0'));
    let (value, scale) = digits.fold((0, 1), |(value, scale), digit| (value * 10 + digit, scale * 10));
    value * unit / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("-5s", -5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("2h45m0.5s", 9_900_500_000_000),
            ("10ns", 10),
            ("3us", 3_000),
            ("3\u{b5}s", 3_000),
            ("3\u{3bc}s", 3_000),
            ("0.333s", 333_000_000),
            ("2562047h47m16.854775807s", i64::MAX),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn what_go_refuses() {
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("s", "time: invalid duration \"s\""),
            (".s", "time: invalid duration \".s\""),
            ("1s ", "time: unknown unit \"s \" in duration \"1s \""),
            ("5", "time: missing unit in duration \"5\""),
            ("-5", "time: missing unit in duration \"-5\""),
            ("5s3", "time: missing unit in duration \"5s3\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("1.5.5s", "time: missing unit in duration \"1.5.5s\""),
            ("99999999999999999999s", "time: invalid duration \"99999999999999999999s\""),
            ("3000000h", "time: invalid duration \"3000000h\""),
        ] {
            assert_eq!(parse(text).unwrap_err(), error);
        }
    }
}
