//! Single files in a directory beneath another one. Strangers may choose the names, so symbolic links
//! beneath the outer directory are never followed. `part` and `name` must be single path components.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::is_absent;
use crate::read::{contents, require_regular};

/// Marks a file that is still being written: `.new-<name>`.
const UNFINISHED: &str = "new";

/// Opens `part` in `dir`. Links on the path to `dir` are the node's own and are followed.
fn open_dir(dir: &Path, part: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
    let opened = rustix::fs::openat(&parent, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
    Ok(opened)
}

/// Reads the regular file `dir/part/name` of at most `max_bytes`; `None` if it does not exist.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::FileTooLarge`]; [`io::ErrorKind::InvalidInput`] if it is
/// not a regular file.
pub fn read(dir: &Path, part: &str, name: &str, max_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(open_dir(dir, part)?, name, flags, Mode::empty())?;
        Ok(File::from(opened))
    };
    let file = match open() {
        Err(error) if is_absent(&error) => return Ok(None),
        opened => opened?,
    };
    let metadata = require_regular(&file)?;
    contents(file, &metadata, max_bytes as u64).map(Some)
}

/// Writes or replaces `dir/part/name` atomically, with mode 0644, and creates a missing directory.
/// Writes of one file must not overlap.
///
/// # Errors
/// Those of the system; the old file is then in place.
pub fn write(dir: &Path, part: &str, name: &str, text: &[u8]) -> io::Result<()> {
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
        // Writes of one file never overlap, so a killed process left this.
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

/// Removes `dir/part/name`; succeeds if it does not exist.
///
/// # Errors
/// Those of the system.
pub fn remove(dir: &Path, part: &str, name: &str) -> io::Result<()> {
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
