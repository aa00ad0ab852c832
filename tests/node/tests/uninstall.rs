//! `cnidaria install` and `uninstall` on a node with pods: what the node has afterwards is what it
//! had before.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use node::case::on_a_private_node;
use node::inspect;
use node::{Node, Pod, Sandbox, networks, run};
use serde_json::json;

/// Exit code while attachments are left.
const ATTACHED: i32 = 4;

/// Mode and owner of everything below the directories that an installation touches, and the content
/// of files.
type Files = BTreeMap<PathBuf, (u32, u32, Vec<u8>)>;

fn snapshot(node: &Node) -> Files {
    let mut found = Files::new();
    let mut rest: Vec<PathBuf> = [
        "net.d", "plugins", "modules", "data", "ledger", "multus", "ipam",
    ]
    .map(|name| node.path(name))
    .into();
    while let Some(path) = rest.pop() {
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        let mut content = Vec::new();
        if metadata.is_dir() {
            rest.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|file| file.unwrap().path()),
            );
        } else if metadata.is_file() {
            content = fs::read(&path).unwrap();
        }
        found.insert(path, (metadata.mode(), metadata.uid(), content));
    }
    found
}

fn cnidaria(node: &Node, arguments: &[&str]) -> Output {
    let program = node.binaries().command_line().unwrap();
    let output = Command::new(program).args(arguments).output().unwrap();
    eprintln!("{arguments:?}: {output:?}");
    output
}

fn install(node: &Node) {
    let shim = node.binaries().shim().unwrap().display().to_string();
    let [bin, modules] = ["plugins", "modules"].map(|name| node.path(name).display().to_string());
    let output = cnidaria(
        node,
        &[
            "install",
            "--bin-dir",
            &bin,
            "--policies-dir",
            &modules,
            "--shim",
            &shim,
        ],
    );
    assert!(output.status.success());
}

fn uninstall(node: &Node, more: &[&str]) -> Option<i32> {
    let [config, bin, modules] = ["daemon-config.json", "plugins", "modules"]
        .map(|name| node.path(name).display().to_string());
    let arguments = [
        "uninstall",
        "--config",
        &config,
        "--bin-dir",
        &bin,
        "--policies-dir",
        &modules,
        "--timeout",
        "30",
    ];
    cnidaria(node, &[&arguments[..], more].concat())
        .status
        .code()
}

/// The daemon provides the runtime's conf beside the primary network's.
fn prepare(node: &mut Node) {
    networks::prepare(node).unwrap();
    let dir = node.path("net.d");
    node.config["multusConfigFile"] = json!("auto");
    node.config["multusAutoconfigDir"] = json!(dir);
    node.config["cniConfigDir"] = json!(dir);
    node.config["cnidaria"]["policies"] = json!({
        "modules": node.path("modules"),
        "cache": node.path("data/policies"),
        "state": node.path("data/state"),
    });
    // What kubelets and runtimes have made before.
    for name in ["plugins", "data"] {
        fs::create_dir_all(node.path(name)).unwrap();
    }
    // The daemon makes it.
    fs::remove_dir(node.path("ledger")).unwrap();
    fs::write(node.path("plugins/bridge"), "a plugin").unwrap();
}

fn conf(node: &Node) -> PathBuf {
    node.path("net.d/00-multus.conf")
}

fn add(node: &Node, name: &str) -> Sandbox {
    let pod = Pod::new("default", name).networks("blue");
    let pod = node.add_pod(pod).unwrap();
    let added = node.make("ADD", &pod);
    assert!(added.succeeded(), "{name}: {added:#?} {}", node.log());
    pod
}

fn remove_namespace(pod: &Sandbox) {
    run("ip", &["netns", "delete", &pod.netns_name]).unwrap();
}

/// Without the directories that are made again when needed.
fn without_empty(mut files: Files, node: &Node) -> Files {
    files.retain(|path, (mode, _, _)| {
        *mode & 0o170_000 != 0o040_000 || !path.starts_with(node.path("ipam"))
    });
    // host-local's own memory of the last address.
    files.retain(|path, _| !path.starts_with(node.path("ipam")) || !is_last_reserved(path));
    files
}

fn is_last_reserved(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.starts_with("last_reserved_ip") || name == "lock"
}

