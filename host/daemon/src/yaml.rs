//! Reads YAML as the JSON it stands for, like Kubernetes' clients. Types are deserialised from that
//! JSON: deserialising each from YAML would compile another copy of the parser per type.

use cni_types::json::without_values;
use serde_json::Value;

/// The non-empty documents of a text. JSON is valid YAML too.
///
/// # Errors
/// What is wrong and where.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| reason(&error))?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// What is wrong and where, without the surrounding lines and values that the parser quotes: they
/// may be credentials.
pub(crate) fn reason(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let line = message.lines().next().unwrap_or_default();
    let at = line.rfind(" at line ").unwrap_or(line.len());
    let (what, place) = line.split_at(at);
    format!("{}{place}", without_values(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_text_is_not_quoted() {
        for text in [
            "users: {{{s3cret",
            "token: s3cret\n\tx: [",
            "token: \"s3cret",
            "a: *s3cret",
            "token: s3cret\ntoken: s3cret",
            "s3cret: a: b",
            "- s3cret\nb: c",
            "!!int s3cret",
            "a: !!float s3cret",
        ] {
            let error = documents(text).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
            assert!(error.contains("at line "), "{error}");
        }
        let error = serde_saphyr::from_multiple::<Vec<bool>>("a: s3cret").unwrap_err();
        assert!(!reason(&error).contains("s3cret"), "{error}");
        let error = documents("a: [b").unwrap_err();
        assert_eq!(error, "unclosed bracket '[' at line 1, column 4");
    }
}
