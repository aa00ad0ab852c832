//! Builds policy modules from source, for tests and the demo: chooses a toolchain that has the
//! WebAssembly target, and runs cargo with one target directory for all guests, so that Rust's
//! standard library is built once.
//!
//! A test calls [`guest`] and gets a file; what has not changed is not built again.

mod build;
mod toolchain;

use std::path::PathBuf;
use std::sync::OnceLock;

pub use build::{Error, Set, build, directory};
pub use toolchain::Missing;

/// The component of one guest, such as `annotation-mtu`. The first call in a process builds all.
///
/// # Panics
/// With what to install, or what the compiler says, when they cannot be built.
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
