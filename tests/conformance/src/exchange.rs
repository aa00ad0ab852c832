//! A request straight on the socket, as Multus' shim and the hot-plug controller make it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Sends a body and gives status and body of the answer.
///
/// # Panics
/// When there is no answer.
pub fn post(socket: &Path, path: &str, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // The daemon may refuse a large body before it has read it.
    let _ = write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: dummy\r\nUser-Agent: Go-http-client/1.1\r\n\
         Content-Length: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    // Told once that nobody reads the rest of the body; what was answered before is there all the same.
    if stream.read_to_end(&mut answer).is_err() {
        stream.read_to_end(&mut answer).unwrap();
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap(), body.to_owned())
}
