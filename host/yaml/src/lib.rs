//! Reads YAML as the JSON it stands for, like Kubernetes' clients. Types are deserialised from that
//! JSON: deserialising each from YAML would compile another copy of the parser per type.

use cni_types::json::without_values;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Maximum events that aliases may repeat. Kubernetes' objects rarely have any.
const MAX_REPEATED: usize = 10_000;

/// The documents of a text, within bounds of depth, of nodes and of what aliases repeat.
///
/// # Errors
/// What is wrong and where.
pub fn typed<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    let options = serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPEATED,
            max_replay_stack_depth: 16,
        },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| reason(&error))
}

/// The non-empty documents of a text. JSON is valid YAML too.
///
/// # Errors
/// What is wrong and where.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let documents = typed::<Value>(text)?.into_iter();
    Ok(documents.filter(|document| !document.is_null()).collect())
}

/// What is wrong and where, without the surrounding lines and values that the parser quotes: they
/// may be credentials.
pub fn reason(error: &serde_saphyr::Error) -> String {
    let error = error.without_snippet();
    let mut message = error.to_string();
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
        // The parser's own words suggest an option of its library.
        let at = message.rfind(" at line ").unwrap_or(message.len());
        let place = message.get(at..).unwrap_or_default();
        message = format!("the key {key:?} is given more than once{place}");
    }
    let line = message.lines().next().unwrap_or_default();
    let at = line.rfind(" at line ").unwrap_or(line.len());
    let (what, place) = line.split_at(at);
    format!("{}{place}", without_values(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_repeat_a_bounded_amount() {
        let bomb = |levels: u8| {
            let level = |n: u8| {
                let name = |n: u8| char::from(b'a' + n);
                let aliases = vec![format!("*{}", name(n - 1)); 9].join(",");
                format!("{0}: &{0} [{aliases}]\n", name(n))
            };
            let levels: String = (1..=levels).map(level).collect();
            format!("a: &a [x,x,x,x,x,x,x,x,x]\n{levels}")
        };
        documents(&bomb(2)).unwrap();
        documents(&bomb(5)).unwrap_err();
        documents(&bomb(8)).unwrap_err();
        documents(&format!("x: {}", "[".repeat(200_000))).unwrap_err();
        documents(&format!("x: {}{}", "[".repeat(100), "]".repeat(100))).unwrap_err();
    }

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
        let error = documents("a: 1\na: 2").unwrap_err();
        assert_eq!(
            error,
            "the key \"a\" is given more than once at line 2, column 1"
        );
        let error = documents("a: [b").unwrap_err();
        assert_eq!(error, "unclosed bracket '[' at line 1, column 4");
    }
}
