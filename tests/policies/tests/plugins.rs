//! The policies that ship, as built components.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{Cause, Command, Hook, LoadState};
use policy_tests::{
    Policies, add, answer, cluster, conf_at, facts, only, selection, storage, witness,
};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

#[tokio::test]
async fn annotation_mtu_sets_the_mtu_and_nothing_else() {
    let policies = Policies::new(COMPILER).with(
        "10-mtu",
        "annotation-mtu",
        &json!({"settings": {"min": 1280, "max": 1500}}),
    );
    let host = policies.load().await;
    let info = only(&host);
    assert_eq!(info.state, LoadState::Loaded, "{info:?}");
    assert_eq!(info.hooks, [Hook::Configure, Hook::BeforeAdd]);
    assert!(info.asked.is_empty());

    let mut facts = facts(Command::Add, "default");
    facts
        .annotations
        .insert("cnidaria.dev/mtu".to_owned(), "net1=1400".to_owned());
    let mut session = host.current().begin(facts.clone());
    let (attachment, report) = session.before_add(storage()).await.unwrap();
    assert_eq!(
        attachment.conf.to_string(),
        r#"{"cniVersion":"1.0.0","name":"storage","type":"macvlan","capabilities":{"bandwidth":true,"infinibandGUID":true,"ips":true,"portMappings":true},"ipam":{"type":"host-local"},"big":12345678901234567890,"mtu":1400}"#
    );
    let [edit] = report.edits.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(
        edit.patch.to_string(),
        r#"[{"op":"add","path":"/conf/mtu","value":1400}]"#
    );
    assert_eq!(
        (edit.policy.as_str(), edit.hook),
        ("10-mtu", Hook::BeforeAdd)
    );
    assert_eq!(Some(&edit.digest), info.digest.as_ref());

    facts
        .annotations
        .insert("cnidaria.dev/mtu".to_owned(), "net1=9000".to_owned());
    let denied = host
        .current()
        .begin(facts)
        .before_add(storage())
        .await
        .unwrap_err();
    assert_eq!((denied.code, denied.cause), (111, Cause::Policy));
    assert!(
        denied.message.contains("1280 to 1500"),
        "{}",
        denied.message
    );
}

#[tokio::test]
async fn a_request_without_reason_to_edit_has_no_patch() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let host = policies.load().await;
    let (attachment, report) = add(&host).before_add(storage()).await.unwrap();
    assert_eq!(conf_at(&attachment, "/mtu"), None);
    assert_eq!(report, policy_engine::Report::default());
}

#[tokio::test]
async fn dns_inject_edits_only_the_default_network() {
    let settings = json!({"settings": {"nameservers": ["10.96.0.10"], "search": ["corp.example"]}});
    let policies = Policies::new(COMPILER).with("10-dns", "dns-inject", &settings);
    let host = policies.load().await;
    let mut session = add(&host);
    let (outcome, report) = session.after_add(cluster(), answer()).await.unwrap();
    assert_eq!(outcome.result.dns.nameservers, ["10.0.0.1", "10.96.0.10"]);
    assert_eq!(outcome.result.dns.search, ["corp.example"]);
    assert_eq!(outcome.result.ips, answer().ips);
    let patch = report.edits[0].patch.to_string();
    assert_eq!(
        patch,
        r#"[{"op":"add","path":"/result/dns/nameservers/1","value":"10.96.0.10"},{"op":"add","path":"/result/dns/search","value":["corp.example"]}]"#
    );
    let (outcome, report) = session.after_add(storage(), answer()).await.unwrap();
    assert_eq!(outcome.result, answer());
    assert!(report.edits.is_empty());
}

#[tokio::test]
async fn two_of_dns_inject_both_add() {
    let settings = |server: &str| json!({"settings": {"nameservers": [server]}});
    let policies = Policies::new(COMPILER)
        .with("10-one", "dns-inject", &settings("10.96.0.10"))
        .with("20-two", "dns-inject", &settings("10.96.0.20"));
    let host = policies.load().await;
    let (outcome, report) = add(&host).after_add(cluster(), answer()).await.unwrap();
    assert_eq!(
        outcome.result.dns.nameservers,
        ["10.0.0.1", "10.96.0.10", "10.96.0.20"]
    );
    assert_eq!(report.edits.len(), 2);
}

#[tokio::test]
async fn address_guard_denies_what_others_ask_for() {
    let settings = json!({"settings": {"namespaces": {"default": ["10.20.0.0/16"]}}});
    let policies = Policies::new(COMPILER).with("10-guard", "address-guard", &settings);
    let host = policies.load().await;
    let with = |ip: &str| {
        let mut wanted = selection("storage");
        wanted.ips = vec![ip.to_owned()];
        vec![wanted]
    };
    // In non-canonical IPv6 form: a guest sees the canonical address.
    let selected = add(&host).select(with("::ffff:10.20.1.2")).await.unwrap();
    assert_eq!(selected.selections[0].selection.ips, ["10.20.1.2"]);
    assert_eq!(selected.selections[0].origin, policy_engine::Origin::Pod(0));

    let denied = add(&host).select(with("10.21.1.2/24")).await.unwrap_err();
    assert_eq!((denied.code, denied.hook), (120, Hook::ValidateSelections));
    assert_eq!(
        denied.message,
        "namespace default may not have address 10.21.1.2/24 on network default/storage"
    );
    assert_eq!(denied.details.as_deref(), Some("it may have 10.20.0.0/16"));

    // A policy that runs later asks for an address behind its back.
    let later = witness(
        &json!({"before-add": [{"set-ips": ["10.21.1.2/24"]}]}),
        &json!({"grants": ["state"]}),
    );
    let host = Policies::new(COMPILER)
        .with("10-guard", "address-guard", &settings)
        .with("90-later", "witness", &later)
        .load()
        .await;
    let mut session = add(&host);
    session.plan(vec![storage()]);
    let (attachment, _) = session.before_add(storage()).await.unwrap();
    session
        .settle(std::slice::from_ref(&attachment))
        .await
        .unwrap();
    let denied = session.validate_plan(&[attachment]).await.unwrap_err();
    assert_eq!((denied.code, denied.hook), (120, Hook::ValidatePlan));
}

#[tokio::test]
async fn rejected_settings_name_the_file() {
    let policies =
        Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({"settings": {"mni": 1}}));
    let host = policies.load().await;
    let info = only(&host);
    assert_eq!(info.state, LoadState::Broken);
    let reason = info.last_error.unwrap();
    for part in ["10-mtu.json", "settings", "unknown field `mni`", "`min`"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}
