//! Guests in other languages: each of the SDK's language directories has a manifest of its tools,
//! which the language's package manager installs, and build instructions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build;

/// The output file of every language's tools.
const MODULE: &str = "policy.wasm";

/// Why a guest in another language was not built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A source cannot be copied to the target directory.
    #[error("cannot copy {path}", path = path.display())]
    Copy {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The language's package manager is not installed.
    #[error("cannot run {program}: tests/setup/install test installs it")]
    Spawn {
        /// The program's name.
        program: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The tools cannot be installed, or reject the guest.
    #[error("{command} failed:\n{output}")]
    Failed {
        command: String,
        /// Its output.
        output: String,
    },
}

/// Builds the example policy in JavaScript; `sources` replace its files by name.
///
/// # Errors
/// When a tool is missing or fails.
pub(crate) fn javascript(name: &str, sources: &[(&str, &str)]) -> Result<PathBuf, Error> {
    let dir = build::directory("javascript").join(name);
    let module = dir.join(MODULE);
    if !prepare("javascript", &dir, sources)? && module.exists() {
        return Ok(module);
    }
    // All guests share the tools: node also looks for them in parent directories.
    let tools = build::directory("javascript");
    for file in ["package.json", "package-lock.json"] {
        let (from, to) = (dir.join(file), tools.join(file));
        if fs::read(&from).ok() != fs::read(&to).ok() {
            let _ = fs::remove_dir_all(tools.join("node_modules"));
            let failed = |source| Error::Copy {
                path: to.clone(),
                source,
            };
            fs::copy(&from, &to).map_err(failed)?;
        }
    }
    if !tools.join("node_modules").is_dir() {
        run(&tools, "npm", &["ci", "--no-audit", "--no-fund"])?;
    }
    run(&dir, "npm", &["run", "build"])?;
    Ok(module)
}

/// Like [`javascript`], in Python.
///
/// # Errors
/// When a tool is missing or fails.
pub(crate) fn python(name: &str, sources: &[(&str, &str)]) -> Result<PathBuf, Error> {
    let dir = build::directory("python").join(name);
    let module = dir.join(MODULE);
    if !prepare("python", &dir, sources)? && module.exists() {
        return Ok(module);
    }
    if !dir.join("venv/bin/componentize-py").exists() {
        run(&dir, "python3", &["-m", "venv", "venv"])?;
        let install = ["install", "--quiet", "--requirement", "requirements.txt"];
        run(&dir, "venv/bin/pip", &install)?;
    }
    run(&dir, "sh", &["-c", "PATH=$PWD/venv/bin:$PATH ./build"])?;
    Ok(module)
}

fn run(dir: &Path, program: &'static str, arguments: &[&str]) -> Result<(), Error> {
    let output = Command::new(program)
        .current_dir(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Spawn { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::Failed {
        command: format!("{program} {}", arguments.join(" ")),
        output: String::from_utf8_lossy(&said).into_owned(),
    })
}

/// Copies a language's example to `dir`, with `sources` replacing its files. If anything changed,
/// deletes the old module and returns true.
fn prepare(language: &str, dir: &Path, sources: &[(&str, &str)]) -> Result<bool, Error> {
    let mut changed = copy(&build::sdk().join(language), dir, sources)?;
    for (file, text) in sources {
        changed |= write(&dir.join(file), text.as_bytes())?;
    }
    if changed {
        // Even if the build fails, the old module must not be taken for the new sources'.
        let _ = fs::remove_file(dir.join(MODULE));
    }
    Ok(changed)
}

/// Copies a directory, following links, except `sources` and build output.
fn copy(from: &Path, to: &Path, sources: &[(&str, &str)]) -> Result<bool, Error> {
    let failed = |source| Error::Copy {
        path: from.to_owned(),
        source,
    };
    fs::create_dir_all(to).map_err(failed)?;
    let mut changed = false;
    for entry in fs::read_dir(from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let (from, to) = (from.join(&name), to.join(&name));
        let built = ["node_modules", "venv", MODULE]
            .iter()
            .any(|built| name == *built);
        if built || sources.iter().any(|(file, _)| name == *file) {
            continue;
        }
        if from.is_dir() {
            changed |= copy(&from, &to, &[])?;
        } else {
            changed |= write(&to, &fs::read(&from).map_err(failed)?)?;
            let mode = fs::metadata(&from).map_err(failed)?.permissions();
            fs::set_permissions(&to, mode).map_err(failed)?;
        }
    }
    Ok(changed)
}

/// Writes a file unless it already has these bytes; returns whether it did.
fn write(path: &Path, bytes: &[u8]) -> Result<bool, Error> {
    if fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(false);
    }
    fs::write(path, bytes).map_err(|source| Error::Copy {
        path: path.to_owned(),
        source,
    })?;
    Ok(true)
}
