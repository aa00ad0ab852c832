//! Where the project's own binaries and policy modules are: beside the program that runs.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The binaries of one build.
#[derive(Debug, Clone)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Those that were built together with the running program.
    ///
    /// # Errors
    /// [`Error::File`] when the system does not say which program runs.
    pub fn beside_this_program() -> Result<Self, Error> {
        let program = env::current_exe().map_err(Error::file("/proc/self/exe"))?;
        let directory = program.parent().unwrap_or(Path::new("/"));
        // Cargo puts tests one level deeper than the binaries.
        let directory = match directory.file_name() {
            Some(name) if name == "deps" => directory.parent().unwrap_or(directory),
            _ => directory,
        };
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// The path of a binary, such as `cnidaria-daemon`.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] when it is not there.
    pub fn path(&self, name: &str) -> Result<PathBuf, Error> {
        existing(self.directory.join(name))
    }

    /// The component that a policy or a hostile guest was built to, such as `annotation-mtu`.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] when it is not there.
    pub fn policy(&self, name: &str) -> Result<PathBuf, Error> {
        existing(
            self.directory
                .join(format!("{}.wasm", name.replace('-', "_"))),
        )
    }
}

/// The target directory of the build that the running program comes from.
///
/// # Errors
/// [`Error::File`] when the system does not say which program runs.
pub fn target_directory() -> Result<PathBuf, Error> {
    let profile = Binaries::beside_this_program()?.directory;
    Ok(profile.parent().unwrap_or(&profile).to_owned())
}

fn existing(path: PathBuf) -> Result<PathBuf, Error> {
    if path.exists() {
        Ok(path)
    } else {
        Err(Error::NotBuilt { path })
    }
}
