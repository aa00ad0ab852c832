//! Replaces a file atomically.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Sets a file's content; returns `false` if it is unchanged. Readers, also after a power failure,
/// see the old text or the new one. A new file is accessible only to its owner.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<bool> {
    let mode = match std::fs::read(path) {
        Ok(old) if old == text => return Ok(false),
        Ok(_) => std::fs::metadata(path)?.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0o600,
        Err(error) => return Err(error),
    };
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // Runtimes select confs by extension; this name has none of theirs.
    let temporary = dir.join(format!(".{}.new", name.to_string_lossy()));
    // Left by a dead daemon, or a link, which must not be written through.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(text)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // Keep the first error.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(dir)?.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "old").unwrap();
        let path = dir.path().join("x.conf");
        for name in ["x.conf", ".x.conf.new"] {
            std::os::unix::fs::symlink(&precious, dir.path().join(name)).unwrap();
        }
        assert!(replace(&path, b"new").unwrap());
        assert_eq!(std::fs::read(&precious).unwrap(), b"old");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_is_written_once_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        assert!(replace(&path, b"a").unwrap());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(replace(&path, b"b").unwrap());
        assert!(!replace(&path, b"b").unwrap());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }
}
