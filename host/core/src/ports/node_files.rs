//! The node's files that requests depend on: CNI confs and the readiness indicator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;

/// Reads the node's CNI conf files, and waits for files of other daemons.
#[async_trait]
pub trait NodeFiles: Send + Sync {
    /// Loads one conf file: a single plugin, or a list with the plugins of the directory beside it.
    /// Always reflects the current file.
    ///
    /// # Errors
    /// [`NodeFilesError::Unusable`].
    fn file(&self, path: &Path) -> Result<NetworkConfList, NodeFilesError>;

    /// Loads the network `name` from a directory.
    ///
    /// # Errors
    /// [`NodeFilesError::NotFound`] only if every file of the directory is valid.
    fn by_name(&self, dir: &Path, name: &str) -> Result<NetworkConfList, NodeFilesError>;

    /// Loads the first valid conf of a directory, by file name. `wanted` excludes files.
    ///
    /// # Errors
    /// [`NodeFilesError::Unusable`] if none is usable.
    fn first(
        &self,
        dir: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<NetworkConfList, NodeFilesError>;

    /// Appends the plugins of the subdirectory of `dir` that is named after the network.
    ///
    /// # Errors
    /// [`NodeFilesError::Unusable`].
    fn with_plugins_beside(
        &self,
        list: NetworkConfList,
        dir: &Path,
    ) -> Result<NetworkConfList, NodeFilesError>;

    /// Whether a directory is at the path.
    fn is_dir(&self, path: &Path) -> bool;

    /// Waits at most `patience` for a file to exist, and returns whether it does.
    async fn appears(&self, file: &Path, patience: Duration) -> bool;
}

/// Why a conf file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeFilesError {
    /// The directory has no conf with this name.
    #[error("no network configuration with name {name:?} in {dir:?}")]
    NotFound {
        /// The directory searched.
        dir: PathBuf,
        /// The name searched.
        name: String,
    },
    /// A file or directory cannot be read, or a file is not a valid conf.
    #[error(transparent)]
    Unusable(Box<dyn std::error::Error + Send + Sync>),
}
