//! Requests directly on the socket, as Multus' shim and the hot-plug controller make them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Sends a body; returns the response's status and body.
///
/// # Panics
/// When no response arrives.
pub fn post(socket: &Path, path: &str, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // The daemon may reject a large body before reading all of it.
    let _ = write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: dummy\r\nUser-Agent: Go-http-client/1.1\r\n\
         Content-Length: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    // The first read may report a reset for the unread body; the response is still available.
    if stream.read_to_end(&mut answer).is_err() {
        stream.read_to_end(&mut answer).unwrap();
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap(), body.to_owned())
}
