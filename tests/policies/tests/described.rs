//! What modules say of themselves, and the attachments of the node that they look at.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use policy_engine::{Cause, Cluster, LoadState, Needs, NodeAttachment, PolicyHost};
use policy_tests::{Policies, add, only, storage, trouble};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A node on which some pods have addresses: namespace, name and address.
#[derive(Debug)]
struct Node(Option<Vec<(&'static str, &'static str, &'static str)>>);

impl Cluster for Node {
    fn needed(&self, needs: Needs) {
        assert!(needs.attachments, "the grant needs them");
    }
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
        _: Option<&str>,
        visit: &mut dyn FnMut(&str, NodeAttachment<'_>) -> ControlFlow<()>,
    ) -> bool {
        let Some(all) = &self.0 else { return false };
        for (namespace, pod, ip) in all {
            let one = NodeAttachment {
                container_id: pod,
                namespace,
                pod,
                network: "default/storage",
                if_name: "net1",
                ips: &[(*ip).to_owned()],
                mac: None,
                tags: &BTreeMap::new(),
            };
            if visit(pod, one).is_break() {
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

async fn host(rest: Value, node: Node) -> PolicyHost {
    let mut config = json!({"settings": {"code": 150}, "grants": ["attachments"]});
    let members = config.as_object_mut().unwrap();
    members.extend(rest.as_object().unwrap().clone());
    let policies = Policies::new(COMPILER).with("10-described", "described", &config);
    let mut config = policies.config();
    config.cluster = Some(Arc::new(node));
    let host = PolicyHost::load(config).await;
    assert_eq!(
        only(&host).state,
        LoadState::Loaded,
        "{:?}",
        only(&host).last_error
    );
    host
}

#[tokio::test]
async fn a_module_says_what_it_is_and_wants() {
    let host = host(json!({}), Node(Some(Vec::new()))).await;
    let said = only(&host).description.unwrap();
    assert_eq!(
        said.title(),
        format!("described {}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(said.grants, ["attachments", "rewrite-result"]);
    assert_eq!(said.limits["timeoutMs"], 2_000);
    let settings = said.settings.as_ref().unwrap();
    assert_eq!(settings["required"], json!(["code"]));
    // Nothing is given because of it.
    assert_eq!(only(&host).granted, ["attachments"]);
}

#[tokio::test]
async fn settings_are_checked_before_configure() {
    let trouble = async |settings: &str| {
        let text = format!("{{\n \"grants\": [\"attachments\"],\n \"settings\": {settings} }}");
        let policies = Policies::new(COMPILER)
            .with("10-described", "described", &json!({}))
            .with_config("10-described", &text);
        trouble(&policies.load().await)
    };
    let check = async |settings: &str, end: &str| {
        let trouble = trouble(settings).await;
        let end = format!("10-described.json:{end}");
        assert!(trouble.ends_with(&end), "{trouble}: {end}");
    };
    check(
        "{\n  \"code\": 150,\n  \"network\": [] }",
        r#"5:3: /settings/network: unknown key; did you mean "networks"?"#,
    )
    .await;
    check(
        "{ \"code\": 7 }",
        "3:24: /settings/code: 7 is less than 100",
    )
    .await;
    check(
        "{\"networks\":[\"a\",\n 5],\"code\":150}",
        "4:2: /settings/networks/1: expected string, found number",
    )
    .await;
    check("{}", "3:14: /settings/code: is missing").await;
    let by_policy = trouble("{\"code\": 666}").await;
    assert!(
        by_policy.ends_with("settings: code 666 is taken"),
        "{by_policy}"
    );
}

#[tokio::test]
async fn attachments_of_the_node_need_their_grant() {
    let config = json!({"settings": {"code": 150}});
    let policies = Policies::new(COMPILER).with("10-described", "described", &config);
    let trouble = trouble(&policies.load().await);
    assert!(
        trouble.contains(r#"needs the grant "attachments""#),
        "{trouble}"
    );
}

#[tokio::test]
async fn an_address_in_use_is_found_with_its_pod() {
    let mut wanted = storage();
    wanted.ips = vec!["10.1.2.3/24".to_owned()];
    let all = || {
        vec![
            ("default", "db-1", "10.1.2.9/24"),
            ("bank", "db-2", "10.1.2.3/16"),
        ]
    };
    let denied = async |rest: Value, node: Node| {
        let host = host(rest, node).await;
        let answer = add(&host).before_add(wanted.clone()).await;
        answer
            .map(|_| ())
            .map_err(|denied| (denied.code, denied.message, denied.cause))
    };
    let (code, message, _) = denied(json!({}), Node(Some(all()))).await.unwrap_err();
    assert_eq!(code, 150);
    assert!(
        message.ends_with("10.1.2.3 is that of bank/db-2"),
        "{message}"
    );
    // A tenant's policy does not learn of the other namespace.
    let tenant = json!({"match": {"namespaces": ["default"]}});
    denied(tenant, Node(Some(all()))).await.unwrap();
    // Not known yet: the policy decides.
    let (_, message, _) = denied(json!({}), Node(None)).await.unwrap_err();
    assert!(message.ends_with("not known yet"), "{message}");
    let limit = json!({"limits": {"attachments": 1}});
    let (_, message, cause) = denied(limit, Node(Some(all()))).await.unwrap_err();
    assert_eq!(cause, Cause::Limit, "{message}");
    assert!(message.contains("limits.attachments allows 1"), "{message}");
}
