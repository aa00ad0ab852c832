//! One request and one answer over the unix socket, blocking, within a deadline. The only IO of this
//! crate, here because shim and command line need the same; a server has no use for it.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recv, send,
};
use rustix::time::Timespec;

use crate::http::{self, Decoder, Progress, Response};
use crate::peer;

/// Bytes that are read at once: most results fit.
const READ_BYTES: usize = 4 << 10;

/// Why the daemon cannot be reached. Nothing was sent: trying again is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No socket, nobody who listens on it, or a queue that is full: this may pass.
    #[error("nobody answers on the socket")]
    Unreachable(#[source] io::Error),
    /// Anything else: a path that is no socket, permissions, no file descriptors. Waiting does not help.
    #[error("cannot connect to the socket")]
    Failed(#[source] io::Error),
    /// Another user listens there, who would see the request and could answer anything.
    #[error("user {uid} listens on the socket, who is neither root nor the caller's own user")]
    Untrusted {
        /// The user, as the caller's user namespace shows it.
        uid: u32,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request could not be written, and no answer came instead.
    #[error("the request could not be sent ({sent} of {total} bytes were)")]
    Send {
        /// Bytes that went out.
        sent: usize,
        /// Bytes of the request.
        total: usize,
        /// What the write failed with.
        source: io::Error,
    },
    /// The deadline passed. The daemon may still be at work on the request.
    #[error("no answer within the time")]
    TimedOut,
    /// The other side ended before it had read the request, and so did not begin: the kernel tells of
    /// what was left. It may have been the last moment of a daemon that was killed, in which a child that
    /// is just being started still had its socket.
    #[error("the other side went without reading the request")]
    Unread(#[source] io::Error),
    /// The connection broke. The daemon may have done all, some or nothing of the request.
    #[error("the connection was lost while waiting for the answer")]
    Lost(#[source] io::Error),
    /// The answer is malformed, too large, or ended too early.
    #[error(transparent)]
    Answer(#[from] http::Error),
}

/// Connects to the socket at `path`, without ever waiting; reading and writing do not wait either.
/// The listener is trusted by [`peer::is_trusted`]: nothing is sent to another.
///
/// # Errors
/// [`ConnectError::Unreachable`] where a daemon that restarts would explain it.
pub fn connect(path: &Path) -> Result<UnixStream, ConnectError> {
    let failed = |errno: rustix::io::Errno| ConnectError::Failed(errno.into());
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    // Non-blocking, because connecting to a socket whose queue is full blocks without a limit.
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(failed)?;
    rustix::net::connect(&socket, &address).map_err(|errno| {
        let error = io::Error::from(errno);
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::WouldBlock => {
                ConnectError::Unreachable(error)
            }
            _ => ConnectError::Failed(error),
        }
    })?;
    // As it was at listen(2), so a listener cannot pass its socket off as another's.
    let listener = rustix::net::sockopt::socket_peercred(&socket).map_err(failed)?;
    let uid = listener.uid.as_raw();
    if !peer::is_trusted(uid, rustix::process::geteuid().as_raw()) {
        return Err(ConnectError::Untrusted { uid });
    }
    Ok(UnixStream::from(socket))
}

/// Writes `request` (from [`http::post`] or [`http::get`]) and reads the answer, of at most `max_body`
/// bytes of body, until `deadline`.
///
/// # Errors
/// Anything but a whole HTTP response, of whatever status. Once any byte was sent the daemon may have
/// acted on it, so a caller must not simply repeat the request.
pub fn exchange(
    stream: &UnixStream,
    request: &[u8],
    max_body: usize,
    deadline: Instant,
) -> Result<Response, Error> {
    let unsent = send_all(stream, request, deadline);
    let mut decoder = Decoder::new(max_body);
    let mut buffer = [0; READ_BYTES];
    let mut is_answered = false;
    loop {
        // Not a read that blocks: such a one is woken when the daemon takes the request, and finds nothing.
        await_ready(stream, PollFlags::IN, deadline)?;
        let count = match recv(stream, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((count, _)) => count,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            // A server that refuses without reading closes early: its answer counts more than the
            // failed write, but if there is none, the write is the cause.
            Err(error) => {
                let is_unread = error == Errno::CONNRESET && !is_answered;
                let lost = if is_unread {
                    Error::Unread
                } else {
                    Error::Lost
                };
                return Err(unsent.err().unwrap_or_else(|| lost(error.into())));
            }
        };
        is_answered |= count > 0;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() || decoder.feed(bytes)? == Progress::Done {
            break;
        }
    }
    match (decoder.finish(), unsent) {
        (Err(http::Error::Truncated { received: 0 }), Err(unsent)) => Err(unsent),
        (response, _) => Ok(response?),
    }
}

fn send_all(stream: &UnixStream, request: &[u8], deadline: Instant) -> Result<(), Error> {
    let total = request.len();
    let mut rest = request;
    while !rest.is_empty() {
        match send(stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => await_ready(stream, PollFlags::OUT, deadline)?,
            Err(error) => {
                return Err(Error::Send {
                    sent: total - rest.len(),
                    total,
                    source: error.into(),
                });
            }
        }
    }
    Ok(())
}

/// Waits until there is something to read, or room to write, or the other side is gone.
fn await_ready(stream: &UnixStream, what: PollFlags, deadline: Instant) -> Result<(), Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::TimedOut);
    }
    // A time that the kernel does not know is longer than any it could wait.
    let timeout = Timespec::try_from(left).ok();
    match poll(&mut [PollFd::new(stream, what)], timeout.as_ref()) {
        Ok(0) => Err(Error::TimedOut),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(Error::Lost(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn soon() -> Instant {
        Instant::now() + 10 * SECOND
    }

    #[test]
    fn nobody_on_the_socket_is_unreachable_and_a_plain_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let error = connect(&path).unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
        drop(UnixListener::bind(&path).unwrap());
        let error = connect(&path).unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
        let error = connect(&dir.path().join("s").join("t")).unwrap_err();
        assert!(matches!(error, ConnectError::Failed(_)), "{error:?}");
        let error = connect(&dir.path().join("x".repeat(200))).unwrap_err();
        assert!(matches!(error, ConnectError::Failed(_)), "{error:?}");
    }

    #[test]
    fn connecting_does_not_wait_for_a_server_that_never_accepts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match connect(&path) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
    }

    #[test]
    fn a_listener_of_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can have another user listen.
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(1234), None).unwrap();
        let path = dir.path().join("s");
        let at = path.clone();
        let listening = thread::spawn(move || {
            // The users of this thread alone.
            let user = rustix::process::Uid::from_raw(1234);
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            UnixListener::bind(at).unwrap()
        });
        let listener = listening.join().unwrap();
        let error = connect(&path).unwrap_err();
        assert!(
            matches!(error, ConnectError::Untrusted { uid: 1234 }),
            "{error:?}"
        );
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "nothing was sent");
    }

    #[test]
    fn an_answer_without_reading_counts_more_than_the_failed_write() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            server
                .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
                .unwrap();
        });
        server.join().unwrap();
        let large = vec![b'x'; 4 << 20];
        let response = exchange(&client, &large, 100, soon()).unwrap();
        assert_eq!(
            (response.status, response.body.as_slice()),
            (503, &b"busy"[..])
        );
    }

    #[test]
    fn a_failed_write_without_an_answer_says_how_much_went_out() {
        let (client, server) = UnixStream::pair().unwrap();
        drop(server);
        let error = exchange(&client, b"request", 100, soon()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Send {
                    sent: 0,
                    total: 7,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn what_ends_without_reading_all_of_the_request_did_not_begin() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || server.read_exact(&mut [0; 6]).unwrap());
        let error = exchange(&client, b"request", 100, soon()).unwrap_err();
        assert!(matches!(error, Error::Unread(_)), "{error:?}");
        server.join().unwrap();
    }

    #[test]
    fn what_begins_to_answer_before_it_has_read_all_may_have_begun() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            server.read_exact(&mut [0; 6]).unwrap();
            server.write_all(b"HTTP").unwrap();
        });
        let error = exchange(&client, b"request", 100, soon()).unwrap_err();
        assert!(matches!(error, Error::Lost(_)), "{error:?}");
        server.join().unwrap();
    }

    #[test]
    fn a_connection_that_ends_without_an_answer_is_truncated() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let mut buffer = [0; 7];
            server.read_exact(&mut buffer).unwrap();
        });
        let error = exchange(&client, b"request", 100, soon()).unwrap_err();
        assert!(
            matches!(error, Error::Answer(http::Error::Truncated { received: 0 })),
            "{error:?}"
        );
        server.join().unwrap();
    }

    #[test]
    fn a_silent_server_and_one_that_does_not_read_time_out() {
        let (client, _server) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + SECOND / 20;
        let error = exchange(&client, b"request", 100, deadline).unwrap_err();
        assert!(matches!(error, Error::TimedOut), "{error:?}");
        let large = vec![b'x'; 4 << 20];
        let deadline = Instant::now() + SECOND / 20;
        let error = exchange(&client, &large, 100, deadline).unwrap_err();
        assert!(matches!(error, Error::TimedOut), "{error:?}");
    }

    #[test]
    fn a_server_that_drips_bytes_meets_the_deadline_all_the_same() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            while server.write_all(b"H").is_ok() {
                thread::sleep(SECOND / 100);
            }
        });
        let deadline = Instant::now() + SECOND / 10;
        let result = exchange(&client, b"request", 100, deadline);
        drop(client);
        // "HH…" is refused by the codec before the time is over; both bound the wait.
        assert!(matches!(result, Err(Error::Answer(_) | Error::TimedOut)));
        server.join().unwrap();
    }
}
