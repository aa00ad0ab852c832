//! Digests of modules: `sha256:` and hexadecimal, as in configurations, the cache and logs.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use files::Links;

/// Maximum bytes of a module.
pub(crate) const MAX_MODULE: u64 = 64 << 20;

/// Bytes of a file read at a time.
const CHUNK: usize = 64 << 10;

/// The digest of a module.
#[cfg(any(test, feature = "compile"))]
pub(crate) fn of(module: &[u8]) -> String {
    text(&Sha256::digest(module))
}

fn text(digest: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The digest of a module's file, without loading it into memory as a whole.
///
/// # Errors
/// File system errors; [`io::ErrorKind::FileTooLarge`] above [`MAX_MODULE`].
pub(crate) fn of_file(path: &Path) -> io::Result<String> {
    let mut file = files::open(path, Links::Follow)?;
    let too_large = || {
        let reason = format!("it has more than {MAX_MODULE} bytes");
        io::Error::new(io::ErrorKind::FileTooLarge, reason)
    };
    // Reading that much takes a while, in which no other policy loads.
    if file.metadata()?.len() > MAX_MODULE {
        return Err(too_large());
    }
    let mut chunk = vec![0; CHUNK];
    let mut hash = Sha256::new();
    let mut left = MAX_MODULE;
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok(text(&hash.finalize())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // The file may have grown.
        left = left.checked_sub(read as u64).ok_or_else(too_large)?;
        hash.update(chunk.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(b"abc"), expected);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("m"), "abc").unwrap();
        assert_eq!(of_file(&dir.path().join("m")).unwrap(), expected);
        let large = vec![7; 3 * CHUNK + 1];
        std::fs::write(dir.path().join("l"), &large).unwrap();
        assert_eq!(of_file(&dir.path().join("l")).unwrap(), of(&large));
    }

    #[test]
    fn oversized_module_is_rejected_unread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge");
        // A sparse file, which occupies no disk space.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = of_file(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
