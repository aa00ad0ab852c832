//! The ledger on a real file system: what is written is read back; a damaged file is recovered or
//! refused, and never taken for an empty one.

#![allow(
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cni_types::args::{CniArgs, ContainerId, IfName, NetworkName};
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;
use cni_types::version::ConfVersion;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::ports::{Ledger, LedgerError, Undo};
use daemon::adapters::ledger::Files;
use daemon::config::own::Durability;
use proptest::prelude::*;
use tempfile::TempDir;

const CONTAINER: &str = "sandbox-a";

struct Rig {
    dir: TempDir,
    files: Files,
}

impl Rig {
    fn new() -> Self {
        Self::with(Durability::Grouped)
    }

    fn with(durability: Durability) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            files: Files::new(durability),
        }
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Path of the sandbox's file.
    fn file(&self) -> PathBuf {
        self.dir().join(CONTAINER)
    }

    /// Two attachments as an ADD records them.
    async fn add(&self) -> Vec<Entry> {
        let entries = vec![entry("cluster", "eth0"), entry("blue", "net1")];
        self.files.record(self.dir(), &entries).await.unwrap();
        for entry in &entries {
            self.files.record_result(self.dir(), entry).await.unwrap();
        }
        entries
    }

    async fn load(&self) -> Result<Option<Vec<Entry>>, LedgerError> {
        self.files.load(self.dir(), &sandbox()).await
    }
}

#[tokio::test]
async fn full_ledger_rejects_only_new_containers() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(Durability::Grouped).with_limit(2);
    let of = |container: &str| Entry {
        container_id: id(container),
        ..entry("cluster", "eth0")
    };
    for container in ["a", "b", "b"] {
        files.record(dir.path(), &[of(container)]).await.unwrap();
    }
    let refused = files.record(dir.path(), &[of("c")]).await.unwrap_err();
    assert!(
        refused.to_string().contains("cnidaria.ledgerLimit"),
        "{refused}"
    );
    assert!(matches!(refused, LedgerError::Full { limit: 2, .. }));
    // Also for another daemon, whose count starts anew.
    let next = Files::new(Durability::Grouped).with_limit(2);
    next.record(dir.path(), &[of("c")]).await.unwrap_err();
    next.restore(dir.path(), &[of("a")]).await.unwrap();
    // Forgetting what is already gone makes no room.
    for container in ["a", "a", "x"] {
        next.forget(dir.path(), &id(container)).await.unwrap();
    }
    next.record(dir.path(), &[of("c")]).await.unwrap();
    next.record(dir.path(), &[of("d")]).await.unwrap_err();
}

fn id(name: &str) -> ContainerId {
    ContainerId::new(name).unwrap()
}

fn sandbox() -> Sandbox {
    Sandbox {
        container_id: id(CONTAINER),
        netns: Some("/run/netns/a".into()),
        if_name: IfName::new("eth0").unwrap(),
        namespace: None,
        infra_container_id: CONTAINER.into(),
        runtime_network: None,
        pod: PodRef {
            namespace: "default".into(),
            name: "a".into(),
            uid: "uid-a".into(),
        },
        args: CniArgs::new(),
    }
}

fn entry(network: &str, if_name: &str) -> Entry {
    let conf = format!(r#"{{"cniVersion":"1.0.0","name":"{network}","type":"bridge"}}"#);
    let result = br#"{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}"#;
    let mut args = CniArgs::new();
    args.set("K8S_POD_NAME", "a").unwrap();
    let conf = NetworkConfList::parse_any(conf.as_str()).unwrap();
    Entry {
        runtime_network: Some(NetworkName::new("pods").unwrap()),
        is_default: if_name == "eth0",
        cni_args: args,
        result: Some(CniResult::parse(result, ConfVersion::default()).unwrap()),
        ..Entry::of(&sandbox(), network, IfName::new(if_name).unwrap(), conf)
    }
}

/// What DEL needs unchanged.
fn essence(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| {
            format!(
                "{} {:?} {} {} {} {:?} {}",
                entry.container_id,
                entry.netns,
                entry.if_name,
                entry.is_default,
                entry.conf.text(),
                entry.cni_args,
                entry.result.is_some(),
            )
        })
        .collect()
}

