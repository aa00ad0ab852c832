//! Routes the socket's HTTP requests: paths, methods and bodies.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cni_types::error::{CniError, code};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use shim_api::{endpoint, request::MAX_BODY_BYTES};

use crate::response::refused;

/// Answers requests; one instance serves all connections.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Answers `POST /cni` with status and body.
    async fn cni(&self, body: Bytes) -> (StatusCode, Vec<u8>);
    /// Answers `POST /delegate` with status and body.
    async fn delegate(&self, body: Bytes) -> (StatusCode, Vec<u8>);
    /// Called for each response, with the served path (or `NotFound`) and the method.
    fn answered(&self, handler: &'static str, method: &'static str, status: StatusCode);
    /// Whether requests are accepted: `/readyz`.
    fn ready(&self) -> bool;
    /// Why the daemon's socket is not at its path, so that new clients cannot connect.
    fn unbound(&self) -> Option<String>;
    /// Answers `GET /v1/policies` with JSON.
    fn policies(&self) -> Vec<u8>;
    /// Answers `GET /v1/attachments` with status and JSON.
    async fn attachments(&self) -> (StatusCode, Vec<u8>);
    /// Answers `POST /v1/attachments/forget` with status and body.
    async fn forget(&self, body: Bytes) -> (StatusCode, Vec<u8>);
    /// Answers `POST /v1/explain` with status and body.
    async fn explain(&self, body: Bytes) -> (StatusCode, Vec<u8>);
    /// Answers `POST /v1/policies/release` with status and body.
    async fn release(&self, body: Bytes) -> (StatusCode, Vec<u8>);
    /// Answers `POST /v1/policies/record` with status and body.
    async fn record(&self, body: Bytes) -> (StatusCode, Vec<u8>);
    /// Answers `GET /v1/traces` with status and JSON.
    fn traces(&self) -> (StatusCode, Vec<u8>);
    /// Answers `GET /v1/metrics` with the text for Prometheus.
    async fn metrics(&self) -> Vec<u8>;
    /// Answers `GET /v1/log` with JSON.
    fn log_levels(&self) -> Vec<u8>;
    /// Answers `POST /v1/log` with status and JSON.
    fn set_log_levels(&self, body: &[u8]) -> (StatusCode, Vec<u8>);
    /// Answers `POST /v1/leave` with status and JSON.
    async fn leave(&self) -> (StatusCode, Vec<u8>);
}

pub(super) async fn answer(
    handler: Arc<dyn Handler>,
    request: Request<Incoming>,
    by_delegate: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (path, method) = (known_path(&request), known_method(&request));
    let (status, body) = match path {
        endpoint::CNI | endpoint::DELEGATE if by_delegate => self_delegated(),
        _ => route(Arc::clone(&handler), request).await,
    };
    handler.answered(path, method, status);
    let kind = match path {
        endpoint::METRICS => "text/plain; charset=utf-8",
        _ => "application/json",
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(kind),
    );
    Ok(response)
}

/// The request's path, if it is served.
fn known_path(request: &Request<Incoming>) -> &'static str {
    [
        endpoint::CNI,
        endpoint::DELEGATE,
        endpoint::HEALTHZ,
        endpoint::READYZ,
        endpoint::POLICIES,
        endpoint::ATTACHMENTS,
        endpoint::FORGET,
        endpoint::RELEASE,
        endpoint::EXPLAIN,
        endpoint::RECORD,
        endpoint::TRACES,
        endpoint::METRICS,
        endpoint::LOG,
        endpoint::LEAVE,
    ]
    .into_iter()
    .find(|path| *path == request.uri().path())
    .unwrap_or("NotFound")
}

/// The method's label, as in Multus' metrics.
fn known_method(request: &Request<Incoming>) -> &'static str {
    match *request.method() {
        Method::GET => "get",
        Method::POST => "post",
        _ => "unknown",
    }
}

