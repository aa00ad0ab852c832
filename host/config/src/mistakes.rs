//! Every mistake in a configuration file, each with its line and key. Loading stops at the first
//! one; here it is taken out of the text, and the rest is read again.

use std::fmt;

use cni_types::json::{Cause, RawObject};
use cnidaria_core::domain::members::similar;
use cnidaria_core::report;
use serde_json::value::RawValue;

use crate::daemon::{DaemonConfig, Error, OWN_KEY};
use crate::key_path::{place, segments, without};
use crate::{reference, shape};

/// What some editors put before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How many mistakes are reported.
const MAX_MISTAKES: usize = 50;

/// A mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// Dotted path of the key; empty if the text is not a JSON object.
    pub key: String,
    /// What is wrong, what was expected, and what may be meant.
    pub problem: String,
    /// Whether the daemon does not start with it; others are warnings.
    pub is_error: bool,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            key,
            problem,
            is_error,
        } = self;
        let kind = if *is_error { "error" } else { "warning" };
        write!(f, "{line}:{column}: {kind}: ")?;
        match key.as_str() {
            "" => f.write_str(problem),
            key => write!(f, "{key}: {problem}"),
        }
    }
}

/// All mistakes of a text, by line. Empty if the daemon starts with it and warns about nothing.
pub fn find(text: &[u8]) -> Vec<Mistake> {
    let file = match RawObject::parse(text) {
        Ok(file) => file,
        Err(error) => return vec![syntax(text, &error)],
    };
    let text = String::from_utf8_lossy(text);
    let mut found = repeated(&text);
    let mut removed: Vec<Vec<String>> = Vec::new();
    let mut rest = file;
    while found.len() < MAX_MISTAKES {
        match DaemonConfig::parse(rest.to_string().as_bytes()) {
            Ok(config) => {
                found.extend(config.warnings.iter().map(|one| warning(&text, one)));
                break;
            }
            Err(error) => {
                let mistake = Found::of(&error);
                let without = mistake
                    .key
                    .first()
                    .and_then(|_| without(&rest, &mistake.key));
                // What was taken out is not missing.
                if !mistake.needs(&removed) {
                    removed.push(mistake.key.clone());
                    found.push(mistake.at(&text));
                }
                match without {
                    Some(without) => rest = without,
                    None => break,
                }
            }
        }
    }
    found.sort_by_key(|mistake| (mistake.line, mistake.column));
    found.dedup();
    found
}

/// Where the mistake is that an error is about.
pub fn locate(text: &[u8], error: &Error) -> Mistake {
    match (error, RawObject::parse(text)) {
        (Error::Json(_), Err(error)) => syntax(text, &error),
        _ => Found::of(error).at(&String::from_utf8_lossy(text)),
    }
}

/// A mistake before its place is known.
struct Found {
    key: Vec<String>,
    problem: String,
}

impl Found {
    fn of(error: &Error) -> Self {
        let text = report::chain(error);
        let text = text.strip_prefix("CNI conf: ").unwrap_or(&text);
        if let Error::Own { path, source } = error {
            return own(path, &source.to_string());
        }
        let (key, problem) = text.split_once(": ").unwrap_or(("", text));
        let key = if key.contains(' ') { "" } else { key };
        Self {
            key: segments(key),
            problem: problem.to_owned(),
        }
    }

    /// Whether it is that one of these keys is missing.
    fn needs(&self, keys: &[Vec<String>]) -> bool {
        let Self { key, problem } = self;
        keys.iter().any(|removed| {
            let is_itself = removed == key && problem.starts_with("missing");
            let below = removed.split_last().filter(|(_, parents)| parents == key);
            is_itself || below.is_some_and(|(name, _)| *problem == missing(name))
        })
    }

    fn at(self, text: &str) -> Mistake {
        let (line, column) = place(text, &self.key);
        Mistake {
            line,
            column,
            key: self.key.join("."),
            problem: self.problem,
            is_error: true,
        }
    }
}

/// A mistake under the key `cnidaria`.
fn own(path: &str, cause: &str) -> Found {
    let mut key = segments(path);
    key.insert(0, OWN_KEY.to_owned());
    // The position is that in the value of `cnidaria`.
    let cause = cause
        .rsplit_once(" at line ")
        .map_or(cause, |(cause, _)| cause);
    let unknown = cause.strip_prefix("unknown field `");
    let Some((name, _)) = unknown.and_then(|rest| rest.split_once('`')) else {
        return Found {
            key,
            problem: in_words(cause),
        };
    };
    if key.last().is_none_or(|last| last != name) {
        key.push(name.to_owned());
    }
    let problem = match meant(&key) {
        Some(meant) => format!("unknown key; did you mean {meant:?}?"),
        None => "unknown key".to_owned(),
    };
    Found { key, problem }
}

