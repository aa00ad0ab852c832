//! A plugin between start and exit: its pipes, its process group and its end.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Sender;
use tokio::process::Child;
use tokio::time::timeout;

use super::{Limits, Output};
use crate::cgroup::{Cgroup, Group};

/// How long a plugin that has exited may keep its pipes open, through a process it left behind,
/// before what it printed is taken as it is.
const LINGER: Duration = Duration::from_millis(100);

/// Bytes that most plugins print at most.
const RESULT: usize = 4 << 10;

/// Bytes that are dropped at a time.
const DROPPED: usize = 4 << 10;

/// Why the exchange ended before the plugin did.
pub(super) enum Interrupted {
    TooLarge,
    Io(io::Error),
}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What of the standard input is not in the pipe when the plugin is started.
pub(super) struct Input<'a> {
    pipe: Sender,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// A pipe that holds the input, as far as it takes it, and the rest. A pipe takes 64 KiB, so that
    /// next to no plugin has to wait for its input, and nobody for a plugin that reads it.
    pub(super) fn filled(input: &'a [u8]) -> io::Result<(OwnedFd, Option<Self>)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        let mut rest = input;
        while !rest.is_empty() {
            match rustix::io::write(&ours, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let pipe = Sender::from_owned_fd(ours)?;
                    return Ok((theirs, Some(Self { pipe, rest })));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((theirs, None))
    }

    /// An empty pipe, for a plugin that must not begin yet.
    pub(super) fn held_back(input: &'a [u8]) -> io::Result<(OwnedFd, Option<Self>)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        let pipe = Sender::from_owned_fd(ours)?;
        Ok((theirs, Some(Self { pipe, rest: input })))
    }
}

/// A plugin that has been started and not been waited for.
pub(super) struct Running<'a> {
    child: Child,
    input: Option<Input<'a>>,
    /// The process group; `None` once the plugin was waited for, when its number may be reused.
    group: Option<rustix::process::Pid>,
    cgroup: Option<Group>,
}

impl<'a> Running<'a> {
    pub(super) fn new(child: Child) -> Self {
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        Self {
            child,
            input: None,
            group,
            cgroup: None,
        }
    }

    /// The same, with what is left to be written.
    pub(super) fn given(mut self, input: Option<Input<'a>>) -> Self {
        self.input = input;
        self
    }

    /// Puts the plugin into a control group. Where that cannot be, it stays in the caller's.
    pub(super) fn enter(&mut self, cgroup: &Cgroup) {
        let Some(process) = self.group else { return };
        match cgroup.take(process) {
            Ok(group) => self.cgroup = Some(group),
            Err(error) => tracing::warn!(%error, "a plugin runs in its caller's control group"),
        }
    }

    /// Writes what is left of the input, reads both streams and waits for the exit, all at once.
    pub(super) async fn exchange(
        &mut self,
        limits: &Limits,
        output: &mut Output,
    ) -> Result<ExitStatus, Interrupted> {
        let input = self.input.take();
        let stdout = self.child.stdout.take();
        let stderr = self.child.stderr.take();
        let Output {
            stdout: out,
            stderr: err,
        } = output;
        let write = async {
            if let Some(Input { mut pipe, rest }) = input {
                // A plugin need not read all of its input, nor any.
                let _ = pipe.write_all(rest).await;
            }
            Ok(())
        };
        let read_out = async {
            match stdout {
                Some(stdout) => read(stdout, out, limits.stdout).await,
                None => Ok(()),
            }
        };
        let read_err = async {
            if let Some(stderr) = stderr {
                read_and_drop(stderr, err, limits.stderr).await?;
            }
            Ok(())
        };
        let mut pipes = pin!(async { tokio::try_join!(write, read_out, read_err) });
        let status = tokio::select! {
            closed = &mut pipes => {
                closed?;
                let status = self.child.wait().await?;
                self.group = None;
                return Ok(status);
            }
            status = self.child.wait() => status?,
        };
        self.group = None;
        if let Ok(closed) = timeout(LINGER, pipes).await {
            closed?;
        }
        Ok(status)
    }

    /// Kills the process group and waits for the plugin, which a dying kernel task can delay.
    pub(super) async fn kill(&mut self) {
        self.kill_group();
        if let Ok(Ok(_)) = timeout(Duration::from_secs(1), self.child.wait()).await {
            self.group = None;
        }
    }

    fn kill_group(&self) {
        if let Some(group) = self.group {
            // The group may be gone already, and there is nobody to tell.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            if let Some(cgroup) = &self.cgroup {
                cgroup.kill();
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Before the child is handed to tokio's reaper, so that the number is still ours.
        self.kill_group();
    }
}

async fn read(
    from: impl AsyncRead + Unpin,
    into: &mut Vec<u8>,
    limit: usize,
) -> Result<(), Interrupted> {
    let most = u64::try_from(limit).map_or(u64::MAX, |limit| limit.saturating_add(1));
    into.reserve(limit.min(RESULT));
    from.take(most).read_to_end(into).await?;
    if into.len() > limit {
        return Err(Interrupted::TooLarge);
    }
    Ok(())
}

async fn read_and_drop(
    from: impl AsyncRead + Unpin,
    into: &mut Vec<u8>,
    limit: usize,
) -> io::Result<()> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut from = from.take(most);
    from.read_to_end(into).await?;
    if into.len() == limit {
        // On the heap: within this future it would be moved along with each future around it.
        let mut dropped = vec![0; DROPPED];
        let mut rest = from.into_inner();
        while rest.read(&mut dropped).await? != 0 {}
    }
    Ok(())
}
