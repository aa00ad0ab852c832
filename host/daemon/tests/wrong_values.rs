//! A credential in the wrong place: in a conf, a NAD, an annotation, a policy's configuration, the
//! daemon's file, a kubeconfig. Neither the log nor an answer quotes it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod wire;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

/// A value that must never be logged.
const SECRET: &str = "correct-horse-battery-staple";

/// The credential as each member that the daemon reads, and as some that it does not.
fn wrong_members() -> Vec<(&'static str, Value)> {
    let members = [
        "mtu",
        "ipam",
        "dns",
        "capabilities",
        "args",
        "runtimeConfig",
        "prevResult",
        "cniVersion",
        "cniVersions",
        "disableCheck",
        "disableGC",
        "loadOnlyInlinedPlugins",
        "plugins",
        "password",
    ];
    let mut wrong = vec![
        ("name", json!([SECRET])),
        ("type", json!({ "a": SECRET })),
        ("ipam", json!({ "type": [SECRET] })),
        ("plugins", json!([{ "type": "t", "ipam": SECRET }])),
        (
            "plugins",
            json!([{ "type": "t", "capabilities": { "ips": SECRET } }]),
        ),
    ];
    for member in members {
        let nested = json!({ "type": SECRET, "ips": SECRET, "cni": SECRET });
        // As `type` it would be the name of a binary.
        let nested = if member == "ipam" {
            json!([SECRET])
        } else {
            nested
        };
        for value in [json!(SECRET), json!([SECRET]), nested] {
            wrong.push((member, value));
        }
    }
    wrong
}

/// Confs with one wrong member, or cut off within one.
fn wrong_confs() -> Vec<String> {
    let mut confs: Vec<String> = wrong_members()
        .into_iter()
        .map(|(member, value)| {
            let mut conf = json!({ "cniVersion": "1.0.0", "name": "n", "type": "no-such-plugin" });
            conf[member] = value;
            conf.to_string()
        })
        .collect();
    for rest in ["", "\"", "\" : ", "\",}", "\"} x"] {
        confs.push(format!(
            r#"{{"cniVersion":"1.0.0","password":"{SECRET}{rest}"#
        ));
    }
    confs.push(json!(SECRET).to_string());
    confs.push(json!([SECRET]).to_string());
    confs
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(dir: &Path, config: &str) -> Command {
    let file = dir.join("daemon-config.json");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnidaria-daemon"));
    command.arg("--config").arg(file).stdin(Stdio::null());
    command
}

/// The configuration of a daemon that finds pods and networks in manifests.
fn config(dir: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "socketDir": dir.join("run"),
        "cniDir": dir.join("ledger"),
        "binDir": dir.join("bin"),
        "multusConfigFile": "",
        "clusterNetwork": dir.join("10-default.conf"),
        "logLevel": "debug",
        "logToStderr": true,
        "cnidaria": {
            "manifests": dir.join("manifests"),
            "policies": { "modules": dir.join("policies") },
            "timeouts": { "podMs": 300, "statusMs": 300 },
        },
    })
}

fn post(dir: &Path, path: &str, body: &Value) -> String {
    wire::post(dir, path, "", body)
}

fn request(command: &str, pod: &str, conf: &str) -> Value {
    json!({
        "env": {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": format!("c-{pod}"),
            "CNI_NETNS": "/proc/self/ns/net",
            "CNI_IFNAME": "eth7",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}"),
        },
        "config": base64::engine::general_purpose::STANDARD.encode(conf),
    })
}

fn write_manifest(dir: &Path, name: &str, object: &Value) {
    fs::write(dir.join("manifests").join(name), object.to_string()).unwrap();
}

fn write_pod(dir: &Path, name: &str, annotation: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "annotations": { "k8s.v1.cni.cncf.io/networks": annotation },
        },
        "spec": {},
    });
    write_manifest(dir, &format!("pod-{name}.json"), &pod);
}

