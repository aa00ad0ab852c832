//! Runs cargo for the guests.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::toolchain::{Missing, TARGET, Toolchain};

/// The guests' profile in the workspace manifest, and its directory name.
const PROFILE: &str = "guest";

/// The policies that ship.
const PLUGINS: [&str; 3] = ["address-guard", "annotation-mtu", "dns-inject"];

/// The guests that misbehave.
const HOSTILE: [&str; 3] = ["hostile-greedy", "hostile-misbehave", "hostile-tireless"];

/// Other guests that host tests and the benchmark need.
const TESTS: [&str; 6] = [
    "both-sides",
    "described",
    "rules",
    "targets-0-1",
    "targets-0-2",
    "witness",
];

/// The guests to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// The policies that ship.
    Plugins,
    /// The guests that misbehave, for tests.
    Hostile,
    /// Every guest of this repository.
    All,
}

/// Why the guests were not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable toolchain.
    #[error(transparent)]
    Toolchain(#[from] Missing),
    /// Cargo cannot be started.
    #[error("cannot run {cargo}")]
    Spawn {
        /// The program's name.
        cargo: String,
        /// The system's error.
        source: io::Error,
    },
    /// The guests do not compile.
    #[error("the guests do not compile:\n{output}")]
    Compile {
        /// The compiler's output.
        output: String,
    },
}

impl Error {
    /// The error and its source on one line.
    pub(crate) fn chain(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

impl Set {
    fn packages(self) -> Vec<&'static str> {
        match self {
            Self::Plugins => PLUGINS.to_vec(),
            Self::Hostile => HOSTILE.to_vec(),
            Self::All => [PLUGINS.as_slice(), &HOSTILE, &TESTS].concat(),
        }
    }
}

/// Builds guests from source and returns their files. Cargo decides what is up to date.
///
/// # Errors
/// [`Error::Toolchain`] with what to install; [`Error::Compile`] with the compiler's output.
pub fn build(set: Set) -> Result<Vec<PathBuf>, Error> {
    let toolchain = Toolchain::find()?;
    let guests = target_dir().join("guests");
    let name = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut cargo = crate::outside_of_cargo(&name);
    cargo
        .current_dir(workspace())
        .args(["build", "--profile", PROFILE])
        .arg("--target-dir")
        .arg(&guests);
    toolchain.apply(&mut cargo);
    for package in set.packages() {
        cargo.args(["--package", package]);
    }
    let output = cargo
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Spawn {
            cargo: name,
            source,
        })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Compile { output });
    }
    let built = guests.join(TARGET).join(PROFILE);
    Ok(set
        .packages()
        .into_iter()
        .map(|package| built.join(file_name(package)))
        .collect())
}

/// The name of the file that a package builds.
pub(crate) fn file_name(package: &str) -> String {
    format!("{}.wasm", package.replace('-', "_"))
}

/// The guest SDK's directory.
pub(crate) fn sdk() -> PathBuf {
    workspace().join("guest-sdk")
}

/// The workspace directory.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A directory in the target directory for what tests derive from guests.
pub fn directory(name: &str) -> PathBuf {
    target_dir().join("guests").join(name)
}

/// The target directory of this program's own build, however it was chosen.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program
        .ancestors()
        .find(|dir| dir.join(".rustc_info.json").is_file())
        .map_or_else(|| workspace().join("target"), Path::to_path_buf)
}
