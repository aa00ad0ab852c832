//! The process that compiles a module, and what the host serves meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use policy_engine::{Cause, Command, Config, LoadState, PolicyHost};
use policy_tests::{Policies, facts, storage, until, watching};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A configuration whose compiler waits until the file `gate` exists.
fn gated(policies: &Policies) -> Config {
    let gate = policies.path("gate");
    policies.scripted(&format!(
        "until [ -e {} ]; do /bin/sleep 0.01; done; exec {COMPILER} \"$@\"",
        gate.display()
    ))
}

/// The denial of an ADD for a pod of a namespace.
async fn denied(host: &PolicyHost, namespace: &str) -> Option<(u32, Cause, String)> {
    let mut session = host.current().begin(facts(Command::Add, namespace));
    let selected = session.select(vec![]).await.map(drop);
    let added = match selected {
        Ok(()) => session.before_add(storage()).await.map(drop),
        denied => denied,
    };
    let denied = added.err()?;
    Some((denied.code, denied.cause, denied.message))
}

fn states(host: &PolicyHost) -> Vec<(String, LoadState)> {
    let policies = host.current().policies().into_iter();
    policies.map(|policy| (policy.name, policy.state)).collect()
}

#[tokio::test]
async fn compiling_one_policy_delays_no_other() {
    let policies =
        Policies::new(COMPILER)
            .with_own_cache()
            .with("10-ready", "annotation-mtu", &json!({}));
    drop(policies.load().await);
    let policies = policies
        .with(
            "20-slow",
            "witness",
            &json!({"match": {"namespaces": ["shop"]}, "grants": ["state"]}),
        )
        .with(
            "30-open",
            "witness",
            &json!({"failurePolicy": "open", "grants": ["state"]}),
        );
    let host = PolicyHost::start(gated(&policies)).await;
    let state = |name: &str, state| (name.to_owned(), state);
    assert_eq!(
        states(&host),
        [
            state("10-ready", LoadState::Loaded),
            state("20-slow", LoadState::Loading),
            state("30-open", LoadState::Loading),
        ]
    );
    assert_eq!(denied(&host, "web").await, None);
    let (code, cause, message) = denied(&host, "shop").await.unwrap();
    assert_eq!((code, cause), (11, Cause::Load));
    assert!(
        message.contains("not loaded yet, try again later"),
        "{message}"
    );
    let status = host.current().status().await.unwrap_err();
    assert_eq!(status.policy, "20-slow");
    assert!(status.message.contains("not loaded yet"), "{status}");

    let watching = watching(&host);
    fs::write(policies.path("gate"), "").unwrap();
    until(|| {
        states(&host)
            .iter()
            .all(|(_, state)| *state == LoadState::Loaded)
    })
    .await;
    host.current().status().await.unwrap();
    watching.abort();
}

