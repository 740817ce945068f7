//! Sizes of memory as people write them, and as Docker's tools read them: `1024`, `10M`, `1.5 GiB`.

/// The letters of the units, each 1024 times the one before.
const UNITS: &str = "kmgtp";

/// A number of bytes. A unit may be of either case and end in `b` or `ib`; the last digit, dot or blank is where
/// the number ends. What is less than a byte is cut off.
pub fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    if number < 0.0 || !number.is_finite() {
        return Err(wrong());
    }
    let unit = unit.to_lowercase();
    let factor = factor(&unit).ok_or_else(|| format!("invalid suffix: '{unit}'"))?;
    #[expect(clippy::cast_possible_truncation, reason = "what is beyond becomes the largest size")]
    let bytes = (number * factor) as i64;
    Ok(bytes)
}

fn factor(unit: &str) -> Option<f64> {
    let mut letters = unit.chars();
    let Some(first) = letters.next().filter(|first| *first != 'b') else {
        return matches!(unit, "" | "b").then_some(1.0);
    };
    let power = UNITS.find(first)?;
    let power = i32::try_from(power).ok()? + 1;
    matches!(letters.as_str(), "" | "b" | "ib").then(|| 1024f64.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32KiB", 32 << 10),
            ("32Mb", 32 << 20),
            ("1.5g", 3 << 29),
            ("1.5 GB", 3 << 29),
            ("32 ", 32),
            (".5k", 512),
            ("1.k", 1024),
            ("0.3", 0),
            ("1e3", 1000),
            ("2T", 2 << 40),
            ("1p", 1 << 50),
            ("99999999p", i64::MAX),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for (text, reason) in [
            ("", "invalid size: ''"),
            ("hello", "invalid size: 'hello'"),
            ("-32", "invalid size: '-32'"),
            (" 32 ", "invalid size: ' 32 '"),
            ("32  mb", "invalid size: '32  mb'"),
            ("1,5g", "invalid size: '1,5g'"),
            ("inf", "invalid size: 'inf'"),
            ("1e999", "invalid size: '1e999'"),
            ("32bb", "invalid suffix: 'bb'"),
            ("32m b", "invalid size: '32m b'"),
            ("32mx", "invalid suffix: 'mx'"),
            ("32e", "invalid suffix: 'e'"),
            ("32mibs", "invalid suffix: 'mibs'"),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()), "{text}");
        }
    }
}
