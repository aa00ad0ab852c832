//! Finds the policies in the directories: which files make up which policy.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use files::Links;

use super::file::Draft;
use super::{Error, Spec};
use crate::model::policy::Mode;

/// Maximum bytes of one configuration; also Kubernetes' limit for a whole ConfigMap.
const MAX_CONFIG: u64 = 1 << 20;

/// Maximum number of policies: each has descriptors, mappings and memory of its own.
const MAX_POLICIES: usize = 256;

/// Maximum number of files in a directory, whatever they are.
const MAX_FILES: usize = 4096;

/// A policy found in the directories, well-formed or not.
#[derive(Debug)]
pub(crate) struct FoundPolicy {
    /// Determines the policy's order as well.
    pub(crate) name: String,
    /// The file that defines the policy.
    pub(crate) file: PathBuf,
    pub(crate) reading: Reading,
}

/// How the files of a policy were read.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Well-formed. The text is that of the configuration, if there is one.
    Good(Spec, Option<String>),
    /// Partly wrong; the strictest values replace what is wrong. The text is that of the
    /// configuration, if there is one.
    Faulty(Spec, Option<String>, Vec<Error>),
    /// Not a JSON object: the operator's intent is unknown.
    Unreadable(Vec<Error>),
}

/// Reads all configurations of both directories, ordered by policy name.
///
/// A configuration `10-name.json` in either directory is a policy. A module `10-name.wasm` without
/// one is a policy with defaults if its name begins with a number and a dash; other modules run
/// only if configurations name them. Names that begin with a dot are ignored: a mounted ConfigMap
/// has such entries.
///
/// # Errors
/// [`Error::Read`] if a directory is missing or cannot be listed: it may exist on the node but not
/// in the container, so its policies are unknown rather than absent. [`Error::TooMany`] if there are
/// more than [`MAX_POLICIES`], or more than [`MAX_FILES`] in one directory.
pub(crate) fn scan(
    module_dir: &Path,
    config_dir: Option<&Path>,
) -> Result<Vec<FoundPolicy>, Error> {
    let mut configs: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut modules: BTreeMap<String, PathBuf> = BTreeMap::new();
    let dirs: BTreeSet<&Path> = [module_dir].into_iter().chain(config_dir).collect();
    for dir in dirs {
        for (stem, extension, path) in list(dir)? {
            match extension.as_str() {
                "json" => configs.entry(stem).or_default().push(path),
                "wasm" if dir == module_dir => {
                    modules.insert(stem, path);
                }
                _ => {}
            }
        }
    }
    let is_alone = |stem: &String| is_ordered(stem) && !configs.contains_key(stem);
    let alone = modules.keys().filter(|stem| is_alone(stem)).count();
    if configs.len() + alone > MAX_POLICIES {
        return Err(Error::TooMany {
            dir: module_dir.to_owned(),
            what: "policies",
            limit: MAX_POLICIES,
        });
    }
    let alone = modules
        .iter()
        .filter(|(stem, _)| is_alone(stem))
        .map(|(stem, path)| FoundPolicy {
            name: stem.clone(),
            file: path.clone(),
            reading: reading(
                Some(Spec::of_module(stem, path)),
                None,
                checked_name(stem, path).err().into_iter().collect(),
            ),
        });
    let mut found: Vec<FoundPolicy> = configs
        .iter()
        .filter_map(|(stem, paths)| {
            let file = paths.first()?.clone();
            Some(FoundPolicy {
                name: stem.clone(),
                file,
                reading: configured(stem, paths, module_dir),
            })
        })
        .chain(alone)
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Reads a policy's configurations. Several are a fault; what they agree on is honoured.
fn configured(name: &str, files: &[PathBuf], module_dir: &Path) -> Reading {
    let mut faults = Vec::new();
    if let [first, second, ..] = files {
        faults.push(Error::Twice {
            first: first.clone(),
            second: second.clone(),
        });
    }
    faults.extend(
        files
            .first()
            .and_then(|file| checked_name(name, file).err()),
    );
    let mut agreed: Option<Spec> = None;
    let mut good = None;
    for file in files {
        let parsed = read_text(file).and_then(|text| {
            let draft = Spec::parse(name, file, &text, module_dir)?;
            good = Some(text);
            Ok(draft)
        });
        match parsed {
            Ok(draft) => {
                let Draft { spec, faults: more } = draft;
                faults.extend(more);
                agreed = Some(match agreed {
                    Some(former) => former.strictest(spec),
                    None => spec,
                });
            }
            Err(error) => faults.push(error),
        }
    }
    reading(agreed, good, faults)
}

fn reading(spec: Option<Spec>, text: Option<String>, faults: Vec<Error>) -> Reading {
    match spec {
        Some(spec) if faults.is_empty() => Reading::Good(spec, text),
        Some(spec) => Reading::Faulty(spec, text, faults),
        None => Reading::Unreadable(faults),
    }
}

/// A policy from its last good configuration; `None` if this version cannot read it.
pub(crate) fn restored(
    name: &str,
    file: &Path,
    text: Option<&str>,
    module_dir: &Path,
) -> Option<Spec> {
    checked_name(name, file).ok()?;
    let Some(text) = text else {
        return Some(Spec::of_module(name, file));
    };
    let Draft { spec, faults } = Spec::parse(name, file, text, module_dir).ok()?;
    faults.is_empty().then_some(spec)
}

/// A policy from its last good configuration, if that switches it off, whatever else is wrong in it.
pub(crate) fn off(name: &str, file: &Path, text: &str, module_dir: &Path) -> Option<Spec> {
    let Draft { spec, .. } = Spec::parse(name, file, text, module_dir).ok()?;
    (spec.mode == Mode::Off).then_some(spec)
}

fn read_text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = files::open(path, Links::Follow).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    file.take(MAX_CONFIG + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            size,
            limit: MAX_CONFIG,
        });
    }
    Ok(text)
}