async fn route(handler: Arc<dyn Handler>, request: Request<Incoming>) -> (StatusCode, Vec<u8>) {
    let method = request.method();
    let reads = method == Method::GET || method == Method::POST;
    match request.uri().path() {
        endpoint::CNI
        | endpoint::DELEGATE
        | endpoint::FORGET
        | endpoint::RELEASE
        | endpoint::EXPLAIN
        | endpoint::RECORD
        | endpoint::LOG
        | endpoint::LEAVE
            if method == Method::POST =>
        {
            let path = request.uri().path().to_owned();
            match body(request).await {
                // In its own task: if the client disconnects, an ADD is finished or undone rather
                // than dropped halfway.
                Ok(body) => tokio::spawn(async move {
                    match path.as_str() {
                        endpoint::CNI => handler.cni(body).await,
                        endpoint::DELEGATE => handler.delegate(body).await,
                        endpoint::FORGET => handler.forget(body).await,
                        endpoint::EXPLAIN => handler.explain(body).await,
                        endpoint::RECORD => handler.record(body).await,
                        endpoint::LOG => handler.set_log_levels(&body),
                        endpoint::LEAVE => handler.leave().await,
                        _ => handler.release(body).await,
                    }
                })
                .await
                .unwrap_or_else(|_| panicked()),
                Err(refused) => refused,
            }
        }
        endpoint::HEALTHZ if reads => reachable(handler.unbound()),
        endpoint::READYZ if reads => match handler.ready() {
            true => reachable(handler.unbound()),
            false => (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
        },
        endpoint::POLICIES if method == Method::GET => (StatusCode::OK, handler.policies()),
        endpoint::ATTACHMENTS if method == Method::GET => handler.attachments().await,
        endpoint::TRACES if method == Method::GET => handler.traces(),
        endpoint::METRICS if method == Method::GET => (StatusCode::OK, handler.metrics().await),
        endpoint::LOG if method == Method::GET => (StatusCode::OK, handler.log_levels()),
        endpoint::CNI
        | endpoint::DELEGATE
        | endpoint::HEALTHZ
        | endpoint::READYZ
        | endpoint::POLICIES
        | endpoint::ATTACHMENTS
        | endpoint::FORGET
        | endpoint::RELEASE
        | endpoint::EXPLAIN
        | endpoint::RECORD
        | endpoint::TRACES
        | endpoint::METRICS
        | endpoint::LOG
        | endpoint::LEAVE => (StatusCode::METHOD_NOT_ALLOWED, Vec::new()),
        _ => (StatusCode::NOT_FOUND, Vec::new()),
    }
}

/// Rejects a delegate's request: the request that executed the delegate is waiting for it.
fn self_delegated() -> (StatusCode, Vec<u8>) {
    let message = "a delegate of this daemon has executed the shim: the type in the network's conf is \
                   a shim under another name, or something that executes one";
    refused(&CniError::new(code::INVALID_CONFIG, message))
}

/// The answer to a probe. Only a client that connected before, or through a directory that was
/// moved, can read why the socket is not bound.
fn reachable(unbound: Option<String>) -> (StatusCode, Vec<u8>) {
    match unbound {
        None => (StatusCode::OK, Vec::new()),
        Some(reason) => {
            let message =
                format!("the daemon's socket was removed and cannot be bound again: {reason}");
            let error = CniError::new(code::TRY_AGAIN_LATER, message);
            (
                StatusCode::SERVICE_UNAVAILABLE,
                shim_api::response::failure(&error),
            )
        }
    }
}

/// The answer to a request whose handler panicked. The log has the details.
fn panicked() -> (StatusCode, Vec<u8>) {
    let message = "the daemon failed while it served this request; its log says where";
    let error = CniError::new(code::INTERNAL, message);
    (StatusCode::BAD_REQUEST, shim_api::response::failure(&error))
}

async fn body(request: Request<Incoming>) -> Result<Bytes, (StatusCode, Vec<u8>)> {
    let collect = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    match tokio::time::timeout(super::HEADER_TIMEOUT, collect).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, Vec::new())),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, Vec::new())),
    }
}
