//! What a plugin prints, read from the pipes of its standard streams.

use std::io;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::running::Interrupted;

/// Bytes that are read at once: what a pipe holds.
const TURN: usize = 64 << 10;

/// Bytes that are read with one call of the kernel: what most plugins print at most.
const CHUNK: usize = 4 << 10;

/// What becomes of what is printed beyond the limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// It is read and dropped.
    Dropped,
    /// It ends the execution.
    Refused,
}

/// What there is in a pipe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing, and nobody can write any more.
    Closed,
    /// Perhaps nothing now, but somebody can still write.
    Open,
}

/// One standard stream: our end of its pipe.
pub(super) struct Stream {
    pipe: OwnedFd,
    limit: usize,
    excess: Excess,
}

impl Stream {
    /// The stream, and the plugin's end.
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

    /// Reads what is there, but no more than a pipe holds, so that a plugin that never stops does not
    /// keep the caller.
    pub(super) fn read(&self, into: &mut Vec<u8>) -> Result<State, Interrupted> {
        let mut turn = 0;
        while turn < TURN {
            into.reserve(CHUNK);
            match rustix::io::read(&self.pipe, spare_capacity(into)) {
                Ok(0) => return Ok(State::Closed),
                Ok(read) => turn += read,
                Err(Errno::AGAIN) => return Ok(State::Open),
                Err(Errno::INTR) => {}
                Err(error) => return Err(Interrupted::Io(error.into())),
            }
            cut(into, self.limit, self.excess)?;
        }
        Ok(State::Open)
    }

    /// Reads until nobody can write any more.
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

/// Takes off what is beyond the limit.
fn cut(read: &mut Vec<u8>, limit: usize, excess: Excess) -> Result<(), Interrupted> {
    if read.len() > limit {
        if excess == Excess::Refused {
            return Err(Interrupted::TooLarge);
        }
        read.truncate(limit);
    }
    Ok(())
}