/// A cause of serde in the words of JSON.
fn in_words(cause: &str) -> String {
    let kinds = ["invalid type: ", "invalid value: "];
    if let Some(rest) = kinds.iter().find_map(|kind| cause.strip_prefix(kind))
        && let Some((found, expected)) = rest.split_once(", expected ")
    {
        return format!(
            "expected {}, found {}",
            expected_words(expected),
            found_words(found)
        );
    }
    let name = cause.strip_prefix("missing field `");
    match name.and_then(|rest| rest.strip_suffix('`')) {
        Some(name) => missing(name),
        None => cause.to_owned(),
    }
}

fn missing(name: &str) -> String {
    format!("the key {name:?} is missing")
}

fn expected_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "path string" => "a path",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        other if other.starts_with("a nonzero ") => "a whole number above 0",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

fn found_words(found: &str) -> &str {
    match found {
        "string" => "a string",
        "map" => "an object",
        "sequence" => "a list",
        other => other.split('`').nth(1).unwrap_or(other),
    }
}

/// Members that occur twice: the last one counts.
fn repeated(text: &str) -> Vec<Mistake> {
    let paths = shape::repeated(text).into_iter().take(MAX_MISTAKES);
    let mistake = |key: Vec<String>| {
        let (line, column) = place(text, &key);
        Mistake {
            line,
            column,
            key: key.join("."),
            problem: "the key occurs twice; the last value counts".to_owned(),
            is_error: false,
        }
    };
    paths.map(mistake).collect()
}

/// The known key of the same object that an unknown one may misspell.
fn meant(key: &[String]) -> Option<&'static str> {
    let (name, parents) = key.split_last()?;
    let parents = parents.get(1..)?.join(".");
    let siblings: Vec<&'static str> = reference::own()
        .filter_map(|known| match parents.as_str() {
            "" => Some(known),
            parents => known.strip_prefix(parents)?.strip_prefix('.'),
        })
        .map(|known| known.split('.').next().unwrap_or(known))
        .collect();
    similar(&siblings, name)
}

/// A warning of [`DaemonConfig`], which quotes its key.
fn warning(text: &str, warning: &str) -> Mistake {
    let begins = warning.split(": ").next().unwrap_or_default();
    let quoted = warning.split('"').nth(1).unwrap_or_default();
    let key = match (
        begins.contains(' '),
        text.contains(&format!("\"{quoted}\"")),
    ) {
        (false, _) => segments(begins),
        (true, true) => vec![quoted.to_owned()],
        (true, false) => segments(quoted),
    };
    let (line, column) = place(text, &key);
    Mistake {
        line,
        column,
        key: String::new(),
        problem: warning.to_owned(),
        is_error: false,
    }
}

