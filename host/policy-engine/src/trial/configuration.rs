//! A policy's configuration file, with the places of its faults.

use std::fmt;
use std::path::Path;

use super::Position;
use crate::config::{self, Error, Limits, Spec};
use crate::model::grant::Grant;

/// A configuration, read as far as it is well-formed.
#[derive(Debug, Clone)]
pub struct Configuration {
    pub(super) spec: Spec,
    settings_at: usize,
    text: String,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where in the file, if known.
    pub at: Option<Position>,
    /// The key, with dots between levels; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what was expected.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.is_empty() {
            true => f.write_str(&self.reason),
            false => write!(f, "{}: {}", self.key, self.reason),
        }
    }
}

impl Configuration {
    /// Reads a configuration file of the policy `name`.
    ///
    /// # Errors
    /// All faults, in the order of the file.
    pub fn parse(name: &str, file: &Path, text: &str) -> Result<Self, Vec<Fault>> {
        let draft = Spec::parse(name, file, text, Path::new(""));
        let draft = draft.map_err(|error| vec![Fault::of(&error).in_text(text)])?;
        if !draft.faults.is_empty() {
            let mut faults: Vec<Fault> = draft.faults.iter().map(Fault::of).collect();
            faults.sort_by_key(|fault| fault.at);
            return Err(faults);
        }
        Ok(Self {
            spec: draft.spec,
            settings_at: config::settings_at(text),
            text: text.to_owned(),
        })
    }

    /// The settings as JSON text.
    pub fn settings(&self) -> &str {
        &self.spec.settings
    }

    /// The place in the file of a byte of the settings.
    pub fn place_in_settings(&self, offset: usize) -> Position {
        Position::of(&self.text, self.settings_at + offset)
    }

    /// The place of a top-level key, such as `grants`; the file's begin if it is absent.
    pub fn place_of(&self, key: &str) -> Position {
        let quoted = format!("{key:?}");
        let at = self.text.find(&quoted).unwrap_or_default();
        Position::of(&self.text, at)
    }

    /// The names of the grants.
    pub fn grants(&self) -> Vec<&'static str> {
        self.spec
            .grants
            .iter()
            .map(|grant| grant.as_str())
            .collect()
    }

    /// The grants of [`grants`](Self::grants) that are imports of a module.
    pub fn import_grants(&self) -> Vec<&'static str> {
        let imports = Grant::IMPORTS.iter();
        let granted = imports.filter(|grant| self.spec.grants.contains(grant));
        granted.map(|grant| grant.as_str()).collect()
    }

    /// The grants of [`grants`](Self::grants) that allow edits.
    pub fn edit_grants(&self) -> Vec<&'static str> {
        let grants = self.spec.grants.iter();
        let edits = grants.filter(|grant| !Grant::IMPORTS.contains(grant));
        edits.map(|grant| grant.as_str()).collect()
    }

    /// Whether a name is that of a grant that allows edits.
    pub fn is_edit_grant(name: &str) -> bool {
        let quoted = format!("{name:?}");
        let grant: Option<Grant> = serde_json::from_str(&quoted).ok();
        grant.is_some_and(|grant| !Grant::IMPORTS.contains(&grant))
    }

    /// The namespaces in `match`, as patterns.
    pub fn namespaces(&self) -> &[String] {
        self.spec.matching.namespaces()
    }

    /// The networks in `match`, as patterns.
    pub fn networks(&self) -> &[String] {
        self.spec.matching.networks()
    }

    /// The limits that differ from their defaults, by key.
    pub fn changed_limits(&self) -> Vec<&'static str> {
        let defaults = Limits::default();
        let (own, default) = (self.spec.limits.list(), defaults.list());
        own.into_iter()
            .zip(default)
            .filter_map(|(own, default)| (own != default).then_some(own.0))
            .collect()
    }

    /// A limit by key.
    pub fn limit(&self, key: &str) -> Option<u64> {
        let limits = self.spec.limits.list();
        let mut limits = limits.into_iter();
        limits.find_map(|(known, value)| (known == key).then_some(value))
    }
}

