//! A value of a record, parsed on first use: a replay of one policy needs few of a record's values.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A value that is known, or is JSON that was not parsed yet.
#[derive(Debug, Clone)]
pub struct Lazy<T> {
    /// `None` if the value was not read from a record.
    text: Option<Box<RawValue>>,
    value: OnceLock<T>,
}

impl<T> Lazy<T> {
    /// The value, to be changed; `None` if it was not parsed yet.
    pub(crate) fn known_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }
}

impl<T> From<T> for Lazy<T> {
    fn from(value: T) -> Self {
        Self {
            text: None,
            value: OnceLock::from(value),
        }
    }
}

impl<T: DeserializeOwned> Lazy<T> {
    /// The value, parsed if it was not yet.
    ///
    /// # Errors
    /// The JSON is not that of such a value.
    pub fn get(&self) -> serde_json::Result<&T> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let text = self.text.as_ref().map_or("null", |text| text.get());
        let value = serde_json::from_str(text)?;
        Ok(self.value.get_or_init(|| value))
    }
}

impl<'de, T> Deserialize<'de> for Lazy<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            text: Some(Box::deserialize(deserializer)?),
            value: OnceLock::new(),
        })
    }
}

impl<T: Serialize> Serialize for Lazy<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value.get() {
            Some(value) => value.serialize(serializer),
            None => self.text.serialize(serializer),
        }
    }
}
