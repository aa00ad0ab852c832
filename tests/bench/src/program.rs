//! Starts a program, writes its input and waits for its end: the same code measures each yardstick,
//! the shim and the delegates.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::Error;

#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) stdin: Vec<u8>,
}

/// How an execution ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Time from before its start to after its end.
    pub(crate) took: Duration,
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Program {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            env: Vec::new(),
            stdin: Vec::new(),
        }
    }

    pub(crate) fn run(&self) -> Result<Ended, Error> {
        let failed = |source| Error::Start {
            program: self.path.display().to_string(),
            source,
        };
        let mut command = Command::new(&self.path);
        command
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input is still measured.
            let _ = stdin.write_all(&self.stdin);
        }
        let output = child.wait_with_output().map_err(failed)?;
        Ok(Ended {
            took: start.elapsed(),
            success: output.status.success(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    /// Runs it; fails unless it succeeds.
    pub(crate) fn succeed(&self) -> Result<Ended, Error> {
        let ended = self.run()?;
        if ended.success {
            return Ok(ended);
        }
        Err(Error::Failed {
            what: self.path.display().to_string(),
            said: format!(
                "{}{}",
                String::from_utf8_lossy(&ended.stdout),
                String::from_utf8_lossy(&ended.stderr)
            ),
        })
    }
}

/// A file's size in bytes.
pub(crate) fn size(path: &Path) -> Result<f64, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::file(path))?;
    Ok(metadata.len() as f64)
}
