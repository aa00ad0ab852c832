//! Bounded reads and atomic writes of single files directly beneath one of the daemon's
//! directories. Requests may choose the file names, so symbolic links beneath that directory are
//! never followed.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// Marks a file that is still being written: `.new-<name>`.
const UNFINISHED: &str = "new";

/// The longest file name, leaving room for the [`UNFINISHED`] prefix.
const MAX_NAME: usize = 250;

/// Turns a text into one path component, replacing slashes as the device-info specification says.
/// Texts too long for a file name are replaced by their digest.
pub(super) fn component(text: &str) -> String {
    let name = text.replace(['/', '\0'], "-");
    let is_component = !matches!(name.as_str(), "" | "." | "..");
    if is_component && name.len() <= MAX_NAME {
        return name;
    }
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Opens `part` in `dir`. Links on the path to `dir` are the node's own and are followed.
fn open_dir(dir: &Path, part: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
    let opened = rustix::fs::openat(&parent, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
    Ok(opened)
}

/// Reads a file; `None` if it does not exist.
pub(super) fn read(
    dir: &Path,
    part: &str,
    name: &str,
    max_bytes: usize,
) -> io::Result<Option<Vec<u8>>> {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(open_dir(dir, part)?, name, flags, Mode::empty())?;
        Ok(File::from(opened))
    };
    let file = match open() {
        Err(error) if is_absent(&error) => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut text)?;
    if text.len() > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(text))
}

/// Writes or replaces a file atomically, creating its directory if missing.
pub(super) fn write(dir: &Path, part: &str, name: &str, text: &[u8]) -> io::Result<()> {
    let part = match open_dir(dir, part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(dir.join(part))?;
            open_dir(dir, part)?
        }
        opened => opened?,
    };
    let unfinished = format!(".{UNFINISHED}-{name}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let create = || rustix::fs::openat(&part, &unfinished, flags, mode);
    let created = match create() {
        // Writes of one file never overlap, so a dead daemon left this.
        Err(Errno::EXIST) => {
            unlink(&part, &unfinished)?;
            create()
        }
        created => created,
    };
    let written = created
        .map_err(io::Error::from)
        .and_then(|file| File::from(file).write_all(text))
        .and_then(|()| Ok(rustix::fs::renameat(&part, &unfinished, &part, name)?));
    if written.is_err() {
        // Keep the first error.
        let _ = unlink(&part, &unfinished);
    }
    written
}

/// Removes a file; succeeds if it does not exist.
pub(super) fn remove(dir: &Path, part: &str, name: &str) -> io::Result<()> {
    match open_dir(dir, part) {
        Err(error) if is_absent(&error) => Ok(()),
        opened => unlink(&opened?, name),
    }
}

fn unlink(part: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(part, name, AtFlags::empty()).map_err(io::Error::from) {
        Err(error) if is_absent(&error) => Ok(()),
        removed => removed,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
