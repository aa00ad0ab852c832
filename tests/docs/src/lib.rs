//! Finds the repository's text files for the documentation tests.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The repository's root directory.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Directories of generated or downloaded files.
const SKIPPED: [&str; 5] = [".git", "corpus", "node_modules", "target", "venv"];

/// All files below `directory`, relative to the repository, in order. Symbolic links are not followed.
///
/// # Errors
/// When a directory cannot be read.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(Path::new(ROOT).join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_file() {
                found.push(path);
            } else if kind.is_dir() && !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                pending.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
