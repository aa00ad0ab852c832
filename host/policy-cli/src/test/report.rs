//! The report for people: each failure as a diff, and a summary.

use std::fmt::Write as _;
use std::time::Duration;

use similar::{ChangeTag, TextDiff};

use super::Ran;
use super::compare::Difference;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// The failures, and how many cases passed in which time after loading.
pub(super) fn text(
    ran: &[Ran<'_>],
    (loading, running): (Duration, Duration),
    is_coloured: bool,
) -> String {
    let paint = |colour: &'static str| if is_coloured { colour } else { "" };
    let mut text = String::new();
    for ran in ran.iter().filter(|ran| !ran.differences.is_empty()) {
        let case = ran.case;
        let place = format!("{}:{}", case.file.display(), case.line);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}FAILED{} {}{}{} ({place})",
            paint(RED),
            paint(PLAIN),
            paint(BOLD),
            crate::plain(&case.name),
            paint(PLAIN),
        );
        for difference in &ran.differences {
            text.push_str(&diff(difference, &paint));
        }
        text.push('\n');
    }
    let failed = ran.iter().filter(|ran| !ran.differences.is_empty()).count();
    let colour = if failed > 0 { RED } else { GREEN };
    let _ = writeln!(
        text,
        "{}{} passed, {failed} failed{} in {} ms (after {} ms of loading)",
        paint(colour),
        ran.len() - failed,
        paint(PLAIN),
        running.as_millis(),
        loading.as_millis(),
    );
    text
}

/// The lines that differ: `-` expected, `+` actual.
fn diff(difference: &Difference, paint: &impl Fn(&'static str) -> &'static str) -> String {
    let mut text = String::new();
    if !difference.title.is_empty() {
        let _ = writeln!(text, "  {}", difference.title);
    }
    let _ = writeln!(
        text,
        "  {}- expected{} {}+ actual{}",
        paint(RED),
        paint(PLAIN),
        paint(GREEN),
        paint(PLAIN)
    );
    let lines = TextDiff::from_lines(&difference.expected, &difference.actual);
    for change in lines.iter_all_changes() {
        let (sign, colour) = match change.tag() {
            ChangeTag::Delete => ('-', RED),
            ChangeTag::Insert => ('+', GREEN),
            ChangeTag::Equal => (' ', ""),
        };
        let line = crate::plain(change.value().trim_end_matches('\n'));
        let end = if colour.is_empty() { "" } else { paint(PLAIN) };
        let _ = writeln!(text, "  {}{sign} {line}{end}", paint(colour));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_a_sign_for_each_line() {
        let difference = Difference {
            title: "step 1 (ADD web)".to_owned(),
            expected: "code: 1\nverdict: \"deny\"\n".to_owned(),
            actual: "code: 2\nverdict: \"deny\"\n".to_owned(),
        };
        let plain = diff(&difference, &|_| "");
        assert_eq!(
            plain,
            "  step 1 (ADD web)\n  - expected + actual\n  - code: 1\n  + code: 2\n    verdict: \"deny\"\n"
        );
        let coloured = diff(&difference, &|colour| colour);
        assert!(
            coloured.contains("\u{1b}[31m- code: 1\u{1b}[0m"),
            "{coloured}"
        );
    }
}
