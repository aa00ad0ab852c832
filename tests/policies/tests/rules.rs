//! Rules that operators ask for, each written as a policy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use cni_types::json::{Document, Limits};
use policy_engine::{
    AddFailure, ChosenDefault, Cluster, Command, Denied, LoadState, Needs, Networks, Origin, Owner,
    PolicyAttachment, PolicyHost, PortMapping, RequestFacts, Session,
};
use policy_tests::{Policies, add, answer, arg, cluster, conf_at, facts, selection, storage};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

#[derive(Debug)]
struct Known;

impl Cluster for Known {
    fn needed(&self, _: Needs) {}
    fn namespace_label(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn namespace_labels(&self, _: &str) -> BTreeMap<String, String> {
        [("tier".to_owned(), "fast".to_owned())].into()
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

/// A host with one rule.
async fn host(rule: Value, rest: &Value) -> PolicyHost {
    let mut config = json!({
        "settings": {"rule": rule},
        "grants": ["namespaces", "state"],
    });
    for (key, value) in rest.as_object().unwrap() {
        config[key] = value.clone();
    }
    let policies = Policies::new(COMPILER).with("10-rule", "rules", &config);
    let mut config = policies.config();
    config.cluster = Some(Arc::new(Known));
    let host = PolicyHost::load(config).await;
    let found = host.current().policies();
    assert_eq!(found[0].state, LoadState::Loaded, "{found:?}");
    host
}

fn pod() -> RequestFacts {
    facts(Command::Add, "default")
}

fn networks() -> Networks {
    Networks {
        default: None,
        of_node: vec!["monitoring".to_owned(), "backup".to_owned()],
        of_pod: vec![selection("a")],
    }
}

fn with_conf(conf: &str, mut attachment: PolicyAttachment) -> PolicyAttachment {
    attachment.conf = Document::parse(conf, Limits::default()).unwrap();
    attachment
}

/// Runs before-add on a plan; skipped networks are left out.
async fn plan(
    session: &mut Session,
    plan: Vec<PolicyAttachment>,
) -> Result<Vec<PolicyAttachment>, Denied> {
    session.plan(plan.clone());
    let mut left = Vec::new();
    for attachment in plan {
        let (attachment, _) = session.before_add(attachment).await?;
        left.extend((!attachment.skipped).then_some(attachment));
    }
    session.settle(&left).await?;
    session.validate_plan(&left).await?;
    Ok(left)
}

#[tokio::test]
async fn a_namespace_has_a_default_network_of_its_own() {
    let host = host(json!({"default-network": "fast"}), &json!({})).await;
    let selected = add(&host).select_networks(networks()).await.unwrap();
    let ChosenDefault::Set(selection, named_by) = selected.default else {
        panic!("{selected:?}");
    };
    assert_eq!(
        (&*selection.namespace, &*selection.name),
        ("networks", "fast")
    );
    assert_eq!(named_by.as_deref(), Some("10-rule"));
    let own = Networks {
        default: Some(*selection),
        ..networks()
    };
    let selected = add(&host).select_networks(own).await.unwrap();
    assert_eq!(selected.default, ChosenDefault::Offered);
}

#[tokio::test]
async fn a_pod_opts_out_of_a_network_of_the_node() {
    let host = host(json!("opt-out"), &json!({})).await;
    let names = async |facts| {
        let mut session = host.current().begin(facts);
        let selected = session.select_networks(networks()).await.unwrap();
        let chosen = selected.selections.into_iter();
        chosen.map(|one| one.origin).collect::<Vec<_>>()
    };
    assert_eq!(
        names(pod()).await,
        [Origin::Node(0), Origin::Node(1), Origin::Pod(0)]
    );
    let mut out = pod();
    out.annotations
        .insert("example.com/no-backup".to_owned(), String::new());
    assert_eq!(names(out).await, [Origin::Node(0), Origin::Pod(0)]);
}

#[tokio::test]
async fn networks_are_left_out() {
    let host = host(json!("skip-unless-account"), &json!({})).await;
    let left = plan(&mut add(&host), vec![cluster(), storage()])
        .await
        .unwrap();
    assert_eq!(left, [cluster()]);
    let mut facts = pod();
    facts.pod_spec.service_account = Some("web".to_owned());
    let mut session = host.current().begin(facts);
    let left = plan(&mut session, vec![cluster(), storage()])
        .await
        .unwrap();
    assert_eq!(left.len(), 2);
}

#[tokio::test]
async fn a_pod_has_each_vlan_once() {
    let host = host(json!("vlan-once"), &json!({})).await;
    let vlan = |if_name: &str, vlan: u16| {
        let conf = format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"vlan","vlan":{vlan}}}"#);
        let attachment = PolicyAttachment {
            if_name: if_name.to_owned(),
            ..storage()
        };
        with_conf(&conf, attachment)
    };
    let both = vec![cluster(), vlan("net1", 5), vlan("net2", 6)];
    plan(&mut add(&host), both).await.unwrap();
    let both = vec![cluster(), vlan("net1", 5), vlan("net2", 5)];
    let denied = plan(&mut add(&host), both).await.unwrap_err();
    assert_eq!(denied.code, 142, "{denied}");
}

#[tokio::test]
async fn a_resource_is_for_virtual_machines() {
    let host = host(json!({"devices-for-machines": "vendor.com/vf"}), &json!({})).await;
    let mut attachment = storage();
    attachment.fixed.resource_name = Some("vendor.com/vf".to_owned());
    attachment.fixed.device_id = Some("0000:03:02.1".to_owned());
    let denied = add(&host).before_add(attachment.clone()).await.unwrap_err();
    assert_eq!(
        (denied.code, &*denied.message),
        (143, "0000:03:02.1 is for virtual machines")
    );
    let mut facts = pod();
    facts.pod_spec.owner = Some(Owner {
        kind: "VirtualMachineInstance".to_owned(),
        name: "vm".to_owned(),
        uid: String::new(),
    });
    let mut session = host.current().begin(facts);
    session.before_add(attachment).await.unwrap();
}

#[tokio::test]
async fn the_default_route_can_be_limited() {
    let host = host(json!("route-is-limited"), &json!({})).await;
    let mut attachment = storage();
    attachment.fixed.default_route = vec!["10.1.0.1".to_owned()];
    add(&host).before_add(attachment.clone()).await.unwrap();
    let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"macvlan"}"#;
    let denied = add(&host)
        .before_add(with_conf(conf, attachment))
        .await
        .unwrap_err();
    assert_eq!(denied.code, 144, "{denied}");
}

