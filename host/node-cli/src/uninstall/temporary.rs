//! A daemon that runs for the time of an uninstallation, to finish what is recorded.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Why the daemon cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("recorded attachments need the daemon, but {} cannot be started", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error(
        "recorded attachments need the daemon, but it ended with {status}: its messages are above"
    )]
    Ended { status: std::process::ExitStatus },
    #[error("the daemon")]
    Wait(#[source] io::Error),
}

pub(super) struct Temporary {
    child: Child,
}

impl Temporary {
    pub(super) fn start(program: &Path, config: &Path) -> Result<Self, Error> {
        let started = Command::new(program)
            .arg("--config")
            .arg(config)
            .arg("--leave")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Ok(Self { child }),
            Err(source) => Err(Error::Start {
                program: program.to_owned(),
                source,
            }),
        }
    }

    pub(super) fn require_running(&mut self) -> Result<(), Error> {
        match self.child.try_wait().map_err(Error::Wait)? {
            Some(status) => Err(Error::Ended { status }),
            None => Ok(()),
        }
    }

    /// Lets it finish its requests, and waits for its end.
    pub(super) fn end(mut self) -> Result<(), Error> {
        self.terminate();
        self.child.wait().map_err(Error::Wait).map(drop)
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Fails only if it has ended.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            let _ = self.child.wait();
        }
    }
}
