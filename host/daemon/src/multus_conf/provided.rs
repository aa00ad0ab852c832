//! The conf that this daemon provides, and its removal: by an uninstallation, never by a restart.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use cnidaria_core::domain::shim::Shims;
use config::conf_file::ConfFile;
use parking_lot::{Mutex, MutexGuard};

/// The conf that a [`Provider`](super::Provider) keeps up to date, shared with what removes it.
#[derive(Debug, Clone)]
pub struct Provided(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Path of the conf; `None` if the daemon provides none.
    path: Option<PathBuf>,
    shims: Shims,
    state: Mutex<WriteState>,
}

/// What the daemon has written, and whether it still does.
#[derive(Debug, Default)]
struct WriteState {
    /// The daemon writes no more.
    ended: bool,
    /// The file as this daemon last wrote or confirmed it.
    own: Option<Identity>,
}

/// Tells the file from one that another program has written since, with whatever content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    modified: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = path.symlink_metadata()?;
        Ok(Self {
            file: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl Provided {
    /// The conf that these settings ask for.
    pub fn of(conf: &ConfFile) -> Self {
        Self(Arc::new(Inner {
            path: conf.target(),
            shims: conf.shims(),
            state: Mutex::default(),
        }))
    }

    /// Calls `write` unless the conf was removed, and remembers the file at `path`.
    pub(super) fn writing(
        &self,
        path: &Path,
        write: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if state.ended {
            return Ok(());
        }
        write()?;
        state.own = Identity::of(path).ok();
        Ok(())
    }

    /// Whether the conf was removed, so that there is nothing to provide any more.
    pub(super) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// Removes the conf for good; returns its path, or `None` if the daemon provides none. Keeps a
    /// file that another program has written since, such as Multus after a change back, or that does
    /// not execute a shim.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be removed. Can be repeated.
    pub fn remove(&self) -> Result<Option<PathBuf>, Error> {
        let Some(path) = &self.0.path else {
            return Ok(None);
        };
        let mut state = self.lock();
        state.ended = true;
        if !self.is_own(path, state.own) {
            tracing::warn!(path = %path.display(), "keeping the runtime's conf: another program has written it");
            return Ok(Some(path.clone()));
        }
        let removed = match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        };
        match removed {
            Ok(was_there) => {
                if was_there {
                    tracing::info!(path = %path.display(), "removed the runtime's conf: new pods start with the primary network alone");
                }
                Ok(Some(path.clone()))
            }
            Err(source) => Err(Error::Write {
                path: path.clone(),
                source,
            }),
        }
    }

    fn is_own(&self, path: &Path, own: Option<Identity>) -> bool {
        match (Identity::of(path), own) {
            // There is nothing to keep.
            (Err(_), _) => true,
            (Ok(found), Some(own)) => found == own,
            // An earlier daemon's, if it executes the shim.
            (Ok(_), None) => match libcni::load::file(path) {
                Ok(conf) => self.0.shims.refuse_in(&conf).is_err(),
                Err(_) => false,
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, WriteState> {
        self.0.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::json::RawObject;

    use config::conf_file::FILE_NAME;

    const SHIM: &str = r#"{"cniVersion":"1.0.0","name":"n","type":"multus-shim"}"#;

    fn provided(dir: &Path) -> (Provided, PathBuf) {
        let keys = format!(
            r#"{{"cniVersion":"1.0.0","multusConfigFile":"auto","cniConfigDir":"{}"}}"#,
            dir.display()
        );
        let conf = ConfFile::parse(&RawObject::parse(keys).unwrap()).unwrap();
        (Provided::of(&conf), dir.join(FILE_NAME))
    }

    fn write(provided: &Provided, path: &Path) {
        let write = || {
            std::fs::write(path, SHIM).unwrap();
            Ok(())
        };
        provided.writing(path, write).unwrap();
    }

    #[test]
    fn a_removed_conf_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let (provided, path) = provided(dir.path());
        write(&provided, &path);
        assert_eq!(provided.remove().unwrap(), Some(path.clone()));
        assert!(!path.exists());
        write(&provided, &path);
        assert!(!path.exists() && provided.is_ended());
        assert_eq!(provided.remove().unwrap(), Some(path), "can be repeated");
    }

    #[test]
    fn the_conf_of_another_program_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (provided, path) = provided(dir.path());
        write(&provided, &path);
        // As Multus writes it: in place, here with the same content.
        let later = std::fs::File::options().write(true).open(&path).unwrap();
        let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        later.set_times(times).unwrap();
        provided.remove().unwrap();
        assert!(path.exists());
    }

    #[test]
    fn an_earlier_daemons_conf_is_removed() {
        for (text, stays) in [
            (SHIM, false),
            (r#"{"cniVersion":"1.0.0","name":"n","type":"bridge"}"#, true),
            ("{", true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (provided, path) = provided(dir.path());
            std::fs::write(&path, text).unwrap();
            provided.remove().unwrap();
            assert_eq!(path.exists(), stays, "{text}");
        }
    }
}
