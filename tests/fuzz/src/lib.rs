//! Every format that crosses a process boundary, as a function of bytes. None may panic on any
//! input, and what parses must parse again once printed.
//!
//! `fuzz/` feeds them libFuzzer's inputs; `tests/replay.rs` feeds them the seeds and mutations of
//! the seeds, on a stable compiler.

use std::path::Path;

use cni_types::args::{CniArgs, ContainerId, IfName};
use cni_types::conf::{NetworkConfList, PluginConf};
use cni_types::result::CniResult;
use cni_types::version::{ConfVersion, Version};
use cnidaria_core::conf::overlay::Overlay;
use cnidaria_core::domain::limits::Limits;
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::domain::selection;
use cnidaria_core::ports::Ledger as _;
use cnidaria_core::stages::pod_args::Naming;
use daemon::adapters::ledger::Files;
use daemon::config::daemon::DaemonConfig;
use daemon::config::own::Durability;
use policy_engine::PolicyHost;

/// A format: the name of its target and seed directory, and its function.
pub type Entry = (&'static str, fn(&[u8]));

/// All formats.
pub const ENTRIES: [Entry; 10] = [
    ("http_body", http_body),
    ("conf", conf),
    ("annotation", annotation),
    ("ledger_file", ledger_file),
    ("result", result),
    ("policy_config", policy_config),
    ("guest_edits", guest_edits),
    ("claims", claims),
    ("confs", confs),
    ("deferred_del", deferred_del),
];

/// Parses the body of `POST /cni`.
pub fn http_body(bytes: &[u8]) {
    for naming in [Naming::Complete, Naming::Partial] {
        let _ = cnidaria_core::stages::request::parse(bytes, &Overlay::default(), naming);
    }
}

/// Parses the conf of a network, of a plugin and of the daemon.
pub fn conf(bytes: &[u8]) {
    let _ = PluginConf::parse(bytes);
    let _ = DaemonConfig::parse(bytes);
    if let Ok(list) = NetworkConfList::parse_any(bytes) {
        let again = NetworkConfList::parse_any(list.text()).expect("it was understood before");
        assert_eq!(again.name(), list.name());
        assert_eq!(again.plugins().len(), list.plugins().len());
    }
}

/// Parses the annotation in which a pod requests networks.
pub fn annotation(bytes: &[u8]) {
    let _ = selection::parse(
        &String::from_utf8_lossy(bytes),
        "default",
        &Limits::default(),
    );
}

/// Loads a ledger file as a DEL does.
///
/// # Panics
/// Also when a temporary directory cannot be created.
pub fn ledger_file(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sandbox = Sandbox {
        container_id: ContainerId::new("a").expect("a valid id"),
        netns: None,
        if_name: IfName::new("eth0").expect("a valid name"),
        namespace: None,
        infra_container_id: "a".to_owned(),
        pod: PodRef {
            namespace: "default".to_owned(),
            name: "a".to_owned(),
            uid: "u".to_owned(),
        },
        args: CniArgs::new(),
        runtime_network: None,
    };
    write(dir.path(), "a", bytes);
    within_a_runtime(async {
        let files = Files::new(Durability::Grouped);
        if let Ok(Some(entries)) = files.load(dir.path(), &sandbox).await {
            files
                .record(dir.path(), &entries)
                .await
                .expect("there is room");
            let again = files.load(dir.path(), &sandbox).await;
            let again = again
                .expect("it was understood before")
                .expect("it is there");
            assert_eq!(again.len(), entries.len());
        }
    });
}

/// Makes a guest's calls to the host, one per line.
pub fn guest_edits(bytes: &[u8]) {
    policy_engine::fuzz::guest_edits(bytes);
}

/// Makes the edits of two policies, one per line, and checks ownership against a simple model.
pub fn claims(bytes: &[u8]) {
    policy_engine::fuzz::claims(bytes);
    policy_engine::fuzz::selections(bytes);
}

/// Compares two confs, one per line.
pub fn confs(bytes: &[u8]) {
    policy_engine::fuzz::confs(bytes);
}

/// Parses a DEL that a shim recorded while the daemon was down.
pub fn deferred_del(bytes: &[u8]) {
    let container = ContainerId::new("a").expect("a valid id");
    if let Ok((request, _)) = cnidaria_core::stages::deferred::parse(
        bytes,
        &container,
        &Overlay::default(),
        Naming::Partial,
    ) {
        assert_eq!(request.container_id, container);
    }
}

/// Parses a delegate's result and converts it to every version.
pub fn result(bytes: &[u8]) {
    let Ok(result) = CniResult::parse(bytes, ConfVersion::default()) else {
        return;
    };
    for version in Version::ALL {
        if let Ok(text) = result.to_json(version) {
            CniResult::parse(text.as_bytes(), ConfVersion::default())
                .expect("what is printed can be read");
        }
    }
}

/// Loads a policy's configuration file beside a module.
///
/// # Panics
/// Also when a temporary directory cannot be created.
pub fn policy_config(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write(dir.path(), "10-a.json", bytes);
    let config = policy_engine::Config::new(dir.path(), dir.path().join("cache"), "/nonexistent");
    within_a_runtime(async {
        let _ = PolicyHost::load(config).await.current().policies();
    });
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).expect("a temporary file");
}

fn within_a_runtime(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work);
}
