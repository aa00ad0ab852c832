//! Locates the project's binaries and policy modules in the running program's build directory.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The binaries of one build.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// Cargo's target directory.
    target: PathBuf,
    /// The running program's profile directory in it.
    profile: PathBuf,
}

impl Binaries {
    /// The binaries built together with the running program.
    ///
    /// # Errors
    /// [`Error::File`] when the running program's path cannot be determined.
    pub fn of_this_build() -> Result<Self, Error> {
        let program = env::current_exe().map_err(Error::file("/proc/self/exe"))?;
        let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
        let mut profile = parent(&program);
        // Cargo puts test binaries one level deeper, in `deps`.
        if profile.ends_with("deps") {
            profile = parent(&profile);
        }
        Ok(Self {
            target: parent(&profile),
            profile,
        })
    }

    /// Cargo's target directory.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// `cnidaria-daemon`.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn daemon(&self) -> Result<PathBuf, Error> {
        existing(self.profile.join("cnidaria-daemon"))
    }

    /// `cnidaria`, the command line.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn command_line(&self) -> Result<PathBuf, Error> {
        existing(self.profile.join("cnidaria"))
    }

    /// The fake delegate of the tests.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn fake_delegate(&self) -> Result<PathBuf, Error> {
        existing(self.profile.join("cnidaria-fake-delegate"))
    }

    /// The static shim that is installed, built by `cargo build-shim`.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn shim(&self) -> Result<PathBuf, Error> {
        existing(self.target.join("shim/cnidaria-shim"))
    }

    /// The component of a policy or hostile guest, such as `annotation-mtu`.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn policy(&self, name: &str) -> Result<PathBuf, Error> {
        let file = format!("{}.wasm", name.replace('-', "_"));
        let guests = "guests/wasm32-unknown-unknown/guest";
        existing(self.target.join(guests).join(file))
    }
}

fn existing(path: PathBuf) -> Result<PathBuf, Error> {
    if path.exists() {
        Ok(path)
    } else {
        Err(Error::NotBuilt { path })
    }
}
