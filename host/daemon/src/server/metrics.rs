//! `GET /metrics` on a TCP port, for Prometheus.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const PATH: &str = "/metrics";
/// Expect one or two scrapers; cap the rest, so that they cannot exhaust file descriptors.
const CONNECTIONS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(10);
const FORMAT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Listens on all addresses of the node: on IPv6 and IPv4 where both are available.
///
/// # Errors
/// The port is in use.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

/// Makes the text of one scrape.
pub type Text = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// Serves the output of `text` forever.
pub async fn run(listener: &TcpListener, text: &Text) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let text = Arc::clone(text);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(TIMEOUT)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                hyper::service::service_fn(move |request| {
                    let text = Arc::clone(&text);
                    async move { Ok::<_, Infallible>(answer(&request, &text).await) }
                }),
            );
        tokio::spawn(async move {
            // Errors mean that the scraper disconnected, and are ignored.
            let _ = tokio::time::timeout(TIMEOUT, connection).await;
            drop(permit);
        });
    }
}

async fn answer(request: &Request<Incoming>, text: &Text) -> Response<Full<Bytes>> {
    let status = match (request.uri().path(), request.method()) {
        (PATH, &Method::GET) => StatusCode::OK,
        (PATH, _) => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::NOT_FOUND,
    };
    let body = match status {
        StatusCode::OK => text().await,
        _ => String::new(),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, FORMAT);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(port: u16, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_nothing_else_are_served() {
        let listener = bind(0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let text: Text = Arc::new(|| Box::pin(async { "a 1\n".to_owned() }));
            run(&listener, &text).await;
        });
        let answer = get(port, PATH).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("a 1\n"), "{answer}");
        assert!(get(port, "/debug/pprof/").await.starts_with("HTTP/1.1 404"));
        serving.abort();
    }
}
