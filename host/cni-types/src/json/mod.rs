//! JSON that is not ours: objects whose values stay text ([`RawObject`]), trees that can be edited
//! by pointer without touching what was not edited ([`Document`]), and the difference of two trees
//! as a JSON patch ([`Patch`]). Numbers are never converted, so no integer loses digits.

mod cause;
mod document;
mod measure;
mod patch;
mod pointer;
mod raw;
mod reader;

pub use cause::{Cause, kind, without_values};
pub use document::{Document, Limits, Node};
pub use measure::{Size, measure};
pub use patch::{Operation, Patch};
pub use pointer::Pointer;
pub use raw::RawObject;

/// Why a piece of JSON was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("malformed JSON")]
    Syntax {
        /// Where and why.
        #[source]
        source: Cause,
    },
    /// The text is JSON, but an object was expected.
    #[error("expected a JSON object")]
    NotAnObject,
    /// The member is there and has another type than the caller asked for.
    #[error("invalid value for {key:?}")]
    Member {
        /// Name of the member.
        key: String,
        /// What was expected.
        #[source]
        source: Cause,
    },
    /// The document has more bytes than allowed, or would have after an edit.
    #[error("JSON of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size of the refused text.
        bytes: usize,
        /// [`Limits::max_bytes`].
        limit: usize,
    },
    /// Objects and arrays are nested deeper than allowed, or would be after an edit.
    #[error("JSON is nested deeper than {limit} levels")]
    TooDeep {
        /// [`Limits::max_depth`].
        limit: usize,
    },
    /// The text is no RFC 6901 pointer.
    #[error("malformed JSON pointer {pointer:?}: {reason}")]
    Pointer {
        /// The refused text.
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
    /// The pointer's last token is no index into the array, nor `-`.
    #[error("{token:?} is no index into the array of {len} elements at {pointer:?}")]
    Index {
        /// Pointer to the array.
        pointer: String,
        /// The refused token.
        token: String,
        /// Length of the array.
        len: usize,
    },
    /// There is no value to remove.
    #[error("nothing at {pointer:?}")]
    NotFound {
        /// The pointer.
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

/// `value` as JSON with an indentation of four spaces, as CNI plugins print it.
pub fn to_string_pretty<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, formatter,
    ))?;
    // serde_json writes UTF-8 only; the lossy form avoids an error that cannot happen.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
