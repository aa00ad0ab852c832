//! Finds the binary of a plugin.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cni_types::args::PluginType;

/// The binary of a plugin was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "plugin {:?} not found in {}{}",
    .plugin.as_str(),
    directories(.searched),
    unusable(.rejected)
)]
pub struct NotFound {
    /// `type` of the plugin.
    pub plugin: PluginType,
    /// The searched directories, in order.
    pub searched: Vec<PathBuf>,
    /// Files with the right name that are not regular executable files.
    pub rejected: Vec<PathBuf>,
}

/// The path of the first regular, executable file with the plugin's name in `directories`. Follows
/// symlinks.
///
/// # Errors
/// [`NotFound`], naming the directories.
pub fn find(plugin: &PluginType, directories: &[PathBuf]) -> Result<PathBuf, NotFound> {
    let mut rejected = Vec::new();
    for directory in directories {
        let path = directory.join(plugin.as_str());
        match fs::metadata(&path) {
            Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => {
                return Ok(path);
            }
            Ok(_) => rejected.push(path),
            Err(_) => {}
        }
    }
    Err(NotFound {
        plugin: plugin.clone(),
        searched: directories.to_vec(),
        rejected,
    })
}

fn directories(searched: &[PathBuf]) -> String {
    if searched.is_empty() {
        return "an empty list of directories".to_owned();
    }
    join(searched)
}

fn unusable(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    format!(" (not an executable file: {})", join(paths))
}

fn join(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| Path::display(path).to_string())
        .collect();
    paths.join(", ")
}