/// A pod for each wrong conf and each wrong annotation.
fn write_pods(dir: &Path) -> Vec<String> {
    let mut pods = Vec::new();
    for (index, conf) in wrong_confs().into_iter().enumerate() {
        let name = format!("n{index}");
        let nad = json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "config": conf },
        });
        write_manifest(dir, &format!("nad-{name}.json"), &nad);
        let annotation = format!(r#"[{{"name":"{name}","cni-args":{{"password":"{SECRET}"}}}}]"#);
        write_pod(dir, &name, &annotation);
        pods.push(name);
    }
    for (index, member) in [
        "cni-args",
        "bandwidth",
        "portMappings",
        "ips",
        "default-route",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("a{index}");
        let element = json!([{ "name": "n0", member: SECRET }]);
        write_pod(dir, &name, &element.to_string());
        pods.push(name);
    }
    let cut_off = format!(r#"[{{"name":"n0","cni-args":{{"password":"{SECRET}"#);
    write_pod(dir, "cut-off", &cut_off);
    pods.push("cut-off".to_owned());
    // Manifests that the daemon tolerates or rejects.
    let yaml = format!("kind: Pod\nmetadata:\n  name: y\n  password: {SECRET}\n  labels: [\n");
    fs::write(dir.join("manifests/torn.yaml"), yaml).unwrap();
    let yaml = format!("kind: NetworkAttachmentDefinition\nmetadata: {SECRET}\nspec:\n  a: b\n");
    fs::write(dir.join("manifests/typed.yaml"), yaml).unwrap();
    write_manifest(
        dir,
        "typed.json",
        &json!({ "kind": "Pod", "metadata": SECRET }),
    );
    pods
}

