//! Collects a response body in any of HTTP/1.1's three framings.

use super::MAX_HEAD_BYTES;
use super::error::Error;

/// Maximum bytes of a chunk's size line, with extensions.
const MAX_SIZE_LINE_BYTES: usize = 256;

/// Progress of [`Decoder::feed`](super::Decoder::feed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Needs more bytes or the end of the stream.
    NeedMore,
    /// The response is complete: call [`Decoder::finish`](super::Decoder::finish) and close.
    Done,
}

/// A partially received body.
#[derive(Debug)]
pub(super) struct Body {
    collected: Vec<u8>,
    limit: usize,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    /// Bytes left.
    Length(usize),
    Chunked(Chunk),
    /// Everything until the stream ends.
    UntilEnd,
}

/// State of the chunked decoder.
#[derive(Debug)]
enum Chunk {
    SizeLine,
    /// Bytes left in this chunk.
    Data(usize),
    /// The line end after a chunk's data.
    DataEnd,
    /// Trailer lines; counts the bytes skipped.
    Trailer(usize),
    End,
}

impl Body {
    pub(super) fn with_length(length: usize, limit: usize) -> Result<Self, Error> {
        if length > limit {
            return Err(Error::BodyTooLarge { limit });
        }
        Ok(Self::new(Framing::Length(length), limit))
    }

    pub(super) fn chunked(limit: usize) -> Self {
        Self::new(Framing::Chunked(Chunk::SizeLine), limit)
    }

    pub(super) fn until_end(limit: usize) -> Self {
        Self::new(Framing::UntilEnd, limit)
    }

    fn new(framing: Framing, limit: usize) -> Self {
        Self {
            collected: Vec::new(),
            limit,
            framing,
        }
    }

    /// Moves the bytes of the body out of `pending`.
    pub(super) fn take(&mut self, pending: &mut Vec<u8>) -> Result<Progress, Error> {
        match &mut self.framing {
            Framing::UntilEnd => {
                collect(&mut self.collected, pending, usize::MAX, self.limit)?;
                Ok(Progress::NeedMore)
            }
            Framing::Length(missing) => {
                *missing -= collect(&mut self.collected, pending, *missing, self.limit)?;
                Ok(done_if(*missing == 0))
            }
            Framing::Chunked(chunk) => {
                while let Some(next) = chunk.advance(&mut self.collected, pending, self.limit)? {
                    *chunk = next;
                }
                Ok(done_if(matches!(chunk, Chunk::End)))
            }
        }
    }

    /// The whole body, or `None` if it is incomplete.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        match self.framing {
            Framing::UntilEnd | Framing::Length(0) | Framing::Chunked(Chunk::End) => {
                Some(self.collected)
            }
            Framing::Length(_) | Framing::Chunked(_) => None,
        }
    }
}

impl Chunk {
    /// One step: the next state, or `None` when more bytes are needed or the body is complete.
    fn advance(
        &self,
        collected: &mut Vec<u8>,
        pending: &mut Vec<u8>,
        limit: usize,
    ) -> Result<Option<Self>, Error> {
        match *self {
            Self::SizeLine => match httparse::parse_chunk_size(pending) {
                Ok(httparse::Status::Complete((len, 0))) => {
                    pending.drain(..len);
                    Ok(Some(Self::Trailer(0)))
                }
                Ok(httparse::Status::Complete((len, size))) => {
                    pending.drain(..len);
                    let size = usize::try_from(size).map_err(|_| Error::BodyTooLarge { limit })?;
                    Ok(Some(Self::Data(size)))
                }
                Ok(httparse::Status::Partial) if pending.len() <= MAX_SIZE_LINE_BYTES => Ok(None),
                Ok(httparse::Status::Partial) | Err(httparse::InvalidChunkSize) => {
                    Err(Error::Chunk)
                }
            },
            Self::Data(0) => Ok(Some(Self::DataEnd)),
            Self::Data(_) if pending.is_empty() => Ok(None),
            Self::Data(missing) => {
                let taken = collect(collected, pending, missing, limit)?;
                Ok(Some(Self::Data(missing - taken)))
            }
            Self::DataEnd => match pending.get(..2) {
                Some(b"\r\n") => {
                    pending.drain(..2);
                    Ok(Some(Self::SizeLine))
                }
                Some(_) => Err(Error::Chunk),
                None => Ok(None),
            },
            Self::Trailer(skipped) => {
                let line = pending.windows(2).position(|pair| pair == b"\r\n");
                if skipped + line.unwrap_or(pending.len()) > MAX_HEAD_BYTES {
                    return Err(Error::HeadTooLarge);
                }
                Ok(line.map(|len| {
                    pending.drain(..len + 2);
                    match len {
                        0 => Self::End,
                        _ => Self::Trailer(skipped + len),
                    }
                }))
            }
            Self::End => Ok(None),
        }
    }
}

/// Moves up to `most` bytes out of `pending`; returns the number moved.
fn collect(
    collected: &mut Vec<u8>,
    pending: &mut Vec<u8>,
    most: usize,
    limit: usize,
) -> Result<usize, Error> {
    let count = pending.len().min(most);
    if collected.len() + count > limit {
        return Err(Error::BodyTooLarge { limit });
    }
    if collected.is_empty() && count == pending.len() {
        // The usual case: the whole body arrived at once.
        std::mem::swap(collected, pending);
    } else {
        collected.extend(pending.drain(..count));
    }
    Ok(count)
}

fn done_if(done: bool) -> Progress {
    if done {
        Progress::Done
    } else {
        Progress::NeedMore
    }
}
