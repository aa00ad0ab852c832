//! Builds policy modules from source for tests and the demo: chooses a toolchain with the
//! WebAssembly target and runs cargo with one target directory for all guests, so that the standard
//! library is built only once.
//!
//! A test calls [`guest`] to get a file; only what has changed is rebuilt.

mod build;
mod foreign;
mod toolchain;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

pub use build::{Error, Set, build, directory};
pub use toolchain::Missing;

/// The compiler that would build the guests; builds nothing.
///
/// # Errors
/// [`Missing`] with what to install.
pub fn compiler() -> Result<String, Missing> {
    toolchain::Toolchain::find().map(|toolchain| toolchain.name())
}

/// A program that may run cargo, without the variables of the cargo or clippy that runs this
/// process: they would affect its builds.
pub fn outside_of_cargo(program: &str) -> Command {
    let mut command = Command::new(program);
    for key in [
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ] {
        command.env_remove(key);
    }
    command
}

/// The component of a guest such as `annotation-mtu`. A process's first call builds all guests.
///
/// # Panics
/// When they cannot be built; says what to install, or prints the compiler's output.
#[expect(
    clippy::panic,
    reason = "a test that lacks its guest has to fail with the reason"
)]
pub fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build(Set::All).map_err(|error| error.chain()));
    let file = build::file_name(name);
    match built {
        Err(reason) => panic!("{reason}"),
        Ok(paths) => paths
            .iter()
            .find(|path| path.ends_with(&file))
            .unwrap_or_else(|| panic!("no guest is named {name:?}"))
            .clone(),
    }
}

/// The component of the example policy in JavaScript.
///
/// # Panics
/// When it cannot be built; says what to install, or prints the tools' output.
pub fn javascript() -> PathBuf {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built(BUILT.get_or_init(|| foreign::javascript("example", &[]).map_err(|error| chain(&error))))
}

/// Like [`javascript`], from other sources for the same world.
///
/// # Panics
/// As [`javascript`].
pub fn javascript_of(name: &str, policy: &str) -> PathBuf {
    // One at a time, because builds share their tools.
    static BUILDING: Mutex<()> = Mutex::new(());
    javascript();
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    built(&foreign::javascript(name, &[("policy.js", policy)]).map_err(|error| chain(&error)))
}

/// The component of the example policy in Python.
///
/// # Panics
/// As [`javascript`].
pub fn python() -> PathBuf {
    built(&foreign::python("example", &[]).map_err(|error| chain(&error)))
}

/// Like [`python`], from other sources for the same world.
///
/// # Panics
/// As [`javascript`].
pub fn python_of(name: &str, policy: &str) -> PathBuf {
    built(&foreign::python(name, &[("policy.py", policy)]).map_err(|error| chain(&error)))
}

#[expect(
    clippy::panic,
    reason = "a test that lacks its guest has to fail with the reason"
)]
fn built(guest: &Result<PathBuf, String>) -> PathBuf {
    match guest {
        Ok(path) => path.clone(),
        Err(reason) => panic!("{reason}"),
    }
}

fn chain(error: &foreign::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
