//! The subset of HTTP/1.1 that a client of the daemon needs, sans-IO: requests as bytes, and an
//! incremental response decoder. One request per connection, like Multus.

mod body;
mod decoder;
mod error;

pub use body::Progress;
pub use decoder::{Decoder, Response};
pub use error::Error;

/// Maximum bytes of a response head (status line and headers).
pub const MAX_HEAD_BYTES: usize = 16 << 10;

/// A `POST` of JSON to `path` (one of [`crate::endpoint`]), as bytes for the socket.
pub fn post(path: &str, json: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        json.len()
    );
    let mut bytes = Vec::with_capacity(head.len() + json.len());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(json);
    bytes
}

/// A `GET` of `path` (one of [`crate::endpoint`]), as bytes for the socket.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
}
