//! Formats output for terminals and for other programs.

use std::error::Error;
use std::io::{self, ErrorKind, Write as _, stdout};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use serde::Serialize;

/// Spaces between columns.
const GAP: u16 = 2;

/// Longer words may be broken on narrow terminals.
const LONGEST_WORD: u16 = 14;

/// A column of a table.
pub(crate) enum Column {
    /// Cells stay on one line.
    Whole(&'static str),
    /// Cells wrap on narrow terminals.
    Broken(&'static str),
}

/// Formats a table as wide as the terminal; without a terminal, one line per row for other
/// programs.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    table_of_width(terminal_width(), columns, rows)
}

fn table_of_width(width: Option<u16>, columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let rows: Vec<Vec<_>> = rows
        .into_iter()
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    let constraints = columns.iter().enumerate().map(|(at, column)| match column {
        Column::Whole(_) => ColumnConstraint::ContentWidth,
        Column::Broken(_) => ColumnConstraint::LowerBoundary(Width::Fixed(narrowest(&rows, at))),
    });
    let constraints: Vec<_> = constraints.collect();
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(columns.iter().map(Column::title))
        .add_rows(rows);
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width)
            .set_constraints(constraints);
    }
    let last = columns.len().saturating_sub(1);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if at == last { 0 } else { GAP }));
    }
    let lines = table.lines();
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Minimum width of a column: its longest word, up to [`LONGEST_WORD`].
fn narrowest(rows: &[Vec<String>], at: usize) -> u16 {
    let cells = rows.iter().filter_map(|row| row.get(at));
    let words = cells.flat_map(|cell| cell.split(' '));
    let longest = words.map(|word| word.chars().count()).max();
    let longest = longest.and_then(|longest| u16::try_from(longest).ok());
    longest.unwrap_or_default().min(LONGEST_WORD) + GAP
}

impl Column {
    fn title(&self) -> &'static str {
        match self {
            Self::Whole(title) | Self::Broken(title) => title,
        }
    }
}

/// Escapes characters that deceive readers, or that a terminal would obey: policies and tenants
/// choose some of the texts.
pub(crate) fn plain(text: &str) -> String {
    cni_types::text::plain(text).into_owned()
}

/// Time elapsed, in the largest unit with a value of at least two.
pub(crate) fn age(since_unix_seconds: Option<u64>, now: SystemTime) -> String {
    let Some(since) = since_unix_seconds else {
        return "-".to_owned();
    };
    let age = UNIX_EPOCH
        .checked_add(Duration::from_secs(since))
        .and_then(|since| now.duration_since(since).ok())
        .unwrap_or_default()
        .as_secs();
    let units = [("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60)];
    units
        .into_iter()
        .map(|(unit, seconds)| (unit, age / seconds))
        .find(|(_, count)| *count >= 2)
        .map_or_else(
            || format!("{age}s"),
            |(unit, count)| format!("{count}{unit}"),
        )
}

/// `value` as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Writes to standard output. A closed pipe, as with `head`, is not an error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Writes to standard error, which may be a closed pipe.
pub(crate) fn note(text: &str) {
    let _lost = io::stderr().write_all(text.as_bytes());
}

/// Formats an error: what failed, then each cause on its own line.
pub(crate) fn error(error: &dyn Error) -> String {
    let mut text = format!("cnidaria: {}\n", indented(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}  {}\n", indented(&error.to_string()));
        cause = error.source();
    }
    text
}

/// A text of several lines. All but the first are indented, so that none passes for another error.
fn indented(text: &str) -> String {
    let mut lines = text.lines();
    let mut shown = plain(lines.next().unwrap_or_default());
    for line in lines {
        let margin = if line.starts_with("  ") { "" } else { "  " };
        shown = format!("{shown}\n{margin}{}", plain(line));
    }
    shown
}

fn terminal_width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(width: Option<u16>) -> String {
        let row = |name: &str, likes: &str| vec![name.to_owned(), likes.to_owned(), "1".to_owned()];
        table_of_width(
            width,
            &[
                Column::Whole("NAME"),
                Column::Broken("LIKES"),
                Column::Whole("N"),
            ],
            vec![row("anna-maria", "apples, pears, plums"), row("ben", "-")],
        )
    }

    #[test]
    fn without_a_terminal_a_row_is_a_line() {
        assert_eq!(
            people(None),
            "NAME        LIKES                 N\n\
             anna-maria  apples, pears, plums  1\n\
             ben         -                     1\n"
        );
    }

    #[test]
    fn narrow_terminal_wraps_wrappable_columns() {
        assert_eq!(people(Some(80)), people(None));
        assert_eq!(
            people(Some(26)),
            "NAME        LIKES    N\n\
             anna-maria  apples,  1\n            pears,\n            plums\n\
             ben         -        1\n"
        );
    }

    #[test]
    fn texts_cannot_speak_to_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\tä"), "a\\u{1b}[2Jb\\nc\\tä");
    }

    #[test]
    fn later_lines_of_an_error_are_indented() {
        let error = super::error(&io::Error::other(
            "no clang\n    apt-get\ncnidaria: a\u{1b}b",
        ));
        assert_eq!(
            error,
            "cnidaria: no clang\n    apt-get\n  cnidaria: a\\u{1b}b\n"
        );
    }

    #[test]
    fn age_uses_largest_unit_with_at_least_two() {
        let now = UNIX_EPOCH + Duration::from_secs(10_000_000);
        let check = |seconds: u64, expected: &str| {
            assert_eq!(age(Some(10_000_000 - seconds), now), expected);
        };
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(2 * 60 * 60 - 1, "119m");
        check(47 * 60 * 60, "47h");
        check(48 * 60 * 60, "2d");
        assert_eq!(age(None, now), "-");
        // The clock was set back.
        assert_eq!(age(Some(10_000_001), now), "0s");
    }
}
