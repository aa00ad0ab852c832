//! `cnidaria policy build`: builds a project's component with the toolchain of its language.

mod c;
mod component;
mod description;
mod exports;
mod javascript;
mod python;
mod rust;
pub(crate) mod summary;
mod tool;
mod wit;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Output;
use crate::language::Language;
use tool::Missing;

/// The file that every build writes.
pub(crate) const MODULE: &str = "policy.wasm";

/// The project to build.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Directory of the project
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Path of the component; by default, policy.wasm in DIR
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why a project was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory has no project.
    #[error("{dir} is not the directory of a policy: none of Cargo.toml, package.json, policy.py and policy.c is in it", dir = dir.display())]
    NoProject { dir: PathBuf },
    /// A tool is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A tool cannot be started.
    #[error("cannot run {program}")]
    Spawn {
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// A tool failed; it has printed why.
    #[error("{command} failed with {status}")]
    Failed {
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The tool succeeded without writing what was expected.
    #[error("{command} wrote no {expected}")]
    NoModule {
        command: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A file cannot be read or written.
    #[error("{path}", path = path.display())]
    File {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The core module does not become a component.
    #[error("the module does not become a component: {reason}")]
    Component {
        /// The tool's reason.
        reason: String,
    },
    /// A file of the project has a mistake.
    #[error("{path}:{line}:{column}  {reason}", path = path.display())]
    Source {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The project's WIT is wrong.
    #[error("{dir}  {reason}", dir = dir.display())]
    Wit {
        /// The directory of the WIT.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What the project says of its policy is not usable.
    #[error("{path}: {reason}", path = path.display())]
    Description {
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The daemon would not load the component.
    #[error("{path}", path = path.display())]
    Unusable {
        path: PathBuf,
        source: policy_engine::compile::Error,
    },
}

/// Builds the project and describes its component.
///
/// # Errors
/// [`Error`]; tools print their own errors to standard error.
pub fn build(args: &BuildArgs) -> Result<Output, Error> {
    let dir = &args.dir;
    let language = Language::of(dir).ok_or_else(|| Error::NoProject { dir: dir.clone() })?;
    let built = match language {
        Language::Rust => rust::build(dir)?,
        Language::JavaScript => javascript::build(dir)?,
        Language::Python => python::build(dir)?,
        Language::C => c::build(dir)?,
    };
    let module = description::add(dir, component::of(&read(&built)?)?)?;
    let out = args.out.clone().unwrap_or_else(|| dir.join(MODULE));
    write(&out, &module)?;
    let summary = summary::of(&out, &module)?;
    Ok(Output::success(summary))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

/// Removes the module of an earlier build, which must not be taken for a new one.
fn forget(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
