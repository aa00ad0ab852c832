//! `CNI_ARGS`, an ordered list of key-value pairs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Error;
use crate::clip::clip;

/// The content of `CNI_ARGS`: `KEY=VALUE;KEY2=VALUE2`, in order, with duplicates.
///
/// Serialised as a list of pairs, as in the result cache. Clones share memory until one is
/// modified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniArgs {
    pairs: Arc<Vec<(String, String)>>,
}

impl CniArgs {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses `KEY=VALUE;KEY2=VALUE2`. A value may contain `=`; empty text is an empty list.
    ///
    /// # Errors
    /// [`Error::Pair`] for an element without `=` or without a key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::new());
        }
        let pairs = text
            .split(';')
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
                _ => Err(Error::Pair { pair: clip(pair) }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            pairs: Arc::new(pairs),
        })
    }

    /// The elements of a list that are well formed, for a DEL: a mistake in another one must not keep
    /// what an ADD has made.
    pub fn well_formed(text: &str) -> Self {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.filter(|(key, _)| !key.is_empty());
        Self {
            pairs: Arc::new(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
        }
    }

    /// The value of `key`; the last one of duplicates, as in plugins.
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut from_last = self.pairs.iter().rev();
        from_last.find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Replaces the value of the last (effective) `key`, or appends it.
    ///
    /// # Errors
    /// [`Error::Separator`] when the key or value would change the meaning of other elements.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        check(key, value)?;
        let pairs = Arc::make_mut(&mut self.pairs);
        match pairs.iter_mut().rev().find(|(k, _)| k == key) {
            Some((_, old)) => value.clone_into(old),
            None => pairs.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// Appends `key`, even if present.
    ///
    /// # Errors
    /// [`Error::Separator`] when the key or value would change the meaning of other elements.
    pub fn push(&mut self, key: &str, value: &str) -> Result<(), Error> {
        check(key, value)?;
        Arc::make_mut(&mut self.pairs).push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// A copy without `keys`.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let is_kept = |key: &str| !keys.contains(&key);
        if self.iter().all(|(key, _)| is_kept(key)) {
            return self.clone();
        }
        let kept = self.iter().filter(|(key, _)| is_kept(key));
        Self {
            pairs: Arc::new(kept.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
        }
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl fmt::Display for CniArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}={value}", if at == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

impl FromStr for CniArgs {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Serialize for CniArgs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pairs.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CniArgs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(deserializer)?;
        for (key, value) in &pairs {
            check(key, value).map_err(serde::de::Error::custom)?;
        }
        Ok(Self {
            pairs: Arc::new(pairs),
        })
    }
}

fn check(key: &str, value: &str) -> Result<(), Error> {
    let bad = |c: char| matches!(c, ';' | '\0');
    if key.is_empty() || key.contains(|c| c == '=' || bad(c)) || value.contains(bad) {
        return Err(Error::Separator {
            key: clip(key),
            value: clip(value),
        });
    }
    Ok(())
}
