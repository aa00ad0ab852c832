//! Pending undos, a file per container.

use std::io;
use std::path::Path;

use cni_types::args::ContainerId;
use cni_types::json::Cause;

use super::{failed, file};
use cnidaria_core::ports::{LedgerError, Undo};

/// Reads all pending undos of a directory; moves damaged ones to `aside`, so that nothing is in the
/// way of new ones.
pub(super) fn read_all(dir: &Path, aside: &Path) -> Result<Vec<Undo>, LedgerError> {
    let files = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.map_err(failed("read", dir))?,
    };
    let mut undos = Vec::new();
    for file in files {
        let file = file.map_err(failed("read", dir))?;
        if ContainerId::new(file.file_name().to_string_lossy()).is_err() {
            continue;
        }
        let path = file.path();
        let undo = file::read(&path).and_then(|text| {
            serde_json::from_slice(&text).map_err(|error| io::Error::other(Cause::from(error)))
        });
        match undo {
            Ok(undo) => undos.push(undo),
            // It only says when to retry; the sandbox's own file says what to undo. An attachment
            // whose namespace is gone is undone at the start in any case.
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the record of a pending undo is damaged; the daemon undoes attachments without a namespace now, others with the container's next DEL");
                if let Err(error) = file::move_aside(&path, aside) {
                    tracing::error!(path = %path.display(), %error, "cannot move the damaged record of an undo");
                }
            }
        }
    }
    Ok(undos)
}
