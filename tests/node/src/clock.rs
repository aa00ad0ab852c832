//! A daemon wall clock that tests can move: libfaketime intercepts the C library's calls and adds
//! an offset read from a file. The monotonic clock and file times are unaffected, as when an
//! administrator sets the time.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::node::Node;

/// Debian's path of the library, below each architecture's directory.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The clock of every daemon the node starts from now on. Its delegates keep the machine's clock:
/// the daemon builds their environment from scratch.
#[derive(Debug)]
pub struct Clock {
    offset: PathBuf,
}

impl Clock {
    /// Gives a node's daemons a movable clock, initially correct.
    ///
    /// # Errors
    /// [`Error::NotInstalled`] without libfaketime, [`Error::File`] when its file cannot be written.
    pub fn of(node: &mut Node) -> Result<Self, Error> {
        let library = library()?.display().to_string();
        let clock = Self {
            offset: node.path("clock"),
        };
        clock.jump_to_years(0)?;
        let offset = clock.offset.display().to_string();
        let settings = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &offset),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DISABLE_SHM", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        for (name, value) in settings {
            node.environment.insert(name.to_owned(), value.to_owned());
        }
        Ok(clock)
    }

    /// Moves the clock this many years ahead of the machine's, or behind it if negative.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be replaced.
    pub fn jump_to_years(&self, years: i32) -> Result<(), Error> {
        let aside = self.offset.with_extension("new");
        fs::write(&aside, format!("{years:+}y\n"))
            .and_then(|()| fs::rename(&aside, &self.offset))
            .map_err(Error::file(&self.offset))
    }
}

fn library() -> Result<PathBuf, Error> {
    let libraries = Path::new("/usr/lib");
    let directories = fs::read_dir(libraries).map_err(Error::file(libraries))?;
    directories
        .filter_map(|entry| Some(entry.ok()?.path().join(LIBRARY)))
        .find(|path| path.exists())
        .ok_or(Error::NotInstalled {
            what: "libfaketime",
            package: "faketime",
        })
}