/// Ways to damage a file.
fn damages() -> Vec<(&'static str, fn(&mut Vec<u8>))> {
    vec![
        ("emptied", |text| text.clear()),
        ("torn", |text| text.truncate(text.len() / 2)),
        ("without its last byte", |text| {
            text.truncate(text.len() - 1)
        }),
        ("zeroed from the middle on", |text| {
            let middle = text.len() / 2;
            text[middle..].fill(0);
        }),
        ("garbage", |text| *text = b"\xff\xfe not JSON".to_vec()),
        ("an empty list", |text| *text = b"[]".to_vec()),
        ("an object", |text| *text = b"{}".to_vec()),
        ("changed by a letter", |text| {
            let at = text.len() - 9;
            text[at] ^= 1;
        }),
        ("with another checksum", |text| {
            let at = text.iter().position(|b| *b == b':').unwrap() + 20;
            text[at] ^= 1;
        }),
        ("with more behind its end", |text| text.push(b' ')),
    ]
}

#[tokio::test]
async fn what_is_recorded_is_what_is_loaded() {
    for durability in [Durability::Grouped, Durability::Strict] {
        let rig = Rig::with(durability);
        let entries = rig.add().await;
        let loaded = rig.load().await.unwrap().unwrap();
        assert_eq!(essence(&loaded), essence(&entries));
        for entry in &entries {
            rig.files.forget_result(rig.dir(), entry).await.unwrap();
        }
        rig.files.forget(rig.dir(), &id(CONTAINER)).await.unwrap();
        assert!(rig.load().await.unwrap().is_none());
        assert_eq!(fs::read_dir(rig.dir().join("results")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn damaged_file_is_recovered_from_results() {
    for (what, damage) in damages() {
        let rig = Rig::new();
        let entries = rig.add().await;
        let mut text = fs::read(rig.file()).unwrap();
        damage(&mut text);
        fs::write(rig.file(), &text).unwrap();

        let loaded = rig
            .load()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(essence(&loaded.unwrap()), essence(&entries), "{what}");
        let aside = rig.dir().join(".damaged").join(format!("{CONTAINER}.0"));
        assert_eq!(fs::read(aside).unwrap(), text, "{what}");
        // The file that replaces it is complete, even without the results.
        fs::remove_dir_all(rig.dir().join("results")).unwrap();
        assert_eq!(rig.load().await.unwrap().unwrap().len(), 2, "{what}");
        let listing = rig.files.list(rig.dir()).await.unwrap();
        assert_eq!(
            listing.entries.len(),
            2,
            "{what}: set-aside files are not containers"
        );
        assert!(listing.unreadable.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn odd_plans_are_recovered_from_results() {
    let directory = |path: &Path| fs::create_dir(path);
    let dangling = |path: &Path| symlink("nowhere", path);
    let looping = |path: &Path| symlink(path.file_name().unwrap(), path);
    let makes: [&dyn Fn(&Path) -> std::io::Result<()>; 3] = [&directory, &dangling, &looping];
    for make in makes {
        let rig = Rig::new();
        let entries = rig.add().await;
        fs::remove_file(rig.file()).unwrap();
        make(&rig.file()).unwrap();
        let loaded = rig.load().await.unwrap().unwrap();
        assert_eq!(essence(&loaded), essence(&entries));
        assert!(rig.file().symlink_metadata().unwrap().is_file());
        rig.files.forget(rig.dir(), &id(CONTAINER)).await.unwrap();
    }
}

#[tokio::test]
async fn unrecoverable_file_is_an_error_and_stays() {
    for (what, damage) in damages() {
        let rig = Rig::new();
        rig.add().await;
        fs::remove_dir_all(rig.dir().join("results")).unwrap();
        let mut text = fs::read(rig.file()).unwrap();
        damage(&mut text);
        fs::write(rig.file(), &text).unwrap();

        let error = rig.load().await.unwrap_err();
        assert!(
            matches!(&error, LedgerError::Damaged { path, .. } if *path == rig.file()),
            "{what}: {error}"
        );
        let listing = rig.files.list(rig.dir()).await.unwrap();
        assert!(listing.entries.is_empty(), "{what}");
        assert_eq!(listing.unreadable[0].0, id(CONTAINER), "{what}");
        assert_eq!(fs::read(rig.file()).unwrap(), text, "{what}");
    }
}

#[tokio::test]
async fn restore_replaces_damaged_file() {
    let rig = Rig::new();
    fs::write(rig.file(), "torn").unwrap();
    let entries = [entry("cluster", "eth0")];
    rig.files.restore(rig.dir(), &entries).await.unwrap();
    assert_eq!(rig.load().await.unwrap().unwrap().len(), 1);
    let aside = rig.dir().join(".damaged").join(format!("{CONTAINER}.0"));
    assert_eq!(fs::read(aside).unwrap(), b"torn");
}

#[tokio::test]
async fn so_many_damaged_files_are_kept_and_no_more() {
    let rig = Rig::new();
    rig.add().await;
    for _ in 0..20 {
        fs::write(rig.file(), "torn").unwrap();
        assert_eq!(rig.load().await.unwrap().unwrap().len(), 2);
    }
    let kept = fs::read_dir(rig.dir().join(".damaged")).unwrap().count();
    assert_eq!(kept, 8);
}

#[tokio::test]
async fn a_damaged_result_is_left_out() {
    let others = ["", "{", "[]", r#"{"kind":"cniCacheV1"}"#].map(str::to_owned);
    let rig = Rig::new();
    rig.add().await;
    let name = format!("blue-{CONTAINER}-net1");
    let written = fs::read_to_string(rig.dir().join("results").join(&name)).unwrap();
    let changed = written.replace("10.1.2.3/24", "10.1.2.2/24");
    assert_ne!(written, changed);
    for damage in others.into_iter().chain([changed]) {
        let rig = Rig::new();
        rig.add().await;
        let result = rig.dir().join("results").join(&name);
        assert!(result.exists());
        fs::write(&result, &damage).unwrap();
        // Reading changes nothing.
        rig.files.list(rig.dir()).await.unwrap();
        assert!(result.exists(), "{damage}");
        let loaded = rig.load().await.unwrap().unwrap();
        assert!(loaded[0].result.is_some());
        assert!(loaded[1].result.is_none(), "{damage}");
        let aside = rig.dir().join(".damaged").join(format!("{name}.0"));
        assert_eq!(fs::read_to_string(aside).unwrap(), damage);
        assert!(!result.exists(), "{damage}");
    }
}

#[tokio::test]
async fn damaged_file_and_result_are_an_error() {
    let rig = Rig::new();
    rig.add().await;
    fs::write(rig.file(), "torn").unwrap();
    fs::write(
        rig.dir().join(format!("results/blue-{CONTAINER}-net1")),
        "torn",
    )
    .unwrap();
    let error = rig.load().await.unwrap_err();
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(rig.file()).unwrap(), b"torn");
}

#[tokio::test]
async fn non_regular_result_is_skipped() {
    let makes: [fn(&std::path::Path); 3] = [
        |path| symlink("/proc/self/environ", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap();
        },
    ];
    for make in makes {
        let rig = Rig::new();
        rig.add().await;
        let result = rig.dir().join(format!("results/blue-{CONTAINER}-net1"));
        fs::remove_file(&result).unwrap();
        make(&result);
        let loaded = rig.load().await.unwrap().unwrap();
        assert!(loaded[0].result.is_some() && loaded[1].result.is_none());
    }
}

#[tokio::test]
async fn unsealed_result_does_not_override_ledger() {
    let rig = Rig::new();
    let entries = rig.add().await;
    let result = rig.dir().join(format!("results/cluster-{CONTAINER}-eth0"));
    let text = fs::read_to_string(&result).unwrap();
    let (_, unsealed) = text.split_once(r#"","kind""#).unwrap();
    let changed = unsealed.replace(r#"["K8S_POD_NAME","a"]"#, r#"["K8S_POD_NAME","b"]"#);
    assert_ne!(unsealed, changed);
    let changed = format!(r#"{{"kind"{changed}"#);
    fs::write(&result, changed).unwrap();
    let loaded = rig.load().await.unwrap().unwrap();
    assert_eq!(essence(&loaded), essence(&entries));
}

#[tokio::test]
async fn a_record_that_is_not_a_file_fails_at_once() {
    let rig = Rig::new();
    symlink("elsewhere", rig.file()).unwrap();
    let damaged = |loaded| matches!(loaded, Err(LedgerError::Damaged { .. }));
    assert!(damaged(rig.load().await));
    fs::remove_file(rig.file()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, rig.file(), rustix::fs::Mode::RUSR).unwrap();
    assert!(damaged(rig.load().await));
}

#[tokio::test]
async fn writing_through_a_link_replaces_the_link() {
    let rig = Rig::new();
    let elsewhere = rig.dir().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    symlink(&elsewhere, rig.file()).unwrap();
    rig.add().await;
    assert_eq!(fs::read(elsewhere).unwrap(), b"precious");
    assert_eq!(rig.load().await.unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn sweep_removes_only_unfinished_files() {
    let rig = Rig::new();
    rig.add().await;
    let undo = Undo {
        container_id: id(CONTAINER),
        reason: "busy".into(),
        retries: 0,
        since: 0,
        bin_dirs: Vec::new(),
        attachments: Vec::new(),
    };
    rig.files.record_undo(rig.dir(), &undo).await.unwrap();
    let half = [".7-0.new", ".undo/.7-1.new", "results/.7-0.tmp"].map(|name| rig.dir().join(name));
    for path in &half {
        fs::write(path, "ha").unwrap();
    }
    fs::write(rig.dir().join(".keep"), "").unwrap();
    rig.files.sweep(rig.dir()).unwrap();
    assert!(half.iter().all(|path| !path.exists()));
    assert!(rig.dir().join(".keep").exists());
    assert_eq!(rig.load().await.unwrap().unwrap().len(), 2);
    assert_eq!(rig.files.undos(rig.dir()).await.unwrap(), [undo]);
    // A directory that does not exist yet needs no sweep.
    rig.files.sweep(&rig.dir().join("missing")).unwrap();
}

#[tokio::test]
async fn a_damaged_undo_does_not_hide_the_others() {
    let rig = Rig::new();
    let undo = Undo {
        container_id: id("b"),
        reason: "busy".into(),
        retries: 3,
        since: 7,
        bin_dirs: vec!["/opt/cni/bin".into()],
        attachments: Vec::new(),
    };
    rig.files.record_undo(rig.dir(), &undo).await.unwrap();
    fs::write(rig.dir().join(".undo/a"), "{").unwrap();
    assert_eq!(rig.files.undos(rig.dir()).await.unwrap(), [undo]);
}

/// Any JSON value, for a place where the ledger expects a certain one.
fn json_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("-1".to_owned()),
        Just("1e400".to_owned()),
        Just("[[[[[[]]]]]]".to_owned()),
        Just(r#""\u0000""#.to_owned()),
        "[a-zA-Z0-9+/=]{0,40}".prop_map(|text| format!("{text:?}")),
    ]
}

/// Files in Multus' format with any value for each member, and arbitrary bytes.
fn file_text() -> impl Strategy<Value = Vec<u8>> {
    let member = prop_oneof![
        Just("Conf"),
        Just("ConfList"),
        Just("CNINetworkConfigList"),
        Just("Name"),
        Just("ifnameRequest"),
        Just("macRequest"),
        Just("ipRequest"),
        Just("Bytes"),
        Just("cnidaria"),
    ];
    let delegate = prop::collection::vec((member, json_value()), 0..6).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{name:?}:{value}"))
            .collect();
        format!("{{{}}}", members.join(","))
    });
    let list = prop::collection::vec(delegate, 0..4)
        .prop_map(|delegates| format!("[{}]", delegates.join(",")).into_bytes());
    prop_oneof![list, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_the_ledger_panic(text in file_text()) {
        let rig = Rig::new();
        fs::write(rig.file(), &text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _ = rig.load().await;
            rig.files.list(rig.dir()).await.unwrap();
        });
    }

    #[test]
    fn no_byte_of_a_file_can_change_unnoticed(position in any::<prop::sample::Index>(), bit in 0..8) {
        let rig = Rig::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            rig.files.record(rig.dir(), &[entry("cluster", "eth0")]).await.unwrap();
            let mut text = fs::read(rig.file()).unwrap();
            let position = position.index(text.len());
            text[position] ^= 1_u8 << bit;
            fs::write(rig.file(), &text).unwrap();
            prop_assert!(rig.load().await.is_err());
            Ok(())
        })?;
    }
}
