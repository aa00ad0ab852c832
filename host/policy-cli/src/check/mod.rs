//! `cnidaria policy check`: whether the daemon would load a module with its configuration, and what in
//! the configuration has no effect.

pub(crate) mod explain;
mod warnings;

use std::path::PathBuf;

use clap::Args;

use crate::manifests;
use crate::policy::{self, Policy};
use crate::{Output, runtime};

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The component, a .wasm file
    #[arg(value_name = "FILE")]
    module: PathBuf,
    /// The policy's configuration
    #[arg(long, value_name = "JSON")]
    config: PathBuf,
    /// Pods, networks and namespaces that `match` should name: a file or directory of manifests
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy is not usable.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// A manifest is not usable.
    #[error("{0}")]
    Manifests(String),
}

/// Checks the configuration. Faults are on standard output, one line each, and the exit code is 1.
///
/// # Errors
/// [`Error`] if a file cannot be read or the module is not usable.
pub fn check(args: &CheckArgs) -> Result<Output, Error> {
    let policy = Policy::open(&args.module, Some(&args.config))?;
    let objects = match &args.manifests {
        Some(path) => {
            let read = manifests::files(path);
            Some(read.map_err(|error| Error::Manifests(cni_types::error::chain(&error)))?)
        }
        None => None,
    };
    let file = args.config.display().to_string();
    let configuration = match policy.configuration() {
        Ok(configuration) => configuration,
        Err(faults) => {
            let lines: Vec<String> = faults
                .iter()
                .map(|fault| policy.line(fault) + "\n")
                .collect();
            return Ok(Output {
                text: lines.concat(),
                code: 1,
            });
        }
    };
    let dir = args.manifests.as_deref().zip(objects.as_ref());
    let warnings = warnings::of(&configuration, &policy.compiled, dir);
    let mut text: String = warnings
        .iter()
        .map(|warning| format!("warning: {warning}\n"))
        .collect();
    let loaded = runtime().block_on(policy.compiled.load(&configuration));
    let code = match loaded {
        Ok(_) => {
            let hooks = policy.compiled.hooks();
            let hooks: Vec<&str> = hooks.iter().map(|hook| hook.as_str()).collect();
            text.push_str(&format!("{file} is valid; hooks: {}\n", hooks.join(", ")));
            0
        }
        Err(refusal) => {
            let fault = explain::refusal(&refusal, &configuration);
            text.push_str(&(policy.line(&fault) + "\n"));
            1
        }
    };
    Ok(Output { text, code })
}