#[test]
fn an_uninstalled_node_is_as_it_was() {
    on_a_private_node(|node| {
        prepare(node);
        let before = without_empty(snapshot(node), node);
        install(node);
        node.start_daemon().unwrap();
        node.until("the conf is provided", || conf(node).exists());
        let [running, deferred, gone] = ["running", "deferred", "gone"].map(|name| add(node, name));
        node.kill_daemon().unwrap();
        let deleted = node.make("DEL", &deferred);
        assert!(deleted.succeeded(), "the shim records it: {deleted:#?}");
        remove_namespace(&deferred);
        // Its DEL never comes: the runtime has called the primary network's plugin alone.
        remove_namespace(&gone);

        assert_eq!(uninstall(node, &[]), Some(ATTACHED));
        assert!(
            !conf(node).exists(),
            "new pods start with the primary network"
        );
        assert!(node.path("plugins/multus-shim").exists());
        let ledger = inspect::files(&node.path("ledger")).unwrap();
        let has = |pod: &Sandbox| {
            ledger
                .keys()
                .any(|path| path.to_string_lossy().contains(&pod.container_id))
        };
        assert!(has(&running), "{ledger:?}");
        assert!(!has(&deferred) && !has(&gone), "{ledger:?} {}", node.log());

        remove_namespace(&running);
        assert_eq!(uninstall(node, &[]), Some(0));
        let after = without_empty(snapshot(node), node);
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>()
        );
        assert!(before == after, "contents or modes differ");
        assert_eq!(uninstall(node, &[]), Some(0), "it can be repeated");
    });
}

#[test]
fn a_running_daemon_leaves_when_asked() {
    on_a_private_node(|node| {
        prepare(node);
        install(node);
        node.start_daemon().unwrap();
        node.until("the conf is provided", || conf(node).exists());
        let [pod, gone] = ["a", "gone"].map(|name| add(node, name));
        remove_namespace(&gone);
        assert_eq!(uninstall(node, &[]), Some(ATTACHED));
        assert!(!conf(node).exists());
        // A change of the primary network's conf does not bring it back.
        let primary = node.path("net.d/10-default.conflist");
        let text = fs::read_to_string(&primary).unwrap();
        fs::write(&primary, text + "\n").unwrap();
        // Runtimes that remember the pod's conf still find the shim and the daemon.
        assert!(node.make("DEL", &pod).succeeded());
        assert_eq!(uninstall(node, &[]), Some(0));
        assert!(!conf(node).exists(), "{}", node.log());
        assert!(!node.path("plugins/multus-shim").exists());
        node.stop_daemon().unwrap();
        assert_eq!(uninstall(node, &[]), Some(0));
        assert!(!node.path("ledger").exists());
    });
}

#[test]
fn force_removes_the_shim_and_keeps_the_ledger() {
    on_a_private_node(|node| {
        prepare(node);
        install(node);
        node.start_daemon().unwrap();
        node.until("the conf is provided", || conf(node).exists());
        add(node, "a");
        node.stop_daemon().unwrap();
        assert!(conf(node).exists(), "a daemon that ends keeps it");
        assert_eq!(uninstall(node, &["--force"]), Some(0));
        assert!(!conf(node).exists());
        assert!(!node.path("plugins/multus-shim").exists());
        assert!(!inspect::files(&node.path("ledger")).unwrap().is_empty());
    });
}

/// In the daemon's container, modules are mounted read-only, and the node's root directory besides.
#[test]
fn modules_mounted_read_only_are_removed() {
    on_a_private_node(|node| {
        prepare(node);
        let at = |name: &str| node.path(name).display().to_string();
        let shim = node.binaries().shim().unwrap().display().to_string();
        node.write("shipped/a.wasm", "a module").unwrap();
        let module = node.write("modules/mine.wasm", "another").unwrap();
        let dirs = ["--bin-dir", &at("plugins"), "--policies-dir"];
        let from = ["--shim", &shim, "--modules", &at("shipped")];
        let modules = at("modules");
        let install = [&["install"], &dirs[..], &[&modules], &from].concat();
        assert!(cnidaria(node, &install).status.success());
        assert!(node.path("modules/a.wasm").exists());

        let (seen, root) = (at("seen"), at("hostroot"));
        for dir in [seen.clone(), format!("{root}{seen}")] {
            fs::create_dir_all(&dir).unwrap();
            run("mount", &["--bind", &modules, &dir]).unwrap();
        }
        run("mount", &["-o", "remount,bind,ro", &seen]).unwrap();
        let uninstall = |config: &serde_json::Value| {
            let config = node.write("daemon-config.json", config.to_string());
            let config = config.unwrap().display().to_string();
            let config = ["uninstall", "--config", &config];
            cnidaria(node, &[&config, &dirs[..], &[&seen]].concat())
        };
        let without = uninstall(&node.config);
        assert!(without.status.success());
        assert!(String::from_utf8_lossy(&without.stdout).contains("mounted read-only"));
        let mut config = node.config.clone();
        config["chrootDir"] = json!(root);
        assert!(uninstall(&config).status.success());
        assert!(!node.path("modules/a.wasm").exists());
        assert!(module.exists(), "an operator's own");
    });
}
