//! Traces in a terminal: a table, and a waterfall for each.

use std::fmt::Write as _;
use std::time::SystemTime;

use shim_api::trace::{Span, Trace};

use super::attribute;
use crate::output::{self, Column, plain};

/// Width of the time line in characters.
const TIME_LINE: u64 = 40;
/// Width of the column with the names of spans.
const NAMES: usize = 44;
/// Spans are nested less deeply; a damaged answer may not be.
const MAX_DEPTH: usize = 16;
const SECOND: u64 = 1_000_000_000;

/// One line for each request.
pub(super) fn table(traces: &[Trace], now: SystemTime) -> String {
    let columns = [
        Column::Whole("AGE"),
        Column::Whole("VERB"),
        Column::Broken("POD"),
        Column::Whole("INTERFACE"),
        Column::Whole("OUTCOME"),
        Column::Whole("TOOK"),
        Column::Whole("ID"),
    ];
    let row = |trace: &Trace| {
        let text = |name| attribute(trace, name).unwrap_or("-").to_owned();
        vec![
            output::age(Some(trace.began_unix_nanos / SECOND), now),
            text("verb"),
            text("pod"),
            text("interface"),
            attribute(trace, "outcome").unwrap_or("running").to_owned(),
            trace.request().map_or_else(String::new, took),
            trace.id.clone(),
        ]
    };
    output::table(&columns, traces.iter().map(row).collect())
}

/// The waterfall of each trace.
pub(super) fn waterfalls(traces: &[Trace], now: SystemTime) -> String {
    let all: Vec<String> = traces.iter().map(|trace| waterfall(trace, now)).collect();
    all.join("\n")
}

fn waterfall(trace: &Trace, now: SystemTime) -> String {
    let mut text = String::new();
    let named = ["verb", "pod", "interface"];
    let named = named.iter().filter_map(|name| attribute(trace, name));
    let title: Vec<&str> = [trace.id.as_str()].into_iter().chain(named).collect();
    let age = output::age(Some(trace.began_unix_nanos / SECOND), now);
    line(
        &mut text,
        &format!("{}, {}, {age} ago", title.join(" "), trace.began),
    );
    if let Some(container) = attribute(trace, "container") {
        line(&mut text, &format!("container {container}"));
    }
    let whole = trace.spans.iter().map(end).max().unwrap_or_default().max(1);
    for (index, span) in trace.spans.iter().enumerate() {
        let depth = depth(trace, index);
        let name = format!("{:depth$}{}", "", label(span), depth = 2 * depth);
        let name = cut(&plain(&name), NAMES);
        let took = took(span);
        let _ = writeln!(text, "{name:<NAMES$} {took:>8} |{}|", bar(span, whole));
        if let Some(error) = span.error.as_deref().filter(|_| is_innermost(trace, span)) {
            line(
                &mut text,
                &format!("{:depth$}! {error}", "", depth = 2 * depth),
            );
        }
    }
    if trace.dropped > 0 {
        line(
            &mut text,
            &format!("{} spans or ends of values were not kept", trace.dropped),
        );
    }
    text
}

/// What a span is about.
fn label(span: &Span) -> String {
    let value = |name: &str| span.attributes.get(name).map(String::as_str);
    let about: Vec<&str> = match span.name.as_str() {
        "request" => vec![value("outcome").unwrap_or("running")],
        "delegate" => [value("plugin"), value("command")]
            .into_iter()
            .flatten()
            .collect(),
        "policy" => {
            let outcome = value("outcome").filter(|outcome| *outcome != "accept");
            [value("policy"), value("hook"), outcome]
                .into_iter()
                .flatten()
                .collect()
        }
        _ => [value("interface"), value("network")]
            .into_iter()
            .flatten()
            .collect(),
    };
    match about.is_empty() {
        true => span.name.clone(),
        false => format!("{} {}", span.name, about.join(" ")),
    }
}

/// How many spans a span is inside of.
fn depth(trace: &Trace, index: usize) -> usize {
    let mut depth = 0;
    let mut parent = trace
        .spans
        .get(index)
        .and_then(|span| span.parent_id.as_ref());
    while let Some(id) = parent
        && depth < MAX_DEPTH
    {
        depth += 1;
        let above = trace.spans.iter().find(|span| span.id == *id);
        parent = above.and_then(|span| span.parent_id.as_ref());
    }
    depth
}

/// Whether an error is not repeated by a span inside of this one.
fn is_innermost(trace: &Trace, span: &Span) -> bool {
    let is_inside = |other: &&Span| other.parent_id.as_ref() == Some(&span.id);
    let mut inside = trace.spans.iter().filter(is_inside);
    !inside.any(|other| other.error.is_some())
}

fn end(span: &Span) -> u64 {
    span.start_nanos
        .saturating_add(span.duration_nanos.unwrap_or_default())
}

