//! Kubeconfigs end to end: the credentials that the server gets, and when they are read again.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cnidaria_core::ports::Cluster;
use fake_api::User;
use serde_json::{Value, json};

use crate::rig::{LONG, Rig, until, until_ready};

/// Replaces the kubeconfig by one with these members of its cluster and its user.
fn write(rig: &Rig, mut cluster: Value, user: Value) {
    cluster["server"] = rig.api.url().into();
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    });
    fs::write(rig.dir.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
}

fn authority(rig: &Rig) -> Value {
    json!({"certificate-authority-data": BASE64.encode(rig.api.ca())})
}

fn next_token(rig: &Rig) -> String {
    rig.api
        .issue_token(User::service_account("kube-system", "cnidaria"))
}

/// A credential plugin that prints the token in `token`, and writes a line to `runs` each time.
fn plugin(rig: &Rig) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = rig.dir.path().join("plugin");
    let dir = rig.dir.path().display();
    let script = format!(
        "#!/bin/sh\necho \"$KUBERNETES_EXEC_INFO\" >>{dir}/runs\n\
         echo \"{{\\\"status\\\":{{\\\"token\\\":\\\"$(cat {dir}/token)\\\"}}}}\"\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_runs_again_when_its_token_fails() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    plugin(&rig);
    fs::write(rig.dir.path().join("token"), &rig.token).unwrap();
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./plugin",
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": true,
    });
    write(&rig, authority(&rig), json!({"exec": exec}));
    let kube = rig.start();
    until_ready(&kube).await;
    kube.set_network_status(&pod, "[1]").await.unwrap();
    let runs = fs::read_to_string(rig.dir.path().join("runs")).unwrap();
    let info: Value = serde_json::from_str(&runs).unwrap();
    assert_eq!(info["spec"]["interactive"], false);
    let cluster = &info["spec"]["cluster"];
    assert_eq!(cluster["server"], rig.api.url());
    let expected = authority(&rig);
    assert_eq!(
        cluster["certificate-authority-data"],
        expected["certificate-authority-data"]
    );
    rig.api.revoke_token(&rig.token);
    fs::write(rig.dir.path().join("token"), next_token(&rig)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    kube.set_network_status(&pod, "[2]").await.unwrap();
    let runs = fs::read_to_string(rig.dir.path().join("runs")).unwrap();
    assert_eq!(runs.lines().count(), 2, "{runs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_kubeconfig_is_read_again() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let kube = rig.start();
    until_ready(&kube).await;
    // Another CA and another kind of credential.
    rig.api.rotate_authority().unwrap();
    rig.api.revoke_token(&rig.token);
    until(|| kube.ready().is_err()).await;
    fs::write(rig.dir.path().join("ca.crt"), rig.api.ca()).unwrap();
    fs::write(
        rig.dir.path().join("token"),
        format!("{}\n", next_token(&rig)),
    )
    .unwrap();
    write(
        &rig,
        json!({"certificate-authority": "ca.crt"}),
        json!({"tokenFile": "token", "token": "stale"}),
    );
    until_ready(&kube).await;
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_no_ca_vouches_for_is_not_used() {
    let rig = Rig::new().await;
    let pod = rig.pod("a");
    let other = Rig::new().await;
    write(&rig, authority(&other), json!({"token": rig.token}));
    let kube = rig.start();
    let error = kube.pod(&pod, Duration::from_millis(400)).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert!(rig.api.take_requests().is_empty());
    // Unless the kubeconfig skips the verification.
    let insecure = json!({"insecure-skip-tls-verify": true});
    write(&rig, insecure, json!({"token": rig.token}));
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_client_key_is_named_not_quoted() {
    let rig = Rig::new().await;
    let certificate = BASE64.encode("-----BEGIN CERTIFICATE-----\ns3cret");
    for (key, expected) in [
        (json!({"client-key-data": "s3cret!"}), "client-key-data"),
        (json!({"client-key": "gone.pem"}), "gone.pem"),
        (json!({"client-key-data": BASE64.encode("s3cret")}), "PEM"),
        (json!({}), "client key"),
    ] {
        let mut user = key;
        user["client-certificate-data"] = certificate.clone().into();
        write(&rig, authority(&rig), user);
        let kube = rig.start();
        let reason = || kube.ready().unwrap_err().to_string();
        until(|| reason().contains(expected)).await;
        assert!(!reason().contains("s3cret"), "{}", reason());
    }
}
