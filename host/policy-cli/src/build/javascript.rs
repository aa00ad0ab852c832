//! JavaScript: npm installs componentize-qjs and runs the project's `build` script.

use std::path::{Path, PathBuf};

use super::tool::{Missing, Step, find, output_of};
use super::{Error, MODULE};

/// Builds the project and returns its component.
pub(super) fn build(dir: &Path) -> Result<PathBuf, Error> {
    let missing = |what: &str| {
        Missing::new(
            what,
            &[
                "apt-get install --no-install-recommends nodejs npm",
                "https://nodejs.org",
            ],
        )
    };
    let node = find("node").ok_or_else(|| missing("Node.js is not installed"))?;
    find("npm").ok_or_else(|| missing("npm is not installed"))?;
    let version = output_of(&node, &["--version"], dir).unwrap_or_default();
    eprintln!("using Node.js {version} with componentize-qjs");
    if !dir.join("node_modules").is_dir() {
        let install = match dir.join("package-lock.json").is_file() {
            true => "ci",
            false => "install",
        };
        Step::new("npm", dir)
            .args([install, "--no-audit", "--no-fund"])
            .run()?;
    }
    let step = Step::new("npm", dir).args(["run", "--silent", "build"]);
    let module = dir.join(MODULE);
    super::forget(&module)?;
    step.run()?;
    match module.is_file() {
        true => Ok(module),
        false => Err(Error::NoModule {
            command: step.to_string(),
            expected: "policy.wasm: does the script `build` in package.json write it?",
        }),
    }
}
