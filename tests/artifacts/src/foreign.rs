//! Guests in other languages: each directory of the SDK has a manifest of its tools, which the
//! language's own package manager installs, and says how to build.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build;

/// What the tools of every language make.
const MODULE: &str = "policy.wasm";

/// Why a guest in another language was not built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The sources cannot be copied to the target directory.
    #[error("cannot copy {path}", path = path.display())]
    Copy {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The language's package manager is not installed.
    #[error("cannot run {program}: tests/setup/install test installs it")]
    Spawn {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The tools cannot be had, or refuse the guest.
    #[error("{command} failed:\n{output}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        output: String,
    },
}

/// Builds the example policy in JavaScript with `sources` over its own, by file name.
///
/// # Errors
/// What is missing, or what the tools say.
pub(crate) fn javascript(name: &str, sources: &[(&str, &str)]) -> Result<PathBuf, Error> {
    let dir = build::directory("javascript").join(name);
    let module = dir.join(MODULE);
    if !prepare("javascript", &dir, sources)? && module.exists() {
        return Ok(module);
    }
    // The tools are shared by all guests: node looks for them in the directories above, too.
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

/// As [`javascript`], in Python.
///
/// # Errors
/// What is missing, or what the tools say.
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

/// Brings the example of a language to `dir`, with `sources` over its own. Says whether anything
/// changed; then there is no module any more.
fn prepare(language: &str, dir: &Path, sources: &[(&str, &str)]) -> Result<bool, Error> {
    let mut changed = copy(&build::sdk().join(language), dir, sources)?;
    for (file, text) in sources {
        changed |= write(&dir.join(file), text.as_bytes())?;
    }
    if changed {
        // Whatever becomes of the build, this one is of other sources.
        let _ = fs::remove_file(dir.join(MODULE));
    }
    Ok(changed)
}

/// Copies a directory, with what its links point to, but for `sources` and what is built.
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

/// Writes a file, unless it has these bytes already.
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
