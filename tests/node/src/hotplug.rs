//! `POST /delegate` as a hot-plug controller sends it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::call::Call;
use crate::error::Error;

/// Posts the environment of `call` and `conf`; returns the response's status and body.
pub(crate) fn post(socket: &Path, call: &Call, conf: &Value) -> Result<(u16, String), Error> {
    let body = shim_api::Request {
        env: call.variables.clone(),
        config: conf.to_string().into_bytes(),
        interface_attributes: None,
    }
    .to_json();
    let answer = exchange(socket, &body).map_err(Error::file(socket))?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok((status.unwrap_or(0), body.unwrap_or_default().to_owned()))
}

fn exchange(socket: &Path, body: &[u8]) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "POST /delegate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
