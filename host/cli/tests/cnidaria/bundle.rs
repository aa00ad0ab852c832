//! `cnidaria bundle`: what is in it, and what is not.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::json;

use super::node::{Node, Output};

/// The test plants each on the node or in an answer of the daemon.
const SECRETS: [&str; 10] = [
    "hunter22-in-a-delegate",
    "hunter22-of-an-unknown-key",
    "hunter22-in-runtime-config",
    "hunter22-of-the-kubeconfig",
    "aHVudGVyMjItY2xpZW50LWtleQ==",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJodW50ZXIyMiJ9.c2lnbmF0dXJl",
    "MIIEhunter22privatekey",
    "hunter22-in-an-error",
    "hunter22-in-a-url",
    "4711-0815",
];

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
users:
- name: me
  user: {token: hunter22-of-the-kubeconfig, client-key-data: aHVudGVyMjItY2xpZW50LWtleQ==}
";

/// A node with secrets, whose daemon has them in its answers too.
fn node() -> Node {
    let policies = json!({ "policies": [{
        "name": "guard", "file": "/p/guard.wasm", "state": "broken", "mode": "enforce",
        "lastError": "got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJodW50ZXIyMiJ9.c2lnbmF0dXJl",
    }] });
    let attachments = json!({ "attachments": [{
        "containerId": "c", "pod": { "namespace": "shop", "name": "web", "uid": "u" },
        "network": "shop/blue", "ifName": "net1", "netns": "/n", "state": "undo-pending",
        "reason": "ipam: password=hunter22-in-an-error is wrong", "retries": 1,
    }] });
    let error = "-----BEGIN PRIVATE KEY-----\nMIIEhunter22privatekey\n-----END PRIVATE KEY-----";
    let traces = json!({ "traces": [{
        "id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "spans": [{ "name": "request", "error": error, "attributes": {
            "pod": "shop/web", "pin": "4711-0815", "url": "http://me:hunter22-in-a-url@host/" } }],
    }] });
    // The kubeconfig's token, wherever it turns up.
    let metrics = "# hunter22-of-the-kubeconfig aHVudGVyMjItY2xpZW50LWtleQ==\ncnidaria_up 1\n";
    let get = |path: &str, body: String| (format!("GET {path} HTTP/1.1\r\n"), 200, body);
    let node = Node::serving_all([
        get("/readyz", String::new()),
        get("/v1/policies", policies.to_string()),
        get("/v1/attachments", attachments.to_string()),
        get("/v1/metrics", metrics.to_owned()),
        get("/v1/policies", policies.to_string()),
        get("/v1/traces", traces.to_string()),
        get("/v1/attachments", attachments.to_string()),
    ]);
    plant(node.dir());
    node
}

fn plant(dir: &Path) {
    let kubeconfig = dir.join("kubeconfig");
    fs::write(&kubeconfig, KUBECONFIG).unwrap();
    let config = json!({
        "cniVersion": "1.0.0",
        "multusConfigFile": "auto",
        "multusAutoconfigDir": dir.join("net.d"),
        "kubeconfig": kubeconfig,
        "binDir": "/opt/cni/bin",
        "delegates": [{ "type": "bridge", "auth": "hunter22-in-a-delegate" }],
        "runtimeConfig": { "own": "hunter22-in-runtime-config" },
        "unknown": { "deep": ["hunter22-of-an-unknown-key"] },
        "cnidaria": {
            "manifests": dir.join("manifests"),
            "policies": {
                "modules": dir.join("modules"),
                "record": { "redact": { "keys": ["pin"] } },
            },
        },
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    fs::create_dir(dir.join("net.d")).unwrap();
    let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"t","auth":"hunter22-in-a-delegate"}"#;
    fs::write(dir.join("net.d/10-primary.conf"), conf).unwrap();
}

/// Writes a bundle with this configuration. Returns the command's output and the bundle.
fn bundle(node: &Node, config: &str) -> (Output, PathBuf) {
    let config = node.dir().join(config);
    let file = node.dir().join("bundle.tar.gz");
    let [config, bundle] = [&config, &file].map(|path| path.to_str().unwrap());
    (node.run(&["bundle", bundle, "--config", config]), file)
}

/// The files of a bundle, by name.
fn read(path: &Path) -> Vec<(String, String)> {
    let file = fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        })
        .collect()
}

#[test]
fn a_bundle_has_no_secrets() {
    let node = node();
    let (output, file) = bundle(&node, "config.json");
    let listed = output.success();
    let parts = read(&file);
    for (name, text) in &parts {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{name} has {secret}: {text}");
        }
        // The command lists each file before it writes the bundle.
        let short = name.strip_prefix("cnidaria-bundle/").unwrap();
        assert!(listed.contains(short), "{listed}");
    }
    let part = |name: &str| {
        let name = format!("cnidaria-bundle/{name}");
        let found = parts.iter().find(|(one, _)| *one == name);
        found.map(|(_, text)| text.as_str()).unwrap()
    };
    for (name, expected) in [
        ("daemon-config.json", r#""binDir": "/opt/cni/bin""#),
        ("daemon-config.json", r#""type": "bridge""#),
        ("daemon-config.json", r#""auth": "redacted""#),
        ("doctor.json", r#""code""#),
        ("files.txt", "10-primary.conf"),
        ("policies.json", r#""state": "broken""#),
        ("attachments.json", "shop/blue"),
        ("traces.json", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("metrics.txt", "cnidaria_up 1"),
        ("versions.json", env!("CARGO_PKG_VERSION")),
    ] {
        let text = part(name).replace(' ', "");
        assert!(text.contains(&expected.replace(' ', "")), "{name}: {text}");
    }
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_list_writes_nothing() {
    let node = node();
    let config = node.dir().join("config.json");
    let before = fs::read_dir(node.dir()).unwrap().count();
    let arguments = ["bundle", "--list", "--config", config.to_str().unwrap()];
    let listed = node.run(&arguments).success();
    assert!(listed.contains("daemon-config.json"), "{listed}");
    assert_eq!(fs::read_dir(node.dir()).unwrap().count(), before);
}

#[test]
fn a_bundle_goes_to_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cnidaria"))
        .args(["bundle", "-", "--config", "/nonexistent", "--socket-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let file = dir.path().join("bundle.tar.gz");
    fs::write(&file, output.stdout).unwrap();
    let listed = String::from_utf8(output.stderr).unwrap();
    assert!(listed.contains("doctor.json"), "{listed}");
    assert_eq!(read(&file).len(), 8);
}

#[test]
fn a_bundle_needs_no_daemon_and_no_config() {
    let node = Node::idle();
    let (output, file) = bundle(&node, "missing.json");
    output.success();
    let parts = read(&file);
    let attachments = parts
        .iter()
        .find(|(name, _)| name.ends_with("attachments.json"));
    assert!(
        attachments.unwrap().1.contains("does not answer"),
        "{parts:?}"
    );
    // An existing file is not overwritten.
    let (message, _) = bundle(&node, "missing.json");
    assert_eq!(message.exit, Some(1));
    assert!(message.stderr.contains("cannot write"), "{message:?}");
}

#[test]
fn a_closed_pipe_does_not_panic() {
    let node = node();
    let full = || fs::File::create("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_cnidaria"))
        .args(["--socket-dir", &node.dir().to_string_lossy(), "attachments"])
        .args(["forget", "none"])
        .stdout(full())
        .stderr(full())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
