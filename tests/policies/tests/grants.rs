//! Grants: which imports they link, what those return, and which observers learn what policies do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use policy_engine::{
    Cluster, Evaluation, Hook, LoadState, Needs, Observer, PolicyHost, PolicyInfo, Skipped, Verdict,
};
use policy_tests::{Policies, add, arg, findings, only, storage, trouble, witness};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

const ALL: [&str; 7] = [
    "namespaces",
    "nads",
    "node",
    "metrics",
    "clock",
    "random",
    "state",
];

#[derive(Debug)]
struct Known;

impl Cluster for Known {
    fn needed(&self, _: Needs) {}
    fn namespace_label(&self, namespace: &str, key: &str) -> Option<String> {
        Some(format!("label {key} of {namespace}"))
    }
    fn namespace_annotation(&self, namespace: &str, key: &str) -> Option<String> {
        Some(format!("annotation {key} of {namespace}"))
    }
    fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        [("name".to_owned(), namespace.to_owned())].into()
    }
    fn namespace_annotations(&self, _: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn nad_annotations(&self, _: &str, _: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn node_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn node_annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn nad_conf(&self, namespace: &str, name: &str) -> Option<String> {
        Some(format!("conf of {namespace}/{name}"))
    }
    fn nad_annotation(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        Some(format!("annotation {key} of {namespace}/{name}"))
    }
    fn node_label(&self, key: &str) -> Option<String> {
        Some(format!("label {key} of the node"))
    }
    fn node_annotation(&self, _: &str) -> Option<String> {
        None
    }
}

#[derive(Debug, Default)]
struct Counter(Mutex<Vec<String>>);

impl Counter {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Counter {
    fn evaluated(&self, evaluation: &Evaluation<'_>) {
        let Evaluation {
            policy,
            hook,
            mode,
            verdict,
            ..
        } = evaluation;
        self.note(format!(
            "{policy} {hook} {} {}",
            mode.as_str(),
            verdict.as_str()
        ));
    }
    fn edited(&self, policy: &str, hook: Hook, field: &str) {
        self.note(format!("{policy} {hook} edits {field}"));
    }
    fn counted(&self, policy: &str, name: &str, by: f64) {
        self.note(format!("{policy} counts {name} {by}"));
    }
    fn observed(&self, policy: &str, name: &str, value: f64) {
        self.note(format!("{policy} observes {name} {value}"));
    }
    fn skipped(&self, reason: Skipped) {
        self.note(format!("skipped {}", reason.as_str()));
    }
    fn state_damaged(&self, policy: &str) {
        self.note(format!("{policy} state damaged"));
    }
    fn loaded(&self, generation: u64, policies: &[PolicyInfo]) {
        self.note(format!("generation {generation} of {}", policies.len()));
    }
}

#[tokio::test]
async fn each_import_needs_its_own_grant() {
    for missing in ALL {
        let grants: Vec<&str> = ALL.into_iter().filter(|grant| *grant != missing).collect();
        let policies =
            Policies::new(COMPILER).with("10-greedy", "hostile-greedy", &json!({"grants": grants}));
        let reason = trouble(&policies.load().await);
        let import =
            format!("imports cnidaria:policy/{missing}@0.3.0, which needs the grant \"{missing}\"");
        assert!(reason.contains(&import), "{reason}");
    }
}

#[tokio::test]
async fn granted_lookups_return_the_daemons_knowledge() {
    let policies =
        Policies::new(COMPILER).with("10-greedy", "hostile-greedy", &json!({"grants": ALL}));
    let counter = Arc::new(Counter::default());
    let mut config = policies.config();
    config.cluster = Some(Arc::new(Known));
    config.observer = Some(counter.clone());
    let host = PolicyHost::load(config).await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    assert_eq!(counter.lines(), ["generation 1 of 1"]);

    let (attachment, _) = add(&host).before_add(storage()).await.unwrap();
    let check = |key: &str, expected: &str| {
        assert_eq!(arg(&attachment, key).as_deref(), Some(expected), "{key}");
    };
    check("namespace-label", r#""label team of default""#);
    check("namespace-annotation", r#""annotation note of default""#);
    check("nad-conf", r#""conf of default/storage""#);
    check("nad-annotation", r#""annotation note of default/storage""#);
    check("node-label", r#""label zone of the node""#);
    check("node-annotation", "null");
    check("clock", r#""true""#);
    check("random", r#""16""#);
    check("state", r#""0 Ok(()) [\"count\"]""#);
    assert_eq!(
        counter.lines(),
        [
            "10-greedy counts seen 1",
            "10-greedy observes size 7.5",
            "10-greedy before-add enforce accept",
            "10-greedy before-add edits cniArgs",
        ]
    );
}

#[tokio::test]
async fn without_a_daemon_behind_it_nothing_is_known() {
    let policies =
        Policies::new(COMPILER).with("10-greedy", "hostile-greedy", &json!({"grants": ALL}));
    let host = policies.load().await;
    let (attachment, _) = add(&host).before_add(storage()).await.unwrap();
    assert_eq!(arg(&attachment, "nad-conf").as_deref(), Some("null"));
}

#[tokio::test]
async fn failures_are_counted_by_class() {
    let counter = Arc::new(Counter::default());
    let config = json!({"settings": {"do": "trap"}});
    let policies = Policies::new(COMPILER).with("10-bad", "hostile-misbehave", &config);
    let mut config = policies.config();
    config.observer = Some(counter.clone());
    let host = PolicyHost::load(config).await;
    add(&host).before_add(storage()).await.unwrap_err();
    assert_eq!(
        counter.lines()[1],
        format!(
            "10-bad before-add enforce {}",
            Verdict::Failed(policy_engine::Cause::Trap).as_str()
        )
    );
    let info = only(&host);
    assert_eq!((info.evaluations, info.denials, info.failures), (1, 0, 1));
    assert!(info.last_error.unwrap().contains("trap in hook before-add"));
}

#[tokio::test]
async fn skipped_requests_are_counted_by_reason() {
    let counter = Arc::new(Counter::default());
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let mut config = policies.config();
    config.observer = Some(counter.clone());
    config.exempt_namespaces = vec!["default".to_owned()];
    config.bypass_file = Some(policies.path("bypass"));
    let host = PolicyHost::load(config).await;
    counter.lines();
    add(&host);
    std::fs::write(policies.path("bypass"), "").unwrap();
    add(&host);
    assert_eq!(
        counter.lines(),
        ["skipped exempt-namespace", "skipped bypass"]
    );
}

#[tokio::test]
async fn only_needed_objects_are_watched() {
    let needs = async |config: serde_json::Value| {
        let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &config);
        policies.load().await.current().needs()
    };
    let nothing = Needs {
        pod: true,
        ..Needs::default()
    };
    let namespaces = Needs {
        namespaces: true,
        ..nothing
    };
    let node = Needs {
        node: true,
        ..nothing
    };
    assert_eq!(needs(json!({})).await, nothing);
    let labels = json!({"match": {"namespaceLabels": {"team": "a"}}});
    assert_eq!(needs(labels.clone()).await, namespaces);
    assert_eq!(needs(json!({"grants": ["namespaces"]})).await, namespaces);
    assert_eq!(needs(json!({"grants": ["node"]})).await, node);
    let mut off = labels;
    off["mode"] = json!("off");
    assert_eq!(needs(off).await, nothing);
}

const CHAIN: &str = r#"{"cniVersion":"1.0.0","name":"storage","plugins":[
    {"type":"bridge","capabilities":{"ips":true},"ipam":{"type":"host-local","dataDir":"/var/lib/cni"}},
    {"type":"firewall"}]}"#;

/// Why edits of the chain are rejected for a policy with these grants.
async fn refused(edits: &[(&str, &str)], grants: &[&str]) -> Vec<String> {
    let actions: Vec<_> = edits
        .iter()
        .map(|(pointer, json)| match *json {
            "" => json!({"try": {"conf-remove": pointer}}),
            json => json!({"try": {"conf-set": [pointer, json]}}),
        })
        .collect();
    let all = [&["state"], grants].concat();
    let mut rest = json!({"grants": all});
    if grants.contains(&"change-type") {
        rest["allowTypes"] = json!(["ptp", "tuning", "bridge", "firewall"]);
    }
    let config = witness(&json!({"before-add": actions}), &rest);
    let policies = Policies::new(COMPILER).with("10-witness", "witness", &config);
    let host = policies.load().await;
    let mut attachment = storage();
    attachment.conf = cni_types::json::Document::parse(CHAIN, Default::default()).unwrap();
    let (_, report) = add(&host).before_add(attachment).await.unwrap();
    let found = findings(&report).into_iter();
    found.map(|(_, message)| message.to_owned()).collect()
}

#[tokio::test]
async fn an_allow_list_does_not_allow_dropping_plugins() {
    let edits = [
        ("/plugins/1", ""),
        ("/plugins/1/type", r#""tuning""#),
        ("/plugins", r#"[{"type":"bridge"}]"#),
        ("/plugins", r#"[{"type":"firewall"},{"type":"bridge"}]"#),
        ("/plugins/0/type", r#""firewall""#),
        ("/plugins/0/ipam/type", r#""bridge""#),
        ("/plugins/0/ipam", ""),
    ];
    let all = refused(
        &edits,
        &["change-type", "change-paths", "change-capabilities"],
    )
    .await;
    assert_eq!(all.len(), edits.len(), "{all:?}");
    assert!(all[0].contains("remove-plugin"), "{all:?}");
    let removed = refused(&edits[..1], &["remove-plugin"]).await;
    assert_eq!(removed, [""; 0]);
}

#[tokio::test]
async fn places_of_the_node_need_their_own_grant() {
    let edits = [
        ("/plugins/1/binDir", r#""/tmp""#),
        ("/plugins/0/KUBECONFIG", r#""k""#),
        ("/plugins/0/ipam/dataDir", r#""x""#),
        ("/plugins/0/ipam", r#"{"type":"host-local","dataDir":"x"}"#),
        ("/plugins/0/capabilities/mac", "true"),
        ("", &CHAIN.replace("/var/lib", "/tmp")),
    ];
    let all = refused(&edits, &["change-type"]).await;
    assert_eq!(all.len(), edits.len(), "{all:?}");
    assert!(all[0].contains("change-paths"), "{all:?}");
    let grants = ["change-paths", "change-capabilities", "change-devices"];
    assert_eq!(refused(&edits, &grants).await, [""; 0]);
}
