//! Deserialises JSON objects only. Plain `serde` would also accept an array as a struct, by
//! position.

use serde::Deserialize;
use serde::de::Error as _;

pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    let value = serde_json::from_slice(bytes)?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        Ok(value)
    } else {
        Err(serde_json::Error::custom("expected a JSON object"))
    }
}
