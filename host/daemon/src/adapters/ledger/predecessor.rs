//! The directories of the last daemon: a small file beside its socket. With another `cniDir` or
//! `binDir` in its configuration, the next daemon learns from it where the pods that run are
//! recorded, and where their delegates are.

use std::io;
use std::path::Path;

use cnidaria_core::ports::{Directory, Ledger as _, LedgerError, Remembered};

use super::{Files, directories, file};

/// Name of the file.
const NAME: &str = ".daemon-directories";

/// The directories of the last daemon whose file is in `dir`.
fn read(dir: &Path) -> Option<Directory> {
    let path = dir.join(NAME);
    let read = file::read(&path).and_then(|text| {
        serde_json::from_slice::<Directory>(&text)
            .map_err(|error| io::Error::other(cni_types::json::Cause::from(error)))
    });
    match read {
        Ok(found) => Some(found).filter(|one| one.cni_dir.is_absolute()),
        Err(error) if files::is_absent(&error) => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read which directories the last daemon used");
            None
        }
    }
}

impl Files {
    /// Takes over from the last daemon of this socket, if its directories were others than `own`.
    pub(crate) async fn succeed(&mut self, socket_dir: &Path, own: &Directory) {
        let before = read(socket_dir).filter(|one| one != own);
        if let Some(one) = &before {
            let was = one.cni_dir.display();
            if one.cni_dir == own.cni_dir {
                tracing::info!(
                    before = ?one.bin_dirs,
                    "binDir has changed: delegates that are not in the new one are searched in the old one to undo what they attached"
                );
            } else if self.is_used(&one.cni_dir).await {
                tracing::warn!(
                    before = %was,
                    now = %own.cni_dir.display(),
                    "cniDir has changed while the old directory has records of pods: the daemon checks and undoes them from there; keep the directory until it is empty"
                );
            } else if self.is_missing(&one.cni_dir).await {
                tracing::warn!(
                    before = %was,
                    now = %own.cni_dir.display(),
                    "cniDir has changed, and the old directory does not exist here: if pods are recorded in it, mount it until they are gone"
                );
            }
        }
        self.before = before;
    }

    /// Adds the directories that earlier daemons used to those that are remembered, and remembers
    /// them.
    pub(super) async fn with_earlier(&self, path: &Path, mut remembered: Remembered) -> Remembered {
        let known = remembered.clone();
        if let Some(one) = &self.before {
            let mut found = vec![one.clone()];
            // Those of runtimes' confs, and of daemons before it.
            match directories::read(&directories::path(&one.cni_dir)) {
                Ok(more) => found.extend(more.directories),
                Err(error) => {
                    tracing::error!(
                        error = cnidaria_core::report::chain(&error),
                        "cannot read which further cniDirs the last daemon used"
                    );
                    remembered.is_complete = false;
                }
            }
            for one in found {
                if !remembered.directories.contains(&one) {
                    remembered.directories.push(one);
                }
            }
        }
        if remembered != known
            && let Err(error) = directories::write(path.to_owned(), &remembered).await
        {
            tracing::error!(
                error = cnidaria_core::report::chain(&error),
                "cannot remember the last daemon's directories; this one uses them, but the next one will not"
            );
        }
        remembered
    }

    /// Writes the file for the next daemon.
    ///
    /// # Errors
    /// [`LedgerError`]; a change of directories will go unnoticed.
    pub(crate) async fn leave_word(
        &self,
        socket_dir: &Path,
        own: &Directory,
    ) -> Result<(), LedgerError> {
        // JSON has no paths that are not UTF-8.
        let Ok(text) = serde_json::to_vec(own) else {
            return Ok(());
        };
        match read(socket_dir).as_ref() == Some(own) {
            true => Ok(()),
            false => self.replace(socket_dir.join(NAME), text).await,
        }
    }
}