impl Fault {
    /// The fault of a file with this text: a value of another type than an object is at its begin.
    fn in_text(mut self, text: &str) -> Self {
        if self.key.is_empty() && self.reason.starts_with("invalid type") {
            let begin = text.len() - text.trim_start().len();
            self.at = Some(Position::of(text, begin));
        }
        self
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::Value {
                key, reason, at, ..
            } => {
                let (reason, _) = split(reason);
                Self {
                    at: Some(*at),
                    key: key.clone(),
                    reason: reason.to_owned(),
                }
            }
            Error::Syntax { source, .. } => {
                let text = source.to_string();
                let (reason, at) = split(&text);
                Self {
                    at,
                    key: String::new(),
                    reason: reason.to_owned(),
                }
            }
            other => Self {
                at: None,
                key: String::new(),
                reason: other.to_string(),
            },
        }
    }
}

/// Takes ` at line 1 column 2` off a message.
fn split(message: &str) -> (&str, Option<Position>) {
    let place = || {
        let at = message.rfind(" at line ")?;
        let (text, place) = message.split_at(at);
        let (line, column) = place.strip_prefix(" at line ")?.split_once(" column ")?;
        let position = Position {
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        };
        Some((text, Some(position)))
    };
    place().unwrap_or((message, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let parsed = Configuration::parse("p", Path::new("policy.json"), text);
        let shown = |fault: &Fault| match fault.at {
            Some(at) => format!("{at} {fault}"),
            None => fault.to_string(),
        };
        parsed.unwrap_err().iter().map(shown).collect()
    }

    #[test]
    fn a_fault_has_the_place_of_its_value() {
        let check = |text: &str, expected: &[&str]| {
            let found = faults(text);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{found:?}: {expected:?}");
            }
        };
        check(
            "{\n  \"settigs\": {}\n}",
            &["2:3 settigs: unknown key; did you mean \"settings\"?"],
        );
        check(
            "{\"match\": {\n \"namespace\": [] }}",
            &["2:2 match.namespace: unknown key"],
        );
        check(
            "{\"limits\": {\"timeoutMs\":\n  0}}",
            &["2:3 limits.timeoutMs: 0 is not within"],
        );
        check(
            "{\"grants\": [\"clock\",\n \"root\"]}",
            &["2:2 grants[1]: unknown value"],
        );
        check(
            "{\"mode\": 7}",
            &["1:10 mode: invalid type: integer `7`, expected one of `enforce`, `audit`, `off`"],
        );
        check(
            "{\"mode\": \"adit\"}",
            &[
                "1:10 mode: unknown value, expected one of `enforce`, `audit`, `off`; did you mean \"audit\"?",
            ],
        );
        check(
            "{\"grants\": [null]}",
            &["1:13 grants[0]: invalid type: null, expected one of `attachments`"],
        );
        check(
            "{\"failurePolicy\": {\"trap\": []}}",
            &["1:28 failurePolicy.trap: invalid type: sequence, expected one of `closed`, `open`"],
        );
        check(
            "{\"failurePolicy\": 1}",
            &["1:19 failurePolicy: invalid type: integer `1`, expected one of `closed`, `open`"],
        );
        check(
            "{\"match\": {\"verbs\": [\"add\"]}}",
            &["1:22 match.verbs[0]: unknown value"],
        );
        check(
            "{\"limits\": {\"logLines\": \"many\"}}",
            &["1:25 limits.logLines: invalid type"],
        );
        check("{\n \"mode\" \"off\"}", &["2:9 expected `:`"]);
        check(
            "\n [1, 2]",
            &["2:2 invalid type: sequence, expected an object"],
        );
        check("null\n", &["1:1 invalid type: null, expected an object"]);
        check(
            "{\"limits\": {\"timeoutMs\": \"5\"}}",
            &["1:26 limits.timeoutMs: invalid type: string, expected a whole number"],
        );
        check(
            "{\"match\": {\"networks\": \"a\"}}",
            &["1:24 match.networks: invalid type: string, expected a list"],
        );
        check(
            "{\"match\": {\"podLabels\": []}}",
            &["1:25 match.podLabels: invalid type: sequence, expected an object"],
        );
        check(
            "{\"module\": \"../x.wasm\"}",
            &[
                "1:12 module: \"../x.wasm\" is not the plain name of a file in the directory of modules",
            ],
        );
        check(
            "{\"modes\": 1,\n\"mode\": \"of\"}",
            &["1:2 modes: unknown key", "2:9 mode: unknown value"],
        );
    }

    #[test]
    fn a_place_in_the_settings_is_one_of_the_file() {
        let text = "{\n \"settings\": {\n  \"a\": 1 } }";
        let parsed = Configuration::parse("p", Path::new("policy.json"), text).unwrap();
        let offset = parsed.settings().find("\"a\"").unwrap();
        assert_eq!(parsed.place_in_settings(offset).to_string(), "3:3");
    }
}
