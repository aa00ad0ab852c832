//! The unix socket: who may connect, and HTTP. Does not know what requests mean.

mod ancestry;
mod exposure;
mod http;
pub mod metrics;
mod socket;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use config::reference::DEFAULT_CONNECTION_LIMIT;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use shim_api::peer_credentials;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};

pub use http::Handler;
pub use socket::{AtPath, Error, Socket};
use stream::Stream;

/// Timeout for receiving a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What serving needs.
pub struct Serving {
    /// Where clients connect; `None` once serving has ended.
    pub listener: Option<UnixListener>,
    /// Listeners that take its place, because the socket's file was removed.
    pub replacements: mpsc::Receiver<UnixListener>,
    /// Answers the requests.
    pub handler: Arc<dyn Handler>,
    /// How many connections are served at once.
    pub connection_limit: Option<usize>,
    /// Ends serving.
    pub stop: watch::Receiver<bool>,
    /// How long running requests may take afterwards.
    pub patience: Duration,
}

/// Serves requests until `stop` fires, then waits at most `patience` for the running ones.
pub async fn run(serving: &mut Serving) {
    let connections = Arc::new(Semaphore::new(
        serving.connection_limit.unwrap_or(DEFAULT_CONNECTION_LIMIT),
    ));
    let (handler, patience) = (&serving.handler, serving.patience);
    let mut stop = serving.stop.clone();
    let graceful = GracefulShutdown::new();
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok(permit) = permit else { break };
        let Some(listener) = &serving.listener else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
            // Once all that connected before the removal are accepted.
            Some(replacement) = serving.replacements.recv() => {
                serving.listener = Some(replacement);
                continue;
            }
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely out of file descriptors: retry once other connections have closed.
                tracing::error!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(uid) = may_connect(&stream) {
            let unknown = uid == peer_credentials::OVERFLOW_UID;
            tracing::warn!(
                uid,
                unknown_in_this_user_namespace = unknown,
                "connection refused: the peer is neither root nor this daemon's user"
            );
            continue;
        }
        let by_delegate = ancestry::is_by_delegate(&stream);
        let handler = Arc::clone(handler);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            // Peers are on this node and have the same clock.
            .auto_date_header(false)
            .serve_connection(
                TokioIo::new(Stream::new(stream)),
                hyper::service::service_fn(move |request| {
                    http::answer(Arc::clone(&handler), request, by_delegate)
                }),
            );
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
    serving.listener = None;
    if tokio::time::timeout(patience, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still running at the end of the shutdown's time");
    }
}

/// Allows only root and the daemon's own user, regardless of file modes.
fn may_connect(stream: &UnixStream) -> Result<(), u32> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer_credentials::is_trusted(peer.uid(), own) => Ok(()),
        Ok(peer) => Err(peer.uid()),
        Err(_) => Err(u32::MAX),
    }
}
