//! HTTP to a collector on this node or in its network, with the daemon's own HTTP library.

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Bytes of an answer, which says what was refused.
const MAX_ANSWER: usize = 64 << 10;
const HTTP_PORT: u16 = 80;

/// A connection for each batch: batches are rare.
#[derive(Debug)]
pub(super) struct Client;

/// Ends a connection when the exchange ends or is given up.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        let authority = parts.uri.authority().ok_or("the endpoint names no host")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(HTTP_PORT);
        parts
            .headers
            .insert(HOST, HeaderValue::from_str(authority.as_str())?);
        let path = parts.uri.path_and_query();
        parts.uri = path.map_or("/", |path| path.as_str()).parse()?;
        let stream = TcpStream::connect((host, port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _connection = Connection(tokio::spawn(connection).abort_handle());
        let request = Request::from_parts(parts, Full::new(body));
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}
