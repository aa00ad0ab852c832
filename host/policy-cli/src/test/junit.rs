//! The report for CI, in JUnit's format.

use cni_types::text::deceives;
use std::fmt::Write as _;
use std::time::Duration;

use super::Ran;

/// The report of a suite.
pub(super) fn report(policy: &str, ran: &[Ran<'_>]) -> String {
    let failures = ran.iter().filter(|ran| !ran.differences.is_empty()).count();
    let total: Duration = ran.iter().map(|ran| ran.duration).sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "<testsuites>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" time=\"{:.6}\">",
        escaped(policy),
        ran.len(),
        total.as_secs_f64(),
    );
    for ran in ran {
        let case = ran.case;
        let _ = write!(
            text,
            "<testcase name=\"{}\" classname=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.6}\"",
            escaped(&case.name),
            escaped(policy),
            escaped(&case.file.display().to_string()),
            case.line,
            ran.duration.as_secs_f64(),
        );
        if ran.differences.is_empty() {
            text.push_str("/>\n");
            continue;
        }
        text.push_str(">\n");
        for difference in &ran.differences {
            let _ = writeln!(
                text,
                "<failure message=\"{}\">expected:\n{}\nactual:\n{}</failure>",
                escaped(&difference.title),
                escaped(&difference.expected),
                escaped(&difference.actual),
            );
        }
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite>\n</testsuites>\n");
    text
}

/// Text for XML 1.0, which has no control characters but these.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            character if deceives(character) => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_element() {
        assert_eq!(
            escaped("a<b>&\"\u{1b}\n"),
            "a&lt;b&gt;&amp;&quot;\u{fffd}\n"
        );
    }
}
