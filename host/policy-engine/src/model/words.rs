//! Values that are one of a few words: any other value gets an error that lists them.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads one of `words`; returns its index.
pub(crate) fn index<'de, D: Deserializer<'de>>(
    deserializer: D,
    words: &'static [&'static str],
) -> Result<usize, D::Error> {
    deserializer.deserialize_str(Word(words))
}

struct Word(&'static [&'static str]);

impl Visitor<'_> for Word {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.0.iter().enumerate() {
            let before = if at == 0 { "one of " } else { ", " };
            write!(f, "{before}`{word}`")?;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<usize, E> {
        let known = self.0.iter().position(|word| *word == given);
        known.ok_or_else(|| E::unknown_variant(given, self.0))
    }
}

/// Implements `Deserialize` for an enum whose values are words.
macro_rules! words {
    ($name:ident { $($variant:ident: $word:literal,)+ }) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                const WORDS: &[&str] = &[$($word),+];
                const VALUES: &[$name] = &[$($name::$variant),+];
                let index = crate::model::words::index(deserializer, WORDS)?;
                let value = VALUES.get(index).copied();
                value.ok_or_else(|| serde::de::Error::custom("not one of the words"))
            }
        }
    };
}

pub(crate) use words;
