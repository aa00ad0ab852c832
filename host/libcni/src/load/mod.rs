//! Loads network configurations from files: lists, single plugins, and plugins in a directory
//! beside a list. All functions block on the file system.

mod files;

pub use files::Files;

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use ::files::Links;
use cni_types::conf::{self, NetworkConfList, PluginConf};

/// File extensions of network configurations.
pub const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// Maximum size of a network configuration's file, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why no configuration was loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system error.
        #[source]
        source: io::Error,
    },
    /// A file is not a valid configuration.
    #[error("network configuration {path:?}")]
    Conf {
        /// The file.
        path: PathBuf,
        /// Why it is not valid.
        #[source]
        source: conf::Error,
    },
    /// A list has no plugins, and neither does the directory beside it.
    #[error("network configuration {path:?} has no plugins, nor has the directory {directory:?}")]
    NoPlugins {
        /// The file of the list.
        path: PathBuf,
        /// The directory that was searched.
        directory: PathBuf,
    },
    /// The directory has no configuration with the requested name.
    #[error("no network configuration with name {name:?} in {directory:?}{}", skipped(.broken))]
    NotFound {
        /// The directory.
        directory: PathBuf,
        /// The requested name.
        name: String,
        /// Files that were skipped, with the reason.
        broken: Vec<Error>,
    },
    /// The directory has no valid configuration.
    #[error("no valid network configuration in {directory:?}{}", skipped(.broken))]
    Empty {
        /// The directory.
        directory: PathBuf,
        /// Files that were skipped, with the reason.
        broken: Vec<Error>,
    },
}

/// The files of a directory with one of the `extensions`, sorted by name; none when the directory
/// does not exist.
///
/// # Errors
/// [`Error::Read`].
pub fn conf_files(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let wanted = extension.is_some_and(|extension| extensions.contains(&extension));
        if wanted && !entry.file_type().map_err(failed)?.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Loads one file: a single plugin, or a list, with the plugins of the directory beside it unless
/// `loadOnlyInlinedPlugins` is set.
///
/// # Errors
/// [`Error::Read`], [`Error::Conf`] or [`Error::NoPlugins`].
pub fn file(path: &Path) -> Result<NetworkConfList, Error> {
    read(path).and_then(|(bytes, _)| parsed(path, &bytes))
}

fn parsed(path: &Path, bytes: &[u8]) -> Result<NetworkConfList, Error> {
    let invalid = |source| Error::Conf {
        path: path.to_owned(),
        source,
    };
    let list = match NetworkConfList::parse_any(bytes) {
        Err(conf::Error::Missing { .. } | conf::Error::NoPlugin)
            if path.extension().is_some_and(|e| e == "conflist") =>
        {
            NetworkConfList::parse_list(bytes)
        }
        parsed => parsed,
    }
    .map_err(invalid)?;
    let list = with_plugins_beside(list, path.parent().unwrap_or(Path::new("")))?;
    if list.plugins().is_empty() {
        return Err(Error::NoPlugins {
            path: path.to_owned(),
            directory: beside(&list, path.parent().unwrap_or(Path::new(""))),
        });
    }
    Ok(list)
}

/// Appends the plugins from the subdirectory of `directory` that is named after the network, unless
/// `loadOnlyInlinedPlugins` is set.
///
/// # Errors
/// [`Error::Read`] or [`Error::Conf`].
pub fn with_plugins_beside(
    list: NetworkConfList,
    directory: &Path,
) -> Result<NetworkConfList, Error> {
    if list.load_only_inlined_plugins() {
        return Ok(list);
    }
    let directory = beside(&list, directory);
    let mut plugins = list.plugins().to_vec();
    for path in conf_files(&directory, &["conf"])? {
        let plugin = PluginConf::parse(read(&path)?.0);
        plugins.push(plugin.map_err(|source| Error::Conf { path, source })?);
    }
    if plugins.len() == list.plugins().len() {
        return Ok(list);
    }
    list.with_plugins(plugins).map_err(|source| Error::Conf {
        path: directory,
        source,
    })
}

fn beside(list: &NetworkConfList, directory: &Path) -> PathBuf {
    directory.join(list.name().as_str())
}

/// Loads the network `name` from a directory: the first list with that name, else the first single
/// plugin. Skips invalid files.
///
/// # Errors
/// [`Error::NotFound`] with the skipped files, or [`Error::Read`] for the directory.
pub fn by_name(directory: &Path, name: &str) -> Result<NetworkConfList, Error> {
    let mut broken = Vec::new();
    for extensions in [&["conflist"][..], &["conf", "json"]] {
        for path in conf_files(directory, extensions)? {
            match file(&path) {
                Ok(list) if list.name().as_str() == name => return Ok(list),
                Ok(_) => {}
                Err(error) => broken.push(error),
            }
        }
    }
    Err(Error::NotFound {
        directory: directory.to_owned(),
        name: name.to_owned(),
        broken,
    })
}

/// Loads the default network of a directory, chosen like container runtimes do: the first valid
/// file by name. `wanted` can exclude files, such as the daemon's own. Also returns the path.
///
/// # Errors
/// [`Error::Empty`] with the skipped files, or [`Error::Read`] for the directory.
pub fn default_network(
    directory: &Path,
    wanted: impl Fn(&Path) -> bool,
) -> Result<(PathBuf, NetworkConfList), Error> {
    let mut broken = Vec::new();
    for path in conf_files(directory, &EXTENSIONS)? {
        if !wanted(&path) {
            continue;
        }
        match file(&path) {
            Ok(list) => return Ok((path, list)),
            Err(error) => broken.push(error),
        }
    }
    Err(Error::Empty {
        directory: directory.to_owned(),
        broken,
    })
}

/// Reads a file and its metadata. Follows symlinks, as ConfigMap volumes require.
fn read(path: &Path) -> Result<(Vec<u8>, Metadata), Error> {
    ::files::read_with_metadata(path, Links::Follow, MAX_BYTES).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn skipped(broken: &[Error]) -> String {
    let reasons: Vec<String> = broken
        .iter()
        .map(|error| match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
        .collect();
    if reasons.is_empty() {
        return String::new();
    }
    format!(" (skipped: {})", reasons.join("; "))
}
