//! Every hook: what a policy sees, what it may edit, and the effect.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{Bandwidth, Command, Hook, LoadState, Origin, PolicyHost, Report};
use policy_tests::{
    Policies, add, answer, arg, cluster, conf_at, facts, findings, only, selection, storage,
    stored, witness,
};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A host with one policy that performs `actions`.
async fn host(actions: Value, rest: Value) -> PolicyHost {
    let policies = Policies::new(COMPILER).with("10-witness", "witness", &witness(&actions, &rest));
    let host = policies.load().await;
    assert_eq!(only(&host).state, LoadState::Loaded, "{:?}", only(&host));
    host
}

fn patches(report: &Report) -> Vec<String> {
    report
        .edits
        .iter()
        .map(|edit| edit.patch.to_string())
        .collect()
}

#[tokio::test]
async fn a_module_has_the_hooks_that_it_exports() {
    let host = host(json!({}), json!({"grants": ["state"]})).await;
    let info = only(&host);
    assert_eq!(info.hooks, Hook::ALL);
    assert_eq!(info.asked, ["state"]);
    assert_eq!(info.granted, ["state"]);
}

#[tokio::test]
async fn select_adds_drops_moves_and_edits() {
    let actions = json!({"select": [
        "describe",
        {"insert": [0, "added"]},
        {"remove": 2},
        {"move": [0, 1]},
        {"select-ips": [0, ["10.0.0.7/24"]]},
        {"try": {"insert": [9, "late"]}},
        {"try": {"insert": [0, "Bad Name"]}},
        {"try": {"select-ips": [0, ["10.0.0.7/99"]]}},
        "describe",
    ]});
    let host = host(actions, json!({"grants": ["state"]})).await;
    let selected = add(&host)
        .select(["a", "b"].map(selection).into())
        .await
        .unwrap();
    let chosen: Vec<_> = selected
        .selections
        .iter()
        .map(|chosen| {
            (
                match chosen.origin {
                    Origin::Pod(index) => Some(index),
                    _ => None,
                },
                chosen.selection.name.as_str(),
                chosen.selection.ips.len(),
            )
        })
        .collect();
    assert_eq!(chosen, [(Some(0), "a", 1), (None, "added", 0)]);
    let report = &selected.report;
    let said = findings(report);
    assert_eq!(said[1], ("selections", "a,b"));
    assert!(
        said.iter().filter(|(code, _)| *code == "refused").count() == 3,
        "{said:?}"
    );
    assert_eq!(*said.last().unwrap(), ("selections", "a,added"));
    assert_eq!(
        patches(report),
        [concat!(
            r#"[{"op":"add","path":"/0/ips","value":["10.0.0.7/24"]},"#,
            r#"{"op":"replace","path":"/1/name","value":"added"}]"#
        )]
    );
}

#[tokio::test]
async fn before_add_edits_conf_and_runtime_config() {
    let actions = json!({"before-add": [
        "describe",
        {"set-mtu": 1400},
        {"conf-set": ["/ipam/ranges", "[[{\"subnet\":\"10.9.0.0/16\"}]]"]},
        {"conf-remove": "/big"},
        {"set-if-name": "storage0"},
        {"set-ips": ["10.9.0.7/16", "FD00::7/64"]},
        {"set-mac": "0A-00-00-00-00-02"},
        {"set-guid": "02:00:00:00:00:00:00:01"},
        {"set-bandwidth": [1000, 2000]},
        {"set-port": [8080, 80]},
        {"set-arg": ["vlan", "7"]},
    ]});
    let host = host(actions, json!({"grants": ["state"]})).await;
    let (attachment, report) = add(&host).before_add(storage()).await.unwrap();
    assert_eq!(
        attachment.conf.to_string(),
        r#"{"cniVersion":"1.0.0","name":"storage","type":"macvlan","capabilities":{"bandwidth":true,"infinibandGUID":true,"ips":true,"portMappings":true},"ipam":{"type":"host-local","ranges":[[{"subnet":"10.9.0.0/16"}]]},"mtu":1400}"#
    );
    assert_eq!(attachment.if_name, "storage0");
    assert_eq!(attachment.ips, ["10.9.0.7/16", "fd00::7/64"]);
    assert_eq!(attachment.mac.as_deref(), Some("0a:00:00:00:00:02"));
    assert_eq!(
        attachment.infiniband_guid.as_deref(),
        Some("02:00:00:00:00:00:00:01")
    );
    let both = Bandwidth {
        ingress_rate: 1000,
        ingress_burst: 2000,
        egress_rate: 1000,
        egress_burst: 2000,
    };
    assert_eq!(attachment.bandwidth, Some(both));
    assert_eq!(attachment.port_mappings[0].protocol(), "tcp");
    assert_eq!(arg(&attachment, "vlan").as_deref(), Some("7"));
    let said = findings(&report);
    assert_eq!(
        said[0].1,
        r#"Command::Add 0123456789abcdef Some("default/web-1/11111111-2222-3333-4444-555555555555") [("app", "web")] [] node-1"#
    );
    assert_eq!(
        said[1].1,
        r#"default/storage net1 ["macvlan"] [] None None None"#
    );
}

