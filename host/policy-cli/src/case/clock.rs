//! The time that the policy sees in a case, or from one of its steps on.

use serde_json::Value;
use serde_saphyr::Spanned;

use super::mistake::{CaseFile, Error};

/// Milliseconds since 1970 of a number or an RFC 3339 time.
///
/// # Errors
/// A mistake, if it is neither.
pub(super) fn time(
    file: &CaseFile<'_>,
    given: Option<&Spanned<Value>>,
) -> Result<Option<u64>, Error> {
    let Some(given) = given else { return Ok(None) };
    let read = match &given.value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| u64::try_from(time.as_millisecond()).ok()),
        _ => None,
    };
    match read {
        Some(time) => Ok(Some(time)),
        None => {
            let reason = "expected a time such as 2026-01-31T12:00:00Z, or milliseconds since 1970";
            Err(file.mistake(given.referenced, reason))
        }
    }
}
