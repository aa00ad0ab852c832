//! A collector of traces that takes everything.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::error::Error;

/// A running collector, stopped on drop.
pub(crate) struct Collector {
    _runtime: Runtime,
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Collector {
    /// Starts one on a free port of the node.
    pub(crate) fn start() -> Result<Self, Error> {
        let failed = Error::file("the collector");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let bound = runtime.and_then(|runtime| {
            let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
            Ok((runtime, listener.local_addr()?.port(), listener))
        });
        let (runtime, port, listener) = bound.map_err(failed)?;
        let requests = Arc::new(AtomicUsize::new(0));
        runtime.spawn(serve(listener, Arc::clone(&requests)));
        Ok(Self {
            _runtime: runtime,
            port,
            requests,
        })
    }

    /// Where the daemon sends traces.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, requests: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let requests = Arc::clone(&requests);
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(
            TokioIo::new(stream),
            hyper::service::service_fn(move |request| take(request, Arc::clone(&requests))),
        );
        tokio::spawn(connection);
    }
}

async fn take(
    request: Request<Incoming>,
    requests: Arc<AtomicUsize>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    // What cannot be read is not counted.
    if request.into_body().collect().await.is_ok() {
        requests.fetch_add(1, Ordering::Relaxed);
    }
    Ok(Response::new(Empty::new()))
}
