//! Containers that operators had forgotten, a file each. A runtime may still send DELs of them.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use cni_types::args::ContainerId;

use super::failed;
use cnidaria_core::ports::LedgerError;

/// More than an operator ever has forgotten; the oldest files beyond it are removed.
const MAX: usize = 1024;

/// The containers, in no order.
pub(super) fn list(dir: &Path) -> Result<Vec<ContainerId>, LedgerError> {
    let files = match std::fs::read_dir(dir) {
        Err(error) if files::is_absent(&error) => return Ok(Vec::new()),
        files => files.map_err(failed("read", dir))?,
    };
    let mut noted = Vec::new();
    for file in files {
        let file = file.map_err(failed("read", dir))?;
        if let Ok(container) = ContainerId::new(file.file_name().to_string_lossy()) {
            let written = file.metadata().and_then(|metadata| metadata.modified());
            noted.push((written.unwrap_or(SystemTime::UNIX_EPOCH), container));
        }
    }
    noted.sort();
    let surplus = noted.len().saturating_sub(MAX);
    for (_, container) in noted.drain(..surplus) {
        let path = dir.join(container.as_str());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove the note of a forgotten container");
            }
            _ => {}
        }
    }
    Ok(noted.into_iter().map(|(_, container)| container).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_latest_notes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert!(list(&dir.path().join("none")).unwrap().is_empty());
        for number in 0..=MAX as u64 {
            let file = File::create(dir.path().join(format!("c{number}"))).unwrap();
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
            file.set_modified(written).unwrap();
        }
        assert_eq!(list(dir.path()).unwrap().len(), MAX);
        assert!(!dir.path().join("c0").exists() && dir.path().join("c1").exists());
    }
}
