//! The median and the 95th percentile of a few dozen samples.

/// The value below which `share` (0 to 1) of the samples lie, interpolated; `None` for no samples.
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let mut position = share * last as f64;
    // The two neighbours of the position, and how far it is from the first.
    let mut below = 0;
    while position >= 1.0 && below < last {
        position -= 1.0;
        below += 1;
    }
    let above = sorted[(below + 1).min(last)];
    Some(sorted[below] + (above - sorted[below]) * position)
}

/// The middle of the samples.
pub fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_samples() {
        for (samples, share, expected) in [
            (&[][..], 0.5, None),
            (&[7.0], 0.95, Some(7.0)),
            (&[3.0, 1.0], 0.5, Some(2.0)),
            (&[3.0, 1.0, 2.0], 0.5, Some(2.0)),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 1.0, Some(5.0)),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 0.0, Some(1.0)),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 0.875, Some(4.5)),
        ] {
            assert_eq!(quantile(samples, share), expected, "{samples:?} {share}");
        }
    }
}
