//! Shims of other versions than the daemon's, as on a node during an upgrade: their requests are
//! here as the bytes they sent, not as this version would write them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use base64::Engine as _;
use support::World;

/// A body of `POST /cni` for pod `a`, with further environment variables and members.
fn body(command: &str, more_env: &str, more: &str) -> String {
    let conf = r#"{"cniVersion":"1.0.0","name":"multus-cni-network","type":"multus-shim","delegates":[{"cniVersion":"1.0.0","name":"default","type":"t"}]}"#;
    let conf = base64::engine::general_purpose::STANDARD.encode(conf);
    format!(
        r#"{{"env":{{"CNI_ARGS":"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=cid-a;K8S_POD_UID=uid-a","CNI_COMMAND":"{command}","CNI_CONTAINERID":"cid-a","CNI_IFNAME":"eth0","CNI_NETNS":"/run/netns/a","CNI_PATH":"/opt/cni/bin"{more_env}}},"config":"{conf}"{more}}}"#
    )
}

/// All other senders: the shim of 0.1.0; Multus' shim, with its whole environment; and a shim newer
/// than this daemon.
fn forms() -> [(&'static str, &'static str); 4] {
    [
        ("", ""),
        (
            r#","PATH":"/usr/bin","KUBERNETES_SERVICE_HOST":"10.0.0.1","HOME":"/""#,
            r#","interfaceAttributes":null"#,
        ),
        (
            r#","CNI_NETNS_OVERRIDE":"1","CNI_SOMETHING_NEW":"x""#,
            r#","shim":{"version":"9.1.0"},"deadlineMs":1000,"trace":["a",{"b":null}]"#,
        ),
        (
            "",
            r#","interfaceAttributes":{"ips":null,"mac":"","cni-args":null,"vlan":7}"#,
        ),
    ]
}

#[tokio::test]
async fn other_shim_versions_requests_are_accepted() {
    for (more_env, more) in forms() {
        let world = World::new();
        world.pod("a", "one");
        let pipeline = world.pipeline();
        for command in ["ADD", "CHECK", "DEL"] {
            let body = body(command, more_env, more);
            let answer = pipeline.handle(body.as_bytes()).await;
            assert!(answer.is_ok(), "{command} {more_env} {more}: {answer:?}");
        }
        assert!(world.recorded.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn deferred_dels_of_other_shim_versions_run() {
    for (more_env, more) in forms() {
        for beside in ["", r#","shim":"9.1.0","netns":[4,4026532001]"#] {
            let world = World::new();
            world.pod("a", "one");
            let pipeline = world.pipeline();
            let add = body("ADD", "", "");
            pipeline.handle(add.as_bytes()).await.unwrap();
            let request = body("DEL", more_env, more);
            let record = format!(r#"{{"bootId":"b","request":{request}{beside}}}"#);
            world.defer("cid-a", record.into_bytes());
            // Else a record of another namespace would undo nothing.
            world.fail("netns gone");
            let dir = Path::new("/var/lib/cni/multus");
            pipeline.finish_deferred(dir, false).await;
            assert!(world.recorded.lock().unwrap().is_empty(), "{more}{beside}");
            assert!(world.deferred.lock().unwrap().is_empty(), "{more}{beside}");
        }
    }
}
