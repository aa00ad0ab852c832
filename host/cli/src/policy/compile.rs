//! `cnidaria policy compile`: compiles a component into the artefact that the daemon loads.
//!
//! The daemon also runs it as a confined child process, so that neither compiler bugs nor compiler
//! memory affect the daemon: see `policy_engine::compile::child`.

use std::error::Error;
use std::path::Path;

use files::Replace;

/// Compiles the component `module` into the artefact `out`, which appears only when complete.
pub(crate) fn compile(module: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    policy_engine::compile::confine()?;
    let bytes = policy_cli::module(module)?;
    let (artefact, inspection) = policy_engine::compile::compile_and_inspect(&bytes)
        .map_err(|error| format!("{}: {error}", module.display()))?;
    if let Some(reason) = inspection.faults().first() {
        return Err(format!("{} does not load: {reason}", module.display()).into());
    }
    write(out, &artefact).map_err(|error| format!("cannot write {}: {error}", out.display()))?;
    Ok(())
}

/// Writes the artefact privately: it is machine code, and the daemon rejects files that others
/// could have written.
fn write(out: &Path, artefact: &[u8]) -> std::io::Result<()> {
    Replace::at(out).durable().write(artefact)
}