#[tokio::test]
async fn raw_arguments_of_capabilities_are_validated() {
    let host = host(json!({"host-ports": 1}), &json!({})).await;
    let mut attachment = storage();
    attachment.fixed.runtime_config = r#"{"other":{"a":1},"mac":"x"}"#.to_owned();
    for (number, expected) in [(1, true), (2, false)] {
        attachment.port_mappings = (0..number)
            .map(|port| PortMapping {
                host_port: 8080 + port,
                container_port: 80,
                protocol: Some("tcp".to_owned()),
                host_ip: None,
            })
            .collect();
        let planned = plan(&mut add(&host), vec![cluster(), attachment.clone()]).await;
        assert_eq!(planned.is_ok(), expected, "{number}: {planned:?}");
    }
}

#[tokio::test]
async fn all_labels_of_a_namespace_are_seen() {
    let host = host(json!("labels-as-args"), &json!({})).await;
    let (attachment, _) = add(&host).before_add(storage()).await.unwrap();
    assert_eq!(arg(&attachment, "tier").as_deref(), Some(r#""fast""#));
}

#[tokio::test]
async fn chains_end_with_a_plugin_of_the_allow_list() {
    let chain =
        r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"},{"type":"portmap"}]}"#;
    let granted =
        json!({"grants": ["namespaces", "state", "append-plugin"], "appendTypes": ["tuning"]});
    let tuned = host(json!("tuned"), &granted).await;
    let attachment = with_conf(chain, storage());
    let left = plan(&mut add(&tuned), vec![attachment.clone()])
        .await
        .unwrap();
    assert_eq!(
        conf_at(&left[0], "/plugins/2/type").as_deref(),
        Some(r#""tuning""#)
    );
    for rest in [
        json!({}),
        json!({"grants": ["namespaces", "state", "append-plugin"], "appendTypes": ["sbr"]}),
    ] {
        let host = host(json!("tuned"), &rest).await;
        let denied = add(&host).before_add(attachment.clone()).await.unwrap_err();
        assert!(denied.message.contains("append-plugin"), "{denied}");
    }
}

#[tokio::test]
async fn one_plugin_becomes_the_first_of_a_chain() {
    let granted =
        json!({"grants": ["namespaces", "state", "append-plugin"], "appendTypes": ["tuning"]});
    let tuned = host(json!("tuned"), &granted).await;
    let left = plan(&mut add(&tuned), vec![storage()]).await.unwrap();
    let at = |pointer: &str| conf_at(&left[0], pointer);
    assert_eq!(at("/name").as_deref(), Some(r#""storage""#));
    assert_eq!(at("/plugins/0/type").as_deref(), Some(r#""macvlan""#));
    assert_eq!(
        at("/plugins/0/big").as_deref(),
        Some("12345678901234567890")
    );
    assert_eq!(at("/plugins/1/type").as_deref(), Some(r#""tuning""#));
    let conf = left[0].conf.to_string();
    cni_types::conf::NetworkConfList::parse_any(conf.as_str()).unwrap();
}

#[tokio::test]
async fn del_takes_back_what_add_has_counted() {
    let host = host(json!("count-addresses"), &json!({})).await;
    let (outcome, _) = add(&host).after_add(storage(), answer()).await.unwrap();
    assert_eq!(outcome.tags["counted"], "1");
    let mut session = host.current().begin(facts(Command::Del, "default"));
    let report = session.del(&storage(), &outcome).await;
    assert_eq!(report.findings[0].message, "0 addresses");
    assert_eq!(
        report.findings[0].fields,
        [("addresses".to_owned(), "0".to_owned())]
    );
}

#[tokio::test]
async fn failed_adds_are_reported_with_fields() {
    let host = host(json!("report-failures"), &json!({})).await;
    let why = AddFailure {
        code: Some(7),
        message: "no address left".to_owned(),
        denied_by: None,
    };
    let report = add(&host).add_failed(&[cluster(), storage()], why).await;
    let finding = &report.findings[0];
    assert_eq!(finding.message, "no address left");
    let fields: Vec<_> = finding.fields.iter().map(|(_, value)| &**value).collect();
    assert_eq!(fields, ["web-1", "cluster,default/storage", "none"]);
}

#[tokio::test]
async fn pods_on_the_nodes_network_have_no_others() {
    let host = host(json!("no-host-network"), &json!({})).await;
    let mut facts = pod();
    facts.pod_spec.host_network = true;
    let mut session = host.current().begin(facts);
    let denied = session.select_networks(networks()).await.unwrap_err();
    assert_eq!(denied.code, 140, "{denied}");
    add(&host).select_networks(networks()).await.unwrap();
}

#[tokio::test]
async fn selections_stay_in_the_pods_namespace() {
    let host = host(json!("own-namespace"), &json!({})).await;
    add(&host).select_networks(networks()).await.unwrap();
    let mut foreign = networks();
    foreign.of_pod[0].namespace = "other".to_owned();
    let denied = add(&host).select_networks(foreign).await.unwrap_err();
    assert_eq!(denied.code, 141, "{denied}");
}

#[tokio::test]
async fn a_result_keeps_a_nameserver() {
    let host = host(json!("keep-nameserver"), &json!({})).await;
    let plan = [cluster()];
    let finalize = async |result: cni_types::result::CniResult| {
        let mut session = add(&host);
        session
            .finalize(&plan, result.clone(), vec![result])
            .await
            .map_err(|denied| denied.code)
            .map(|_| ())
    };
    assert_eq!(finalize(answer()).await, Ok(()));
    let mut without = answer();
    without.dns.nameservers.clear();
    assert_eq!(finalize(without).await, Err(146));
}
