//! The fields of a span, as bounded text.

use std::fmt;

use tracing::field::{Field, Visit};

/// Bytes of a value; the longest names of pods are shorter.
const MAX_VALUE: usize = 512;
/// Bytes of an error.
const MAX_ERROR: usize = 2048;
/// The field with the error of a failed span.
const ERROR: &str = "error";
/// The field whose value ends a request.
pub(super) const OUTCOME: &str = "outcome";

/// Fields with a value.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) values: Vec<(&'static str, String)>,
    pub(super) error: Option<String>,
    /// How many values were cut.
    pub(super) cut: u64,
}

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.values.iter();
        let found = values.find(|(field, _)| *field == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Takes a field out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.values.iter().position(|(field, _)| *field == name)?;
        Some(self.values.swap_remove(position).1)
    }

    /// Bytes in memory, apart from the structure itself.
    pub(super) fn bytes(&self) -> usize {
        let value = |(_, value): &(&str, String)| size_of::<(&str, String)>() + value.len();
        let values = self.values.iter().map(value).sum::<usize>();
        values + self.error.as_ref().map_or(0, String::len)
    }

    /// Adds those of `more`, which replace earlier ones.
    pub(super) fn extend(&mut self, more: Self) {
        for (name, value) in more.values {
            match self.values.iter_mut().find(|(field, _)| *field == name) {
                Some((_, old)) => *old = value,
                None => self.values.push((name, value)),
            }
        }
        self.error = more.error.or_else(|| self.error.take());
        self.cut += more.cut;
    }

    fn add(&mut self, field: &Field, mut text: String) {
        let is_error = field.name() == ERROR;
        let limit = if is_error { MAX_ERROR } else { MAX_VALUE };
        if text.len() > limit {
            text.truncate(text.floor_char_boundary(limit));
            text.push('…');
            self.cut += 1;
        }
        text.shrink_to_fit();
        match is_error {
            true => self.error = Some(text),
            false => self.values.push((field.name(), text)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}
