//! JavaScript: npm installs componentize-qjs and runs the project's `build` script.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tool::{Missing, Step, find, note, output_of};
use super::wit::Wit;
use super::{Error, MODULE, exports};
use crate::suggest;

/// Builds the project and returns its component.
pub(super) fn build(dir: &Path) -> Result<PathBuf, Error> {
    script(&dir.join("package.json"))?;
    exports::javascript(dir, &Wit::read(dir)?.exports())?;
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
    note(&format!("using Node.js {version} with componentize-qjs"));
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

/// Checks that package.json has the script that npm is asked for: npm says nothing.
fn script(path: &Path) -> Result<(), Error> {
    let text = super::read(path)?;
    let wrong = |(line, column), reason: String| Error::Source {
        path: path.to_owned(),
        line,
        column,
        reason,
    };
    let package: Value = serde_json::from_slice(&text).map_err(|error| {
        let place = (error.line(), error.column().max(1));
        let message = error.to_string();
        let end = message.rfind(" at line ").unwrap_or(message.len());
        wrong(place, message.get(..end).unwrap_or_default().to_owned())
    })?;
    if package
        .pointer("/scripts/build")
        .is_some_and(Value::is_string)
    {
        return Ok(());
    }
    let scripts = package.get("scripts").and_then(Value::as_object);
    let names: Vec<&str> = scripts
        .into_iter()
        .flat_map(|all| all.keys())
        .map(String::as_str)
        .collect();
    let meant = suggest::similar("build", &names);
    let text = String::from_utf8_lossy(&text);
    let at = text
        .find(&format!("{:?}", meant.unwrap_or("scripts")))
        .unwrap_or(0);
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let place = (before.matches('\n').count() + 1, line.chars().count() + 1);
    let hint = meant.map_or_else(String::new, |meant| format!(", not {meant:?}"));
    Err(wrong(
        place,
        format!("scripts: expected a script \"build\"{hint}"),
    ))
}
