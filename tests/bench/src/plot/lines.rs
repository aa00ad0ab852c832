//! Cost by how much the node holds, on a logarithmic scale; a flat line is ideal.

use super::svg::Svg;
use crate::report::{Curve, Report};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 175.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
/// Powers of ten on the horizontal axis.
const DECADES: i32 = 5;

pub(super) fn growth(report: &Report) -> String {
    let curves: Vec<&Curve> = report
        .curves
        .iter()
        .filter(|curve| curve.plot == "growth")
        .collect();
    let highest = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|(_, y)| *y)
        .fold(1.5, f64::max);
    let top = (highest * 2.0).ceil() / 2.0;
    let x = |value: f64| {
        let share = value.max(1.0).log10() / f64::from(DECADES);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = Svg::new(WIDTH, HEIGHT);
    let title = "Time of ADD and DEL, beside a node with little on it";
    svg.text(16.0, 26.0, "title", title);
    let mut level = 0.0;
    while level <= top {
        svg.line((LEFT, y(level)), (WIDTH - RIGHT, y(level)), "grid");
        let label = format!("{level:.1} ×");
        svg.text(LEFT - 8.0, y(level) + 4.0, "small faint end", &label);
        level += 0.5;
    }
    for decade in 0..=DECADES {
        let value = 10_f64.powi(decade);
        let label = format!("{value}");
        svg.text(
            x(value),
            HEIGHT - BOTTOM + 18.0,
            "small faint middle",
            &label,
        );
    }
    let middle = LEFT.midpoint(WIDTH - RIGHT);
    svg.text(
        middle,
        HEIGHT - 10.0,
        "small faint middle",
        "how many there are",
    );
    // Labels are at the ends of the curves, spaced apart.
    let mut ends: Vec<(f64, usize, &Curve)> = curves
        .iter()
        .enumerate()
        .filter_map(|(number, curve)| Some((y(curve.points.last()?.1), number, *curve)))
        .collect();
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut last = f64::MIN;
    for (end, number, curve) in ends {
        let points: Vec<_> = curve.points.iter().map(|(a, b)| (x(*a), y(*b))).collect();
        svg.polyline(&points, &format!("c{number}"));
        last = end.max(last + 16.0);
        // Flat curves overlap, so a coloured mark links each label to its curve.
        let (name, mark) = (WIDTH - RIGHT + 30.0, WIDTH - RIGHT + 14.0);
        svg.bar(mark, last - 5.0, 10.0, 10.0, &format!("c{number}"));
        svg.text(name, last + 4.0, "", &curve.name);
    }
    svg.finish()
}
