//! A running daemon: started, waited for, stopped.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use shim_api::endpoint;

use crate::error::Error;

/// Time limit for becoming ready: with an empty cache the daemon compiles every policy.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon and waits until it is ready. Its log is appended to `log`.
    pub(crate) fn start(
        command: &mut Command,
        socket: PathBuf,
        log: PathBuf,
    ) -> Result<Self, Error> {
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Error::file(&log))?;
        let child = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .map_err(|source| Error::Start {
                program: command.get_program().to_string_lossy().into_owned(),
                source,
            })?;
        let mut daemon = Self { child, socket, log };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    fn wait_until_ready(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let is_ready = get(&self.socket, "/readyz").is_ok_and(|(status, _)| status == 200);
            if is_ready && self.has_loaded_policies() {
                return Ok(());
            }
            let ended = self.child.try_wait().ok().flatten();
            if let Some(status) = ended {
                return Err(self.problem(format!("ended with {status}")));
            }
            if start.elapsed() > PATIENCE {
                return Err(self.problem(format!("is not ready after {PATIENCE:?}")));
            }
            thread::sleep(POLL);
        }
    }

    /// Whether all policies have been compiled.
    fn has_loaded_policies(&self) -> bool {
        let list = get(&self.socket, endpoint::POLICIES);
        list.is_ok_and(|(_, body)| !body.contains(r#""loading""#))
    }

    fn problem(&self, problem: String) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(20)..);
        Error::Daemon {
            problem,
            log: last.unwrap_or_default().join("\n"),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The HTTP status of `/healthz`.
    pub(crate) fn health(&self) -> std::io::Result<u16> {
        get(&self.socket, "/healthz").map(|(status, _)| status)
    }

    /// Sends SIGTERM, as an init system does, and waits for exit.
    pub(crate) fn stop(mut self) -> Result<(), Error> {
        let pid = self.child.id().to_string();
        let sent = Command::new("/bin/sh")
            .args(["-c", "kill -TERM \"$1\"", "sh", &pid])
            .status();
        let start = Instant::now();
        while sent.as_ref().is_ok_and(|status| status.success()) && start.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(self.problem(format!("ended with {status} on SIGTERM")));
                }
                _ => thread::sleep(POLL),
            }
        }
        Err(self.problem("does not end on SIGTERM".to_owned()))
    }

    /// Sends SIGKILL, as the kernel's OOM killer does.
    pub(crate) fn kill(mut self) -> Result<(), Error> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|source| Error::Start {
                program: "kill".to_owned(),
                source,
            })
    }
}

/// GETs a path on the socket; returns the HTTP status and the response.
fn get(socket: &Path, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.unwrap_or(0), answer))
}
