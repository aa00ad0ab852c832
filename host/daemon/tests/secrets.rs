//! The log at its most verbose level, during all kinds of failures, has no credentials, and nothing
//! of a shim's or the daemon's environment except `CNI_*`.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/process.rs"]
mod process;

mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use fake_api::{FakeApi, User};
use serde_json::{Value, json};

/// A value that must never be logged.
const SECRET: &str = "correct-horse-battery-staple";

/// The response to a request with a credential; empty without a response.
fn post(dir: &Path, path: &str, body: &Value) -> String {
    let credential = format!("Authorization: Bearer {SECRET}\r\n");
    wire::post(dir, path, &credential, body)
}

/// Waits until the log contains a text.
fn wait_for(log: &Path, text: &str) {
    let begun = Instant::now();
    while !std::fs::read_to_string(log).unwrap().contains(text) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn encoded(conf: &str) -> Value {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .encode(conf)
        .into()
}

/// The request of Multus' shim, with its whole environment.
fn request(command: &str, uid: &str) -> Value {
    use base64::Engine as _;
    let conf =
        json!({ "cniVersion": "1.0.0", "name": "multus", "type": "multus-shim" }).to_string();
    json!({
        "env": {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/proc/self/ns/net",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_UID={uid}"),
            "REGISTRY_TOKEN": SECRET,
        },
        "config": base64::engine::general_purpose::STANDARD.encode(conf),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn log_has_no_credentials_or_environment() {
    let api = FakeApi::builder()
        .roles(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kustomize/base/rbac.yaml"))
        .start()
        .await
        .unwrap();
    let token = api.issue_token(User::service_account("kube-system", "cnidaria"));
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_owned();
    let kubeconfig = dir.join("kubeconfig");
    api.write_kubeconfig(&kubeconfig, &token).unwrap();
    let conf = json!({
        "cniVersion": "1.0.0", "name": "default", "type": "no-such-plugin", "token": SECRET,
    });
    std::fs::create_dir(dir.join("net.d")).unwrap();
    std::fs::write(dir.join("runtime.conf"), conf.to_string()).unwrap();
    std::fs::write(dir.join("10-default.conf"), conf.to_string()).unwrap();
    let pod = api.apply(json!({
        "kind": "Pod",
        "metadata": { "name": "a", "namespace": "default" },
        "spec": { "nodeName": "node1", "containers": [] },
    }));
    let uid = pod
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap();
    let (uid, at) = (uid.to_owned(), dir.clone());
    let requests = move || {
        let running = process::start(&at, ("SOME_PASSWORD", SECRET));
        for command in ["ADD", "CHECK", "DEL", "GC", "STATUS", "nonsense"] {
            post(&at, "/cni", &request(command, &uid));
            post(&at, "/delegate", &request(command, &uid));
        }
        post(&at, "/cni", &json!({ "env": { "TOKEN": [SECRET] } }));
        post(&at, "/cni", &json!([SECRET]));
        // Values of the wrong type and malformed ones, which parsers tend to quote.
        for key in [
            "delegates",
            "clusterNetwork",
            "name",
            "logLevel",
            "namespaceIsolation",
            "cniVersion",
        ] {
            for value in [json!(SECRET), json!([SECRET]), json!({ "token": SECRET })] {
                let mut request = request("ADD", &uid);
                let conf = json!({ "cniVersion": "1.0.0", "name": "x", "type": "y", key: value });
                request["config"] = encoded(&conf.to_string());
                post(&at, "/cni", &request);
            }
        }
        // A network that cannot be decoded, from a watch and in a list.
        api.set_streaming_lists(false);
        api.apply(json!({
            "kind": "NetworkAttachmentDefinition",
            "metadata": { "name": "bad", "namespace": "default" },
            "spec": SECRET,
        }));
        wait_for(&at.join("log"), "cannot read an object of the watch");
        api.expire_watches();
        wait_for(&at.join("log"), "cannot be decoded: ");
        // A credential that the server rejects, and one that cannot be read.
        api.revoke_token(&token);
        api.cut_connections();
        let answer = post(&at, "/cni", &request("ADD", &uid));
        std::fs::write(&kubeconfig, format!("users: {{{token}")).unwrap();
        post(&at, "/cni", &request("ADD", &uid));
        drop(running);
        (token, answer)
    };
    let (token, answer) = tokio::task::spawn_blocking(requests).await.unwrap();
    let log = std::fs::read_to_string(dir.join("log")).unwrap();
    assert!(log.contains("wrote the runtime's conf"), "{log}");
    assert!(
        log.contains("DEBUG") && log.contains("request failed"),
        "{log}"
    );
    assert!(answer.contains("400") || answer.contains("503"), "{answer}");
    for secret in [SECRET, &token, "Bearer", "PRIVATE KEY", "BEGIN CERTIFICATE"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
