//! Edits that are valid alone but not together: the validation of all policies' combined edits.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use policy_engine::{Cause, Command, Denied, Hook, PolicyAttachment, PolicyHost};
use policy_tests::{Policies, add, answer, facts, selection, storage};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// A host with two policies: the actions of each by hook, and the rest of their configuration.
async fn host(first: Value, second: Value, rest: &Value) -> PolicyHost {
    let config = |actions: Value| {
        let mut config = json!({"settings": actions, "grants": ["state", "rewrite-result"]});
        let (config_map, rest) = (config.as_object_mut().unwrap(), rest.as_object().unwrap());
        config_map.extend(rest.clone());
        config
    };
    Policies::new(COMPILER)
        .with("10-first", "witness", &config(first))
        .with("20-second", "witness", &config(second))
        .load()
        .await
}

/// The attachments `net1` of `default/storage` and `net2` of `default/backup`.
fn plan() -> [PolicyAttachment; 2] {
    let backup = PolicyAttachment {
        network: "default/backup".to_owned(),
        if_name: "net2".to_owned(),
        ..storage()
    };
    [storage(), backup]
}

/// Runs before-add for each attachment, then settles the plan.
async fn settle(
    host: &PolicyHost,
    plan: &[PolicyAttachment],
) -> Result<Vec<PolicyAttachment>, Denied> {
    let mut session = add(host);
    let mut edited = Vec::new();
    for attachment in plan {
        let (attachment, report) = session.before_add(attachment.clone()).await.unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
        edited.push(attachment);
    }
    session.settle(&edited).await?;
    Ok(edited)
}

fn check(denied: &Denied, hook: Hook, reason: &str) {
    assert_eq!((denied.hook, denied.cause), (hook, Cause::Conflict));
    assert_eq!(denied.message, reason);
}

/// The host refuses an edit when it is made, and the policy denies because of it.
async fn refuses(host: &PolicyHost, policy: &str, reason: &str) {
    let [network, ..] = plan();
    let denied = add(host).before_add(network).await.unwrap_err();
    assert_eq!((&*denied.policy, denied.cause), (policy, Cause::Policy));
    assert!(denied.message.ends_with(reason), "{}", denied.message);
}

#[tokio::test]
async fn edits_that_go_together_are_settled() {
    let first = json!({"before-add": [{"set-mtu": 1400}, {"set-ips": ["10.1.0.5/16"]}]});
    let second = json!({"before-add": [{"set-arg": ["vlan", "7"]}]});
    let edited = settle(&host(first, second, &json!({})).await, &plan()).await;
    assert_eq!(edited.unwrap().len(), 2);
}

#[tokio::test]
async fn ipv6_address_requires_mtu_of_1280() {
    let first = json!({"before-add": [{"set-mtu": 1000}]});
    let second = json!({"before-add": [{"set-ips": ["fd00::5/64"]}]});
    let host = host(first, second, &json!({})).await;
    refuses(
        &host,
        "20-second",
        "interface net1: /mtu: MTU 1000 is not within 1280 to 65535",
    )
    .await;
}

#[tokio::test]
async fn mtu_in_nested_plugins_is_checked() {
    let chain = r#"[{"type":"macvlan","plugins":[{"type":"macvlan","MTU":12}]}]"#;
    let first = json!({"before-add": [{"conf-set": ["/plugins", chain]}]});
    let granted = json!({"grants": ["state", "change-type"], "allowTypes": ["macvlan"]});
    let host = host(first, json!({}), &granted).await;
    refuses(
        &host,
        "10-first",
        "interface net1: /plugins/0/plugins/0/MTU: MTU 12 is not within 68 to 65535",
    )
    .await;
}

#[tokio::test]
async fn later_interface_names_are_reserved() {
    let only_storage = json!({"match": {"networks": ["storage"]}});
    let first = json!({"before-add": [{"set-if-name": "net2"}]});
    let host = host(first, json!({}), &only_storage).await;
    let denied = settle(&host, &plan()).await;
    check(
        &denied.unwrap_err(),
        Hook::BeforeAdd,
        "networks \"default/storage\" and \"default/backup\" both get interface \"net2\", \
         edited by \"10-first\"",
    );
}

