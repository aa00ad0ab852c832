//! YAML, read as the JSON that it stands for, as Kubernetes' clients read it. Types are read from that:
//! to read each from YAML would take a parser of its own for each, as machine code.

use cni_types::json::without_values;
use serde_json::Value;

/// The documents of a text, without those in which there is nothing. JSON is YAML too.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| reason(&error))?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// What is wrong, and where, without the lines around it, which the parser prints, and without what it
/// quotes: they may be credentials.
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
