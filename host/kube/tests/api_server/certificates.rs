//! The node's own certificate: requested, renewed, and replaced when unusable.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use cnidaria_core::ports::{Cluster, ClusterError};
use cnidaria_kube::{Access, Kube, NodeCertificate, Settings};
use fake_api::{FakeApi, User};

use crate::rig::{LONG, NODE, Rig, deploy, until, until_ready};
use crate::roles;

/// The permissions that every cluster grants to kubelets.
const NODES: &str = "
kind: ClusterRole
metadata: {name: system:node}
rules: [{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests], verbs: [create, get, list, watch]}]
---
kind: ClusterRoleBinding
metadata: {name: system:node}
roleRef: {name: system:node}
subjects: [{kind: Group, name: system:nodes}]
";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A server that authenticates nodes, and a kubelet's kubeconfig.
async fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let nodes = dir.path().join("nodes.yaml");
    fs::write(&nodes, NODES).unwrap();
    let api = FakeApi::builder()
        .roles(deploy("base/rbac.yaml"))
        .roles(deploy(
            "components/per-node-certificate/per-node-certificate.yaml",
        ))
        .roles(nodes)
        .start()
        .await
        .unwrap();
    let token = api.issue_token(User {
        name: format!("system:node:{NODE}"),
        groups: vec!["system:nodes".to_owned()],
    });
    api.write_kubeconfig(&dir.path().join("kubeconfig"), &token)
        .unwrap();
    Rig { api, dir, token }
}

fn certificates(rig: &Rig) -> PathBuf {
    rig.dir.path().join("certificates")
}

fn start(rig: &Rig) -> Kube {
    Kube::start(Settings {
        access: Access::NodeCertificate(NodeCertificate {
            bootstrap_kubeconfig: rig.dir.path().join("kubeconfig"),
            dir: certificates(rig),
            node: NODE.to_owned(),
            lifetime: DAY,
        }),
        ..rig.settings()
    })
}

fn reason(kube: &Kube) -> String {
    kube.ready()
        .map_or_else(|e| e.to_string(), |()| String::new())
}

/// Users of the requests since the last call, except those for certificates.
fn users(rig: &Rig) -> Vec<String> {
    let requests = rig.api.take_requests().into_iter();
    let mut users: Vec<String> = requests
        .filter(|request| request.resource != "certificatesigningrequests")
        .map(|request| request.user)
        .collect();
    users.sort();
    users.dedup();
    users
}

