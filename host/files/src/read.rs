//! Bounded reads of regular files.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// What to do if the path is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Open what it leads to.
    Follow,
    /// Fail.
    Refuse,
}

/// Opens a regular file for reading.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::InvalidInput`] if it is not a regular file: a FIFO without
/// a writer or a device without an end would stall the caller.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    open_with_metadata(path, links).map(|(file, _)| file)
}

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`] beyond `max_bytes`.
pub fn read(path: &Path, links: Links, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_with_metadata(path, links, max_bytes).map(|(bytes, _)| bytes)
}

/// As [`read`], and returns the file's metadata from before the read.
///
/// # Errors
/// As [`read`].
pub fn read_with_metadata(
    path: &Path,
    links: Links,
    max_bytes: u64,
) -> io::Result<(Vec<u8>, Metadata)> {
    let (file, metadata) = open_with_metadata(path, links)?;
    Ok((contents(file, &metadata, max_bytes)?, metadata))
}

fn open_with_metadata(path: &Path, links: Links) -> io::Result<(File, Metadata)> {
    // Non-blocking: opening a FIFO would wait for a writer, and the type is known only afterwards.
    let flags = match links {
        Links::Follow => OFlags::NONBLOCK,
        Links::Refuse => OFlags::NONBLOCK | OFlags::NOFOLLOW,
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            // A socket.
            Some(code) if code == Errno::NXIO.raw_os_error() => not_regular(),
            Some(code) if code == Errno::LOOP.raw_os_error() && links == Links::Refuse => {
                not_regular()
            }
            _ => error,
        })?;
    let metadata = require_regular(&file)?;
    Ok((file, metadata))
}

pub(crate) fn require_regular(file: &File) -> io::Result<Metadata> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(metadata)
    } else {
        Err(not_regular())
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

pub(crate) fn contents(file: File, metadata: &Metadata, max_bytes: u64) -> io::Result<Vec<u8>> {
    let size = metadata.len().min(max_bytes);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&pipe, &socket, Path::new("/dev/zero"), dir.path()] {
            let error = open(path, Links::Follow).unwrap_err().to_string();
            assert_eq!(error, "not a regular file", "{}", path.display());
        }
    }

    #[test]
    fn links_are_followed_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::fs::write(dir.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert_eq!(read(&link, Links::Follow, 1).unwrap(), b"x");
        assert!(read(&link, Links::Refuse, 1).is_err());
    }

    #[test]
    fn a_read_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, Links::Refuse, 5).unwrap(), b"12345");
        let error = read(&file, Links::Refuse, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
