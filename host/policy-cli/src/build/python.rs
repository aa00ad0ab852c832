//! Python: componentize-py in a virtual environment of the project.

use std::path::{Path, PathBuf};

use super::tool::{Missing, Step, find, note, output_of};
use super::wit::Wit;
use super::{Error, MODULE, exports};

/// The project's virtual environment.
const VENV: &str = "venv";

/// Builds the project and returns its component.
pub(super) fn build(dir: &Path) -> Result<PathBuf, Error> {
    exports::python(dir, &Wit::read(dir)?.exports())?;
    let install = ["apt-get install --no-install-recommends python3 python3-venv"];
    let python =
        find("python3").ok_or_else(|| Missing::new("Python is not installed", &install))?;
    let version = output_of(&python, &["--version"], dir).unwrap_or_default();
    note(&format!("using {version} with componentize-py"));
    let componentize = dir.join(VENV).join("bin/componentize-py");
    if !componentize.is_file() {
        if output_of(&python, &["-c", "import venv, ensurepip"], dir).is_none() {
            return Err(Missing::new("Python's module venv is not installed", &install).into());
        }
        Step::new("python3", dir).args(["-m", "venv", VENV]).run()?;
        Step::new(format!("{VENV}/bin/pip"), dir)
            .args(["install", "--quiet", "--requirement", "requirements.txt"])
            .run()?;
    }
    let module = dir.join(MODULE);
    super::forget(&module)?;
    let step = Step::new(format!("{VENV}/bin/componentize-py"), dir).args([
        "--quiet",
        "--wit-path",
        "wit",
        "--world",
        "policy",
        "componentize",
        "policy",
        "-o",
        MODULE,
    ]);
    step.run()?;
    match module.is_file() {
        true => Ok(module),
        false => Err(Error::NoModule {
            command: step.to_string(),
            expected: "policy.wasm",
        }),
    }
}