#[tokio::test(flavor = "multi_thread")]
async fn node_uses_certificate_after_its_approval() {
    let rig = rig().await;
    let pod = rig.pod("a");
    let kube = start(&rig);
    until(|| reason(&kube).contains("waits to be approved")).await;
    let requests = rig.api.all("CertificateSigningRequest");
    assert_eq!(requests.len(), 1);
    // Approvers find the request's name in the pod's Events. A call without patience may coincide
    // with a reload of the credentials.
    let name = requests[0]["metadata"]["name"].as_str().unwrap();
    let named = async {
        loop {
            let error = kube.pod(&pod, Duration::ZERO).await.unwrap_err();
            assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
            if error.to_string().contains(name) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, named).await.unwrap();
    let spec = &requests[0]["spec"];
    assert_eq!(spec["signerName"], "kubernetes.io/kube-apiserver-client");
    assert_eq!(
        spec["usages"],
        serde_json::json!(["digital signature", "client auth"])
    );
    assert_eq!(spec["expirationSeconds"], DAY.as_secs());
    assert_eq!(spec["username"], format!("system:node:{NODE}"));
    rig.api.set_signing(Some(DAY));
    until_ready(&kube).await;
    rig.api.take_requests();
    kube.set_network_status(&pod, "[1]").await.unwrap();
    assert_eq!(users(&rig), [format!("system:multus:{NODE}")]);
    let current = certificates(&rig).join("multus-client-current.pem");
    assert!(fs::symlink_metadata(&current).unwrap().is_symlink());
    let mode = fs::metadata(current).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_daemon_reuses_certificate() {
    let rig = rig().await;
    rig.api.set_signing(Some(DAY));
    until_ready(&start(&rig)).await;
    rig.api.take_requests();
    let kube = start(&rig);
    until_ready(&kube).await;
    let asked = |request: &fake_api::Recorded| request.act().contains("certificate");
    assert!(!rig.api.take_requests().iter().any(asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_fails_no_requests() {
    let rig = rig().await;
    rig.api.set_signing(Some(Duration::from_secs(4)));
    let kube = start(&rig);
    until_ready(&kube).await;
    rig.api.take_requests();
    let pod = rig.pod("a");
    let mut refused = Vec::new();
    let mut used = BTreeSet::new();
    let mut written = 0_u32;
    // Two renewals take longer than any single certificate is valid.
    while rig.api.all("CertificateSigningRequest").len() < 3 {
        kube.set_network_status(&pod, &format!("[{written}]"))
            .await
            .unwrap();
        written += 1;
        let requests = rig.api.take_requests();
        let acts = requests.iter().map(fake_api::Recorded::act);
        used.extend(acts.filter(|act| act.contains("certificate")));
        refused.extend(requests.into_iter().filter(|request| request.code >= 400));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(
        used,
        roles::allowed(&["components/per-node-certificate/per-node-certificate.yaml"])
    );
    // The node requests its renewals itself; the kubelet's credentials are used once.
    let askers: Vec<_> = rig
        .api
        .all("CertificateSigningRequest")
        .iter()
        .map(|request| request["spec"]["username"].clone())
        .collect();
    assert_eq!(askers[0], format!("system:node:{NODE}"));
    assert_eq!(askers[1], format!("system:multus:{NODE}"));
    assert_eq!(askers[2], format!("system:multus:{NODE}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unapproved_renewal_keeps_daemon_ready() {
    let rig = rig().await;
    rig.api.set_signing(Some(Duration::from_secs(8)));
    let kube = start(&rig);
    until_ready(&kube).await;
    rig.api.set_signing(None);
    until(|| rig.api.all("CertificateSigningRequest").len() == 2).await;
    assert_eq!(reason(&kube), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_foreign_certificate_is_replaced() {
    let rig = rig().await;
    rig.api.set_signing(Some(DAY));
    fs::create_dir(certificates(&rig)).unwrap();
    let current = certificates(&rig).join("multus-client-current.pem");
    for damage in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
        let _ = fs::remove_file(&current);
        fs::write(&current, damage).unwrap();
        until_ready(&start(&rig)).await;
    }
    let mut other = start(&rig);
    until_ready(&other).await;
    assert_eq!(rig.api.all("CertificateSigningRequest").len(), 2);
    // The same directory, on a node with another name.
    other = Kube::start(Settings {
        access: Access::NodeCertificate(NodeCertificate {
            bootstrap_kubeconfig: rig.dir.path().join("kubeconfig"),
            dir: certificates(&rig),
            node: "node2".to_owned(),
            lifetime: DAY,
        }),
        ..rig.settings()
    });
    until(|| rig.api.all("CertificateSigningRequest").len() == 3).await;
    until_ready(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_csr_is_reported_and_retried() {
    let rig = rig().await;
    rig.api.set_signing(Some(Duration::ZERO));
    let kube = start(&rig);
    until(|| reason(&kube).contains("was not granted")).await;
    rig.api.set_signing(Some(DAY));
    until_ready(&kube).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn untrusted_certificate_is_replaced() {
    let rig = rig().await;
    let pod = rig.pod("a");
    rig.api.set_signing(Some(DAY));
    until_ready(&start(&rig)).await;
    let kube = start(&rig);
    until_ready(&kube).await;
    rig.api.rotate_authority().unwrap();
    rig.api
        .write_kubeconfig(&rig.dir.path().join("kubeconfig"), &rig.token)
        .unwrap();
    until(|| rig.api.all("CertificateSigningRequest").len() == 2).await;
    until_ready(&kube).await;
    assert_eq!(kube.pod(&pod, LONG).await.unwrap().uid, pod.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn csr_is_sent_once_the_server_is_back() {
    let rig = rig().await;
    rig.api.set_signing(Some(DAY));
    rig.api.go_down();
    let kube = start(&rig);
    until(|| reason(&kube).contains("certificate request")).await;
    rig.api.come_up();
    until_ready(&kube).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_certificate_files_are_read_again() {
    let rig = rig().await;
    let pod = rig.pod("a");
    rig.api.set_signing(Some(DAY));
    until_ready(&start(&rig)).await;
    let issued = certificates(&rig).join("multus-client-current.pem");
    // As a kubelet's kubeconfig: one file has the certificate and the key.
    let path = rig.dir.path().join("kubeconfig");
    let text = fs::read_to_string(&path).unwrap();
    let token = format!("token: {}", rig.token);
    let files = "client-certificate: pair.pem\n    client-key: pair.pem";
    fs::write(&path, text.replace(&token, files)).unwrap();
    let pair = rig.dir.path().join("pair.pem");
    let kube = rig.start();
    until(|| reason(&kube).contains("pair.pem")).await;
    fs::copy(&issued, &pair).unwrap();
    until_ready(&kube).await;
    rig.api.take_requests();
    kube.set_network_status(&pod, "[1]").await.unwrap();
    assert_eq!(users(&rig), [format!("system:multus:{NODE}")]);
}
