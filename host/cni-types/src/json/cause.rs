//! Why serde rejected a text, without quoting the text: a configuration may contain credentials,
//! and errors reach logs and callers.

use serde_json::value::RawValue;

use crate::clip::clip;

/// Why JSON was rejected: types, keys, line and column, but no string values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl From<serde_json::Error> for Cause {
    fn from(error: serde_json::Error) -> Self {
        Self::of(&error)
    }
}

impl Cause {
    /// Extracts the cause from `error`.
    pub fn of(error: &serde_json::Error) -> Self {
        Self(without_values(&error.to_string()))
    }
}

/// A serde error message without the string it quotes, length-limited. Numbers and booleans stay.
pub fn without_values(message: &str) -> String {
    for (quoting, naming) in [
        ("invalid type: string ", "invalid type: string"),
        ("invalid value: string ", "invalid value: string"),
        ("invalid type: character ", "invalid type: character"),
        ("invalid value: character ", "invalid value: character"),
        ("unknown variant ", "unknown value"),
        ("The string value [", "a string that must be quoted"),
    ] {
        if let Some(rest) = message.strip_prefix(quoting) {
            // The last match: the quoted value may contain the same words. What follows is the
            // type's own list, which is complete only if it is not clipped.
            let expected = rest.rfind(", expected ").and_then(|at| rest.get(at..));
            return format!("{naming}{}", expected.unwrap_or_default());
        }
    }
    clip(message)
}

/// Describes a value for messages: numbers and booleans verbatim; of anything else, which may be a
/// credential, only the type.
pub fn kind(value: &RawValue) -> String {
    match value.get().bytes().next() {
        Some(b'"') => "a string".to_owned(),
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "a list".to_owned(),
        _ => clip(value.get()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    #[derive(Debug, Deserialize)]
    enum Choice {
        #[serde(rename = "open")]
        Open,
    }

    fn cause<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
        Cause::from(serde_json::from_str::<T>(text).unwrap_err()).to_string()
    }

    #[test]
    fn no_string_of_the_text_is_quoted() {
        let at = "at line 1 column";
        for text in ["secret", "a, expected b", r#"a\", expected \"b"#] {
            let text = format!("\"{text}\"");
            let told = cause::<Vec<u8>>(&text);
            let end = format!("{at} {}", text.len());
            assert_eq!(
                told,
                format!("invalid type: string, expected a sequence {end}")
            );
            assert!(cause::<u16>(&text).starts_with("invalid type: string, expected u16"));
            let told = cause::<Choice>(&text);
            assert!(told.starts_with("unknown value, expected `open`"), "{told}");
            let told = cause::<std::net::IpAddr>(&text);
            assert!(!told.contains("secret"), "{told}");
        }
        let told = cause::<char>("\"secret\"");
        assert!(
            told.starts_with("invalid value: string, expected a character"),
            "{told}"
        );
        assert!(cause::<u8>("700").starts_with("invalid value: integer `700`, expected u8"));
    }

    #[test]
    fn a_long_list_of_values_is_complete() {
        #[derive(Debug, Deserialize)]
        enum Many {
            #[serde(rename = "a-rather-long-name-of-the-first-value")]
            First,
            #[serde(rename = "a-rather-long-name-of-the-second-value")]
            Second,
            #[serde(rename = "a-rather-long-name-of-the-last-value")]
            Last,
        }
        let told = cause::<Many>("\"secret\"");
        assert!(told.contains("of-the-last-value`"), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn a_value_is_named_by_its_type() {
        for (text, expected) in [
            (r#""secret""#, "a string"),
            (r#"{"a":"secret"}"#, "an object"),
            (r#"["secret"]"#, "a list"),
            ("-1", "-1"),
            ("null", "null"),
        ] {
            let value = RawValue::from_string(text.to_owned()).unwrap();
            assert_eq!(kind(&value), expected);
        }
    }
}
