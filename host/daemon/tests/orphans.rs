//! Delegates that outlive their daemon. In a test binary of its own with a single test: every
//! process started meanwhile inherits the witness, and between fork and exec the lock as well.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cni_types::args::ContainerId;
use daemon::adapters::delegates::orphans::{Error, Tenure};

const AT_ONCE: Duration = Duration::ZERO;
/// Longer than a child between fork and exec holds its parent's lock.
const SOON: Duration = Duration::from_secs(20);

/// Starts a delegate that runs until its standard input is closed, then ends its daemon.
async fn delegate_of_a_killed_daemon(dir: &Path, container: &str) -> Child {
    let tenure = Tenure::begin(dir, SOON).await.unwrap();
    let child = Command::new("cat")
        .stdin(Stdio::piped())
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", container)
        .process_group(0)
        .spawn()
        .unwrap();
    drop(tenure);
    child
}

fn ids(names: &[&str]) -> BTreeSet<ContainerId> {
    names
        .iter()
        .map(|name| ContainerId::new(*name).unwrap())
        .collect()
}

#[tokio::test]
async fn orphaned_delegates_are_awaited_then_killed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let first = Tenure::begin(dir, SOON).await.unwrap();
    assert!(matches!(
        Tenure::begin(dir, AT_ONCE).await,
        Err(Error::Alive(_))
    ));
    drop(first);

    let mut short = delegate_of_a_killed_daemon(dir, "short").await;
    let mut long = delegate_of_a_killed_daemon(dir, "long").await;

    let tenure = Tenure::begin(dir, SOON).await.unwrap();
    let orphaned = tenure.orphaned().await;
    assert_eq!(orphaned, ids(&["short", "long"]));
    // Waiting for `short` closes its standard input; that of `long` stays open.
    let endless = long.stdin.take();
    let reaping = std::thread::spawn(move || (short.wait().unwrap(), long.wait().unwrap()));
    let mut ended = Vec::new();
    let settling = tenure.settle(orphaned, Duration::from_secs(3), |container| {
        ended.push(container.to_string());
    });
    settling.await;
    assert_eq!(ended, ["short", "long"]);
    let (short, long) = reaping.join().unwrap();
    assert!(short.success(), "it was to end by itself: {short}");
    assert!(!long.success(), "it was to be killed: {long}");

    drop((endless, tenure));
    drop(Tenure::begin(dir, SOON).await.unwrap());
    let files = fs::read_dir(dir).unwrap().count();
    assert_eq!(
        files, 2,
        "the lock and one witness: those of earlier daemons are gone"
    );
}
