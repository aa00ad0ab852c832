//! The output: titles, tables, JSON. Coloured only on a terminal.

use std::env;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// Maximum line width of running text.
const WIDTH: usize = 98;

/// The style of a text on a terminal.
#[derive(Clone, Copy)]
enum Style {
    Title,
    Good,
    Bad,
    Faint,
}

fn paint(style: Style, text: &str) -> String {
    static COLOUR: OnceLock<bool> = OnceLock::new();
    let colour = COLOUR.get_or_init(|| {
        io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    });
    if !colour {
        return text.to_owned();
    }
    let code = match style {
        Style::Title => "1;36",
        Style::Good => "32",
        Style::Bad => "1;31",
        Style::Faint => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Starts the next step: its title and what it shows.
pub(crate) fn step(title: &str, text: &str) {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    println!("\n{}", paint(Style::Title, &format!("{number}. {title}")));
    for line in wrap(text) {
        println!("   {line}");
    }
}

/// A paragraph within a step.
pub(crate) fn say(text: &str) {
    println!();
    for line in wrap(text) {
        println!("   {line}");
    }
}

/// Prints a verified fact.
pub(crate) fn good(text: &str) {
    println!("   {} {text}", paint(Style::Good, "✓"));
}

/// The last line.
pub(crate) fn closing(text: &str) {
    println!("\n{}", paint(Style::Good, text));
}

/// Prints what went wrong and the end of the daemon's log.
pub(crate) fn failure(problem: &str, log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(15)..);
    let last = last.unwrap_or_default();
    if !last.is_empty() {
        println!("\n   The daemon's log ends with:");
        for line in last {
            println!("   {}", paint(Style::Faint, line));
        }
    }
    println!("\n{} {problem}", paint(Style::Bad, "The demo failed:"));
}

/// Prints a table with a header. Cells may have several lines.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let lines: Vec<Vec<&str>> = rows.iter().flat_map(|row| lines_of(row)).collect();
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            let longest = cells.map(|cell| cell.chars().count()).max();
            longest.unwrap_or(0).max(head.chars().count())
        })
        .collect();
    let padded = |cells: &[&str]| {
        let cells = cells.iter().zip(&widths).map(|(cell, &width)| {
            let blanks = width - cell.chars().count();
            format!("{cell}{}", " ".repeat(blanks))
        });
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    println!();
    println!("   {}", paint(Style::Faint, &padded(head)));
    for line in lines {
        println!("   {}", padded(&line));
    }
}

/// A row's lines: the first lines of all cells, then the second ones, and so on.
fn lines_of(row: &[String]) -> Vec<Vec<&str>> {
    let cells: Vec<Vec<&str>> = row.iter().map(|cell| cell.lines().collect()).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let line = |number: usize| {
        let cells = cells.iter().map(|cell| cell.get(number).copied());
        cells.map(Option::unwrap_or_default).collect()
    };
    (0..height).map(line).collect()
}

/// Prints indented JSON, keeping short values on one line.
pub(crate) fn json(heading: &str, value: &Value) {
    println!("\n   {}", paint(Style::Faint, heading));
    for line in layout(value, 0).lines() {
        println!("   {line}");
    }
}

fn layout(value: &Value, depth: usize) -> String {
    let flat = one_line(value);
    if flat.chars().count() + depth * 2 <= WIDTH {
        return flat;
    }
    let indent = "  ".repeat(depth + 1);
    let (open, close, inner): (_, _, Vec<String>) = match value {
        Value::Array(elements) => {
            let inner = elements.iter().map(|element| layout(element, depth + 1));
            ('[', ']', inner.collect())
        }
        Value::Object(members) => {
            let inner = members.iter().map(|(name, member)| {
                let name = Value::from(name.as_str());
                format!("{name}: {}", layout(member, depth + 1))
            });
            ('{', '}', inner.collect())
        }
        _ => return flat,
    };
    let inner = inner.join(&format!(",\n{indent}"));
    format!("{open}\n{indent}{inner}\n{}{close}", "  ".repeat(depth))
}

/// JSON on one line, spaced as a person would write it.
pub(crate) fn one_line(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            let inner: Vec<String> = elements.iter().map(one_line).collect();
            format!("[{}]", inner.join(", "))
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let inner = members.iter().map(|(name, member)| {
                let name = Value::from(name.as_str());
                format!("{name}: {}", one_line(member))
            });
            format!("{{ {} }}", inner.collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines
            .last()
            .is_some_and(|line| line.chars().count() + 1 + word.chars().count() > WIDTH);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_long_json_is_broken_at_its_members() {
        assert_eq!(layout(&json!({"a": [1, {}]}), 0), r#"{ "a": [1, {}] }"#);
        let long = "x".repeat(WIDTH);
        assert_eq!(
            layout(&json!({"a": long, "b": [1, 2]}), 0),
            format!("{{\n  \"a\": \"{long}\",\n  \"b\": [1, 2]\n}}")
        );
    }

    #[test]
    fn a_row_is_as_high_as_its_highest_cell() {
        let row = ["a".to_owned(), "b\nc".to_owned(), String::new()];
        assert_eq!(lines_of(&row), [["a", "b", ""], ["", "c", ""]]);
    }

    #[test]
    fn text_is_wrapped_between_words() {
        let text = "word ".repeat(50);
        let lines = wrap(&text);
        assert!(lines.len() > 1);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(lines.join(" "), text.trim());
    }
}