#[tokio::test]
async fn taken_interface_name_is_rejected() {
    let actions = json!({"before-add": [{"set-if-name": "eth0"}]});
    let host = host(
        actions,
        json!({"grants": ["state"], "match": {"networks": ["storage"]}}),
    )
    .await;
    let mut session = add(&host);
    session.before_add(cluster()).await.unwrap();
    let denied = session.before_add(storage()).await.unwrap_err();
    assert!(
        denied.message.contains("is that of network"),
        "{}",
        denied.message
    );
}

#[tokio::test]
async fn after_add_needs_grant_to_edit_addresses() {
    let actions = json!({"after-add": [
        "describe",
        {"add-nameserver": "10.96.0.10"},
        {"tag": ["tier", "gold"]},
        {"try": {"result-ips": ["10.1.0.9/16"]}},
        {"try": {"result-routes": ["10.2.0.0/16"]}},
        {"try": "no-interfaces"},
        {"try": {"set-mtu": 1400}},
    ]});
    let plain = host(actions.clone(), json!({"grants": ["state"]})).await;
    let (outcome, report) = add(&plain).after_add(storage(), answer()).await.unwrap();
    assert_eq!(outcome.result.dns.nameservers, ["10.0.0.1", "10.96.0.10"]);
    assert_eq!(outcome.result.ips, answer().ips);
    assert_eq!(outcome.tags["tier"], "gold");
    let said = findings(&report);
    assert_eq!(
        said[2].1,
        r#"["10.1.0.2/16"] ["0.0.0.0/0"] ["eth0"] ["10.0.0.1"]"#
    );
    let refused: Vec<_> = said
        .iter()
        .filter(|(code, _)| *code == "refused")
        .map(|(_, text)| *text)
        .collect();
    assert_eq!(
        refused,
        [
            r#"network "default/storage", interface net1: the policy lacks the grant "rewrite-result""#,
            r#"network "default/storage", interface net1: the policy lacks the grant "rewrite-result""#,
            r#"network "default/storage", interface net1: the policy lacks the grant "rewrite-result""#,
            r#"network "default/storage", interface net1: an attachment that stands cannot be changed"#,
        ]
    );

    let granted = host(actions, json!({"grants": ["state", "rewrite-result"]})).await;
    let (outcome, report) = add(&granted).after_add(storage(), answer()).await.unwrap();
    assert_eq!(outcome.result.ips[0].address.to_string(), "10.1.0.9/16");
    assert_eq!(outcome.result.routes[0].dst.to_string(), "10.2.0.0/16");
    assert!(
        outcome.result.interfaces.is_empty(),
        "no address belongs to one any more"
    );
    assert_eq!(
        findings(&report)
            .iter()
            .filter(|(code, _)| *code == "refused")
            .count(),
        1
    );
}

#[tokio::test]
async fn finalize_edits_result_and_status_apart() {
    let actions = json!({"finalize": [
        "describe",
        {"add-nameserver": "10.96.0.10"},
        {"status": [1, {"tag": ["tier", "gold"]}]},
        {"status": [1, {"add-nameserver": "10.96.0.11"}]},
        {"try": {"status": [2, {"tag": ["x", "y"]}]}},
        {"try": {"set-mtu": 1400}},
    ]});
    let host = host(actions, json!({"grants": ["state"]})).await;
    let plan = [cluster(), storage()];
    let statuses = vec![answer(), answer()];
    let (finale, report) = add(&host)
        .finalize(&plan, answer(), statuses)
        .await
        .unwrap();
    assert_eq!(
        finale.outcome.result.dns.nameservers,
        ["10.0.0.1", "10.96.0.10"]
    );
    assert!(finale.outcome.tags.is_empty());
    assert_eq!(finale.statuses[0].result, answer());
    assert_eq!(
        finale.statuses[1].result.dns.nameservers,
        ["10.0.0.1", "10.96.0.11"]
    );
    assert_eq!(finale.statuses[1].tags["tier"], "gold");
    assert!(findings(&report).contains(&("plan", "cluster,default/storage")));
    assert_eq!(
        patches(&report),
        [concat!(
            r#"[{"op":"add","path":"/final/result/dns/nameservers/1","value":"10.96.0.10"},"#,
            r#"{"op":"add","path":"/status/1/result/dns/nameservers/1","value":"10.96.0.11"},"#,
            r#"{"op":"add","path":"/status/1/tags/tier","value":"gold"}]"#
        )]
    );
}

