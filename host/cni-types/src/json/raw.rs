//! An ordered JSON object whose values keep the author's text.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::Error;

/// Up to this many members, comparing names is faster than hashing them.
const FEW: usize = 16;

/// A JSON object that keeps the order of its keys and the exact text of its values: inner
/// whitespace, big integers, `1e3` and `2.50` are printed as they were read. Whitespace between
/// members is dropped. Clones share memory until one is modified.
///
/// The last of duplicate keys wins and earlier ones are dropped, as in Go.
#[derive(Clone, Default)]
pub struct RawObject {
    members: Arc<Vec<(String, Box<RawValue>)>>,
}

impl RawObject {
    /// An empty object.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one JSON object; only whitespace may surround it.
    ///
    /// # Errors
    /// [`Error::Syntax`] for text that is not JSON, [`Error::NotAnObject`] for other JSON values.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        let text = text.as_ref();
        if text.trim_ascii_start().first() == Some(&b'{') {
            return Ok(serde_json::from_slice(text)?);
        }
        let _: &RawValue = serde_json::from_slice(text)?;
        Err(Error::NotAnObject)
    }

    /// Reads an object from well-formed JSON.
    ///
    /// # Errors
    /// [`Error::NotAnObject`] when the value is not an object.
    pub fn from_value(value: &RawValue) -> Result<Self, Error> {
        if !value.get().starts_with('{') {
            return Err(Error::NotAnObject);
        }
        Ok(serde_json::from_str(value.get())?)
    }

    /// The text of the member `key`.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.members
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| &**value)
    }

    /// The member `key` as a `T`; `None` when it is absent or `null`.
    ///
    /// # Errors
    /// [`Error::Member`] when the member has another type.
    pub fn get_as<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => serde_json::from_str(value.get()).map_err(|source| Error::Member {
                key: key.to_owned(),
                source: source.into(),
            }),
        }
    }

    /// Whether there is a member `key`, even if it is `null`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Replaces the member `key` in place, or appends it.
    ///
    /// # Errors
    /// [`Error::Member`] when `value` cannot be serialised to JSON.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Error> {
        let value = serde_json::value::to_raw_value(value).map_err(|source| Error::Member {
            key: key.to_owned(),
            source: source.into(),
        })?;
        self.set_raw(key, value);
        Ok(())
    }

    /// As [`set`](Self::set), for a value that is already JSON text.
    pub fn set_raw(&mut self, key: &str, value: Box<RawValue>) {
        let members = Arc::make_mut(&mut self.members);
        match members.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => members.push((key.to_owned(), value)),
        }
    }

    /// Calls [`set_raw`](Self::set_raw) for each of `members`, in time linear in their number.
    pub fn extend<'a>(&mut self, members: impl IntoIterator<Item = (&'a str, Box<RawValue>)>) {
        let own = Arc::make_mut(&mut self.members);
        let places = own.iter().enumerate();
        let mut places: HashMap<String, usize> =
            places.map(|(at, (name, _))| (name.clone(), at)).collect();
        for (key, value) in members {
            match places.get(key).and_then(|at| own.get_mut(*at)) {
                Some((_, old)) => *old = value,
                None => {
                    places.insert(key.to_owned(), own.len());
                    own.push((key.to_owned(), value));
                }
            }
        }
    }

    /// Removes the member `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Box<RawValue>> {
        let index = self.members.iter().position(|(name, _)| name == key)?;
        Some(Arc::make_mut(&mut self.members).remove(index).1)
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.members
            .iter()
            .map(|(name, value)| (name.as_str(), &**value))
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the object is empty.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The whole object as JSON text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self)
            .expect("keys are strings and values are JSON, so the object is JSON")
    }

    fn from_members(mut members: Vec<(String, Box<RawValue>)>) -> Self {
        let is_alone = |(at, (name, _)): (usize, &(String, _))| {
            let mut behind = members.iter().skip(at + 1);
            behind.all(|(other, _)| other != name)
        };
        if members.len() <= FEW && members.iter().enumerate().all(is_alone) {
            return Self {
                members: Arc::new(members),
            };
        }
        let mut seen = HashSet::with_capacity(members.len());
        let mut keep: Vec<bool> = members
            .iter()
            .rev()
            .map(|(name, _)| seen.insert(name.as_str()))
            .collect();
        drop(seen);
        members.retain(|_| keep.pop().unwrap_or(true));
        Self {
            members: Arc::new(members),
        }
    }
}

impl fmt::Display for RawObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for RawObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Compares text and order. To compare meaning, use [`Document`](super::Document).
impl PartialEq for RawObject {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .zip(other.iter())
                .all(|((a, x), (b, y))| a == b && x.get() == y.get())
    }
}

impl Eq for RawObject {}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Works only with `serde_json`: other formats have no raw values.
impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = RawObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push(member);
                }
                Ok(RawObject::from_members(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
