//! Pressure stall information of version 2.
use oci::stats::{Percent, Pressure, Stall};

use super::Files;
use crate::error::Error;

/// How long processes waited; `None` where the kernel does not watch that.
pub(super) fn read(files: &Files, name: &str) -> Result<Option<Pressure>, Error> {
    files.parsed(name, parse)
}

fn parse(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let stall = match words.next()? {
            "some" => &mut pressure.some,
            "full" => &mut pressure.full,
            _ => continue,
        };
        words.try_for_each(|word| set(stall, word))?;
    }
    Some(pressure)
}

fn set(stall: &mut Stall, word: &str) -> Option<()> {
    let (key, value) = word.split_once('=')?;
    match key {
        "avg10" => stall.avg10 = percent(value)?,
        "avg60" => stall.avg60 = percent(value)?,
        "avg300" => stall.avg300 = percent(value)?,
        "total" => stall.total = value.parse().ok()?,
        _ => {}
    }
    Some(())
}

/// A number with two decimals.
fn percent(text: &str) -> Option<Percent> {
    let (whole, hundredths) = text.split_once('.')?;
    let hundredths: u32 = (hundredths.len() == 2).then(|| hundredths.parse().ok()).flatten()?;
    Some(Percent { hundredths: whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(hundredths)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "some avg10=1.50 avg60=0.07 avg300=20.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4\n";
        let percent = |hundredths| Percent { hundredths };
        let some = Stall { avg10: percent(150), avg60: percent(7), avg300: percent(2000), total: 123 };
        let full = Stall { total: 4, ..Stall::default() };
        assert_eq!(parse(text), Some(Pressure { some, full }));
        assert_eq!(parse("later avg10=x\n"), Some(Pressure::default()));
        for broken in ["some avg10\n", "some avg10=1\n", "some avg10=a.00\n", "some total=-1\n"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
    }
}
