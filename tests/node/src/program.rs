//! Runs system programs for their effect or output.

use std::process::Command;

use crate::error::Error;

/// Runs a program to completion; returns its standard output.
///
/// # Errors
/// [`Error::Start`] when it cannot be started, [`Error::Failed`] when it fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, Error> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|source| Error::Start {
            program: program.to_owned(),
            source,
        })?;
    if !output.status.success() {
        return Err(Error::Failed {
            command: format!("{program} {}", arguments.join(" ")),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program of this name runs on the node.
pub fn runs(program: &str) -> bool {
    run("pgrep", &["-x", program]).is_ok()
}
