//! Digests of modules, as configurations, the cache and logs have them: `sha256:` and hexadecimal.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes of the largest module that is read.
pub(crate) const MAX_MODULE: u64 = 64 << 20;

/// The digest of a module.
pub(crate) fn of(module: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(module) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The digest of a module's file.
///
/// # Errors
/// As the file system has them; [`io::ErrorKind::FileTooLarge`] above [`MAX_MODULE`].
pub(crate) fn of_file(path: &Path) -> io::Result<String> {
    let mut module = Vec::new();
    File::open(path)?
        .take(MAX_MODULE + 1)
        .read_to_end(&mut module)?;
    if module.len() as u64 > MAX_MODULE {
        let reason = format!("it has more than {MAX_MODULE} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(of(&module))
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
    }
}