/// The span's time on a line from the request's beginning to its end; an open one has no end.
fn bar(span: &Span, whole: u64) -> String {
    let at = |nanos: u64| {
        let scaled = u128::from(nanos) * u128::from(TIME_LINE) / u128::from(whole);
        u64::try_from(scaled).unwrap_or(TIME_LINE).min(TIME_LINE)
    };
    let from = at(span.start_nanos).min(TIME_LINE - 1);
    let to = match span.duration_nanos {
        Some(_) => at(end(span)).max(from + 1),
        None => TIME_LINE,
    };
    let mark = |place: u64| match (place, span.duration_nanos) {
        (place, _) if place < from || place >= to => ' ',
        (_, Some(_)) => '=',
        (_, None) => '>',
    };
    (0..TIME_LINE).map(mark).collect()
}

/// How long a span took, with three digits.
fn took(span: &Span) -> String {
    let Some(nanos) = span.duration_nanos else {
        return "running".to_owned();
    };
    let micros = nanos / 1_000;
    match micros {
        0..10_000 => format!("{}.{:02}ms", micros / 1_000, micros % 1_000 / 10),
        10_000..1_000_000 => format!("{}.{}ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02}s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn line(text: &mut String, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", plain(content));
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn span(id: &str, parent: Option<&str>, name: &str, times: (u64, Option<u64>)) -> Span {
        Span {
            id: id.to_owned(),
            parent_id: parent.map(str::to_owned),
            name: name.to_owned(),
            start_nanos: times.0 * 1_000_000,
            duration_nanos: times.1.map(|millis| millis * 1_000_000),
            ..Span::default()
        }
    }

    fn with(mut span: Span, attributes: &[(&str, &str)]) -> Span {
        let attributes = attributes.iter();
        span.attributes = attributes
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        span
    }

    fn failed() -> Trace {
        let request = with(
            span("1", None, "request", (0, Some(40))),
            &[
                ("verb", "ADD"),
                ("pod", "shop/web"),
                ("container", "c"),
                ("outcome", "failure"),
            ],
        );
        let attach = with(
            span("2", Some("1"), "attach", (10, Some(20))),
            &[("network", "pods"), ("interface", "eth0")],
        );
        let delegate = with(
            span("3", Some("2"), "delegate", (11, Some(19))),
            &[
                ("plugin", "bridge"),
                ("command", "ADD"),
                ("network", "pods"),
            ],
        );
        let error = |span: Span| Span {
            error: Some("no\u{1b}[2J".to_owned()),
            ..span
        };
        Trace {
            id: "4bf9".to_owned(),
            began: "1970-01-01T00:00:00Z".to_owned(),
            spans: vec![error(request), error(attach), error(delegate)],
            ..Trace::default()
        }
    }

    #[test]
    fn a_waterfall_shows_times_and_the_cause_once() {
        let now = UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(
            waterfall(&failed(), now),
            "4bf9 ADD shop/web, 1970-01-01T00:00:00Z, 5s ago\n\
             container c\n\
             request failure                                40.0ms |========================================|\n\
             \u{20} attach eth0 pods                             20.0ms |          ====================          |\n\
             \u{20}   delegate bridge ADD                        19.0ms |           ===================          |\n\
             \u{20}   ! no\\u{1b}[2J\n"
        );
    }

    #[test]
    fn what_runs_has_no_end() {
        let trace = Trace {
            spans: vec![
                span("1", None, "request", (0, None)),
                span("2", Some("1"), "identity", (0, Some(1))),
            ],
            ..Trace::default()
        };
        let shown = waterfall(&trace, UNIX_EPOCH);
        assert!(shown.contains("running |>>>>"), "{shown}");
        assert!(table(&[trace], UNIX_EPOCH).contains("running"));
    }

    #[test]
    fn a_damaged_answer_is_shown() {
        let mut circle = failed();
        circle.spans[0].parent_id = Some("3".to_owned());
        circle.spans[1].start_nanos = u64::MAX;
        circle.spans[2].duration_nanos = Some(u64::MAX);
        let shown = waterfall(&circle, UNIX_EPOCH);
        let bars = shown.lines().filter(|line| line.ends_with('|'));
        assert_eq!(bars.count(), 3, "{shown}");
        let empty = waterfall(&Trace::default(), UNIX_EPOCH);
        assert!(!empty.contains('|'), "{empty}");
    }

    #[test]
    fn times_have_three_digits() {
        for (nanos, expected) in [
            (999, "0.00ms"),
            (1_234_567, "1.23ms"),
            (12_345_678, "12.3ms"),
            (999_999_999, "999.9ms"),
            (61_000_000_000, "61.00s"),
        ] {
            let span = Span {
                duration_nanos: Some(nanos),
                ..Span::default()
            };
            assert_eq!(took(&span), expected);
        }
    }
}
