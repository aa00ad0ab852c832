//! Builds what runs on a node. Cargo does not build other packages' binaries for a test, so a test
//! could otherwise run a stale daemon.

use std::env;
use std::error::Error;
use std::process::Command;
use std::sync::OnceLock;

use test_artifacts::Set;

use crate::binaries::Binaries;

/// Set when everything is already built; `make test` builds first.
const BUILT: &str = "CNIDARIA_BUILT";

/// Builds all binaries and policy modules into the running program's target directory, once per
/// process. Fast when nothing has changed.
///
/// # Panics
/// When a build fails.
pub fn everything() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        if env::var_os(BUILT).is_none() {
            binaries();
            policies();
        }
    });
}

#[expect(
    clippy::panic,
    reason = "a test that lacks its policies has to fail with the reason"
)]
fn policies() {
    if let Err(error) = test_artifacts::build(Set::All) {
        let cause = error.source().map(ToString::to_string);
        panic!("{error} {}", cause.unwrap_or_default());
    }
}

fn binaries() {
    let binaries = Binaries::of_this_build().expect("the system knows which program runs");
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    let builds: [&[&str]; 2] = [
        // All targets: otherwise the features that tests enable would build crates twice.
        &[
            "build",
            "--workspace",
            "--all-targets",
            "--profile",
            profile,
        ],
        &["build-shim"],
    ];
    for arguments in builds {
        let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(arguments)
            .env("CARGO_TARGET_DIR", binaries.target())
            .env("CARGO_TERM_QUIET", "true")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .status()
            .expect("cargo can be executed");
        assert!(status.success(), "cargo {} failed", arguments.join(" "));
    }
}