#[tokio::test]
async fn a_port_of_the_node_leads_to_one_network() {
    let map = |network: &str| {
        json!({
            "grants": ["state"],
            "match": {"networks": [network]},
            "settings": {"before-add": [{"set-port": [8080, 80]}]},
        })
    };
    let host = Policies::new(COMPILER)
        .with("10-first", "witness", &map("storage"))
        .with("20-second", "witness", &map("backup"))
        .load()
        .await;
    let denied = settle(&host, &plan()).await;
    check(
        &denied.unwrap_err(),
        Hook::BeforeAdd,
        "networks \"default/storage\" and \"default/backup\" both get tcp port 8080 of the node, \
         edited by \"10-first\" and \"20-second\"",
    );
}

#[tokio::test]
async fn pods_own_conflicts_are_not_policy_conflicts() {
    let host = host(json!({}), json!({}), &json!({})).await;
    let mut plan = plan();
    plan[1].if_name = "net1".to_owned();
    settle(&host, &plan).await.unwrap();
}

#[tokio::test]
async fn conflicting_selections_are_rejected() {
    let selected = async |first: Value, second: Value| {
        let host = host(
            json!({"select": [first]}),
            json!({"select": [second]}),
            &json!({}),
        )
        .await;
        let asked = vec![selection("storage"), selection("backup")];
        add(&host).select(asked).await.map(|_| ())
    };
    let denied = selected(
        json!({"select-default": [0, "10.1.0.1"]}),
        json!({"select-default": [1, "10.2.0.1"]}),
    );
    check(
        &denied.await.unwrap_err(),
        Hook::Select,
        "networks default/storage and default/backup both ask for the default route, \
         edited by \"10-first\" and \"20-second\"",
    );
    let families = selected(
        json!({"select-default": [0, "10.1.0.1"]}),
        json!({"select-default": [1, "fd00::1"]}),
    );
    families.await.unwrap();
    let denied = selected(
        json!({"select-interface": [0, "data0"]}),
        json!({"select-interface": [1, "data0"]}),
    );
    check(
        &denied.await.unwrap_err(),
        Hook::Select,
        "networks default/storage and default/backup both ask for interface \"data0\", \
         edited by \"10-first\" and \"20-second\"",
    );
}

#[tokio::test]
async fn a_result_has_one_default_route() {
    let through = |gateway: &str| json!([{"add-route": ["0.0.0.0/0", gateway]}]);
    let reason = "the result has two default routes of one family, \
                  edited by \"10-first\" and \"20-second\"";
    let rest = json!({});
    let (first, second) = (through("10.1.0.1"), through("10.1.0.9"));
    let mut none = answer();
    none.routes.clear();

    let after = |actions: &Value| json!({"after-add": actions});
    let host_of = host(after(&first), after(&second), &rest).await;
    let denied = add(&host_of).after_add(storage(), none.clone()).await;
    check(&denied.unwrap_err(), Hook::AfterAdd, reason);

    let finalize = |actions: &Value| json!({"finalize": actions});
    let host_of = host(finalize(&first), finalize(&second), &rest).await;
    let plan = [storage()];
    let denied = add(&host_of)
        .finalize(&plan, none.clone(), vec![none.clone()])
        .await;
    check(&denied.unwrap_err(), Hook::Finalize, reason);

    let host_of = host(after(&first), json!({}), &rest).await;
    add(&host_of).after_add(storage(), none).await.unwrap();
}

#[tokio::test]
async fn uninvolved_policies_skip_the_checks() {
    let policies = Policies::new(COMPILER).with("10-mtu", "annotation-mtu", &json!({}));
    let host = policies.load().await;
    let mut session = add(&host);
    session.before_add(storage()).await.unwrap();
    assert!(!session.end_before_add());
    assert!(!session.involves(Hook::AfterAdd, Some("default/storage")));
    assert!(!session.involves(Hook::Finalize, None));

    let mut facts = facts(Command::Add, "default");
    let asked = ("cnidaria.dev/mtu".to_owned(), "net1=1400".to_owned());
    facts.annotations.extend([asked]);
    let mut session = host.current().begin(facts);
    session.before_add(storage()).await.unwrap();
    assert!(session.end_before_add());
}

#[tokio::test]
async fn edited_results_go_through_all_later_hooks() {
    let first =
        json!({"before-add": [{"set-mtu": 1400}], "after-add": [{"tag": ["tier", "gold"]}]});
    let host = host(first, json!({}), &json!({})).await;
    let mut session = add(&host);
    let (attachment, _) = session.before_add(storage()).await.unwrap();
    assert!(session.end_before_add());
    assert!(session.involves(Hook::AfterAdd, Some(&attachment.network)));
    let (outcome, _) = session.after_add(attachment, answer()).await.unwrap();
    assert_eq!(outcome.tags.len(), 1);
    assert!(session.involves(Hook::Finalize, None));
}
