//! Each kind of call as a bar of two parts: its lower bound, and the daemon's own cost.

use super::svg::Svg;
use crate::report::{Measure, Report};

const ROW: f64 = 24.0;
const LEFT: f64 = 280.0;
const WIDTH: f64 = 900.0;
const RIGHT: f64 = 120.0;

pub(super) fn calls(report: &Report) -> String {
    let find = |name: &str| report.measures.iter().find(|one| one.name == name);
    let over = |call: &Measure| find(&format!("{}.over", call.name));
    let calls: Vec<(&Measure, &Measure)> = report
        .measures
        .iter()
        .filter_map(|call| Some((call, over(call)?)))
        .collect();
    let longest = calls
        .iter()
        .map(|(call, _)| call.values.median)
        .fold(0.1, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest;
    let height = 64.0 + ROW * calls.len() as f64;
    let mut svg = Svg::new(WIDTH, height);
    let title = "One call: grey is what its delegates and processes take by themselves";
    svg.text(16.0, 26.0, "title", title);
    let mut y = 42.0;
    for (call, over) in calls {
        // On a busy machine a part can be negative; a bar cannot.
        let ours = over.values.median.max(0.0);
        let limit = (call.values.median - ours).max(0.0);
        svg.text(LEFT - 12.0, y + 13.0, "end", &call.what);
        svg.bar(LEFT, y + 1.0, limit * scale, ROW - 7.0, "limits");
        svg.bar(LEFT + limit * scale, y + 1.0, ours * scale, ROW - 7.0, "c0");
        let x = LEFT + call.values.median * scale + 8.0;
        svg.text(
            x,
            y + 13.0,
            "small faint",
            &format!("{:.2} ms", call.values.median),
        );
        y += ROW;
    }
    let about = report.about.get("processor").map_or("", String::as_str);
    svg.text(16.0, height - 6.0, "small faint", about);
    svg.finish()
}
