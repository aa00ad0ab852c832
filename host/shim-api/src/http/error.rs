//! Why bytes from the socket are not a response.

use super::MAX_HEAD_BYTES;

/// Why bytes are not a valid response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream ended before the response was complete.
    #[error("the connection ended after {received} bytes, before the answer was whole")]
    Truncated {
        /// Bytes received.
        received: usize,
    },
    /// Status line and headers are larger than [`MAX_HEAD_BYTES`].
    #[error("the head of the answer is larger than {MAX_HEAD_BYTES} bytes")]
    HeadTooLarge,
    /// Status line or headers are not HTTP.
    #[error("the response is not HTTP")]
    Head(#[source] httparse::Error),
    /// `Content-Length` is not a number, or occurs twice with different values.
    #[error("the answer has an invalid Content-Length")]
    ContentLength,
    /// A transfer encoding other than `chunked`.
    #[error("the answer has the unsupported transfer encoding {0:?}")]
    TransferEncoding(String),
    /// A chunk's size line or end is malformed.
    #[error("the answer has a malformed chunk")]
    Chunk,
    /// The body exceeds the decoder's limit.
    #[error("the body of the answer is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}
