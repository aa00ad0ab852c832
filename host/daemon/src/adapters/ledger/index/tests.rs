use std::collections::BTreeMap;

use cni_types::args::{CniArgs, ContainerId, IfName};
use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;
use cni_types::result::CniResult;
use cni_types::version::ConfVersion;
use cnidaria_core::domain::pod::PodRef;
use cnidaria_core::ports::Ledger;
use config::own::Durability;

use super::*;

fn entry(container: &str, if_name: &str, ip: &str) -> Entry {
    let result = format!(
        r#"{{"cniVersion":"1.0.0","ips":[{{"address":"{ip}"}}],"interfaces":[
            {{"name":"{if_name}","mac":"0A:00:00:00:00:01","sandbox":"/run/netns/a"}}]}}"#
    );
    Entry {
        container_id: ContainerId::new(container).unwrap(),
        netns: Some("/run/netns/a".into()),
        namespace: None,
        pod: PodRef {
            namespace: "shop".into(),
            name: container.into(),
            uid: String::new(),
        },
        runtime_network: None,
        network: "default/blue".into(),
        if_name: IfName::new(if_name).unwrap(),
        is_default: false,
        is_chosen: false,
        conf: NetworkConfList::parse_any(r#"{"cniVersion":"1.0.0","name":"blue","type":"bridge"}"#)
            .unwrap(),
        cni_args: CniArgs::new(),
        capability_args: RawObject::new(),
        device: None,
        result: Some(CniResult::parse(result.as_bytes(), ConfVersion::default()).unwrap()),
        tags: BTreeMap::from([("rule".to_owned(), "x".to_owned())]),
        failed_add: None,
        added_at: None,
    }
}

/// Container, interface and addresses of each; `None` if they are not known.
fn all(index: &Indexed) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let is_known = index.visit(None, &mut |_, one| {
        all.push(format!(
            "{} {} {}",
            one.container_id,
            one.if_name,
            one.ips.join(",")
        ));
        ControlFlow::Continue(())
    });
    is_known.then_some(all)
}

async fn read(index: &Indexed) -> Vec<String> {
    loop {
        if let Some(all) = all(index) {
            return all;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_index_is_what_the_ledger_has() {
    let dir = tempfile::tempdir().unwrap();
    let earlier = Files::new(Durability::Grouped);
    let first = [
        entry("a", "eth0", "10.1.0.1/24"),
        entry("a", "net1", "10.1.0.2/24"),
    ];
    earlier.record(dir.path(), &first).await.unwrap();
    for one in &first {
        earlier.record_result(dir.path(), one).await.unwrap();
    }
    let index = Indexed::default();
    let files = Files::new(Durability::Grouped).with_index(&index);
    index.read_from(files.clone(), dir.path().to_owned());
    assert_eq!(all(&index), None, "no policy needs it");
    index.keep(true);
    assert_eq!(
        read(&index).await,
        ["a eth0 10.1.0.1/24", "a net1 10.1.0.2/24"]
    );

    let second = entry("b", "eth0", "10.1.0.3/24");
    files
        .record(dir.path(), std::slice::from_ref(&second))
        .await
        .unwrap();
    assert_eq!(read(&index).await.len(), 2, "it has no result yet");
    files.record_result(dir.path(), &second).await.unwrap();
    let [eth0, net1] = &first;
    files.forget_result(dir.path(), net1).await.unwrap();
    assert_eq!(
        read(&index).await,
        ["a eth0 10.1.0.1/24", "b eth0 10.1.0.3/24"]
    );
    files.forget(dir.path(), &eth0.container_id).await.unwrap();
    assert_eq!(read(&index).await, ["b eth0 10.1.0.3/24"]);
    index.keep(false);
    assert_eq!(all(&index), None, "forgotten");
}

#[tokio::test]
async fn a_change_while_reading_is_newer() {
    let dir = tempfile::tempdir().unwrap();
    let index = Indexed::default();
    let files = Files::new(Durability::Grouped).with_index(&index);
    let old = entry("a", "eth0", "10.1.0.1/24");
    files
        .record(dir.path(), std::slice::from_ref(&old))
        .await
        .unwrap();
    files.record_result(dir.path(), &old).await.unwrap();
    index.keep(true);
    // What a reader found before the container was removed.
    let read_before = vec![(dir.path().to_owned(), old.clone())];
    files.forget(dir.path(), &old.container_id).await.unwrap();
    index.0.complete(read_before);
    assert_eq!(all(&index), Some(Vec::new()));
}
