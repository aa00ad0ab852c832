//! Reads a recording, and finds the policy that is compared with.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use policy_engine::record::{Frames, Head, Redactor};
use serde::Deserialize;

use super::Error;
use crate::suggest;

/// The bytes of a recording.
pub(super) struct Recording {
    files: Vec<Vec<u8>>,
}

/// One request.
pub(super) struct Record<'r> {
    pub(super) bytes: &'r [u8],
    /// What its daemon left out.
    pub(super) redactor: Arc<Redactor>,
}

impl Recording {
    /// Reads a file, or the files of a directory in the order of their names.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::NotARecording`].
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut paths = Vec::new();
        match path.is_dir() {
            true => {
                for entry in std::fs::read_dir(path).map_err(failed)? {
                    let path = entry.map_err(failed)?.path();
                    if path.extension().is_some_and(|extension| extension == "rec") {
                        paths.push(path);
                    }
                }
                paths.sort();
            }
            false => paths.push(path.to_owned()),
        }
        let mut recording = Self { files: Vec::new() };
        for path in paths {
            let bytes = match std::fs::read(&path) {
                // The daemon removes its oldest file.
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && !recording.files.is_empty() =>
                {
                    continue;
                }
                other => other.map_err(failed)?,
            };
            if Frames::new(&bytes).is_none() {
                return Err(Error::NotARecording { path });
            }
            recording.files.push(bytes);
        }
        Ok(recording)
    }

    /// The requests, in order, and the number of bytes that are not whole requests.
    pub(super) fn records(&self) -> (Vec<Record<'_>>, usize) {
        let (mut records, mut skipped) = (Vec::new(), 0);
        let mut last: Option<(Head, Arc<Redactor>)> = None;
        for mut frames in self.files.iter().filter_map(|bytes| Frames::new(bytes)) {
            while let Some(bytes) = frames.next() {
                let head = frames.head();
                let redactor = match &last {
                    Some((known, redactor)) if known == head => Arc::clone(redactor),
                    _ => {
                        let redactor = Arc::new(Redactor::new(&head.redaction));
                        last = Some((head.clone(), Arc::clone(&redactor)));
                        redactor
                    }
                };
                records.push(Record { bytes, redactor });
            }
            skipped += frames.skipped();
        }
        (records, skipped)
    }
}

/// The names in a record.
#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow)]
    calls: Vec<Turns<'a>>,
}

#[derive(Deserialize)]
struct Turns<'a> {
    #[serde(borrow, default)]
    turns: Vec<Name<'a>>,
}

#[derive(Deserialize)]
struct Name<'a> {
    #[serde(borrow)]
    policy: Cow<'a, str>,
}

/// The recorded policy to compare with: the `wanted` one, else one of the name `own`, else the only
/// one.
///
/// # Errors
/// [`Error::UnknownPolicy`] with the recorded ones.
pub(super) fn policy(
    wanted: Option<&str>,
    own: &str,
    records: &[Record<'_>],
) -> Result<String, Error> {
    let mut known = BTreeSet::new();
    for record in records {
        let names: Option<Names<'_>> = serde_json::from_slice(record.bytes).ok();
        let turns = names.into_iter().flat_map(|names| names.calls);
        for name in turns.flat_map(|turns| turns.turns) {
            if name.policy == wanted.unwrap_or(own) {
                return Ok(name.policy.into_owned());
            }
            if !known.contains(&*name.policy) {
                known.insert(name.policy.into_owned());
            }
        }
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match (wanted, known.as_slice()) {
        (None, [only]) => Ok((*only).to_owned()),
        _ => Err(Error::UnknownPolicy {
            name: wanted.unwrap_or(own).to_owned(),
            hint: match known.is_empty() {
                true => "no policy was called".to_owned(),
                false => suggest::hint(wanted.unwrap_or(own), &known),
            },
        }),
    }
}
