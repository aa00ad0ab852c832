use std::collections::BTreeMap;

use super::*;
use crate::model::ports::Needs;

/// A node with two attachments of each pod.
#[derive(Debug)]
struct Node {
    pods: Vec<(&'static str, String)>,
    tags: BTreeMap<String, String>,
}

impl Node {
    fn of(pods: usize) -> Self {
        let pod = |index: usize| {
            let namespace = if index.is_multiple_of(2) { "a" } else { "b" };
            (namespace, format!("pod-{index:04}"))
        };
        Self {
            pods: (0..pods).map(pod).collect(),
            tags: [("rule".to_owned(), "x".to_owned())].into(),
        }
    }
}

impl Cluster for Node {
    fn needed(&self, _: Needs) {}
    fn namespace_label(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn namespace_labels(&self, _: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn namespace_annotation(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn namespace_annotations(&self, _: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn nad_conf(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn nad_annotation(&self, _: &str, _: &str, _: &str) -> Option<String> {
        None
    }
    fn nad_annotations(&self, _: &str, _: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn attachments(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, NodeAttachment<'_>) -> ControlFlow<()>,
    ) -> bool {
        for (index, (namespace, pod)) in self.pods.iter().enumerate() {
            if after.is_some_and(|after| pod.as_str() <= after) {
                continue;
            }
            let ips = [
                format!("10.1.0.{}/24", index % 250),
                format!("fd00::{index:x}/64"),
            ];
            let seen = visit(
                pod,
                NodeAttachment {
                    container_id: pod,
                    namespace,
                    pod,
                    network: "default/storage",
                    if_name: "net1",
                    ips: &ips,
                    mac: Some("0a:00:00:00:00:01"),
                    tags: &self.tags,
                },
            );
            if seen.is_break() {
                break;
            }
        }
        true
    }
    fn node_label(&self, _: &str) -> Option<String> {
        None
    }
    fn node_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn node_annotation(&self, _: &str) -> Option<String> {
        None
    }
    fn node_annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

fn filter() -> Filter {
    Filter {
        namespace: None,
        pod: None,
        network: None,
        ip: None,
        mac: None,
    }
}

fn found(node: &Node, filter: Filter) -> Vec<String> {
    let wanted = Wanted::of(filter, None).unwrap();
    match find(node, &wanted, &mut |_| true, &mut 1_000) {
        Looked::All(found) => found.attachments.into_iter().map(|one| one.pod).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_filter_compares_canonical_values() {
    let node = Node::of(4);
    let check = |change: &dyn Fn(&mut Filter), expected: &[&str]| {
        let mut filter = filter();
        change(&mut filter);
        assert_eq!(found(&node, filter), expected);
    };
    let some = |text: &str| Some(text.to_owned());
    check(
        &|filter| filter.namespace = some("b"),
        &["pod-0001", "pod-0003"],
    );
    check(&|filter| filter.ip = some("10.1.0.2"), &["pod-0002"]);
    check(&|filter| filter.ip = some("fd00:0::3"), &["pod-0003"]);
    check(
        &|filter| filter.ip = some("10.1.0.0/31"),
        &["pod-0000", "pod-0001"],
    );
    check(
        &|filter| filter.ip = some("0.0.0.0/0"),
        &["pod-0000", "pod-0001", "pod-0002", "pod-0003"],
    );
    check(&|filter| filter.mac = some("0A-00-00-00-00-02"), &[]);
    check(
        &|filter| {
            filter.mac = some("0A-00-00-00-00-01");
            filter.pod = some("pod-0002");
            filter.network = some("default/storage");
        },
        &["pod-0002"],
    );
    for (ip, mac) in [
        (some("10.1.0.2/33"), None),
        (some("x"), None),
        (None, some("x")),
    ] {
        let filter = Filter {
            ip,
            mac,
            ..filter()
        };
        Wanted::of(filter, None).unwrap_err();
    }
}

#[test]
fn a_tenant_sees_its_own_namespaces_alone() {
    let node = Node::of(300);
    let (mut after, mut left, mut seen) = (None, 10_000, Vec::new());
    loop {
        let wanted = Wanted::of(filter(), after).unwrap();
        let Looked::All(page) = find(&node, &wanted, &mut |namespace| namespace == "b", &mut left)
        else {
            panic!("known and within the limit");
        };
        assert!(page.attachments.len() <= MAX_PAGE);
        seen.extend(
            page.attachments
                .into_iter()
                .map(|one| (one.namespace, one.pod)),
        );
        after = page.next;
        if let Some(after) = &after {
            let of = |(_, pod): &&(&str, String)| pod == after;
            assert_eq!(node.pods.iter().find(of).unwrap().0, "b");
        } else {
            break;
        }
    }
    assert_eq!(seen.len(), 150);
    assert!(seen.iter().all(|(namespace, _)| namespace == "b"));
    assert!(left < 10_000 - 300 + 10, "each attachment counts: {left}");
}

#[test]
fn looking_at_too_many_ends_the_search() {
    let wanted = Wanted::of(filter(), None).unwrap();
    let mut left = 3;
    assert_eq!(
        find(&Node::of(4), &wanted, &mut |_| false, &mut left),
        Looked::Spent
    );
    assert_eq!(left, 0);
}
