//! Compares actual with expected values.

use std::fmt::Debug;

use node::Answer;
use serde_json::Value;

use crate::Error;

/// Fails with a message unless `actual` equals `expected`.
pub(crate) fn equal<T: PartialEq + Debug>(
    what: &str,
    actual: &T,
    expected: &T,
) -> Result<(), Error> {
    that(actual == expected, || {
        format!("{what} should be {expected:?} and is {actual:?}")
    })
}

/// Fails with the message unless the condition holds.
pub(crate) fn that(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Unexpected(otherwise()))
    }
}

/// Fails unless the shim succeeded.
pub(crate) fn success(call: &str, answer: &Answer) -> Result<(), Error> {
    that(answer.succeeded(), || {
        format!(
            "{call} should succeed and ended with exit code {:?}: {} {}",
            answer.code,
            answer.stdout.trim(),
            answer.stderr.trim()
        )
    })
}

/// Fails unless the shim failed as the CNI specification says: an error object, exit code 1.
pub(crate) fn error(call: &str, answer: &Answer) -> Result<Value, Error> {
    that(answer.code == Some(1), || {
        format!(
            "{call} should fail with exit code 1 and ended with {:?}: {}",
            answer.code,
            answer.stdout.trim()
        )
    })?;
    let error = answer.json()?;
    let code = error.get("code").and_then(Value::as_u64);
    let said = !text(&error, "/msg").is_empty() && !text(&error, "/cniVersion").is_empty();
    that(code.is_some() && said, || {
        format!("{call} should print a CNI error object and printed {error}")
    })?;
    Ok(error)
}

/// The text at a pointer; empty without one.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let value = value.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_default()
}
