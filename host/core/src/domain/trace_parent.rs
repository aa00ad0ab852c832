//! The context of a distributed trace: `traceparent` of W3C Trace Context, level 1, in the
//! environment variable that CNI runtimes use for it.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable's name.
pub const VARIABLE: &str = "TRACEPARENT";

/// Characters of the parts that every version has: `00-<trace>-<span>-<flags>`.
const LENGTH: usize = 55;
/// The only flag that the specification defines.
const SAMPLED: u8 = 1;

/// Identifies a trace, and thereby a request: 32 hexadecimal digits, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Identifies a span within its trace: 16 hexadecimal digits, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// A span that others are children of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: TraceId,
    pub span: SpanId,
    /// Whether the caller records the trace.
    pub is_sampled: bool,
}

/// The text is not a `traceparent`. Does not quote it: it comes from the environment of any client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Wrong length or separators.
    #[error("not of the form version-traceid-parentid-flags")]
    Form,
    /// A part is not made of lower-case hexadecimal digits.
    #[error("a part is not lower-case hexadecimal")]
    Digits,
    /// The version `ff` is invalid.
    #[error("version ff is invalid")]
    Version,
    /// A trace or span of zeros only.
    #[error("an identifier has only zeros")]
    Zero,
}

impl TraceId {
    /// A new identifier. Unique with the quality of a 128-bit hash under keys of the system's random
    /// source; not a secret.
    pub fn new() -> Self {
        let high = u128::from(unique());
        let low = u128::from(unique());
        Self((high << 64 | low).max(1))
    }

    /// Parses 32 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        match digits::<32>(text)? {
            0 => Err(Error::Zero),
            id => Ok(Self(id)),
        }
    }

    /// The bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl Default for TraceId {
    fn default() -> Self {
        Self::new()
    }
}

impl SpanId {
    /// A new identifier.
    pub fn new() -> Self {
        Self(unique().max(1))
    }

    /// The identifier `count` after this one.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.wrapping_add(count).max(1))
    }

    /// The bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl Default for SpanId {
    fn default() -> Self {
        Self::new()
    }
}

/// A number that this process has not had before, and that no other process will guess.
fn unique() -> u64 {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let keys = KEYS.get_or_init(RandomState::new);
    keys.hash_one(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The value of `N` lower-case hexadecimal digits.
fn digits<const N: usize>(text: &str) -> Result<u128, Error> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != N {
        return Err(Error::Form);
    }
    if !text.bytes().all(is_digit) {
        return Err(Error::Digits);
    }
    u128::from_str_radix(text, 16).map_err(|_| Error::Digits)
}

impl FromStr for TraceParent {
    type Err = Error;

    /// Later versions may append parts, which are ignored.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (known, more) = text.split_at_checked(LENGTH).ok_or(Error::Form)?;
        let mut parts = known.split('-');
        let mut next = || parts.next().ok_or(Error::Form);
        let version = digits::<2>(next()?)?;
        let trace = TraceId::parse(next()?)?;
        let span = u64::try_from(digits::<16>(next()?)?).map_err(|_| Error::Digits)?;
        let flags = u8::try_from(digits::<2>(next()?)?).map_err(|_| Error::Digits)?;
        match version {
            0xff => return Err(Error::Version),
            0 if !more.is_empty() => return Err(Error::Form),
            _ if !more.is_empty() && !more.starts_with('-') => return Err(Error::Form),
            _ => {}
        }
        if span == 0 {
            return Err(Error::Zero);
        }
        Ok(Self {
            trace,
            span: SpanId(span),
            is_sampled: flags & SAMPLED != 0,
        })
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace,
            span,
            is_sampled,
        } = self;
        let flags = if *is_sampled { SAMPLED } else { 0 };
        write!(f, "00-{trace}-{span}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_printed_as_it_was_read() {
        for text in [
            GOOD,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        ] {
            assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn later_versions_may_append_parts() {
        let later = GOOD.replacen("00", "cc", 1);
        for text in [later.clone(), format!("{later}-what-the-future-brings")] {
            assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), GOOD);
        }
        let glued = format!("{later}x");
        assert_eq!(glued.parse::<TraceParent>(), Err(Error::Form));
    }

    #[test]
    fn malformed_values_are_rejected() {
        for (text, expected) in [
            ("", Error::Form),
            ("00", Error::Form),
            (&GOOD[..54], Error::Form),
            (&format!("{GOOD}-x"), Error::Form),
            (&GOOD.replace('-', "_"), Error::Form),
            (&GOOD.replacen("4bf", "4BF", 1), Error::Digits),
            (&GOOD.replacen("4bf", "4b+", 1), Error::Digits),
            (&GOOD.replacen("00", "ff", 1), Error::Version),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                Error::Zero,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                Error::Zero,
            ),
            // Not at a character's boundary.
            (&format!("{}ää", &GOOD[..54]), Error::Form),
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn identifiers_differ() {
        let ids: HashSet<_> = (0..10_000).map(|_| TraceId::new()).collect();
        assert_eq!(ids.len(), 10_000);
        assert_eq!(TraceId::new().to_string().len(), 32);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = text.parse::<TraceParent>();
        }
    }
}
