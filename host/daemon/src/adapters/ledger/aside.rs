//! Damaged things of the ledger, which are moved out of its way and kept for inspection.

use std::path::Path;

use cnidaria_core::ports::LedgerError;

use super::{DAMAGED_DIR, failed, file};

/// Moves something that is not a directory from the place of one. Returns whether it did.
pub(super) fn clear(dir: &Path, cni_dir: &Path) -> bool {
    let is_dir = std::fs::metadata(dir).is_ok_and(|metadata| metadata.is_dir());
    if is_dir || dir.symlink_metadata().is_err() {
        return false;
    }
    let moved = file::move_aside(dir, &cni_dir.join(DAMAGED_DIR));
    match &moved {
        Ok(aside) => {
            tracing::error!(path = %dir.display(), aside = %aside.display(), "moved away what stood in the place of a directory of the ledger");
        }
        Err(error) => {
            tracing::error!(path = %dir.display(), %error, "cannot move away what stands in the place of a directory of the ledger");
        }
    }
    moved.is_ok()
}

/// Keeps a damaged file for inspection.
pub(super) fn set_aside(path: &Path, cni_dir: &Path) {
    match file::set_aside(path, &cni_dir.join(DAMAGED_DIR)) {
        Ok(aside) => {
            tracing::error!(path = %path.display(), aside = %aside.display(), "set aside a damaged file of the ledger");
        }
        // Undoing now matters more than keeping a file for inspection.
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot set aside a damaged file of the ledger")
        }
    }
}

/// Moves away a directory in the place of a file, which could not be removed as one. Returns whether
/// there was one.
pub(super) fn move_dir(path: &Path, cni_dir: &Path) -> Result<bool, LedgerError> {
    if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Ok(false);
    }
    let moved = file::move_aside(path, &cni_dir.join(DAMAGED_DIR));
    moved.map(|_| true).map_err(failed("move", path))
}
