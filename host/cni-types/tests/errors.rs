//! Error objects.

#![cfg(test)]

use cni_types::error::{CniError, code};
use proptest::prelude::*;

#[test]
fn error_json_matches_reference_library() {
    let error = CniError::new(
        code::INVALID_ENVIRONMENT,
        "invalid characters in containerID",
    )
    .with_details("../../etc/x");
    assert_eq!(
        error.to_json(),
        "{\n    \"code\": 4,\n    \"msg\": \"invalid characters in containerID\",\n    \"details\": \"../../etc/x\"\n}"
    );
    assert_eq!(
        CniError::new(7, "m").with_version("1.0.0").to_json(),
        "{\n    \"cniVersion\": \"1.0.0\",\n    \"code\": 7,\n    \"msg\": \"m\"\n}"
    );
    assert_eq!(CniError::new(7, "m").with_version("").cni_version, None);
}

#[test]
fn malformed_error_objects_are_none() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "oops",
        r#"{"cniVersion":"1.0.0","ips":[]}"#,
        r#"{"code":"7"}"#,
        r#"{"code":-1}"#,
    ] {
        assert_eq!(CniError::parse(text.as_bytes()), None, "{text}");
    }
    let only_message = CniError::parse(br#"{"msg":"x"}"#).unwrap();
    assert_eq!((only_message.code, only_message.msg.as_str()), (0, "x"));
}

#[test]
fn message_and_details_are_shown() {
    assert_eq!(CniError::new(1, "a").to_string(), "a");
    assert_eq!(CniError::new(1, "a").with_details("b").to_string(), "a; b");
}

proptest! {
    #[test]
    fn an_error_is_printed_as_it_is_read(
        code in 1u32..,
        msg in ".*",
        details in ".*",
        version in prop::option::of("[0-9]\\.[0-9]\\.[0-9]"),
    ) {
        let error = CniError { cni_version: version, code, msg, details };
        prop_assert_eq!(CniError::parse(error.to_json().as_bytes()), Some(error));
    }
}
