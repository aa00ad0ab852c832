//! Reads a plugin's output from the pipes of its standard streams.

use std::io;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// Maximum bytes read before yielding: the capacity of a pipe.
const TURN: usize = 64 << 10;

/// Bytes per read call: most plugins print less.
const CHUNK: usize = 4 << 10;

/// Why the exchange was aborted before the plugin exited.
pub(super) enum Interrupted {
    TooLarge,
    Io(io::Error),
}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How output beyond the limit is handled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// Read and drop it.
    Dropped,
    /// Abort the execution.
    Refused,
}

/// State of a pipe after a read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PipeState {
    /// End of file: no writer is left.
    Closed,
    /// A writer is left, though nothing may be available now.
    Open,
}

/// Our end of the pipe of one standard stream.
pub(super) struct Stream {
    pipe: OwnedFd,
    limit: usize,
    excess: Excess,
}

impl Stream {
    /// Creates the stream, and the plugin's end of its pipe.
    pub(super) fn new(limit: usize, excess: Excess) -> io::Result<(Self, OwnedFd)> {
        let (pipe, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        let stream = Self {
            pipe,
            limit,
            excess,
        };
        Ok((stream, theirs))
    }

    /// Reads what is available, at most one pipe capacity, so that a plugin that never stops
    /// printing does not block the caller.
    pub(super) fn read(&self, into: &mut Vec<u8>) -> Result<PipeState, Interrupted> {
        let mut turn = 0;
        while turn < TURN {
            into.reserve(CHUNK);
            match rustix::io::read(&self.pipe, spare_capacity(into)) {
                Ok(0) => return Ok(PipeState::Closed),
                Ok(read) => turn += read,
                Err(Errno::AGAIN) => return Ok(PipeState::Open),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Interrupted::Io(error.into())),
            }
            cut(into, self.limit, self.excess)?;
        }
        Ok(PipeState::Open)
    }

    /// Reads until end of file.
    pub(super) async fn read_to_end(self, into: &mut Vec<u8>) -> Result<(), Interrupted> {
        let mut pipe = Receiver::from_owned_fd_unchecked(self.pipe)?;
        loop {
            into.reserve(CHUNK);
            if pipe.read_buf(into).await? == 0 {
                return Ok(());
            }
            cut(into, self.limit, self.excess)?;
        }
    }
}

/// Truncates output beyond the limit, or rejects it.
fn cut(read: &mut Vec<u8>, limit: usize, excess: Excess) -> Result<(), Interrupted> {
    if read.len() > limit {
        if excess == Excess::Refused {
            return Err(Interrupted::TooLarge);
        }
        read.truncate(limit);
    }
    Ok(())
}
