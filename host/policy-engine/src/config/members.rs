//! Members of a JSON object, each read by itself: a faulty one does not affect the others.

use std::fmt;
use std::path::Path;

use cni_types::json;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Error, Position};

/// Minimum similarity at which a key is suggested as the correct spelling of another.
const SIMILAR: f64 = 0.75;
/// Unknown keys of one object that are reported one by one.
const MAX_UNKNOWN: usize = 16;

/// Types that values should have, in serde's words and in JSON's.
const TYPES: [(&str, &str); 3] = [
    ("u64", "a whole number"),
    ("a sequence", "a list"),
    ("a map", "an object"),
];

/// The text being parsed and its file, for error messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

/// The members of one object that are still unread, and the faults of the others.
#[derive(Debug)]
pub(super) struct Members<'a> {
    source: Source<'a>,
    /// The object's key with a trailing dot; empty at the top level.
    prefix: String,
    left: Vec<(String, &'a RawValue)>,
    /// Where the value of each member begins, in bytes.
    places: Vec<(String, usize)>,
    /// Where the object begins, in bytes.
    start: usize,
    known: Vec<&'static str>,
    faults: Vec<Error>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member<T> {
    Absent,
    /// Present, with an invalid value.
    Wrong,
    Given(T),
}

impl<T> Member<T> {
    /// The value, if present and valid.
    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }
}

impl<'a> Members<'a> {
    /// The members of a file's top-level object.
    ///
    /// # Errors
    /// [`Error::Syntax`] if the text is not a JSON object.
    pub(super) fn of_file(source: Source<'a>) -> Result<Self, Error> {
        let Object(left) = serde_json::from_str(source.text).map_err(|error| Error::Syntax {
            path: source.file.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            source,
            prefix: String::new(),
            places: source.places(&left),
            start: 0,
            left,
            known: Vec::new(),
            faults: Vec::new(),
        })
    }

    /// Reads one member.
    pub(super) fn read<T: Deserialize<'a>>(&mut self, key: &'static str) -> Member<T> {
        match self.take(key) {
            Member::Given(raw) => self.value(key, raw),
            Member::Absent => Member::Absent,
            Member::Wrong => Member::Wrong,
        }
    }

    /// Reads one object member; faults in its members become faults of this one. Returns whether
    /// all of it was well-formed.
    pub(super) fn object<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Members<'a>) -> T,
    ) -> (Option<T>, bool) {
        let raw = match self.take(key) {
            Member::Given(raw) => raw,
            Member::Absent => return (None, true),
            Member::Wrong => return (None, false),
        };
        let Member::Given(Object(left)) = self.value(key, raw) else {
            return (None, false);
        };
        let mut inner = Members {
            source: self.source,
            prefix: format!("{}{key}.", self.prefix),
            places: self.source.places(&left),
            start: self.source.offset(raw),
            left,
            known: Vec::new(),
            faults: Vec::new(),
        };
        let value = read(&mut inner);
        let faults = inner.finish();
        let sound = faults.is_empty();
        self.faults.extend(faults);
        (Some(value), sound)
    }

    /// Whether the member is a JSON object, or absent, for members with two forms.
    pub(super) fn is_object(&self, key: &str) -> bool {
        let mut values = self.left.iter().filter(|(found, _)| found == key);
        values.all(|(_, raw)| raw.get().starts_with('{'))
    }

    /// Records that a member's value is invalid.
    pub(super) fn wrong(&mut self, key: &str, reason: String) {
        let at = self.place(key).unwrap_or(self.start);
        self.wrong_at(key, reason, at);
    }

    fn wrong_at(&mut self, key: &str, reason: String, offset: usize) {
        self.faults.push(Error::Value {
            path: self.source.file.to_owned(),
            key: format!("{}{key}", self.prefix),
            reason,
            at: Position::of(self.source.text, offset),
        });
    }

    /// Where the value of the last member with this key begins.
    fn place(&self, key: &str) -> Option<usize> {
        let mut places = self.places.iter().rev();
        places.find_map(|(known, at)| (known == key).then_some(*at))
    }

    /// All faults; members still unread are unknown keys.
    pub(super) fn finish(mut self) -> Vec<Error> {
        let unknown = std::mem::take(&mut self.left);
        let more = unknown.len().saturating_sub(MAX_UNKNOWN);
        // Each search and each position reads the file again.
        for (index, (key, _)) in unknown.iter().take(MAX_UNKNOWN + 1).enumerate() {
            let reason = match similar(key, &self.known) {
                _ if index == MAX_UNKNOWN => format!("unknown key, one of {more} more"),
                Some(known) => format!("unknown key; did you mean {known:?}?"),
                None => format!("unknown key; known are {}", self.known.join(", ")),
            };
            let value = self.place(key).unwrap_or(self.start);
            self.wrong_at(key, reason, self.source.key_before(value));
        }
        self.faults
    }

    fn take(&mut self, key: &'static str) -> Member<&'a RawValue> {
        self.known.push(key);
        let (mut found, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.left)
            .into_iter()
            .partition(|(found, _)| found == key);
        self.left = left;
        match (found.pop(), found.pop()) {
            (None, _) => Member::Absent,
            (Some((_, raw)), None) => Member::Given(raw),
            (Some(_), Some(_)) => {
                self.wrong(key, "is given more than once".to_owned());
                Member::Wrong
            }
        }
    }

    fn value<T: Deserialize<'a>>(&mut self, key: &str, raw: &'a RawValue) -> Member<T> {
        let mut json = serde_json::Deserializer::from_str(raw.get());
        match serde_path_to_error::deserialize(&mut json) {
            Ok(value) => Member::Given(value),
            Err(error) => {
                let key = match error.path().to_string().as_str() {
                    "." | "?" => key.to_owned(),
                    path if path.starts_with('[') => format!("{key}{path}"),
                    path => format!("{key}.{path}"),
                };
                let (reason, place) = self.located(raw, error.inner());
                self.wrong_at(&key, reason, place);
                Member::Wrong
            }
        }
    }

    /// The message of an error within a value, with line and column in the file, and the byte where
    /// the faulty part begins.
    fn located(&self, raw: &RawValue, error: &serde_json::Error) -> (String, usize) {
        let message = error.to_string();
        let within = format!(" at line {} column {}", error.line(), error.column());
        let message = json::without_values(message.strip_suffix(&within).unwrap_or(&message));
        let message = in_words(&message);
        let offset = self.source.offset(raw);
        let before = self.source.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + error.line().max(1);
        let column = match error.line() {
            0 | 1 => before.len() - before.rfind('\n').map_or(0, |end| end + 1) + error.column(),
            _ => error.column(),
        };
        let at = faulty(raw.get(), error);
        let hint = meant(raw.get().get(at..).unwrap_or_default(), &message);
        let text = format!("{message}{hint} at line {line} column {column}");
        (text, offset + at)
    }
}

