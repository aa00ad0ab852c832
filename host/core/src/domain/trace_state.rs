//! What tracing systems add to the context of a distributed trace: `tracestate` of W3C Trace
//! Context, level 2, in the environment variable beside that of `traceparent`. The daemon passes it
//! on and adds nothing of its own.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

/// The variable's name.
pub const VARIABLE: &str = "TRACESTATE";

/// Bytes that are passed on at most: as many as the specification wants to be propagated at least.
const MAX_BYTES: usize = 512;
/// Entries that are longer go first if not all fit.
const LONG_ENTRY: usize = 128;
const MAX_ENTRIES: usize = 32;
/// Bytes of a key or a value.
const MAX_PART: usize = 256;

/// Entries of tracing systems, the latest first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceState(String);

/// The text is not a `tracestate`. Does not quote it: it comes from the environment of any client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An entry is not of the form key=value, with the specification's characters.
    #[error("an entry is not of the form key=value")]
    Entry,
    /// Two entries have one key.
    #[error("a key occurs twice")]
    Duplicate,
    /// More than 32 entries.
    #[error("more than {MAX_ENTRIES} entries")]
    Count,
    /// No entry, or none that fits.
    #[error("without an entry of at most {MAX_BYTES} bytes")]
    Empty,
}

impl TraceState {
    /// The entries, separated by commas.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceState {
    type Err = Error;

    /// Removes whitespace between entries. If they are too long together, drops long ones, then the
    /// oldest, as the specification has it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let entries = text.split(',').map(|entry| entry.trim_matches([' ', '\t']));
        let mut entries: Vec<&str> = entries.filter(|entry| !entry.is_empty()).collect();
        if entries.len() > MAX_ENTRIES {
            return Err(Error::Count);
        }
        let mut keys = HashSet::new();
        for entry in &entries {
            if !keys.insert(key(entry)?) {
                return Err(Error::Duplicate);
            }
        }
        if bytes(&entries) > MAX_BYTES {
            entries.retain(|entry| entry.len() <= LONG_ENTRY);
        }
        while bytes(&entries) > MAX_BYTES {
            entries.pop();
        }
        match entries.is_empty() {
            true => Err(Error::Empty),
            false => Ok(Self(entries.join(","))),
        }
    }
}

/// Bytes of the entries with their commas.
fn bytes(entries: &[&str]) -> usize {
    let separators = entries.len().saturating_sub(1);
    entries.iter().map(|entry| entry.len()).sum::<usize>() + separators
}

/// The key of a well-formed entry.
fn key(entry: &str) -> Result<&str, Error> {
    let (key, value) = entry.split_once('=').ok_or(Error::Entry)?;
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_key = |byte: u8| is_first(byte) || b"_-*/@".contains(&byte);
    let is_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    let is_sound = key.bytes().next().is_some_and(is_first)
        && key.bytes().all(is_key)
        && !value.is_empty()
        && value.bytes().all(is_value)
        && key.len().max(value.len()) <= MAX_PART;
    is_sound.then_some(key).ok_or(Error::Entry)
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, Error> {
        text.parse::<TraceState>().map(|state| state.to_string())
    }

    #[test]
    fn entries_keep_their_order_and_text() {
        for (text, expected) in [
            ("rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"),
            ("congo=t61rcWkgMzE,rojo=00f0", "congo=t61rcWkgMzE,rojo=00f0"),
            ("a=1 ,\tb=2,,c=3,", "a=1,b=2,c=3"),
            ("0tenant@system_-*/=a b", "0tenant@system_-*/=a b"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_states_are_rejected() {
        let many: Vec<String> = (0..33).map(|key| format!("k{key}=v")).collect();
        let long = format!("k={}", "x".repeat(257));
        for (text, expected) in [
            ("", Error::Empty),
            (" , ", Error::Empty),
            ("a", Error::Entry),
            ("a=", Error::Entry),
            ("=a", Error::Entry),
            ("A=1", Error::Entry),
            ("@a=1", Error::Entry),
            ("a=b=c", Error::Entry),
            ("a=\u{7}", Error::Entry),
            ("a=ä", Error::Entry),
            ("a=1,a=2", Error::Duplicate),
            (many.join(",").as_str(), Error::Count),
            (long.as_str(), Error::Entry),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn long_and_old_entries_make_room() {
        let long = format!("long={}", "x".repeat(250));
        let short: Vec<String> = (10..42)
            .map(|key| format!("k{key}={}", "v".repeat(4)))
            .collect();
        let text = format!("{long},{}", short[..31].join(","));
        assert_eq!(parse(&text).unwrap(), short[..31].join(","));
        let wide: Vec<String> = (0..6)
            .map(|key| format!("k{key}={}", "v".repeat(100)))
            .collect();
        assert_eq!(parse(&wide.join(",")).unwrap(), wide[..4].join(","));
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_is_bounded(text in "[a-z0-9=,@ ]{0,700}") {
            if let Ok(state) = parse(&text) {
                proptest::prop_assert!(!state.is_empty() && state.len() <= MAX_BYTES);
                proptest::prop_assert_eq!(parse(&state).unwrap(), state);
            }
        }
    }
}
