//! The file of a bundle: a compressed archive that only its owner can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Part;

/// The directory in the archive.
const DIRECTORY: &str = "cnidaria-bundle";

/// The bundle cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(super) struct Error {
    path: PathBuf,
    source: io::Error,
}

/// Writes a new file, or leaves none.
///
/// # Errors
/// The file exists already, or its directory or the disk does not allow it.
pub(super) fn write(path: &Path, parts: &[Part]) -> Result<(), Error> {
    let written = try_write(path, parts);
    written.map_err(|source| Error {
        path: path.to_owned(),
        source,
    })
}

fn try_write(path: &Path, parts: &[Part]) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = write_to(file, parts).and_then(|file| file.sync_all());
    if written.is_err() {
        // The next attempt needs the name.
        let _stays = fs::remove_file(path);
    }
    written
}

/// Writes an archive; returns what it was written to.
///
/// # Errors
/// Writing failed.
pub(super) fn write_to<W: Write>(target: W, parts: &[Part]) -> io::Result<W> {
    let mut archive = tar::Builder::new(GzEncoder::new(target, Compression::default()));
    for part in parts {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o600);
        header.set_mtime(super::gather::now());
        header.set_size(part.content.len() as u64);
        let name = format!("{DIRECTORY}/{}", part.name);
        archive.append_data(&mut header, name, part.content.as_slice())?;
    }
    let mut target = archive.into_inner()?.finish()?;
    target.flush()?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_fails_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.tar.gz");
        let part = |name| Part {
            name,
            what: "",
            content: Vec::new(),
        };
        // A name that an archive cannot hold.
        try_write(&path, &[part("a"), part("\0")]).unwrap_err();
        assert!(!path.exists());
        try_write(&path, &[part("a")]).unwrap();
        try_write(&path, &[part("a")]).unwrap_err();
        assert!(path.exists());
    }
}
