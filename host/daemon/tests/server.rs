//! The socket's HTTP, with a handler that fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use daemon::server::{self, Handler, Serving};
use hyper::StatusCode;
use shim_api::{endpoint, exchange, http, response};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

/// A handler whose changing requests panic.
struct Faulty;

#[async_trait]
impl Handler for Faulty {
    async fn cni(&self, _body: Bytes) -> (StatusCode, Vec<u8>) {
        panic!("a fault");
    }

    async fn delegate(&self, _body: Bytes) -> (StatusCode, Vec<u8>) {
        panic!("a fault");
    }

    fn answered(&self, _handler: &'static str, _method: &'static str, _status: StatusCode) {}

    fn ready(&self) -> bool {
        true
    }

    fn unbound(&self) -> Option<String> {
        None
    }

    fn policies(&self) -> Vec<u8> {
        Vec::new()
    }

    async fn attachments(&self) -> (StatusCode, Vec<u8>) {
        (StatusCode::OK, Vec::new())
    }

    async fn forget(&self, _body: Bytes) -> (StatusCode, Vec<u8>) {
        panic!("a fault");
    }

    async fn explain(&self, _body: Bytes) -> (StatusCode, Vec<u8>) {
        panic!("a fault");
    }

    async fn release(&self, _body: Bytes) -> (StatusCode, Vec<u8>) {
        panic!("a fault");
    }

    async fn record(&self, _body: Bytes) -> (StatusCode, Vec<u8>) {
        panic!("a fault");
    }

    fn traces(&self) -> (StatusCode, Vec<u8>) {
        (StatusCode::OK, Vec::new())
    }

    async fn metrics(&self) -> Vec<u8> {
        Vec::new()
    }

    fn log_levels(&self) -> Vec<u8> {
        Vec::new()
    }

    fn set_log_levels(&self, _: &[u8]) -> (StatusCode, Vec<u8>) {
        panic!("a fault");
    }

    async fn leave(&self) -> (StatusCode, Vec<u8>) {
        panic!("a fault");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_panics_gets_a_cni_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(endpoint::SOCKET_FILE);
    let listener = UnixListener::bind(&path).unwrap();
    let (_stop, stopping) = watch::channel(false);
    let patience = Duration::from_secs(1);
    let mut serving = Serving {
        listener: Some(listener),
        replacements: mpsc::channel(1).1,
        handler: Arc::new(Faulty),
        connection_limit: None,
        stop: stopping,
        patience,
    };
    tokio::spawn(async move { server::run(&mut serving).await });
    for asked in [
        endpoint::CNI,
        endpoint::DELEGATE,
        endpoint::FORGET,
        endpoint::RELEASE,
        endpoint::LOG,
        endpoint::LEAVE,
    ] {
        let path = path.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let stream = exchange::connect(&path).unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            let request = http::post(asked, b"{}");
            exchange::exchange(&stream, &request, response::MAX_BODY_BYTES, deadline).unwrap()
        });
        let answer = answer.await.unwrap();
        let error = response::parse(answer.status, &answer.body).unwrap_err();
        assert_eq!((answer.status, error.code), (400, 999), "{asked}: {error}");
        assert!(error.msg.contains("the daemon failed"), "{asked}: {error}");
    }
}
