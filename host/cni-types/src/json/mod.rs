//! JSON from other authors: objects whose values stay text ([`RawObject`]), and trees edited by
//! pointer that leave unedited parts untouched ([`Document`]). Numbers are never converted, so
//! integers keep all their digits.

mod cause;
mod document;
pub mod keys;
mod measure;
mod memory;
mod places;
mod pointer;
mod raw;
mod reader;

pub use cause::{Cause, kind, without_values};
pub use document::{Document, Limits, Node};
pub use measure::{Size, measure};
pub use pointer::Pointer;
pub use raw::RawObject;

/// Why JSON was rejected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("malformed JSON")]
    Syntax {
        /// Position and reason.
        #[source]
        source: Cause,
    },
    /// The text is valid JSON, but not an object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// The member has a different type than requested.
    #[error("invalid value for {key:?}")]
    Member {
        /// Name of the member.
        key: String,
        /// The type mismatch.
        #[source]
        source: Cause,
    },
    /// The document exceeds the byte limit, or would after the edit.
    #[error("JSON of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size of the rejected text.
        bytes: usize,
        /// [`Limits::max_bytes`].
        limit: usize,
    },
    /// Nesting exceeds the depth limit, or would after the edit.
    #[error("JSON is nested deeper than {limit} levels")]
    TooDeep {
        /// [`Limits::max_depth`].
        limit: usize,
    },
    /// The text is not an RFC 6901 pointer.
    #[error("malformed JSON pointer {pointer:?}: {reason}")]
    Pointer {
        /// The rejected text.
        pointer: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The pointer's parent does not exist, so nothing can be set below it.
    #[error("nothing at {pointer:?} to set a value in")]
    MissingParent {
        /// Pointer to the missing parent.
        pointer: String,
    },
    /// The pointer's parent is a string, number, boolean or null.
    #[error("the value at {pointer:?} is neither an object nor an array")]
    NotAContainer {
        /// Pointer to the parent.
        pointer: String,
    },
    /// The pointer's last token is neither an index into the array nor `-`.
    #[error("{token:?} is not an index into the array of {len} elements at {pointer:?}")]
    Index {
        /// Pointer to the array.
        pointer: String,
        /// The rejected token.
        token: String,
        /// Length of the array.
        len: usize,
    },
    /// The value to remove does not exist.
    #[error("nothing at {pointer:?}")]
    NotFound {
        /// Pointer to the missing value.
        pointer: String,
    },
}

impl From<serde_json::Error> for Error {
    fn from(source: serde_json::Error) -> Self {
        Self::Syntax {
            source: source.into(),
        }
    }
}

/// Prints `value` as JSON, indented by four spaces as CNI plugins do.
pub fn to_string_pretty<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, formatter,
    ))?;
    // serde_json writes only UTF-8; the lossy conversion avoids an unreachable error.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
