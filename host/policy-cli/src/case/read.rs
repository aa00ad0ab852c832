//! Reads files of cases. A mistake in one is an error with file, line and column.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_saphyr::{Location, Spanned};

use super::Case;
use super::format::Document;
use super::resolved::resolve;
use crate::manifests;
use crate::suggest;

/// Why a file of cases cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It has a mistake.
    #[error("{path}{at}  {reason}", path = path.display())]
    Mistake {
        path: PathBuf,
        /// `:line:column`, if known.
        at: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
}

/// The cases of a file, in order.
///
/// # Errors
/// [`Error`] for the first mistake.
pub(crate) fn read(path: &Path) -> Result<Vec<Case>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, &text)
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Case>, Error> {
    let file = Place { path };
    let documents: Vec<Option<Spanned<Document>>> =
        serde_saphyr::from_multiple(text).map_err(|error| file.syntax(&error))?;
    let mut defaults = Document::default();
    let mut cases = Vec::new();
    for document in documents.into_iter().flatten() {
        let at = document.referenced;
        let mut document = document.value;
        if let Some(given) = document.defaults.take() {
            let is_case = document.expect.is_some() || document.steps.is_some();
            if given.expect.is_some() || given.steps.is_some() || is_case || document.pod.is_some()
            {
                let reason = "defaults stand in a document of their own, without expect or steps";
                return Err(file.mistake(at, reason));
            }
            defaults = given.with_defaults(&defaults);
            continue;
        }
        cases.push(resolve(&file, at, document.with_defaults(&defaults))?);
    }
    Ok(cases)
}

/// The file that a mistake is in.
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
}

impl Place<'_> {
    /// A mistake at a place.
    pub(super) fn mistake(&self, at: Location, reason: impl Into<String>) -> Error {
        Error::Mistake {
            path: self.path.to_owned(),
            at: manifests::place(Some(at)),
            reason: reason.into(),
        }
    }

    fn syntax(&self, error: &serde_saphyr::Error) -> Error {
        Error::Mistake {
            path: self.path.to_owned(),
            at: manifests::place(error.location()),
            reason: reason(error),
        }
    }
}

/// What is wrong; for an unknown key or value, with what was probably meant.
fn reason(error: &serde_saphyr::Error) -> String {
    let unknown = |what: &str, name: &str, known: &[&str]| {
        format!("unknown {what} {name:?}; {}", suggest::hint(name, known))
    };
    match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField {
            field, expected, ..
        } => unknown("key", field, expected),
        serde_saphyr::Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown("value", variant, expected),
        error => manifests::message(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn error(text: &str) -> String {
        parse(Path::new("a.yaml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_has_file_line_and_column() {
        let check = |text: &str, expected: &str| {
            let found = error(text);
            assert!(found.starts_with(expected), "{found}");
        };
        check(
            "pod: {}\nexpcet: {}\n",
            "a.yaml:2:1  unknown key \"expcet\"; did you mean \"expect\"?",
        );
        check(
            "pod: {}\n---\nexpect:\n  verdikt: deny\n",
            "a.yaml:4:3  unknown key \"verdikt\"; did you mean",
        );
        check(
            "expect: {verdict: denny}\n",
            "a.yaml:1:19  unknown value \"denny\"; did you mean \"deny\"?",
        );
        check(
            "expect: {hook: before-ad}\n",
            "a.yaml:1:16  unknown hook \"before-ad\"; did you mean",
        );
        check("steps:\n- add: bob\n", "a.yaml:2:8  unknown pod \"bob\"");
        check("steps:\n- sandbox: x\n", "a.yaml:2:3  ");
        check("clock: yesterday\n", "a.yaml:1:8  ");
        check("delegates: {x: {ips: 1}}\n", "a.yaml:1:16  ");
        check("networks: {a: [1]}\n", "a.yaml:1:15  ");
        check("expect: {code: many}\n", "a.yaml:1:16  ");
    }

    #[test]
    fn defaults_are_inherited_and_replaced() {
        let text = "defaults:\n  pod: {namespace: a, labels: {x: y}}\n  networks: {n: {type: ptp}}\n---\npod: {name: w}\n---\npod: {namespace: b}\nnetworks: {m: {type: ptp}}\n";
        let cases = parse(Path::new("a.yaml"), text).unwrap();
        let pods: Vec<_> = cases
            .iter()
            .map(|case| {
                let pod = case.surroundings.objects.pods().first().unwrap();
                (pod.namespace.as_str(), pod.name.as_str(), pod.labels.len())
            })
            .collect();
        assert_eq!(pods, [("a", "w", 1), ("b", "pod", 1)]);
        assert_eq!(cases.last().unwrap().surroundings.objects.nads().len(), 2);
    }
}
