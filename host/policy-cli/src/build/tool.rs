//! Runs the tools of a language, and looks for them.

use std::env;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;

/// A tool that is needed and not installed, with ways to install it.
#[derive(Debug, thiserror::Error)]
#[error("{what}\n  install it with one of:{}", indented(.install))]
pub struct Missing {
    what: String,
    install: Vec<&'static str>,
}

impl Missing {
    /// `what` is missing; each line of `install` installs it.
    pub(super) fn new(what: impl Into<String>, install: &[&'static str]) -> Self {
        Self {
            what: what.into(),
            install: install.to_vec(),
        }
    }
}

fn indented(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("\n    {line}")).collect()
}

/// One execution of a tool.
#[derive(Debug)]
pub(super) struct Step {
    program: PathBuf,
    arguments: Vec<String>,
    dir: PathBuf,
    environment: Vec<(String, String)>,
}

impl Step {
    /// Runs `program` in `dir`.
    pub(super) fn new(program: impl Into<PathBuf>, dir: &Path) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            dir: dir.to_owned(),
            environment: Vec::new(),
        }
    }

    /// Adds arguments.
    pub(super) fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    pub(super) fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Prints the command and runs it. Its output goes to standard error.
    ///
    /// # Errors
    /// [`Error::Spawn`] or [`Error::Failed`].
    pub(super) fn run(&self) -> Result<(), Error> {
        note(&format!("$ {self}"));
        let stderr = std::io::stderr();
        let spawned = self.command().stdout(stderr).status();
        let status = spawned.map_err(|source| self.spawn(source))?;
        match status.success() {
            true => Ok(()),
            false => Err(Error::Failed {
                command: self.to_string(),
                status,
            }),
        }
    }

    /// Like [`run`](Self::run), and returns standard output.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(super) fn output(&self) -> Result<String, Error> {
        note(&format!("$ {self}"));
        let spawned = self.command().stdout(Stdio::piped()).spawn();
        let output = spawned
            .and_then(std::process::Child::wait_with_output)
            .map_err(|source| self.spawn(source))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(Error::Failed {
                command: self.to_string(),
                status: output.status,
            }),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    fn spawn(&self, source: std::io::Error) -> Error {
        Error::Spawn {
            program: self.program.display().to_string(),
            source,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.environment {
            write!(f, "{key}={} ", quoted(value))?;
        }
        write!(f, "{}", quoted(&self.program.display().to_string()))?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The path of a program in `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// The path of a program under its own name or the newest of its versioned names, such as `clang-16`.
pub(super) fn find_versioned(name: &str) -> Option<PathBuf> {
    let newest_first = (11..=40).rev().map(|version| format!("{name}-{version}"));
    find(name).or_else(|| newest_first.into_iter().find_map(|name| find(&name)))
}

/// What a program prints, without the line's end; `None` if it fails.
pub(super) fn output_of(program: &Path, arguments: &[&str], dir: &Path) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Writes a line to standard error, which may be a closed pipe.
pub(super) fn note(line: &str) {
    let _lost = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_reads_it() {
        let step = Step::new("cargo", Path::new("."))
            .args(["build", "it's"])
            .env("FLAGS", "-C a");
        assert_eq!(step.to_string(), "FLAGS='-C a' cargo build 'it'\\''s'");
    }
}
