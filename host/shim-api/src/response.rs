//! The body of an answer to `POST /cni` and `POST /delegate`: a CNI result in its 1.x form, nothing,
//! or an error. The result stays raw JSON: who prints it converts it, nobody in between may lose a key.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Most bytes of a response body.
pub const MAX_BODY_BYTES: usize = 16 << 20;

/// CNI error code for an answer that carries no code of its own (CNI spec: 100 and above are free;
/// 999 is what the Go library gives errors without a code).
pub const CODE_INTERNAL: u32 = 999;

/// CNI error code "try again later".
pub const CODE_TRY_AGAIN_LATER: u32 = 11;

/// CNI error code for an answer that cannot be decoded.
pub const CODE_DECODING_FAILURE: u32 = 6;

const STATUS_OK: u16 = 200;
const STATUS_TOO_MANY_REQUESTS: u16 = 429;
const STATUS_SERVICE_UNAVAILABLE: u16 = 503;
const STATUS_GATEWAY_TIMEOUT: u16 = 504;

/// A CNI error on the wire: `{"code":…,"msg":…,"details":…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { "; " })]
pub struct Failure {
    /// CNI error code.
    pub code: u32,
    /// What failed, in short.
    pub msg: String,
    /// More of it; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(rename = "Result", borrow)]
    result: Option<&'a RawValue>,
}

/// The body of a `200`: the result of an ADD in CNI 1.x form, or an empty body for the verbs without one.
pub fn success(result: Option<&RawValue>) -> Vec<u8> {
    match result {
        None => Vec::new(),
        Some(_) => serde_json::to_vec(&Body { result }).expect("raw JSON into memory cannot fail"),
    }
}

/// The body of a `400` (or another status that is no `200`).
pub fn failure(failure: &Failure) -> Vec<u8> {
    serde_json::to_vec(failure).expect("strings and a number into memory cannot fail")
}

/// Reads an answer: the raw result if there is one (an empty body, `{}` and `{"Result":null}` mean none).
///
/// # Errors
/// Whatever is no success, as the CNI error that the caller should see: the daemon's own error object
/// unchanged; a plain text (as Go's `http.Error` writes it) under a code that fits the status.
pub fn parse(status: u16, body: &[u8]) -> Result<Option<Box<RawValue>>, Failure> {
    if status != STATUS_OK {
        return Err(parse_failure(status, body));
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let parsed: Body = serde_json::from_slice(body).map_err(|error| Failure {
        code: CODE_DECODING_FAILURE,
        msg: "the daemon's answer is not the expected JSON".to_owned(),
        details: error.to_string(),
    })?;
    Ok(parsed.result.map(ToOwned::to_owned))
}

fn parse_failure(status: u16, body: &[u8]) -> Failure {
    if let Ok(failure) = serde_json::from_slice::<Failure>(body)
        && !failure.msg.is_empty()
    {
        return failure;
    }
    let code = match status {
        STATUS_TOO_MANY_REQUESTS | STATUS_SERVICE_UNAVAILABLE | STATUS_GATEWAY_TIMEOUT => {
            CODE_TRY_AGAIN_LATER
        }
        _ => CODE_INTERNAL,
    };
    Failure {
        code,
        msg: format!("the daemon answered with HTTP status {status}"),
        details: String::from_utf8_lossy(body).trim().to_owned(),
    }
}
