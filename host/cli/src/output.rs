//! How things look on a terminal, and that they arrive whole where there is none.

use std::error::Error;
use std::io::{self, ErrorKind, Write as _, stdout};

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::daemon;

/// A table with these columns: as wide as the terminal, in which long cells are broken into lines;
/// unbroken where there is no terminal, so that a row is a line for other programs.
pub(crate) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(columns)
        .add_rows(rows);
    if let Some(width) = terminal_width() {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    let last = columns.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    let lines = table.lines();
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `value` as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Writes to standard output. That nobody reads on, as behind `head`, is no error.
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

/// An error for a person: what failed, each cause on a line of its own, and what to do about it.
pub(crate) fn error(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("cnidaria: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}  {error}\n");
        cause = error.source();
    }
    match error.downcast_ref().and_then(daemon::Error::advice) {
        Some(advice) => format!("{text}{advice}\n"),
        None => text,
    }
}

fn terminal_width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}
