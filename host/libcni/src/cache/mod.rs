//! Results on disk in the Go library's format `cniCacheV1`, so that each library can delete the
//! other's attachments. Entries written here start with a checksum, `sha256`, which the Go library
//! ignores; its entries have none and are accepted. All functions block on the file system.

mod wire;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cni_types::args::{CniArgs, ContainerId, IfName, NetworkName};
use cni_types::json::{self, RawObject};
use cni_types::result::{self, CniResult};
use cni_types::version::ConfVersion;
use files::{Links, Replace};

use self::wire::Wire;
use crate::request::RuntimeConf;
use crate::seal::Seal;

/// Maximum size of an entry that is read, in bytes.
const MAX_BYTES: u64 = 8 << 20;

/// The result cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    results: PathBuf,
    sync: bool,
}

/// The attachment of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// `name` of the network.
    pub network: NetworkName,
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_IFNAME`.
    pub if_name: IfName,
}

/// Everything cached about one attachment: enough to CHECK and DEL it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The attachment.
    pub key: Key,
    /// The network's configuration at the time of ADD; empty in entries of very old libraries.
    pub config: Vec<u8>,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_ARGS`.
    pub args: CniArgs,
    /// See [`RuntimeConf::capability_args`].
    pub capability_args: RawObject,
    /// The result of ADD, in the form of its own `cniVersion`.
    pub result: RawObject,
    /// The caller's own data, in a member that the Go library ignores.
    pub own: RawObject,
}

/// Why an entry could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read, written or removed.
    #[error("cannot {action} {path:?}")]
    Io {
        /// The failed operation.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system error.
        #[source]
        source: io::Error,
    },
    /// The file is not an entry.
    #[error("corrupt entry {path:?} in the result cache")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The parse error.
        #[source]
        source: json::Cause,
    },
    /// The file's checksum does not match.
    #[error("entry {path:?} in the result cache has another checksum than when it was written")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file describes another attachment than its name.
    #[error("entry {path:?} in the result cache is about {found}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The attachment in the file.
        found: String,
    },
}