#[tokio::test]
async fn check_reports_an_error_and_edits_nothing() {
    let actions = json!({"check": [
        "describe",
        {"try": {"set-mtu": 1400}},
        {"try": {"tag": ["a", "b"]}},
        {"deny": [150, "the address is gone"]},
    ]});
    let host = host(actions, json!({"grants": ["state"]})).await;
    let mut session = host.current().begin(facts(Command::Check, "default"));
    let denied = session.check(&storage(), &stored()).await.unwrap_err();
    assert_eq!((denied.code, denied.hook), (150, Hook::Check));
    assert_eq!(
        denied
            .findings
            .iter()
            .filter(|finding| finding.code == "refused")
            .count(),
        2
    );
}

#[tokio::test]
async fn status_says_that_the_node_is_not_ready() {
    let ready = host(json!({}), json!({"grants": ["state"]})).await;
    ready.current().status().await.unwrap();
    let not = host(
        json!({"status": [{"deny": [0, "no uplink"]}]}),
        json!({"grants": ["state"]}),
    )
    .await;
    let denied = not.current().status().await.unwrap_err();
    assert_eq!(
        (denied.message.as_str(), denied.hook),
        ("no uplink", Hook::Status)
    );
}

#[tokio::test]
async fn del_and_gc_give_findings_and_cannot_block() {
    let actions = json!({"del": [{"deny": [100, "I will not let go"]}]});
    let denying = host(actions, json!({"grants": ["state"]})).await;
    let mut session = denying.current().begin(facts(Command::Del, "default"));
    let report = session.del(&storage(), &stored()).await;
    assert_eq!(findings(&report), [("denied", "I will not let go")]);

    let panicking = host(
        json!({"del": [{"panic": "no"}]}),
        json!({"grants": ["state"]}),
    )
    .await;
    let mut session = panicking.current().begin(facts(Command::Del, "default"));
    let report = session.del(&storage(), &stored()).await;
    assert_eq!(report.findings[0].code, "policy-trap");

    let valid = [
        ("c1".to_owned(), "eth0".to_owned()),
        ("c2".to_owned(), "net1".to_owned()),
    ];
    let report = denying.current().gc(&valid).await;
    assert_eq!(
        findings(&report),
        [("valid", "c1 eth0"), ("valid", "c2 net1")]
    );
}

#[tokio::test]
async fn granted_type_change_obeys_allow_types() {
    let actions = json!({"before-add": [
        {"conf-set": ["/type", "\"ptp\""]},
        {"try": {"conf-set": ["/type", "\"evil\""]}},
    ]});
    let rest = json!({"grants": ["state", "change-type"], "allowTypes": ["ptp"]});
    let host = host(actions, rest).await;
    let (attachment, report) = add(&host).before_add(storage()).await.unwrap();
    assert_eq!(conf_at(&attachment, "/type").as_deref(), Some(r#""ptp""#));
    assert_eq!(report.findings.len(), 1);
}

#[tokio::test]
async fn bound_state_ends_with_its_attachment() {
    let actions = json!({"before-add": [{"count": "adds"}]});
    let policies = Policies::new(COMPILER).with(
        "10-witness",
        "witness",
        &witness(&actions, &json!({"grants": ["state"]})),
    );
    let mut config = policies.config();
    config.state_dir = Some(policies.path("state"));
    let host = PolicyHost::load(config.clone()).await;
    let count = async |host: &PolicyHost| {
        let mut session = add(host);
        let (_, report) = session.before_add(storage()).await.unwrap();
        session.succeed();
        report.findings[0].message.clone()
    };
    add(&host).before_add(storage()).await.unwrap();
    assert_eq!(count(&host).await, "adds=1", "the ADD before it failed");
    assert_eq!(count(&host).await, "adds=2");
    let restarted = PolicyHost::load(config).await;
    assert_eq!(count(&restarted).await, "adds=3");
    restarted
        .current()
        .begin(facts(Command::Del, "default"))
        .del(&storage(), &stored())
        .await;
    assert_eq!(count(&restarted).await, "adds=1");
}

#[tokio::test]
async fn settings_are_refused_in_configure() {
    let config = witness(
        &json!({"configure": [{"deny": [0, "not today"]}]}),
        &json!({"grants": ["state"]}),
    );
    let host = Policies::new(COMPILER)
        .with("10-witness", "witness", &config)
        .load()
        .await;
    let reason = only(&host).last_error.unwrap();
    assert!(
        reason.contains("10-witness.json: settings: not today"),
        "{reason}"
    );
}