/// The stem, extension and path of each file.
fn list(dir: &Path) -> Result<Vec<(String, String, PathBuf)>, Error> {
    let failed = |source| Error::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = std::fs::read_dir(dir).map_err(failed)?;
    let mut files = Vec::new();
    for (number, entry) in entries.enumerate() {
        let path = entry.map_err(failed)?.path();
        if number >= MAX_FILES {
            return Err(Error::TooMany {
                dir: dir.to_owned(),
                what: "files",
                limit: MAX_FILES,
            });
        }
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().into_owned());
        // Directories too: a bind mount of a file that does not exist makes one, and the policy that
        // the operator meant is unknown rather than absent.
        if let (Some(stem), Some(extension)) = (stem, extension)
            && !stem.starts_with('.')
        {
            files.push((stem, extension, path));
        }
    }
    Ok(files)
}

/// Whether a name begins with a number and a dash.
fn is_ordered(stem: &str) -> bool {
    stem.split_once('-')
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn checked_name(name: &str, path: &Path) -> Result<(), Error> {
    let valid = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if valid {
        return Ok(());
    }
    Err(Error::Name {
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    fn names(found: &[FoundPolicy]) -> Vec<(&str, bool)> {
        found
            .iter()
            .map(|found| {
                (
                    found.name.as_str(),
                    matches!(found.reading, Reading::Good(..)),
                )
            })
            .collect()
    }

    #[test]
    fn lone_modules_and_all_configs_are_policies() {
        let (modules, configs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(
            modules.path(),
            &[
                ("10-alone.wasm", ""),
                ("20-with.wasm", ""),
                ("20-with.json", "{}"),
                ("library.wasm", ""),
                (".hidden.json", "{}"),
                ("README.md", ""),
            ],
        );
        write(
            configs.path(),
            &[
                ("15-other.json", r#"{"module":"library.wasm"}"#),
                ("30-late.wasm", ""),
            ],
        );
        let found = scan(modules.path(), Some(configs.path())).unwrap();
        assert_eq!(
            names(&found),
            [("10-alone", true), ("15-other", true), ("20-with", true)]
        );
        let Reading::Good(other, _) = &found[1].reading else {
            panic!("{:?}", found[1]);
        };
        assert_eq!(other.module, modules.path().join("library.wasm"));
    }

    #[test]
    fn a_wrong_file_is_one_wrong_policy() {
        let (modules, configs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(
            modules.path(),
            &[
                ("10-a.json", "{"),
                ("20-b.json", "{}"),
                ("30-c.json", "{}"),
                ("b d.json", "{}"),
            ],
        );
        std::fs::create_dir(modules.path().join("50-mount.json")).unwrap();
        std::fs::create_dir(modules.path().join("..data")).unwrap();
        write(configs.path(), &[("30-c.json", "{}")]);
        std::fs::write(
            modules.path().join("40-big.json"),
            vec![b' '; (MAX_CONFIG + 1) as usize],
        )
        .unwrap();
        let found = scan(modules.path(), Some(configs.path())).unwrap();
        let expected = [
            ("10-a", false),
            ("20-b", true),
            ("30-c", false),
            ("40-big", false),
            ("50-mount", false),
            ("b d", false),
        ];
        assert_eq!(names(&found), expected);
        let Reading::Faulty(_, _, faults) = &found[2].reading else {
            panic!("{:?}", found[2]);
        };
        let twice = faults[0].to_string();
        assert!(twice.contains("configure the same policy"), "{twice}");
    }

    #[test]
    fn too_many_policies_or_files_are_an_error() {
        let check = |extension: &str, count: usize, expected: Option<&str>| {
            let dir = tempfile::tempdir().unwrap();
            for number in 0..count {
                write(dir.path(), &[(&format!("{number}-a.{extension}"), "{}")]);
            }
            let error = scan(dir.path(), None).err().map(|error| error.to_string());
            let is_expected = match (&error, expected) {
                (Some(error), Some(part)) => error.contains(part),
                (error, part) => error.is_none() && part.is_none(),
            };
            assert!(is_expected, "{count} {extension}: {error:?}");
        };
        for extension in ["json", "wasm"] {
            check(extension, MAX_POLICIES, None);
            check(extension, MAX_POLICIES + 1, Some("more than 256 policies"));
        }
        check("txt", MAX_FILES, None);
        check("txt", MAX_FILES + 1, Some("more than 4096 files"));
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let error = scan(Path::new("/does/not/exist"), None).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error}");
    }

    #[test]
    fn one_directory_given_twice_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[("10-a.json", "{}")]);
        let found = scan(dir.path(), Some(dir.path())).unwrap();
        assert_eq!(names(&found), [("10-a", true)]);
    }
}
