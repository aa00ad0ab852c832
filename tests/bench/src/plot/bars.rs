//! The goals as bars: how much of its allowance each uses.

use super::svg::Svg;
use crate::report::Report;

const ROW: f64 = 30.0;
const LEFT: f64 = 380.0;
const WIDTH: f64 = 950.0;
/// Horizontal position of the goal, from the left end of the bars.
const GOAL: f64 = 250.0;
/// Bars are cut off here, however large the share.
const MOST: f64 = 1.5;

pub(super) fn goals(report: &Report) -> String {
    let height = 70.0 + ROW * report.goals.len() as f64;
    let mut svg = Svg::new(WIDTH, height);
    svg.text(16.0, 26.0, "title", "What is used of each goal");
    svg.text(LEFT + GOAL, 26.0, "small faint middle", "the goal");
    svg.line((LEFT + GOAL, 32.0), (LEFT + GOAL, height - 22.0), "limit");
    let mut y = 40.0;
    for goal in &report.goals {
        let class = if goal.is_met() { "met" } else { "missed" };
        let width = goal.share.clamp(0.005, MOST) * GOAL;
        svg.text(LEFT - 12.0, y + 14.0, "end", &goal.what);
        svg.bar(LEFT, y + 2.0, width, ROW - 12.0, class);
        let x = LEFT + GOAL * MOST + 10.0;
        svg.text(x, y + 9.0, "small", &goal.measured);
        svg.text(x, y + 21.0, "small faint", &goal.goal);
        y += ROW;
    }
    let about = report.about.get("processor").map_or("", String::as_str);
    svg.text(16.0, height - 8.0, "small faint", about);
    svg.finish()
}
