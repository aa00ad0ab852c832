//! Incrementally decodes one HTTP response: the head, then the body in its framing.

use super::MAX_HEAD_BYTES;
use super::body::{Body, Progress};
use super::error::Error;

/// Maximum number of headers in a response.
const MAX_HEADERS: usize = 64;

/// A complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code, `200` for success.
    pub status: u16,
    /// Body, with the transfer encoding removed.
    pub body: Vec<u8>,
}

/// Decodes a response from pieces of any size.
///
/// # Expected flow
/// Call [`feed`](Self::feed) with each read until it returns [`Progress::Done`] or the stream ends;
/// then call [`finish`](Self::finish) in either case.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes not yet consumed: an incomplete head, or an incomplete size line of a chunk.
    pending: Vec<u8>,
    received: usize,
    max_body: usize,
    head: Option<(u16, Body)>,
}

impl Decoder {
    /// Creates a decoder that accepts at most `max_body` bytes of body.
    pub fn new(max_body: usize) -> Self {
        Self {
            pending: Vec::new(),
            received: 0,
            max_body,
            head: None,
        }
    }

    /// Decodes the next bytes.
    ///
    /// # Errors
    /// The bytes are not an HTTP response or exceed a limit. The connection is then unusable.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, Error> {
        self.received = self.received.saturating_add(bytes.len());
        self.pending.extend_from_slice(bytes);
        while self.head.is_none() {
            match parse_head(&self.pending, self.max_body)? {
                None => return Ok(Progress::NeedMore),
                Some(head) => {
                    self.pending.drain(..head.len);
                    // 1xx responses are interim; the final one follows.
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

    /// Returns the response, after [`Progress::Done`] or at the end of the stream.
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

/// Determines the framing of the body (RFC 9112, section 6.3).
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
    // `parse` alone would accept a sign.
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    /// Decodes `bytes` in pieces of `piece` bytes, then ends the stream.
    fn decode_in(piece: usize, bytes: &[u8]) -> Result<Response, Error> {
        let mut decoder = Decoder::new(LIMIT);
        for part in bytes.chunks(piece) {
            if decoder.feed(part)? == Progress::Done {
                break;
            }
        }
        decoder.finish()
    }

    /// Checks that `bytes` decode to `expected` for every piece size.
    fn check(bytes: &str, status: u16, body: &str) {
        for piece in 1..=bytes.len() {
            let response = decode_in(piece, bytes.as_bytes()).expect(bytes);
            assert_eq!(response.status, status, "{bytes:?} in pieces of {piece}");
            assert_eq!(response.body, body.as_bytes(), "{bytes:?} by {piece}");
        }
    }

    /// Checks that `bytes` are rejected for every piece size.
    fn check_refused(bytes: &str, expected: fn(&Error) -> bool) {
        for piece in 1..=bytes.len() {
            let error = decode_in(piece, bytes.as_bytes()).expect_err(bytes);
            assert!(expected(&error), "{bytes:?} by {piece}: {error:?}");
        }
    }

    #[test]
    fn content_length_ends_body_before_the_stream() {
        let bytes =
            "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
        check(bytes, 200, "body");
        let mut decoder = Decoder::new(LIMIT);
        assert_eq!(decoder.feed(bytes.as_bytes()).unwrap(), Progress::Done);
    }

    #[test]
    fn an_empty_body_is_a_body() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "");
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "");
    }

    #[test]
    fn chunks_are_joined() {
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nbody\r\nA;ext=1\r\n0123456789\r\n0\r\n\r\n",
            200,
            "body0123456789",
        );
    }

    #[test]
    fn trailers_are_skipped() {
        check(
            "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: Chunked\r\n\r\n\
             1\r\nx\r\n0\r\nDigest: a\r\nMore: b\r\n\r\n",
            400,
            "x",
        );
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_stream() {
        check("HTTP/1.0 500 Oops\r\n\r\nall of it", 500, "all of it");
    }

    #[test]
    fn interim_answers_are_passed_over() {
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            "ok",
        );
    }

    #[test]
    fn a_stream_that_ends_early_is_truncated() {
        for bytes in [
            "",
            "HTTP/1.1 2",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbod",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n",
        ] {
            let error = decode_in(7, bytes.as_bytes()).expect_err(bytes);
            assert!(
                matches!(error, Error::Truncated { received } if received == bytes.len()),
                "{bytes:?}: {error:?}"
            );
        }
    }

    #[test]
    fn input_other_than_http_is_rejected() {
        check_refused("SSH-2.0-OpenSSH_9.2\r\n\r\n", |e| {
            matches!(e, Error::Head(_))
        });
    }

    #[test]
    fn lengths_that_are_none_or_differ_are_refused() {
        for length in ["-1", "+4", "4 4", "0x4", "99999999999999999999", ""] {
            check_refused(
                &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nbody"),
                |e| matches!(e, Error::ContentLength),
            );
        }
        check_refused(
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
            |e| matches!(e, Error::ContentLength),
        );
    }

    #[test]
    fn an_unknown_transfer_encoding_is_refused() {
        check_refused(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            |e| matches!(e, Error::TransferEncoding(name) if name == "gzip, chunked"),
        );
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for body in [
            "zz\r\n",
            "4\r\nbodyXX",
            "-4\r\nbody\r\n",
            "11111111111111111\r\n",
        ] {
            check_refused(
                &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
                |e| matches!(e, Error::Chunk),
            );
        }
        let endless = format!("4;{}", "x".repeat(400));
        check_refused(
            &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{endless}"),
            |e| matches!(e, Error::Chunk),
        );
    }

    #[test]
    fn body_limit_applies_to_every_framing() {
        let big = "x".repeat(LIMIT + 1);
        for bytes in [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LIMIT + 1),
            format!("HTTP/1.1 200 OK\r\n\r\n{big}"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n{big}\r\n"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n".to_owned()
                + &big,
        ] {
            check_refused(&bytes, |e| {
                matches!(e, Error::BodyTooLarge { limit: LIMIT })
            });
        }
    }

    #[test]
    fn an_endless_head_or_trailer_is_refused() {
        let endless = "X: y\r\n".repeat(MAX_HEAD_BYTES);
        for start in [
            "HTTP/1.1 200 OK\r\nLong: ",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nLong: ",
        ] {
            let bytes = format!("{start}{}", endless.replace("\r\n", " "));
            let error = decode_in(1000, bytes.as_bytes()).expect_err("endless");
            assert!(matches!(error, Error::HeadTooLarge), "{error:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn decoder_never_panics_or_exceeds_the_limit(
            head in "(HTTP/1.1 200 OK\r\n(Transfer-Encoding: chunked\r\n)?\r\n)?",
            rest: Vec<u8>,
            piece in 1..40_usize,
        ) {
            let mut bytes = head.into_bytes();
            bytes.extend(rest);
            if let Ok(response) = decode_in(piece, &bytes) {
                proptest::prop_assert!(response.body.len() <= LIMIT);
            }
        }
    }
}
