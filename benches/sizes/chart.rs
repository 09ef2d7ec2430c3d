//! Draws what was found at each size, as SVG made by hand: one panel for each figure, a line for each number of targets.

use std::fmt::Write as _;

use super::Point;

/// What is drawn: its name, its unit, and how it is read off a point.
pub(crate) type Figure = (&'static str, &'static str, fn(&Point) -> f64);

pub(crate) const FIGURES: [Figure; 3] = [
    ("body to batch", "ns", |point| point.take),
    ("batch to object", "ns", |point| point.seal),
    ("memory of a series", "B", |point| point.bytes),
];

/// Of a panel: where its axes begin and how long they are.
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 240.0;
/// From one panel to the next.
const STEP: f64 = 480.0;
/// Powers of ten on the axis of series.
const SERIES: std::ops::RangeInclusive<i32> = 3..=7;
/// Of 10, 100, 1,000 and 10,000 targets: they differ in lightness too.
const COLOURS: [&str; 4] = ["#8ecae6", "#219ebc", "#d17a00", "#5a0f2e"];

pub(crate) fn draw(points: &[Point]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"380\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        STEP * 3.0
    );
    for (at, (what, unit, figure)) in (0_u8..).zip(FIGURES) {
        let _ = writeln!(svg, "<g transform=\"translate({:.0} 0)\">", f64::from(at) * STEP);
        let each = if unit == "B" { "bytes" } else { "nanoseconds for each sample" };
        text(&mut svg, LEFT, 20.0, "start", &format!("{what}, {each}"));
        panel(&mut svg, points, figure);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, points: &[Point], figure: fn(&Point) -> f64) {
    let all = || points.iter().map(figure);
    let least = all().fold(f64::INFINITY, f64::min).log10().floor().min(1.0);
    let most = all().fold(0.0, f64::max).log10().ceil().max(least + 1.0);
    let x = |series: f64| {
        let (first, last) = (f64::from(*SERIES.start()), f64::from(*SERIES.end()));
        LEFT + (series.log10() - first) / (last - first) * WIDTH
    };
    let y = |value: f64| TOP + HEIGHT - (value.log10() - least) / (most - least) * HEIGHT;
    for power in SERIES {
        let at = x(10_f64.powi(power));
        line(svg, (at, TOP), (at, TOP + HEIGHT));
        text(svg, at, TOP + HEIGHT + 18.0, "middle", &format!("1e{power}"));
    }
    text(svg, LEFT + WIDTH / 2.0, TOP + HEIGHT + 38.0, "middle", "series");
    for step in [1.0, 2.0, 5.0] {
        let mut value = step * 10_f64.powf(least);
        while value <= 10_f64.powf(most) {
            line(svg, (LEFT, y(value)), (LEFT + WIDTH, y(value)));
            text(svg, LEFT - 6.0, y(value) + 4.0, "end", &format!("{value}"));
            value *= 10.0;
        }
    }
    for ((place, targets), colour) in (0_u8..).zip(super::TARGETS).zip(COLOURS) {
        let of: Vec<_> = points.iter().filter(|point| point.targets == targets).collect();
        let places: Vec<_> = of.iter().map(|point| (x(point.series as f64), y(figure(point)))).collect();
        let path: String = places.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.trim_end()
        );
        for (x, y) in places {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let at = LEFT + f64::from(place) * 104.0;
        let _ = writeln!(svg, "<rect x=\"{at:.0}\" y=\"345\" width=\"10\" height=\"10\" fill=\"{colour}\"/>");
        text(svg, at + 14.0, 355.0, "start", &format!("{targets} targets"));
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ =
        writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}
