//! A plugin between start and exit: its pipes, process group and termination.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::process::Child;
use super::stream::{Excess, Interrupted, PipeState, Stream};
use super::{Limits, Output};
use crate::cgroup::{Cgroup, Group};

/// Grace period after the exit of a plugin whose pipes are still open in a process it left behind.
/// After that, the output read so far is used.
const LINGER: Duration = Duration::from_millis(100);

/// Grace period before streaming output. Most plugins exit within it, having printed less than a
/// pipe holds, and their output is read once after the exit; others may block for this long.
const UNSEEN: Duration = Duration::from_millis(20);

/// The part of standard input that did not fit into the pipe before the start.
pub(super) struct Input<'a> {
    pipe: Sender,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// A pipe filled with as much input as it holds, and the rest. A pipe holds 64 KiB, so almost
    /// no plugin waits for input, and almost no caller for a plugin to read it.
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

    /// An empty pipe, for a plugin that must not start working yet.
    pub(super) fn held_back(input: &'a [u8]) -> io::Result<(OwnedFd, Option<Self>)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        let pipe = Sender::from_owned_fd(ours)?;
        Ok((theirs, Some(Self { pipe, rest: input })))
    }
}

/// Our ends of the output pipes.
pub(super) struct Streams {
    stdout: Stream,
    stderr: Stream,
}

impl Streams {
    /// Creates the streams, and the plugin's ends of their pipes.
    pub(super) fn new(limits: &Limits) -> io::Result<(Self, [OwnedFd; 2])> {
        let (stdout, out) = Stream::new(limits.stdout, Excess::Refused)?;
        let (stderr, err) = Stream::new(limits.stderr, Excess::Dropped)?;
        Ok((Self { stdout, stderr }, [out, err]))
    }

    /// Reads what is available; returns whether both streams are closed.
    fn read(&self, output: &mut Output) -> Result<bool, Interrupted> {
        let out = self.stdout.read(&mut output.stdout)?;
        let err = self.stderr.read(&mut output.stderr)?;
        Ok(out == PipeState::Closed && err == PipeState::Closed)
    }

    /// Reads until both streams are closed.
    async fn read_to_end(self, output: &mut Output) -> Result<(), Interrupted> {
        let Output { stdout, stderr } = output;
        tokio::try_join!(
            self.stdout.read_to_end(stdout),
            self.stderr.read_to_end(stderr)
        )?;
        Ok(())
    }
}

/// A plugin that was started and not yet reaped.
pub(super) struct Running<'a> {
    /// `None` once reaped, when the pid may be reused.
    child: Option<Child>,
    /// `None` from the start of reading to the end.
    streams: Option<Streams>,
    input: Option<Input<'a>>,
    cgroup: Option<Group>,
}

impl<'a> Running<'a> {
    pub(super) fn new(child: Child, streams: Streams) -> Self {
        Self {
            child: Some(child),
            streams: Some(streams),
            input: None,
            cgroup: None,
        }
    }

    /// Sets the input that is left to write.
    pub(super) fn given(mut self, input: Option<Input<'a>>) -> Self {
        self.input = input;
        self
    }

    /// Moves the plugin into a control group. If that fails, it stays in the caller's.
    pub(super) fn enter(&mut self, cgroup: &Cgroup) {
        let Some(child) = &self.child else { return };
        match cgroup.take(child.pid()) {
            Ok(group) => self.cgroup = Some(group),
            Err(error) => {
                tracing::warn!(%error, "cannot move a plugin into its control group; it runs in the daemon's")
            }
        }
    }

    /// Waits for the exit and reads both streams: sequentially for a plugin that exits soon,
    /// otherwise, or when input is left to write, concurrently.
    pub(super) async fn exchange(
        &mut self,
        output: &mut Output,
    ) -> Result<ExitStatus, Interrupted> {
        let input = self.input.take();
        let streams = self
            .streams
            .take()
            .ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let early = match input {
            None => timeout(UNSEEN, wait(&mut self.child)).await.ok(),
            Some(_) => None,
        };
        if let Some(status) = early {
            let status = status?;
            let is_all = streams.read(output)?;
            if !is_all {
                let rest = timeout(LINGER, streams.read_to_end(output)).await;
                rest.unwrap_or(Ok(()))?;
            }
            return Ok(status);
        }
        let write = async {
            if let Some(Input { mut pipe, rest }) = input {
                // A plugin may ignore some or all of its input.
                let _ = pipe.write_all(rest).await;
            }
            Ok(())
        };
        let read = streams.read_to_end(output);
        let mut pipes = pin!(async { tokio::try_join!(write, read) });
        let status = tokio::select! {
            closed = &mut pipes => {
                closed?;
                return Ok(wait(&mut self.child).await?);
            }
            status = wait(&mut self.child) => status?,
        };
        if let Ok(closed) = timeout(LINGER, pipes).await {
            closed?;
        }
        Ok(status)
    }

    /// Kills the process group and reaps the plugin; uninterruptible sleep can delay its exit.
    pub(super) async fn kill(&mut self) {
        self.kill_group();
        // After this timeout, `Drop` leaves reaping to a background task.
        let _ = timeout(Duration::from_secs(1), wait(&mut self.child)).await;
    }

    fn kill_group(&self) {
        if let Some(child) = &self.child {
            // Fails only if the group is already gone.
            let _ = rustix::process::kill_process_group(child.pid(), rustix::process::Signal::KILL);
            if let Some(cgroup) = &self.cgroup {
                cgroup.kill();
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.kill_group();
        if let Some(child) = self.child.take()
            && let Ok(runtime) = Handle::try_current()
        {
            // Reaps the child in the background; if the runtime shuts down, so does this process.
            runtime.spawn(async move { child.wait().await });
        }
    }
}

/// Waits for the exit, then drops the child.
async fn wait(child: &mut Option<Child>) -> io::Result<ExitStatus> {
    let running = child.as_ref().ok_or(io::ErrorKind::NotFound)?;
    let status = running.wait().await;
    *child = None;
    status
}
