//! A plugin between start and exit: its pipes, its process group and its end.

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
use super::stream::{Excess, State, Stream};
use super::{Limits, Output};
use crate::cgroup::{Cgroup, Group};

/// How long a plugin that has exited may keep its pipes open, through a process it left behind,
/// before what it printed is taken as it is.
const LINGER: Duration = Duration::from_millis(100);

/// How long nobody looks at what a plugin prints. Most have ended by then and printed less than a pipe
/// holds, so that it is read at once, after their end; another one waits for as long as that.
const UNSEEN: Duration = Duration::from_millis(20);

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

/// Our ends of what a plugin prints to.
pub(super) struct Streams {
    stdout: Stream,
    stderr: Stream,
}

impl Streams {
    /// The streams, and the plugin's ends.
    pub(super) fn new(limits: &Limits) -> io::Result<(Self, [OwnedFd; 2])> {
        let (stdout, out) = Stream::new(limits.stdout, Excess::Refused)?;
        let (stderr, err) = Stream::new(limits.stderr, Excess::Dropped)?;
        Ok((Self { stdout, stderr }, [out, err]))
    }

    /// Reads what is there. Gives whether that is all there will be.
    fn read(&self, output: &mut Output) -> Result<bool, Interrupted> {
        let out = self.stdout.read(&mut output.stdout)?;
        let err = self.stderr.read(&mut output.stderr)?;
        Ok(out == State::Closed && err == State::Closed)
    }

    /// Reads until nobody can write to either any more.
    async fn read_to_end(self, output: &mut Output) -> Result<(), Interrupted> {
        let Output { stdout, stderr } = output;
        tokio::try_join!(
            self.stdout.read_to_end(stdout),
            self.stderr.read_to_end(stderr)
        )?;
        Ok(())
    }
}

/// A plugin that has been started and not been waited for.
pub(super) struct Running<'a> {
    /// `None` once it was waited for, when its number may be reused.
    child: Option<Child>,
    /// `None` while and after they are read to their ends.
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

    /// The same, with what is left to be written.
    pub(super) fn given(mut self, input: Option<Input<'a>>) -> Self {
        self.input = input;
        self
    }

    /// Puts the plugin into a control group. Where that cannot be, it stays in the caller's.
    pub(super) fn enter(&mut self, cgroup: &Cgroup) {
        let Some(child) = &self.child else { return };
        match cgroup.take(child.pid()) {
            Ok(group) => self.cgroup = Some(group),
            Err(error) => tracing::warn!(%error, "a plugin runs in its caller's control group"),
        }
    }

    /// Waits for the exit and reads both streams. That is done in turn for a plugin that ends soon;
    /// otherwise, and where there is input left to write, all at once.
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
                // A plugin need not read all of its input, nor any.
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

    /// Kills the process group and waits for the plugin, which a dying kernel task can delay.
    pub(super) async fn kill(&mut self) {
        self.kill_group();
        // What is not gone by then is waited for by nobody in particular.
        let _ = timeout(Duration::from_secs(1), wait(&mut self.child)).await;
    }

    fn kill_group(&self) {
        if let Some(child) = &self.child {
            // The group may be gone already, and there is nobody to tell.
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
            // So that nothing of it is left; with the runtime, the process that waits ends as well.
            runtime.spawn(async move { child.wait().await });
        }
    }
}

/// Waits for the end, after which there is no child any more.
async fn wait(child: &mut Option<Child>) -> io::Result<ExitStatus> {
    let running = child.as_ref().ok_or(io::ErrorKind::NotFound)?;
    let status = running.wait().await;
    *child = None;
    status
}
