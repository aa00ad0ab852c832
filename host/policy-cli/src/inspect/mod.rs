//! `cnidaria policy inspect`: describes a component without running it, or compares two.

mod describe;
mod difference;

use std::path::{Path, PathBuf};

use clap::Args;
use policy_engine::compile;

use crate::Output;
use crate::policy::{self, MAX_MODULE};
use describe::Description;

/// What to describe.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The component, a .wasm file
    #[arg(value_name = "FILE")]
    module: PathBuf,
    /// Show what differs from an older component
    #[arg(long, value_name = "OLD.wasm")]
    diff: Option<PathBuf>,
}

/// Why a component cannot be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] policy::Error),
    /// A file is not a component.
    #[error("{path}", path = path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// Why.
        source: compile::Error,
    },
    /// The process cannot be limited.
    #[error("cannot inspect a module in this process")]
    Confine(#[source] compile::Error),
}

/// Describes the component. The exit code is 1 if the daemon would not load it.
///
/// # Errors
/// [`Error`] if a file cannot be read or is not a component.
pub fn inspect(args: &InspectArgs, is_json: bool) -> Result<Output, Error> {
    compile::confine().map_err(Error::Confine)?;
    let new = description(&args.module)?;
    let text = match &args.diff {
        None if is_json => describe::json(&new),
        None => describe::text(&new),
        Some(old) => {
            let old = description(old)?;
            let changes = difference::between(&old, &new);
            match is_json {
                true => difference::json(&changes),
                false => difference::text(&changes),
            }
        }
    };
    let code = u8::from(!new.faults.is_empty());
    Ok(Output { text, code })
}

fn description(path: &Path) -> Result<Description, Error> {
    let bytes = policy::read(path, MAX_MODULE)?;
    let inspection = compile::inspect(&bytes).map_err(|source| Error::Module {
        path: path.to_owned(),
        source,
    })?;
    Ok(Description::of(&inspection, bytes.len()))
}
