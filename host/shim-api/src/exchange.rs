//! One blocking request and response over the unix socket, with a deadline. The only I/O of this
//! crate, shared by shim and command line; the server does not use it.

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
use crate::peer_credentials;

/// Bytes per read: most results fit.
const READ_BYTES: usize = 4 << 10;

/// Why connecting failed. Nothing was sent, so a retry is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No socket, no listener, or a full queue: may be transient.
    #[error("cannot connect to the socket")]
    Unreachable(#[source] io::Error),
    /// Any other failure: not a socket, permissions, no file descriptors. Waiting does not help.
    #[error("cannot connect to the socket")]
    Failed(#[source] io::Error),
    /// The listener is another user, who would see the request and could forge the response.
    #[error("user {uid} listens on the socket, who is neither root nor the caller's own user")]
    Untrusted {
        /// The listener's uid in the caller's user namespace.
        uid: u32,
    },
}

/// Why no response arrived.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request could not be written, and no response arrived either.
    #[error("the request could not be sent ({sent} of {total} bytes were)")]
    Send {
        /// Bytes sent.
        sent: usize,
        /// Size of the request.
        total: usize,
        /// The write error.
        source: io::Error,
    },
    /// The deadline expired. The daemon may still be processing the request.
    #[error("the daemon did not answer in time")]
    TimedOut,
    /// The peer closed without reading the request, so it did not start: the kernel reports the
    /// unread data. This can be a killed daemon whose socket was still held by a child it was
    /// spawning.
    #[error("the daemon closed the connection without reading the request")]
    Unread(#[source] io::Error),
    /// The connection broke. The daemon may have done all, some or none of the work.
    #[error("the connection was lost while waiting for the answer")]
    Lost(#[source] io::Error),
    /// The response is malformed, too large or truncated.
    #[error(transparent)]
    Answer(#[from] http::Error),
}

/// Connects to the socket at `path` without blocking; reads and writes do not block either. The
/// listener must be trusted by [`peer_credentials::is_trusted`], or nothing is sent.
///
/// # Errors
/// [`ConnectError::Unreachable`] if a restarting daemon would explain the failure.
pub fn connect(path: &Path) -> Result<UnixStream, ConnectError> {
    let failed = |errno: rustix::io::Errno| ConnectError::Failed(errno.into());
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    // Non-blocking: connecting to a socket with a full queue would block indefinitely.
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
    // Recorded at listen(2), so a listener cannot pass off its socket as another user's.
    let listener = rustix::net::sockopt::socket_peercred(&socket).map_err(failed)?;
    let uid = listener.uid.as_raw();
    if !peer_credentials::is_trusted(uid, rustix::process::geteuid().as_raw()) {
        return Err(ConnectError::Untrusted { uid });
    }
    Ok(UnixStream::from(socket))
}

/// Writes `request` (from [`http::post`] or [`http::get`]) and reads the response, with at most
/// `max_body` bytes of body, until `deadline`.
///
/// # Errors
/// Anything but a complete HTTP response, whatever its status. Once any byte was sent the daemon
/// may have acted on it, so callers must not blindly retry.
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
        // Not a blocking read: that is woken when the daemon reads the request, and finds no data.
        await_ready(stream, PollFlags::IN, deadline)?;
        let count = match recv(stream, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((count, _)) => count,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            // A server that rejects a request unread closes early: prefer its response, if any,
            // over the write error.
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

/// Waits until the socket is readable or writable, or the peer is gone.
fn await_ready(stream: &UnixStream, what: PollFlags, deadline: Instant) -> Result<(), Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::TimedOut);
    }
    // A duration too long for the kernel means no timeout.
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
    fn missing_or_stale_socket_is_unreachable() {
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
    fn connect_does_not_block_on_full_backlog() {
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
            // Changes the uid of this thread only.
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
    fn early_response_outranks_failed_write() {
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
    fn failed_write_reports_bytes_sent() {
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
    fn partly_read_request_did_not_begin() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || server.read_exact(&mut [0; 6]).unwrap());
        let error = exchange(&client, b"request", 100, soon()).unwrap_err();
        assert!(matches!(error, Error::Unread(_)), "{error:?}");
        server.join().unwrap();
    }

    #[test]
    fn partial_response_may_mean_begun() {
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
    fn connection_closed_unanswered_is_truncated() {
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
    fn silent_and_unreading_servers_time_out() {
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
    fn slow_response_does_not_extend_deadline() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            while server.write_all(b"H").is_ok() {
                thread::sleep(SECOND / 100);
            }
        });
        let deadline = Instant::now() + SECOND / 10;
        let result = exchange(&client, b"request", 100, deadline);
        drop(client);
        // The codec rejects "HH…" before the deadline; either bounds the wait.
        assert!(matches!(result, Err(Error::Answer(_) | Error::TimedOut)));
        server.join().unwrap();
    }
}