fn syntax(text: &[u8], error: &cni_types::json::Error) -> Mistake {
    let (line, column, problem) = match serde_json::from_slice::<&RawValue>(text) {
        Err(_) if text.starts_with(BYTE_ORDER_MARK) => {
            let problem = "JSON does not begin with a byte order mark; save the file without it";
            (1, 1, problem.to_owned())
        }
        Err(syntax) => {
            let problem = Cause::of(&syntax).to_string();
            let problem = problem
                .rsplit_once(" at line ")
                .map_or("", |(it, _)| it)
                .to_owned();
            (
                syntax.line(),
                syntax.column(),
                format!("not JSON: {problem}"),
            )
        }
        Ok(_) => (1, 1, report::chain(error)),
    };
    Mistake {
        line,
        column,
        key: String::new(),
        problem,
        is_error: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        find(text.as_bytes())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_sound_file_has_no_mistakes() {
        assert!(shown(r#"{"cniVersion":"1.0.0","multusConfigFile":"auto"}"#).is_empty());
        assert!(shown("{}").is_empty());
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        assert_eq!(
            shown("\u{feff}{}"),
            ["1:1: error: JSON does not begin with a byte order mark; save the file without it"]
        );
    }

    #[test]
    fn all_mistakes_have_line_and_key() {
        let text = r#"{
  "socketDir": 7,
  "connectionLimit": 0,
  "sockteDir": "/x",
  "cnidaria": {
    "timeouts": {
      "podMs": "x"
    },
    "manifest": "/m",
    "policies": { "modules": "/p",
      "requestTimeoutMs": 0 }
  }
}"#;
        assert_eq!(
            shown(text),
            [
                "2:3: error: socketDir: expected a path, found 7",
                "3:3: error: connectionLimit: must be greater than 0, found 0",
                "4:3: warning: unknown key \"sockteDir\": it is passed on as it is; did you mean \"socketDir\"?",
                "7:7: error: cnidaria.timeouts.podMs: expected a whole number, found a string",
                "9:5: error: cnidaria.manifest: unknown key; did you mean \"manifests\"?",
                "11:7: error: cnidaria.policies.requestTimeoutMs: expected a whole number above 0, found 0",
            ]
        );
    }

    #[test]
    fn text_that_is_not_json_has_a_position() {
        let found = shown("{\n  \"a\": 1,\n}");
        assert!(found[0].starts_with("3:1: error: not JSON: "), "{found:?}");
        assert_eq!(shown("[1]"), ["1:1: error: expected a JSON object"]);
        let found = shown("");
        assert!(found[0].starts_with("1:0: error: not JSON: "), "{found:?}");
    }

    #[test]
    fn a_missing_key_is_reported_at_its_object() {
        let found = shown("{\n\"cnidaria\": {\n\"policies\": {\"cache\":\"/c\"}}}");
        assert_eq!(
            found,
            ["3:1: error: cnidaria.policies: the key \"modules\" is missing"]
        );
        let found = shown("{\"multusConfigFile\":\"auto\"}");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("cniVersion: missing"), "{found:?}");
    }

    #[test]
    fn values_are_named_in_the_words_of_json() {
        for (own, expected) in [
            ("null", "cnidaria: expected an object, found null"),
            ("[]", "cnidaria: expected an object, found a list"),
            (
                r#"{"trace":[5]}"#,
                "cnidaria.trace: expected an object, found a list",
            ),
            (
                r#"{"threads":1.5}"#,
                "cnidaria.threads: expected a whole number above 0, found 1.5",
            ),
            (
                r#"{"threads":9999}"#,
                "cnidaria.threads: expected at most 1024, found 9999",
            ),
            (
                r#"{"podNetworkMetrics":"on"}"#,
                "cnidaria.podNetworkMetrics: expected true or false, found a string",
            ),
            (
                r#"{"policies":{"modules":"/p","required":"guard"}}"#,
                "cnidaria.policies.required: expected a list, found a string",
            ),
        ] {
            let found = shown(&format!("{{\n\"cnidaria\":{own}}}"));
            assert!(found[0].ends_with(expected), "{found:?}");
            assert!(found[0].starts_with("2:"), "{found:?}");
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }

    #[test]
    fn a_wrong_value_is_not_missing_as_well() {
        let found = shown(r#"{"cnidaria":{"policies":{"modules":7}}}"#);
        assert_eq!(
            found,
            ["1:26: error: cnidaria.policies.modules: expected a path, found 7"]
        );
        let found = shown(r#"{"cniVersion":"1.0","multusConfigFile":"auto"}"#);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn warnings_have_the_line_of_their_key() {
        let text = "{\n\"logLevel\":\"loud\",\n\"logOptions\":{\n\"maxSizes\":3},\n\"cniVersion\":\"9.9.9\",\n\
                    \"socketDir\":\"/a\",\n\"socketDir\":\"/b\"}";
        let found = shown(text);
        let lines: Vec<&str> = found
            .iter()
            .filter_map(|one| one.split(':').next())
            .collect();
        assert_eq!(lines, ["2", "4", "5", "7"], "{found:?}");
        assert!(found.iter().all(|one| one.contains("warning")), "{found:?}");
    }

    #[test]
    fn keys_in_another_case_are_found() {
        let found = shown("{\n\"SocketDIR\": 7}");
        assert!(
            found.contains(&"2:1: error: socketDir: expected a path, found 7".to_owned()),
            "{found:?}"
        );
    }

    #[test]
    fn values_are_not_quoted() {
        let text = r#"{"cnidaria":{"threads":"secret"},"socketDir":{"a":"secret"}}"#;
        assert!(!shown(text).join("\n").contains("secret"));
    }

    #[test]
    fn a_hostile_file_ends() {
        let many: Vec<String> = (0..200).map(|n| format!("\"k{n}\":{{}}")).collect();
        let text = format!("{{\"cnidaria\":{{{}}}}}", many.join(","));
        assert!(shown(&text).len() <= MAX_MISTAKES);
    }
}
