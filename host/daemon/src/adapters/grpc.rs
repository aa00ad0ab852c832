//! A minimal gRPC client for unary calls on a unix socket, on `h2` and `prost`: for the kubelet and
//! the container runtime. gRPC adds only a frame and a status to them; a whole framework would be a
//! tenth of the daemon's size.

use std::io;
use std::path::Path;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use hyper::{HeaderMap, Request, StatusCode};
use libcni::Root;
use prost::Message;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

/// The largest answer accepted: Multus' limit, hundreds of times what a node with many pods needs.
const MAX_MESSAGE: usize = 16 << 20;
/// One byte for compression, four for the length.
const FRAME_HEAD: usize = 5;
const WINDOW: u32 = 1 << 20;
const MAX_HEADERS: u32 = 16 << 10;
/// Characters of a peer's message that are kept.
const MAX_WORDS: usize = 300;

/// The gRPC codes that need special handling.
pub(super) mod code {
    pub(crate) const OK: u32 = 0;
    pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(crate) const UNIMPLEMENTED: u32 = 12;
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke, or the peer does not speak HTTP/2.
    #[error("HTTP/2")]
    Http(#[from] h2::Error),
    /// The peer speaks HTTP/2, but not gRPC.
    #[error("the answer is HTTP status {0}, not a gRPC message")]
    NoGrpc(StatusCode),
    /// The peer refused the call.
    #[error("the call was refused with gRPC code {code}: {message}")]
    Status {
        /// gRPC status code.
        code: u32,
        message: String,
    },
    #[error("the answer has more than {MAX_MESSAGE} bytes")]
    TooLarge,
    /// The answer is not a valid message.
    #[error("the answer is not a valid message: {0}")]
    Malformed(String),
}

impl Error {
    pub(super) fn code(&self) -> Option<u32> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A connection, closed on drop.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to a socket, below `root` if given.
    pub(super) async fn open(socket: &Path, root: Option<&Root>) -> Result<Self, Error> {
        let stream = connect(socket, root).await.map_err(Error::Connect)?;
        let (requests, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(MAX_HEADERS)
            .handshake(stream)
            .await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a gRPC connection failed");
            }
        });
        Ok(Self {
            requests,
            driver: driver.abort_handle(),
        })
    }

    /// Calls a method by its path, `/package.Service/Method`.
    pub(super) async fn unary<Answer: Message + Default>(
        &mut self,
        method: &'static str,
        message: &impl Message,
    ) -> Result<Answer, Error> {
        let mut requests = self.requests.clone().ready().await?;
        let head = Request::post(format!("http://localhost{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("the parts are valid");
        let (answer, mut body) = requests.send_request(head, false)?;
        body.send_data(frame(message), true)?;
        let (head, body) = answer.await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Error::NoGrpc(head.status));
        }
        // A refusal carries its status in the first headers and has no body.
        check(&head.headers, false)?;
        let (bytes, trailers) = collect(body).await?;
        check(&trailers.unwrap_or(head.headers), true)?;
        decode(bytes)
    }
}

async fn connect(socket: &Path, root: Option<&Root>) -> io::Result<UnixStream> {
    let Some(root) = root else {
        return UnixStream::connect(socket).await;
    };
    let socket = socket.to_owned();
    let connected = root.run(move || -> io::Result<_> {
        let address = SocketAddrUnix::new(&socket)?;
        // Non-blocking: a full accept queue of the server must not stall the daemon.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&stream, &address)?;
        Ok(std::os::unix::net::UnixStream::from(stream))
    });
    UnixStream::from_std(connected.await??)
}

fn frame(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + len);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(len).expect("requests are short"));
    message
        .encode(&mut frame)
        .expect("there is room for the message");
    frame.freeze()
}

async fn collect(mut body: h2::RecvStream) -> Result<(Bytes, Option<HeaderMap>), Error> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        if bytes.len() + chunk.len() > FRAME_HEAD + MAX_MESSAGE {
            return Err(Error::TooLarge);
        }
        // Replenish the flow-control window, or long answers would stall.
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.freeze(), body.trailers().await?))
}

/// Checks the gRPC status in the headers; it is required in the trailers.
fn check(headers: &HeaderMap, at_end: bool) -> Result<(), Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").map(str::parse::<u32>) {
        Some(Ok(code::OK)) => Ok(()),
        Some(Ok(code)) => {
            let message = text("grpc-message").unwrap_or("no reason given");
            Err(Error::Status {
                code,
                message: message.chars().take(MAX_WORDS).collect(),
            })
        }
        Some(Err(error)) => Err(Error::Malformed(format!("grpc-status: {error}"))),
        None if at_end => Err(Error::Malformed("it ends without a status".to_owned())),
        None => Ok(()),
    }
}

fn decode<Answer: Message + Default>(mut bytes: Bytes) -> Result<Answer, Error> {
    let malformed = |reason: &str| Error::Malformed(reason.to_owned());
    if bytes.len() < FRAME_HEAD {
        return Err(malformed("it is shorter than the head of a frame"));
    }
    if bytes.get_u8() != 0 {
        return Err(malformed(
            "it is compressed, although the request allows no compression",
        ));
    }
    if usize::try_from(bytes.get_u32()).ok() != Some(bytes.len()) {
        return Err(malformed("it is not one frame"));
    }
    Answer::decode(bytes).map_err(|error| Error::Malformed(error.to_string()))
}
