//! Telling errors: the chain of causes on one line, the effect first.

use std::error::Error;

use cni_types::json::Cause;

/// The error and its causes, separated by colons. A cause that its effect repeats already, as
/// transparent errors do, is told once. Those of serde are told without the values that they quote.
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
