//! The files that an installation puts into a directory, so that an uninstallation leaves the
//! directory as it was. A record beside them has their digests; files of the same names that were
//! there before, such as Multus' shim, are kept and put back.
//!
//! No file is ever absent in between: a new one replaces the old one atomically. After a crash at
//! any point both operations can be repeated.

mod record;

use std::io;
use std::path::{Path, PathBuf};

use files::{Links, Replace};
use sha2::{Digest as _, Sha256};

use record::{Item, Record};

/// Larger files are never ours.
const MAX_BYTES: u64 = 256 << 20;

/// Why an installation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub(crate) struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A file to install.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

/// What an uninstallation did with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was removed, or gone.
    Removed,
    /// The file that was there before is back.
    Restored,
    /// Another program has replaced it since: it stays.
    Foreign,
}

/// A directory with installed files.
#[derive(Debug)]
pub(crate) struct Installation {
    dir: PathBuf,
}

impl Installation {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Checks that the record and what has the names of new files can be read: [`Self::put`] needs
    /// both.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn check<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        self.read()?;
        for name in names {
            self.content(&self.dir.join(name))?;
        }
        Ok(())
    }

    /// Installs files, and keeps those of the same names that are not from an installation.
    /// `is_ours` recognises files of versions that wrote no record.
    ///
    /// # Errors
    /// [`Error`]; what was there before is then still in place.
    pub(crate) fn put(&self, new: &[New], is_ours: fn(&[u8]) -> bool) -> Result<(), Error> {
        let mut record = self.read()?;
        if !self.dir.is_dir() {
            record.made_dir = true;
            let above = self.dir.ancestors().skip(1);
            record.made_parents = above.take_while(|dir| !dir.exists()).count();
            std::fs::create_dir_all(&self.dir).map_err(failed("create", &self.dir))?;
            self.write_record(&record)?;
        }
        for file in new {
            self.put_one(&mut record, file, is_ours)?;
        }
        Ok(())
    }

    fn put_one(
        &self,
        record: &mut Record,
        new: &New,
        is_ours: fn(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let path = self.dir.join(&new.name);
        let mut item = record.take(&new.name);
        let mut is_foreign = false;
        if let Some(found) = self.content(&path)? {
            let found_digest = digest(&found);
            let is_own = item.digests.contains(&found_digest);
            is_foreign = !is_own && !is_ours(&found);
            item.replaces |= is_foreign;
            if !is_own && !is_foreign {
                item.begin(found_digest);
            }
        }
        // The record goes first: a file that is in place, or kept, is always known.
        item.begin(digest(&new.content));
        record.set(item);
        self.write_record(record)?;
        if is_foreign {
            self.keep(&path, &new.name)?;
        }
        let write = Replace::at(&path).mode(new.mode).durable();
        write.write(&new.content).map_err(failed("write", &path))
    }

    /// Keeps a foreign file under another name, beside the first.
    fn keep(&self, path: &Path, name: &str) -> Result<(), Error> {
        let kept = self.kept(name);
        match std::fs::remove_file(&kept) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("replace", &kept)(error));
            }
            _ => {}
        }
        // A link, not a copy: mode, owner and times stay.
        std::fs::hard_link(path, &kept).map_err(failed("keep", path))
    }

    /// The installed files that another program has replaced or removed since.
    ///
    /// # Errors
    /// [`Error`] if record or files cannot be read.
    pub(crate) fn replaced(&self) -> Result<Vec<PathBuf>, Error> {
        let mut replaced = Vec::new();
        for item in self.read()?.items {
            let path = self.dir.join(&item.name);
            let found = self.content(&path)?.map(|found| digest(&found));
            if !found.is_some_and(|found| item.digests.contains(&found)) {
                replaced.push(path);
            }
        }
        Ok(replaced)
    }

    /// Whether an installation has left its record here.
    pub(crate) fn has_record(&self) -> bool {
        self.dir.join(record::NAME).exists()
    }

    /// Files that a killed installation left.
    pub(crate) fn unfinished(&self) -> Vec<PathBuf> {
        let found = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let unfinished = found.filter(|file| is_unfinished(&file.file_name().to_string_lossy()));
        unfinished.map(|file| file.path()).collect()
    }

    /// Removes the installed files and the record, and puts back what was there before. Files `names`
    /// that `is_ours` recognises are removed even if the record does not know them.
    ///
    /// # Errors
    /// [`Error`]; can be repeated.
    pub(crate) fn take_away(
        &self,
        names: &[&str],
        is_ours: fn(&[u8]) -> bool,
    ) -> Result<Vec<(PathBuf, Taken)>, Error> {
        let record = self.read()?;
        let mut taken = Vec::new();
        for item in &record.items {
            taken.push((self.dir.join(&item.name), self.take_one(item, is_ours)?));
        }
        for name in names {
            let path = self.dir.join(name);
            if record.items.iter().any(|item| item.name == *name) {
                continue;
            }
            if self.content(&path)?.is_some_and(|found| is_ours(&found)) {
                remove(&path)?;
                taken.push((path, Taken::Removed));
            }
        }
        self.sweep();
        remove(&self.dir.join(record::NAME))?;
        if record.made_dir {
            // Fails if another program uses one of them meanwhile.
            for dir in self.dir.ancestors().take(1 + record.made_parents) {
                let _ = std::fs::remove_dir(dir);
            }
        }
        Ok(taken)
    }

    fn take_one(&self, item: &Item, is_ours: fn(&[u8]) -> bool) -> Result<Taken, Error> {
        let path = self.dir.join(&item.name);
        let kept = self.kept(&item.name);
        let is_own = match self.content(&path)? {
            Some(found) => item.digests.contains(&digest(&found)) || is_ours(&found),
            None => true,
        };
        if !is_own {
            remove(&kept)?;
            return Ok(Taken::Foreign);
        }
        if item.replaces {
            match std::fs::rename(&kept, &path) {
                Ok(()) => return Ok(Taken::Restored),
                // Put back by an attempt that was interrupted, or removed by someone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("restore", &path)(error)),
            }
        }
        remove(&path)?;
        Ok(Taken::Removed)
    }

    /// Removes them. Best effort.
    fn sweep(&self) {
        for path in self.unfinished() {
            let _ = std::fs::remove_file(path);
        }
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.dir.join(format!(".{name}.before-cnidaria"))
    }

    /// The content of a file, without following links; `None` if it does not exist. A link or a
    /// larger file is foreign and has no content.
    fn content(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        match files::read(path, Links::Refuse, MAX_BYTES) {
            Ok(content) => Ok(Some(content)),
            Err(error) if files::is_absent(&error) => Ok(None),
            Err(_) if path.is_symlink() => Ok(Some(Vec::new())),
            Err(error) => Err(failed("read", path)(error)),
        }
    }

    fn read(&self) -> Result<Record, Error> {
        let path = self.dir.join(record::NAME);
        match files::read(&path, Links::Refuse, record::MAX_BYTES) {
            Ok(text) => Record::parse(&text).map_err(|source| Error {
                action: "understand the record of the installation; if it is damaged, remove",
                path,
                source,
            }),
            Err(error) if files::is_absent(&error) => Ok(Record::default()),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    fn write_record(&self, record: &Record) -> Result<(), Error> {
        let path = self.dir.join(record::NAME);
        let write = Replace::at(&path).mode(0o644).durable();
        write
            .write(&record.to_json())
            .map_err(failed("write", &path))
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// `.<pid>-<number>.new`, as [`Replace`] names them.
fn is_unfinished(name: &str) -> bool {
    let middle = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix(".new"));
    let numbers = middle.and_then(|middle| middle.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(pid, number)| is_number(pid) && is_number(number))
}

/// Lower-case SHA-256.
pub(crate) fn digest(content: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(content)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests;