impl Source<'_> {
    /// Where a value begins, in bytes: it is a slice of the text.
    pub(super) fn offset(&self, raw: &RawValue) -> usize {
        (raw.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }

    fn places(&self, members: &[(String, &RawValue)]) -> Vec<(String, usize)> {
        let place = |(key, raw): &(String, &RawValue)| (key.clone(), self.offset(raw));
        members.iter().map(place).collect()
    }

    /// Where the key of the value at `value` begins: its opening quote.
    pub(super) fn key_before(&self, value: usize) -> usize {
        let before = self.text.get(..value).unwrap_or_default();
        let Some(end) = before.rfind('"') else {
            return value;
        };
        let key = before.get(..end).unwrap_or_default();
        let is_escaped = |quote: usize| {
            let text = key.get(..quote).unwrap_or_default();
            let slashes = text.bytes().rev().take_while(|b| *b == b'\\').count();
            slashes % 2 == 1
        };
        let mut quotes = key.rmatch_indices('"').map(|(at, _)| at);
        quotes.find(|at| !is_escaped(*at)).unwrap_or(value)
    }
}

/// Where the token begins that an error in `text` ends behind, in bytes.
fn faulty(text: &str, error: &serde_json::Error) -> usize {
    let line: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let end = (line + error.column()).min(text.len());
    let Some(before) = text.get(..end) else {
        return 0;
    };
    let is_delimiter =
        |c: char| c.is_whitespace() || matches!(c, ',' | ':' | '[' | '{' | ']' | '}');
    let token = before.trim_end_matches(is_delimiter);
    if let Some(inner) = token.strip_suffix('"') {
        return inner.rfind('"').unwrap_or_default();
    }
    token.rfind(is_delimiter).map_or(0, |at| at + 1)
}

/// A message with the expected type in JSON's words.
fn in_words(message: &str) -> String {
    let type_of = |(serde, json)| Some((message.strip_suffix(serde)?, json));
    match TYPES.into_iter().find_map(type_of) {
        Some((before, json)) if before.ends_with(", expected ") => format!("{before}{json}"),
        _ => message.to_owned(),
    }
}

/// `; did you mean "x"?` if a string that begins here is probably a misspelling of one of the words
/// that a message lists.
fn meant(text: &str, message: &str) -> String {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let Some(Ok(given)) = values.next() else {
        return String::new();
    };
    let Some((_, expected)) = message.rsplit_once(", expected ") else {
        return String::new();
    };
    let words: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    match similar(&given, &words) {
        Some(word) => format!("; did you mean {word:?}?"),
        None => String::new(),
    }
}

/// The known key that `key` is probably a misspelling of.
pub(super) fn similar<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer than any known key; comparing costs the product of the lengths.
    if key.len() > 64 {
        return None;
    }
    let key = key.to_lowercase();
    known
        .iter()
        .map(|known| {
            let likeness = strsim::normalized_damerau_levenshtein(&key, &known.to_lowercase());
            (likeness, *known)
        })
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// All members of an object, in order, including repeated keys.
pub(super) struct Object<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
