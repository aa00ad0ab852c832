//! Formats errors: the chain of causes on one line, effect first.

use std::error::Error;

use cni_types::json::Cause;

/// Joins the error and its causes with colons. A cause that its effect already contains, as with
/// transparent errors, appears once. Causes from serde appear without the values they quote.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = match cause.downcast_ref() {
            Some(json) => Cause::of(json).to_string(),
            None => cause.to_string(),
        };
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}
