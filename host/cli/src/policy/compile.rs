//! `cnidaria policy compile`: from a component to the artefact that the daemon loads.
//!
//! The daemon calls it too, in a child process that gives up what it does not need, so that neither a
//! fault of the compiler nor its memory is the daemon's: see `policy_engine::compile::child`.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Compiles the component `module` into the artefact `out`, which appears when it is complete.
pub(crate) fn compile(module: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    policy_engine::compile::confine()?;
    let bytes = super::inspect::read(module)?;
    let artefact = policy_engine::compile::compile(&bytes)?;
    write(out, &artefact).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    Ok(())
}

/// The artefact is machine code for the daemon, which refuses what others could have written.
fn write(out: &Path, artefact: &[u8]) -> std::io::Result<()> {
    let mut unfinished = out.to_owned().into_os_string();
    unfinished.push(format!(".{}.tmp", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished);
    let written = file.and_then(|mut file| {
        file.write_all(artefact)?;
        file.sync_all()?;
        fs::rename(&unfinished, out)
    });
    if written.is_err() {
        // It may not be there at all.
        let _ = fs::remove_file(&unfinished);
    }
    written
}