impl Cache {
    /// Opens the cache below `directory`, which the Go library and Multus call `cniDir`; entries
    /// are in its subdirectory `results`. Creates nothing before the first write.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self {
            results: directory.as_ref().join("results"),
            sync: false,
        }
    }

    /// Makes writes durable before they return. Without it, an entry survives a crash of the
    /// process but not of the machine.
    #[must_use]
    pub fn with_sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Path of an entry's file.
    pub fn path(&self, key: &Key) -> PathBuf {
        self.results.join(key.to_string())
    }

    /// Writes an entry, atomically replacing an older one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, entry: &Entry) -> Result<(), Error> {
        let path = self.path(&entry.key);
        let bytes = wire::write(entry).map_err(|source| Error::Corrupt {
            path: path.clone(),
            source: source.into(),
        })?;
        self.replace(&path, &bytes).map_err(failed("write", &path))
    }

    /// Reads an entry; `None` when it does not exist.
    ///
    /// # Errors
    /// [`Error`]. The file is left unchanged.
    pub fn read(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let path = self.path(key);
        let Some(bytes) = read_sealed(&path)? else {
            return Ok(None);
        };
        let corrupt = |error: serde_json::Error| Error::Corrupt {
            path: path.clone(),
            source: error.into(),
        };
        let object: RawObject = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if !object.contains_key("kind") {
            // Before cniCacheV1 the file contained only the result.
            return Ok(Some(Entry::from_result(key.clone(), object)));
        }
        let wire: Wire = serde_json::from_slice(&bytes).map_err(corrupt)?;
        let entry = Entry::from(wire);
        if entry.key != *key {
            return Err(Error::Mismatch {
                path,
                found: format!("{}", entry.key),
            });
        }
        Ok(Some(entry))
    }

    /// Reads the file of this name, as [`list`](Self::list) does; `None` when it does not exist.
    ///
    /// # Errors
    /// [`Error`]. The file is left unchanged.
    pub fn named(&self, name: &str) -> Result<Option<Entry>, Error> {
        self.listed(&self.results.join(name), name)
    }

    /// Removes an entry; succeeds when it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&self, key: &Key) -> Result<(), Error> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if is_absent(&error) => Ok(()),
            done => done.map_err(failed("remove", &path)),
        }
    }

    /// All entries, sorted by file name, and an error for each invalid file.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read; a missing directory has no entries.
    pub fn list(&self) -> Result<(Vec<Entry>, Vec<Error>), Error> {
        self.list_named(|_| true)
    }

    /// The entries of one container, sorted by file name, and an error for each invalid file. Does
    /// not open other containers' files.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn of_container(
        &self,
        container_id: &ContainerId,
    ) -> Result<(Vec<Entry>, Vec<Error>), Error> {
        let part = format!("-{container_id}-");
        let (mut entries, errors) = self.list_named(|name| name.contains(&part))?;
        // Names are ambiguous: each of their three parts may contain hyphens.
        entries.retain(|entry| entry.key.container_id == *container_id);
        Ok((entries, errors))
    }

    fn list_named(&self, wanted: impl Fn(&str) -> bool) -> Result<(Vec<Entry>, Vec<Error>), Error> {
        let directory = match fs::read_dir(&self.results) {
            Err(error) if files::is_absent(&error) => {
                return Ok((Vec::new(), Vec::new()));
            }
            directory => directory.map_err(failed("read", &self.results))?,
        };
        let mut names = Vec::new();
        for entry in directory {
            let name = entry.map_err(failed("read", &self.results))?.file_name();
            let text = name.to_string_lossy();
            // A leading dot marks the temporary file of an interrupted write.
            if !text.starts_with('.') && wanted(&text) {
                names.push(name);
            }
        }
        names.sort();
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for name in names {
            let path = self.results.join(&name);
            match self.listed(&path, &name.to_string_lossy()) {
                Ok(entry) => entries.extend(entry),
                Err(error) => errors.push(error),
            }
        }
        Ok((entries, errors))
    }

    fn listed(&self, path: &Path, name: &str) -> Result<Option<Entry>, Error> {
        let Some(bytes) = read_sealed(path)? else {
            return Ok(None);
        };
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|error| Error::Corrupt {
            path: path.to_owned(),
            source: error.into(),
        })?;
        let entry = Entry::from(wire);
        let found = entry.key.to_string();
        if found != name {
            return Err(Error::Mismatch {
                path: path.to_owned(),
                found,
            });
        }
        Ok(Some(entry))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let replace = Replace::at(path).making_dir();
        let replace = if self.sync {
            replace.durable()
        } else {
            replace
        };
        replace.write(bytes)
    }
}

impl std::fmt::Display for Key {
    /// Prints the file name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.network, self.container_id, self.if_name)
    }
}

impl Entry {
    /// The parameters of the call, without network and result.
    pub fn runtime_conf(&self) -> RuntimeConf {
        RuntimeConf {
            container_id: self.key.container_id.clone(),
            netns: self.netns.clone(),
            if_name: self.key.if_name.clone(),
            args: self.args.clone(),
            capability_args: self.capability_args.clone(),
        }
    }

    /// The parsed result of ADD. Without `cniVersion`, the configuration's version applies.
    ///
    /// # Errors
    /// [`result::Error`] when it is not valid.
    pub fn parsed_result(&self, conf_version: ConfVersion) -> Result<CniResult, result::Error> {
        CniResult::parse(self.result.to_text().as_bytes(), conf_version)
    }

    fn from_result(key: Key, result: RawObject) -> Self {
        Self {
            key,
            config: Vec::new(),
            netns: String::new(),
            args: CniArgs::new(),
            capability_args: RawObject::new(),
            result,
            own: RawObject::new(),
        }
    }
}

/// The bytes of a file, unless its checksum is wrong.
fn read_sealed(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let bytes = read(path)?;
    if bytes.as_deref().map(wire::verify) == Some(Seal::Broken) {
        return Err(Error::Changed {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// Does not follow symlinks: anyone with write access to the directory could have put one there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match files::read(path, Links::Refuse, MAX_BYTES) {
        Err(error) if is_absent(&error) => Ok(None),
        read => read.map(Some).map_err(failed("read", path)),
    }
}

/// Whether the file cannot exist: it is missing, or its name is too long for the file system, so
/// that it was never written.
fn is_absent(error: &io::Error) -> bool {
    files::is_absent(error) || error.kind() == io::ErrorKind::InvalidFilename
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