fn write_policies(dir: &Path) {
    let policies = dir.join("policies");
    let wrong = [
        "module",
        "digest",
        "settings",
        "mode",
        "match",
        "failurePolicy",
        "limits",
        "grants",
        "allowTypes",
        "required",
        "onConflict",
    ];
    for (index, member) in wrong.into_iter().enumerate() {
        // As strings, these would be plain names, which are quoted for the operator.
        let value = match member {
            "module" | "digest" => json!([SECRET]),
            _ => json!(SECRET),
        };
        let conf = json!({ "settings": { "token": SECRET }, member: value });
        fs::write(policies.join(format!("p{index}.wasm")), "not wasm").unwrap();
        fs::write(policies.join(format!("p{index}.json")), conf.to_string()).unwrap();
    }
    fs::write(policies.join("q.wasm"), "not wasm").unwrap();
    fs::write(
        policies.join("q.json"),
        format!(r#"{{"settings":{{"token":"{SECRET}"#),
    )
    .unwrap();
    fs::write(policies.join("r.wasm"), "not wasm").unwrap();
    fs::write(policies.join("r.json"), json!(SECRET).to_string()).unwrap();
}

fn check(what: &str, text: &str) {
    let line = text.lines().find(|line| line.contains(SECRET));
    assert_eq!(line, None, "{what}");
}

#[test]
fn no_value_of_a_conf_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for name in ["manifests", "policies", "bin"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    let default = json!({
        "cniVersion": "1.0.0", "name": "default", "type": "no-such-plugin", "token": SECRET,
    });
    fs::write(dir.join("10-default.conf"), default.to_string()).unwrap();
    let pods = write_pods(dir);
    write_policies(dir);
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut command = daemon(dir, &config(dir).to_string());
    let running = Running(command.stderr(log).spawn().unwrap());
    let runtimes = json!({ "cniVersion": "1.0.0", "name": "multus", "type": "shim" }).to_string();
    for pod in &pods {
        for verb in ["ADD", "CHECK", "DEL"] {
            check(pod, &post(dir, "/cni", &request(verb, pod, &runtimes)));
        }
    }
    for conf in wrong_confs() {
        for verb in ["ADD", "CHECK", "STATUS", "DEL"] {
            let request = request(verb, "n0", &conf);
            check(&conf, &post(dir, "/delegate", &request));
        }
        for verb in ["ADD", "CHECK", "DEL", "STATUS", "GC"] {
            check(&conf, &post(dir, "/cni", &request(verb, "n0", &conf)));
        }
        // The default network, read anew.
        fs::write(dir.join("10-default.conf"), &conf).unwrap();
        for verb in ["ADD", "STATUS", "GC"] {
            check(&conf, &post(dir, "/cni", &request(verb, "n0", &runtimes)));
        }
    }
    for attributes in [
        json!(SECRET),
        json!({ "ips": SECRET, "mac": [SECRET] }),
        json!({ "mac": [SECRET] }),
        json!({ "cni-args": SECRET }),
        json!({ "cni-args": { "password": SECRET }, "macs": SECRET }),
    ] {
        let mut request = request("ADD", "n0", &default.to_string());
        request["interfaceAttributes"] = attributes.clone();
        check(&attributes.to_string(), &post(dir, "/delegate", &request));
    }
    drop(running);
    let log = fs::read_to_string(dir.join("log")).unwrap();
    let mut failed = log.lines().filter(|line| line.contains("request failed"));
    let is_named = |line: &str| {
        let names = ["verb=", "container=", "interface=", "pod="];
        names.iter().all(|name| line.contains(name))
    };
    assert!(failed.any(is_named), "{log}");
    assert!(log.contains("malformed manifest"), "{log}");
    assert!(log.contains("p2"), "no policy was read: {log}");
    check("log", &log);
}

/// The error of a daemon that cannot start with this configuration.
fn refusal(dir: &Path, config: &str) -> String {
    let mut child = daemon(dir, config).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("it starts with {config}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let Output { stderr, .. } = child.wait_with_output().unwrap();
    String::from_utf8(stderr).unwrap()
}

#[test]
fn no_value_of_the_daemons_file_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for member in [
        "threads",
        "timeouts",
        "durability",
        "policies",
        "kubelet",
        "logFormat",
        "deferDelsOf",
    ] {
        let mut config = config(dir);
        config["cnidaria"] = json!({ member: SECRET });
        let said = refusal(dir, &config.to_string());
        assert!(said.contains(member), "{member}: {said}");
        check(member, &said);
    }
    for member in [
        "connectionLimit",
        "metricsPort",
        "defaultNetworks",
        "delegates",
        "namespaceIsolation",
        "logToStderr",
        "runtimeConfig",
        "capabilities",
        "cnidaria",
        "logOptions",
        "perNodeCertificate",
    ] {
        let mut config = config(dir);
        config[member] = json!(SECRET);
        let said = refusal(dir, &config.to_string());
        assert!(said.contains(member), "{member}: {said}");
        check(member, &said);
    }
    check(
        "cut off",
        &refusal(dir, &format!(r#"{{"password":"{SECRET}"#)),
    );
    check("a string", &refusal(dir, &json!(SECRET).to_string()));
}

#[test]
fn no_line_of_a_kubeconfig_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let user = format!("users:\n- name: a\n  user:\n    token: {SECRET}\n");
    for broken in [
        format!("{user}   x: [\n"),
        format!("users: {{{{{{{SECRET}"),
        format!("current-context: a\ncontexts: {SECRET}\n"),
        format!("{user}current-context: a\ncontexts:\n- name: a\n  context: {SECRET}\n"),
        format!(
            "current-context: a\nclusters:\n- name: a\n  cluster: [{SECRET}]\ncontexts:\n- name: a\n  context: {{cluster: a}}\n"
        ),
        json!({ "users": SECRET, "current-context": [SECRET] }).to_string(),
        format!(r#"{{"token": "{SECRET}",, }}"#),
    ] {
        fs::write(dir.join("kubeconfig"), &broken).unwrap();
        let mut config = config(dir);
        config["kubeconfig"] = json!(dir.join("kubeconfig"));
        config["cnidaria"] =
            json!({ "nodeName": "node1", "timeouts": { "podMs": 1, "statusMs": 1 } });
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut command = daemon(dir, &config.to_string());
        let running = Running(command.stderr(log).spawn().unwrap());
        let runtimes = json!({ "cniVersion": "1.0.0", "name": "multus", "type": "shim" });
        for verb in ["STATUS", "ADD"] {
            let answer = post(dir, "/cni", &request(verb, "a", &runtimes.to_string()));
            check(&broken, &answer);
        }
        drop(running);
        let log = fs::read_to_string(dir.join("log")).unwrap();
        assert!(log.contains("kubeconfig"), "{log}");
        check(&broken, &log);
    }
}
