//! Policies that change while the host runs are loaded automatically, without delaying requests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use policy_engine::{Evaluation, Hook, Mode, Observer, PolicyHost, PolicyInfo, Skipped};
use policy_tests::{Policies, only, until, watching};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// Reports which thread loaded policies.
#[derive(Debug)]
struct Places(Mutex<Sender<ThreadId>>);

impl Observer for Places {
    fn evaluated(&self, _: &Evaluation<'_>) {}
    fn edited(&self, _: &str, _: Hook, _: &str) {}
    fn counted(&self, _: &str, _: &str, _: f64) {}
    fn observed(&self, _: &str, _: &str, _: f64) {}
    fn skipped(&self, _: Skipped) {}
    fn state_damaged(&self, _: &str) {}
    fn loaded(&self, _: u64, _: &[PolicyInfo]) {
        self.0.lock().unwrap().send(thread::current().id()).unwrap();
    }
}

#[tokio::test]
async fn a_change_of_the_directory_is_loaded_by_itself() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let host = Arc::new(policies.load().await);
    let watching = watching(&host);
    // The watch starts at some point; a change before or after that is not lost.
    policies.write("10-mtu.json", br#"{"mode":"audit"}"#);
    until(|| only(&host).mode == Mode::Audit).await;
    assert!(!watching.is_finished());
    watching.abort();
}

#[tokio::test]
async fn reload_does_not_use_serving_threads() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let (tell, places) = channel();
    let mut config = policies.config();
    config.observer = Some(Arc::new(Places(Mutex::new(tell))));
    let host = Arc::new(PolicyHost::load(config).await);
    // The first load may use this thread: nothing is being served yet.
    assert_eq!(places.try_recv().unwrap(), thread::current().id());
    policies.write("10-mtu.json", br#"{"mode":"audit"}"#);
    let watching = watching(&host);
    until(|| only(&host).mode == Mode::Audit).await;
    assert_ne!(places.try_recv().unwrap(), thread::current().id());
    watching.abort();
}

#[tokio::test]
async fn a_compilation_ends_with_its_host() {
    let policies = Policies::new(COMPILER).with_own_cache();
    let number = policies.path("number");
    let script = format!(
        "echo $$ > {0}.new; /bin/mv {0}.new {0}; exec /bin/sleep 1000",
        number.display()
    );
    let host = Arc::new(PolicyHost::load(policies.scripted(&script)).await);
    policies.write("10-a.wasm", b"\0asm");
    let watching = watching(&host);
    until(|| number.exists()).await;
    let process = std::fs::read_to_string(&number).unwrap();
    let process = Path::new("/proc").join(process.trim());
    assert!(process.exists());
    watching.abort();
    let _ = watching.await;
    drop(host);
    until(|| !process.exists()).await;
}
