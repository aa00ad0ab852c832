//! Finds a project's module, configuration and cases.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, TestArgs};
use crate::build::MODULE;

/// The name of a project's configuration.
const CONFIG: &str = "policy.json";

/// The files of one test.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) module: PathBuf,
    pub(super) config: Option<PathBuf>,
    /// In order of their names.
    pub(super) cases: Vec<PathBuf>,
}

/// Finds the files.
///
/// # Errors
/// [`Error::NoDirectory`], [`Error::NoModule`], [`Error::NoCases`], or [`Error::File`] for a directory that cannot be read.
pub(super) fn files(args: &TestArgs) -> Result<Files, Error> {
    let dir = &args.dir;
    let what = match (dir.exists(), dir.is_dir(), &args.module) {
        (false, ..) => Some("does not exist"),
        (_, false, None) => Some("is not a directory: name the module of its cases with --module"),
        _ => None,
    };
    if let Some(what) = what {
        let dir = dir.clone();
        return Err(Error::NoDirectory { dir, what });
    }
    let module = args.module.clone().unwrap_or_else(|| dir.join(MODULE));
    if !module.is_file() {
        return Err(Error::NoModule { path: module });
    }
    let default = Some(dir.join(CONFIG)).filter(|path| path.is_file());
    let config = args.config.clone().or(default);
    let places = [dir.join("tests/cases"), dir.join("tests"), dir.clone()];
    let mut cases = Vec::new();
    for place in places.iter().filter(|place| place.is_dir()) {
        collect(place, &mut cases)?;
        if !cases.is_empty() {
            break;
        }
    }
    if dir.is_file() {
        cases.push(dir.clone());
    }
    if cases.is_empty() {
        return Err(Error::NoCases { dir: dir.clone() });
    }
    cases.sort();
    Ok(Files {
        module,
        config,
        cases,
    })
}

/// The YAML files of a directory, and of the directory `cases` in it. Others belong to the cases.
fn collect(dir: &Path, cases: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |source| Error::File {
        path: dir.to_owned(),
        source,
    };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        let is_example = path
            .file_name()
            .is_some_and(|name| name == "pod.yaml" || name == "nads.yaml");
        if is_yaml && !is_example && path.is_file() {
            cases.push(path);
        }
    }
    Ok(())
}
