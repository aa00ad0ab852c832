//! Raw requests to a daemon that is starting.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The response to a request with these header lines; empty without a response. Waits for the socket
/// below `dir`.
pub(crate) fn post(dir: &Path, path: &str, headers: &str, body: &Value) -> String {
    let begun = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(dir.join("run/multus.sock")) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
