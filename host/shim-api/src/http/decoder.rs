//! Decodes one HTTP response from pieces of bytes: head first, then the body as the head says.

use super::MAX_HEAD_BYTES;
use super::body::Body;

/// Most headers of a response.
const MAX_HEADERS: usize = 64;

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code, `200` for success.
    pub status: u16,
    /// Body, decoded from its transfer encoding.
    pub body: Vec<u8>,
}

/// What [`Decoder::feed`] made of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// More bytes or the end of the stream are needed.
    NeedMore,
    /// The response is whole: call [`Decoder::finish`] and close.
    Done,
}

/// Why bytes are no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream ended before the response did.
    #[error("the connection ended after {received} bytes, before the answer was whole")]
    Truncated {
        /// Bytes that came.
        received: usize,
    },
    /// Status line and headers are larger than [`MAX_HEAD_BYTES`].
    #[error("the head of the answer is larger than {MAX_HEAD_BYTES} bytes")]
    HeadTooLarge,
    /// Status line or headers are no HTTP.
    #[error("the answer is no HTTP")]
    Head(#[source] httparse::Error),
    /// `Content-Length` is no number, or there are two that differ.
    #[error("the answer has an invalid Content-Length")]
    ContentLength,
    /// A transfer encoding other than `chunked`.
    #[error("the answer has the unsupported transfer encoding {0:?}")]
    TransferEncoding(String),
    /// A chunk's size line or end is malformed.
    #[error("the answer has a malformed chunk")]
    Chunk,
    /// The body is larger than the decoder was told to take.
    #[error("the body of the answer is larger than {limit} bytes")]
    BodyTooLarge {
        /// Bytes that are taken.
        limit: usize,
    },
}

/// Takes a response in pieces of any size.
///
/// # Expected flow
/// [`feed`](Self::feed) what was read until it says [`Progress::Done`], or until the stream ends; then
/// [`finish`](Self::finish) either way.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes that are not consumed yet: an unfinished head, or an unfinished size line of a chunk.
    pending: Vec<u8>,
    received: usize,
    max_body: usize,
    head: Option<(u16, Body)>,
}

impl Decoder {
    /// A decoder that takes at most `max_body` bytes of body.
    pub fn new(max_body: usize) -> Self {
        Self {
            pending: Vec::new(),
            received: 0,
            max_body,
            head: None,
        }
    }

    /// Takes the bytes that were read last.
    ///
    /// # Errors
    /// Bytes that are no HTTP response or exceed a bound. The connection is then of no more use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, Error> {
        self.received = self.received.saturating_add(bytes.len());
        self.pending.extend_from_slice(bytes);
        while self.head.is_none() {
            match parse_head(&self.pending, self.max_body)? {
                None => return Ok(Progress::NeedMore),
                Some(head) => {
                    self.pending.drain(..head.len);
                    // 1xx are interim answers; the final one follows.
                    if head.status >= 200 {
                        self.head = Some((head.status, head.body));
                    }
                }
            }
        }
        match &mut self.head {
            Some((_, body)) => body.take(&mut self.pending),
            None => Ok(Progress::NeedMore),
        }
    }

    /// The response, after [`Progress::Done`] or at the end of the stream.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the stream ended too early.
    pub fn finish(self) -> Result<Response, Error> {
        let received = self.received;
        let (status, body) = self.head.ok_or(Error::Truncated { received })?;
        let body = body.finish().ok_or(Error::Truncated { received })?;
        Ok(Response { status, body })
    }
}

struct Head {
    status: u16,
    len: usize,
    body: Body,
}

fn parse_head(bytes: &[u8], max_body: usize) -> Result<Option<Head>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let len = match parsed.parse(bytes).map_err(Error::Head)? {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial => {
            return if bytes.len() > MAX_HEAD_BYTES {
                Err(Error::HeadTooLarge)
            } else {
                Ok(None)
            };
        }
    };
    if len > MAX_HEAD_BYTES {
        return Err(Error::HeadTooLarge);
    }
    let status = parsed.code.ok_or(Error::Head(httparse::Error::Status))?;
    let body = match status {
        100..200 | 204 | 304 => Body::with_length(0, max_body)?,
        _ => parse_framing(parsed.headers, max_body)?,
    };
    Ok(Some(Head { status, len, body }))
}

/// How the end of the body is found (RFC 9112, section 6.3).
fn parse_framing(headers: &[httparse::Header<'_>], max_body: usize) -> Result<Body, Error> {
    let named = |name: &'static str| {
        headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value.trim_ascii())
    };
    if let Some(encoding) = named("transfer-encoding").next() {
        return if encoding.eq_ignore_ascii_case(b"chunked") {
            Ok(Body::chunked(max_body))
        } else {
            Err(Error::TransferEncoding(
                String::from_utf8_lossy(encoding).into_owned(),
            ))
        };
    }
    let mut length = None;
    for value in named("content-length") {
        let number = parse_length(value).ok_or(Error::ContentLength)?;
        if length.is_some_and(|other| other != number) {
            return Err(Error::ContentLength);
        }
        length = Some(number);
    }
    match length {
        Some(length) => Body::with_length(length, max_body),
        None => Ok(Body::until_end(max_body)),
    }
}

fn parse_length(value: &[u8]) -> Option<usize> {
    // `parse` alone would take a sign.
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
