//! A kubeconfig without a CA: the system's trusted CAs decide.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/process.rs"]
mod process;

use std::path::Path;
use std::time::{Duration, Instant};

use fake_api::{FakeApi, User};

/// A server, and a kubeconfig in `dir` that does not name the server's CA.
async fn prepare(dir: &Path) -> FakeApi {
    let api = FakeApi::builder().start().await.unwrap();
    let token = api.issue_token(User::service_account("kube-system", "cnidaria"));
    let kubeconfig = dir.join("kubeconfig");
    api.write_kubeconfig(&kubeconfig, &token).unwrap();
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.contains("certificate-authority"));
    let lines: Vec<_> = lines.collect();
    std::fs::write(&kubeconfig, lines.join("\n")).unwrap();
    std::fs::write(dir.join("ca.pem"), api.ca()).unwrap();
    let other = FakeApi::builder().start().await.unwrap();
    std::fs::write(dir.join("other.pem"), other.ca()).unwrap();
    api
}

/// Polls until a condition holds.
async fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_system_ca_certificates_are_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let api = prepare(dir).await;
    let file = |name: &str| dir.join(name).display().to_string();

    let stranger = process::start(dir, ("SSL_CERT_FILE", &file("other.pem")));
    let log = || std::fs::read_to_string(dir.join("log")).unwrap();
    until(|| log().contains("invalid peer certificate")).await;
    drop(stranger);
    let requests = api.take_requests();
    assert!(requests.is_empty(), "{requests:?}");

    let _running = process::start(dir, ("SSL_CERT_FILE", &file("ca.pem")));
    api.wait_for(|requests| !requests.is_empty()).await;
}
