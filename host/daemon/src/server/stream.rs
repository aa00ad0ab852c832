//! A client's connection. One that ends before anything was read is closed at once: the client then
//! gets the kernel's report that its request is unread, and knows that it may send it again. A
//! shutdown of the stream before that, as servers do it, would look like the end of a daemon that was
//! killed while it worked.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// A connection, and whether anything was read from it.
#[derive(Debug)]
pub(super) struct Stream {
    stream: UnixStream,
    was_read: bool,
}

impl Stream {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            was_read: false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.was_read |= buffer.filled().len() > before;
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.was_read {
            true => Pin::new(&mut self.stream).poll_shutdown(context),
            false => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn an_unread_request_is_reported_as_unread() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(b"request").await.unwrap();
        let mut server = Stream::new(server);
        server.shutdown().await.unwrap();
        let mut buffer = [0; 8];
        let early = client.try_read(&mut buffer).unwrap_err();
        assert_eq!(
            early.kind(),
            ErrorKind::WouldBlock,
            "no end before the close"
        );
        drop(server);
        let error = client.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_request_that_was_read_ends_as_usual() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(b"request").await.unwrap();
        let mut server = Stream::new(server);
        let mut buffer = [0; 8];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 7);
        server.shutdown().await.unwrap();
        assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
    }
}
