//! Errors of decoding a response.

use super::MAX_HEAD_BYTES;

/// Why bytes are not a valid response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream ended before the response was complete.
    #[error("the connection ended after {received} bytes, before the response was complete")]
    Truncated {
        /// Bytes received.
        received: usize,
    },
    /// Status line and headers are larger than [`MAX_HEAD_BYTES`].
    #[error("the head of the response is larger than {MAX_HEAD_BYTES} bytes")]
    HeadTooLarge,
    /// Status line or headers are not HTTP.
    #[error("the response is not HTTP")]
    Head(#[source] httparse::Error),
    /// `Content-Length` is not a number, or occurs twice with different values.
    #[error("the response has an invalid Content-Length")]
    ContentLength,
    /// A transfer encoding other than `chunked`.
    #[error("the response has the unsupported transfer encoding {0:?}")]
    TransferEncoding(String),
    /// A chunk's size line or end is malformed.
    #[error("the response has a malformed chunk")]
    Chunk,
    /// The body exceeds the decoder's limit.
    #[error("the body of the response is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}
