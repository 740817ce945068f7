//! A plot of the medians: horizontal bars, a group for each measure, as SVG.
use std::fmt::Write;

use crate::report::{Results, Series, title};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 310.0;
const RIGHT: f64 = 150.0;
const BAR: f64 = 14.0;
const GAP: f64 = 12.0;
const TOP: f64 = 56.0;

/// Distinct for the colour-blind too (Okabe and Ito); the floor is grey.
const COLOURS: [&str; 6] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const GREY: &str = "#999999";

/// Draws everything that was measured. Bars are medians, thin lines end at the 95th percentile.
pub fn svg(results: &Results) -> String {
    let bars: usize = results.groups().map(|group| group.len()).sum();
    let height = TOP + bars as f64 * BAR + results.groups().count() as f64 * GAP + GAP;
    let mut body = String::new();
    let mut y = TOP;
    for group in results.groups() {
        // Each group has a scale of its own: `state` would be invisible beside fifty `run`s.
        let most = group.iter().filter_map(Series::slow_wall).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let scale = (WIDTH - LEFT - RIGHT) / most;
        let middle = y + group.len() as f64 * BAR / 2.0 + 4.0;
        let name = escape(&title(&group[0].measure));
        put(
            &mut body,
            format_args!(r#"<text x="{:.1}" y="{middle:.1}" text-anchor="end">{name}</text>"#, LEFT - 8.0),
        );
        for series in group {
            bar(&mut body, y, scale, series, colour(results, &series.runtime));
            y += BAR;
        }
        y += GAP;
    }
    let legend = legend(results);
    let title = escape(&results.environment);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
<text x="10" y="18">{title}</text>
{legend}{body}</svg>
"#
    )
}

fn bar(body: &mut String, y: f64, scale: f64, series: &Series, colour: &str) {
    let base = y + BAR - 4.0;
    let (Some(wall), Some(slow)) = (series.wall(), series.slow_wall()) else {
        put(body, format_args!(r#"<text x="{:.1}" y="{base:.1}" fill="{colour}">fails</text>"#, LEFT + 4.0));
        return;
    };
    let (length, end, height, middle) = (wall * scale, LEFT + slow * scale, BAR - 3.0, y + (BAR - 3.0) / 2.0);
    put(
        body,
        format_args!(
            r#"<rect x="{LEFT}" y="{y:.1}" width="{length:.1}" height="{height}" fill="{colour}"/>"#
        ),
    );
    put(body, format_args!(r#"<path d="M{:.1} {middle:.1}H{end:.1}" stroke="{colour}"/>"#, LEFT + length));
    let name = escape(&series.runtime);
    put(body, format_args!(r#"<text x="{:.1}" y="{base:.1}">{wall:.2} ms {name}</text>"#, end + 6.0));
}

fn legend(results: &Results) -> String {
    let mut text = String::new();
    let mut x = 10.0;
    for runtime in &results.runtimes {
        let (colour, name) = (colour(results, &runtime.name), escape(&runtime.name));
        put(&mut text, format_args!(r#"<rect x="{x:.0}" y="28" width="10" height="10" fill="{colour}"/>"#));
        put(&mut text, format_args!(r#"<text x="{:.0}" y="37">{name}</text>"#, x + 14.0));
        x += 30.0 + 7.0 * runtime.name.len() as f64;
    }
    put(
        &mut text,
        format_args!(r#"<text x="{:.0}" y="37">bars: median wall clock, lines: 95 %</text>"#, x + 10.0),
    );
    text
}

fn colour(results: &Results, name: &str) -> &'static str {
    let number = results.runtimes.iter().position(|runtime| runtime.name == name).unwrap_or_default();
    if results.runtimes.get(number).is_some_and(|runtime| runtime.is_floor) {
        GREY
    } else {
        COLOURS[number % COLOURS.len()]
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_markup() {
        assert_eq!(escape("a<b>&c"), "a&lt;b&gt;&amp;c");
    }
}