#[tokio::test]
async fn a_change_is_loaded_while_another_compiles() {
    let policies =
        Policies::new(COMPILER)
            .with_own_cache()
            .with("10-ready", "annotation-mtu", &json!({}));
    let config = gated(&policies);
    drop(policies.load().await);
    let host = PolicyHost::start(config).await;
    let watching = watching(&host);
    let policies = policies.with("20-slow", "witness", &json!({"grants": ["state"]}));
    until(|| states(&host).len() == 2).await;
    // A policy added later does not make the node unready while it compiles.
    host.current().status().await.unwrap();
    policies.write("10-ready.json", br#"{"mode":"off"}"#);
    until(|| states(&host)[0].1 == LoadState::Off).await;
    assert_eq!(states(&host)[1].1, LoadState::Loading);
    watching.abort();
}

#[tokio::test]
async fn a_module_that_is_replaced_goes_on_meanwhile() {
    let policies =
        Policies::new(COMPILER)
            .with_own_cache()
            .with("10-a", "annotation-mtu", &json!({}));
    let config = gated(&policies);
    drop(policies.load().await);
    let host = PolicyHost::start(config).await;
    let watching = watching(&host);
    let policies = policies.with("10-a", "witness", &json!({"grants": ["state"]}));
    until(|| states(&host)[0].1 == LoadState::Stale).await;
    assert_eq!(denied(&host, "web").await, None);
    fs::write(policies.path("gate"), "").unwrap();
    until(|| states(&host)[0].1 == LoadState::Loaded).await;
    watching.abort();
}

/// A compiler process that waits for its module.
fn waiting(parent: u32, input: Stdio) -> Process {
    let mut process = Process::new(COMPILER);
    let confinement = json!({"parent": parent, "memoryBytes": 300 << 20, "seconds": 60});
    process
        .args(["policy", "compile", "--child", &confinement.to_string()])
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    process
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn of(pid: u32, file: &str) -> String {
    fs::read_to_string(PathBuf::from(format!("/proc/{pid}")).join(file)).unwrap_or_default()
}

fn line(pid: u32, file: &str, key: &str) -> Vec<String> {
    let text = of(pid, file);
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let words = line.unwrap_or_default().split_whitespace();
    words.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_compiler_gives_up_what_it_does_not_need() {
    let child = waiting(std::process::id(), Stdio::piped()).spawn().unwrap();
    let child = Ended(child);
    let pid = child.0.id();
    // The last step of its confinement.
    until(|| line(pid, "status", "NoNewPrivs:") == ["1"]).await;
    until(|| of(pid, "wchan").contains("pipe") || of(pid, "syscall").starts_with("0 ")).await;
    for key in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(pid, "status", key), ["0000000000000000"], "{key}");
    }
    if fs::metadata("/proc/self").unwrap().is_root() {
        assert_eq!(line(pid, "status", "Uid:"), ["65534"; 4]);
        assert_eq!(line(pid, "status", "Gid:"), ["65534"; 4]);
        assert_eq!(line(pid, "status", "Groups:"), [""; 0]);
    }
    assert_eq!(of(pid, "oom_score_adj").trim(), "1000");
    let memory = (300_u64 << 20).to_string();
    assert_eq!(
        line(pid, "limits", "Max data size")[..2],
        [&*memory, &*memory]
    );
    let stat = of(pid, "stat");
    let nice = stat.rsplit(')').next().unwrap().split_whitespace().nth(16);
    assert_eq!(nice, Some("10"));
}

trait IsRoot {
    fn is_root(&self) -> bool;
}

impl IsRoot for fs::Metadata {
    fn is_root(&self) -> bool {
        std::os::unix::fs::MetadataExt::uid(self) == 0
    }
}

#[tokio::test]
async fn the_compiler_ends_with_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let made = Process::new("mkfifo").arg(path("input")).status().unwrap();
    assert!(made.success());
    // Holds the FIFO open, so that the compiler does not exit because of end of input.
    let held = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path("input"));
    let script = format!(
        r#"{COMPILER} policy compile --child "{{\"parent\":$$,\"memoryBytes\":300000000,\"seconds\":60}}" < {} > /dev/null &
           echo $! > {}; wait"#,
        path("input").display(),
        path("number").display(),
    );
    let shell = Process::new("/bin/sh")
        .args(["-c", &script])
        .spawn()
        .unwrap();
    let shell = Ended(shell);
    let number = || fs::read_to_string(path("number")).unwrap_or_default();
    until(|| number().ends_with('\n')).await;
    let pid: u32 = number().trim().parse().unwrap();
    until(|| line(pid, "status", "NoNewPrivs:") == ["1"]).await;
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    drop(shell);
    until(|| of(pid, "stat").is_empty() || of(pid, "stat").contains(") Z ")).await;
    drop(held);
}

#[test]
fn a_compiler_without_its_parent_does_not_begin() {
    let status = waiting(1, Stdio::null()).status().unwrap();
    assert!(!status.success());
    let mut process = waiting(std::process::id(), Stdio::null());
    let output = process.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("no WebAssembly"),
        "its input is empty: {said}"
    );
}
