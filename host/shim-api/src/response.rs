//! The response body of `POST /cni` and `POST /delegate`: a CNI result in 1.x form, nothing, or an
//! error. The result stays raw JSON, so that no member is lost before the shim converts it.

use cni_types::error::{CniError, code};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::object;

/// Maximum bytes of a response body.
pub const MAX_BODY_BYTES: usize = 16 << 20;

/// Status of a successful call.
pub const STATUS_OK: u16 = 200;

/// Status of a failed call; the body contains the error.
pub const STATUS_FAILED: u16 = 400;

/// Status of a call that the daemon did not start, for example during shutdown. Nothing was
/// changed, so the call may be retried at once; after any other status it must not be.
pub const STATUS_NOT_BEGUN: u16 = 503;

const STATUS_TOO_MANY_REQUESTS: u16 = 429;
const STATUS_GATEWAY_TIMEOUT: u16 = 504;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(rename = "Result", borrow)]
    result: Option<&'a RawValue>,
}

/// The body of a `200`: the result of an ADD in CNI 1.x form, or empty for verbs without a result.
pub fn success(result: Option<&RawValue>) -> Vec<u8> {
    match result {
        None => Vec::new(),
        Some(_) => serde_json::to_vec(&Body { result }).expect("raw JSON into memory cannot fail"),
    }
}

/// The body of a [`STATUS_FAILED`] or [`STATUS_NOT_BEGUN`]: the CNI error object.
pub fn failure(error: &CniError) -> Vec<u8> {
    serde_json::to_vec(error).expect("strings and a number into memory cannot fail")
}

/// Parses a response: the raw result, if any. An empty body, `{}` and `{"Result":null}` mean none.
///
/// # Errors
/// Any failure as the CNI error for the caller: the daemon's error object unchanged, or plain text
/// (as written by Go's `http.Error`) with a code that matches the status.
pub fn parse(status: u16, body: &[u8]) -> Result<Option<Box<RawValue>>, CniError> {
    if status != STATUS_OK {
        return Err(parse_failure(status, body));
    }
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let parsed: Body = object::parse(body).map_err(|error| {
        CniError::new(
            code::DECODING_FAILURE,
            "the daemon's answer is not the expected JSON",
        )
        .with_details(error.to_string())
    })?;
    Ok(parsed.result.map(ToOwned::to_owned))
}

fn parse_failure(status: u16, body: &[u8]) -> CniError {
    if let Ok(error) = object::parse::<CniError>(body)
        && !error.msg.is_empty()
    {
        return error;
    }
    let code = match status {
        STATUS_TOO_MANY_REQUESTS | STATUS_NOT_BEGUN | STATUS_GATEWAY_TIMEOUT => {
            code::TRY_AGAIN_LATER
        }
        _ => code::INTERNAL,
    };
    CniError::new(
        code,
        format!("the daemon answered with HTTP status {status}"),
    )
    .with_details(String::from_utf8_lossy(body).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(status: u16, body: &str) -> CniError {
        parse(status, body.as_bytes()).expect_err(body)
    }

    #[test]
    fn a_result_passes_through_byte_for_byte() {
        let json = r#"{"cniVersion":"1.1.0", "x-own":18446744073709551616}"#;
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        let body = success(Some(&raw));
        assert_eq!(body, format!(r#"{{"Result":{json}}}"#).as_bytes());
        assert_eq!(parse(200, &body).unwrap().unwrap().get(), json);
    }

    #[test]
    fn unknown_response_members_are_ignored() {
        let body =
            br#"{"Warnings":["w"],"Result":{"cniVersion":"1.1.0","new":1},"Trace":{"id":7}}"#;
        let result = parse(200, body).unwrap().unwrap();
        assert_eq!(result.get(), r#"{"cniVersion":"1.1.0","new":1}"#);
        let failure = fail(503, r#"{"code":11,"msg":"m","retryAfterMs":500}"#);
        assert_eq!((failure.code, failure.msg.as_str()), (11, "m"));
    }

    #[test]
    fn nothing_empty_and_null_all_mean_no_result() {
        assert_eq!(success(None), b"");
        for body in ["", "\n", "{}", r#"{"Result":null}"#] {
            assert!(parse(200, body.as_bytes()).unwrap().is_none(), "{body:?}");
        }
    }

    #[test]
    fn a_cni_error_keeps_code_message_and_details() {
        let sent =
            CniError::new(103, "policy address-guard denied").with_details("10.0.0.9 is not yours");
        let body = failure(&sent);
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"code":103,"msg":"policy address-guard denied","details":"10.0.0.9 is not yours"}"#
        );
        assert_eq!(parse(400, &body).unwrap_err(), sent);
    }

    #[test]
    fn error_details_are_optional() {
        let failure = fail(
            400,
            r#"{"cniVersion":"1.1.0","code":7,"msg":"bad net conf"}"#,
        );
        assert_eq!((failure.code, failure.msg.as_str()), (7, "bad net conf"));
        assert_eq!(failure.details, "");
    }

    #[test]
    fn a_plain_text_gets_a_code_that_fits_the_status() {
        let text = fail(400, "could not extract the CNI command args\n");
        assert_eq!(text.code, 999);
        assert_eq!(text.msg, "the daemon answered with HTTP status 400");
        assert_eq!(text.details, "could not extract the CNI command args");
        assert_eq!(fail(503, "").code, 11);
        assert_eq!(fail(429, "slow down").code, 11);
        assert_eq!(fail(404, "").code, 999);
    }

    #[test]
    fn a_cni_error_needs_a_message() {
        assert_eq!(fail(400, r#"{"code":7,"msg":""}"#).code, 999);
        assert_eq!(fail(400, r#"{"code":-1,"msg":"m"}"#).code, 999);
        assert_eq!(fail(400, r#"["1.1.0",7,"m","d"]"#).code, 999);
    }

    #[test]
    fn non_json_response_is_a_decoding_failure() {
        for body in ["OK", "[]", "[null]", r#"{"Result":"#] {
            assert_eq!(fail(200, body).code, 6, "{body:?}");
        }
    }
}
