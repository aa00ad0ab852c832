//! Replaces a file atomically.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use files::{Links, Replace};
use libcni::load::MAX_BYTES;

/// Sets a file's content; returns `false` if it is unchanged. Readers, also after a power failure,
/// see the old text or the new one. A new file is accessible only to its owner.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<bool> {
    let mode = match files::read_with_metadata(path, Links::Follow, MAX_BYTES) {
        Ok((old, _)) if old == text => return Ok(false),
        Ok((_, metadata)) => metadata.permissions().mode() & 0o777,
        // A pipe, or more than any conf has: not what this daemon wrote.
        Err(error) if is_foreign(&error) || files::is_absent(&error) => 0o600,
        Err(error) => return Err(error),
    };
    // Runtimes select confs by extension; an unfinished file has none of theirs.
    Replace::at(path).mode(mode).durable().write(text)?;
    Ok(true)
}

fn is_foreign(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn nothing_is_written_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "old").unwrap();
        let path = dir.path().join("x.conf");
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert!(replace(&path, b"new").unwrap());
        assert_eq!(std::fs::read(&precious).unwrap(), b"old");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_pipe_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(replace(&path, b"new").unwrap());
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
