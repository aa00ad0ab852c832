//! Who owns an edit, and the cost limits of the host's work on edits.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use cni_types::json::{Document, Limits};
use policy_engine::{Cause, PolicyAttachment, PolicyHost, Report};
use policy_tests::{Policies, add, conf_at, findings, selection, storage, witness};
use serde_json::{Value, json};

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// Two policies that perform actions in before-add, with the same limits.
async fn two(first: Value, second: Value, limits: Value) -> PolicyHost {
    let config = |actions: Value| {
        let rest = json!({"grants": ["state"], "limits": limits, "onConflict": "keep"});
        witness(&json!({"before-add": actions}), &rest)
    };
    Policies::new(COMPILER)
        .with("10-first", "witness", &config(first))
        .with("20-second", "witness", &config(second))
        .load()
        .await
}

fn with_conf(conf: &str) -> PolicyAttachment {
    let conf = Document::parse(conf, Limits::default()).unwrap();
    PolicyAttachment { conf, ..storage() }
}

/// A conf with this many irrelevant members.
fn large(members: usize) -> PolicyAttachment {
    let members: Vec<String> = (0..members).map(|n| format!(r#""m{n}":{n}"#)).collect();
    with_conf(&format!(
        r#"{{"cniVersion":"1.0.0","name":"n","type":"macvlan","x":{{{}}}}}"#,
        members.join(",")
    ))
}

async fn edited(host: &PolicyHost, attachment: PolicyAttachment) -> (PolicyAttachment, Report) {
    add(host).before_add(attachment).await.unwrap()
}

#[tokio::test]
async fn another_case_of_a_key_is_the_same_value() {
    let first = json!([{"conf-set": ["/vlan", "5"]}]);
    let second = json!([{"try": {"conf-set": ["/VLAN", "7"]}}]);
    let host = two(first, second, json!({})).await;
    let (attachment, report) = edited(&host, storage()).await;
    assert_eq!(conf_at(&attachment, "/VLAN"), None);
    assert_eq!(
        findings(&report),
        [(
            "refused",
            r#"network "default/storage", interface net1: /conf/vlan belongs to policy "10-first", which set it to 5, not 7"#
        )]
    );
}

#[tokio::test]
async fn an_argument_has_one_owner_in_conf_and_args() {
    let first = json!([{"set-arg": ["x", "1"]}]);
    let second = json!([{"try": {"conf-set": ["/args", r#"{"cni":{"x":2}}"#]}}]);
    for (first, second) in [
        (first, second),
        (
            json!([{"conf-set": ["/args", r#"{"cni":{"x":2}}"#]}]),
            json!([{"try": {"set-arg": ["x", "1"]}}]),
        ),
    ] {
        let host = two(first, second, json!({})).await;
        let (_, report) = edited(&host, storage()).await;
        assert_eq!(findings(&report).len(), 1, "{report:?}");
        assert_eq!(report.edits.len(), 1);
    }
}

#[tokio::test]
async fn no_policy_sets_a_type_in_cni_args() {
    let nested = r#"[{"Type":"evil"}]"#;
    let first = json!([
        {"try": {"set-arg": ["type", "1"]}},
        {"try": {"set-arg": ["x", nested]}},
        {"try": {"conf-set": ["/args", r#"{"cni":{"type":"macvlan"}}"#]}},
    ]);
    let rest = json!({"grants": ["state", "change-type"], "allowTypes": ["macvlan"]});
    let host = Policies::new(COMPILER)
        .with(
            "10-first",
            "witness",
            &witness(&json!({"before-add": first}), &rest),
        )
        .load()
        .await;
    let (attachment, report) = edited(&host, storage()).await;
    assert_eq!(attachment, storage());
    assert_eq!(findings(&report).len(), 3, "{report:?}");
}

#[tokio::test]
async fn an_edit_beyond_a_limit_names_the_limit() {
    let members = format!("[{}1]", "1,".repeat(5_000));
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let key = format!("/{}", "k".repeat(2_000));
    let first = json!([
        {"try": {"conf-set": ["/x", members]}},
        {"try": {"conf-set": ["/x", deep]}},
        {"try": {"conf-set": [key, "1"]}},
        {"try": {"set-arg": ["x", format!(r#"{{"{}":1}}"#, "k".repeat(2_000))]}},
    ]);
    let host = two(first, json!([]), json!({})).await;
    let (attachment, report) = edited(&host, storage()).await;
    assert_eq!(attachment, storage());
    for (limit, (_, message)) in [
        "limits.editMembers",
        "limits.editDepth",
        "limits.editKeyBytes",
        "limits.editKeyBytes",
    ]
    .iter()
    .zip(findings(&report))
    {
        assert!(message.contains(limit), "{limit}: {message}");
    }
    assert_eq!(report.findings.len(), 4);
}

#[tokio::test]
async fn the_edits_of_a_whole_request_are_limited() {
    let set = json!([{"try": {"conf-set": ["/x", "[1,2,3,4]"]}}]);
    for limits in [
        json!({"requestEditMembers": 9}),
        json!({"requestEditBytes": 25}),
    ] {
        let host = two(set.clone(), json!([]), limits).await;
        let mut session = add(&host);
        for number in 0..3 {
            let (attachment, report) = session.before_add(storage()).await.unwrap();
            let refused = number == 2;
            assert_eq!(conf_at(&attachment, "/x").is_none(), refused, "{report:?}");
        }
        // The next request has its own budget.
        let (attachment, _) = edited(&host, storage()).await;
        assert!(conf_at(&attachment, "/x").is_some());
    }
}

#[tokio::test]
async fn a_long_key_is_not_copied_for_each_member() {
    let members: Vec<String> = (0..4_000).map(|n| format!(r#""{n}":1"#)).collect();
    let json = format!("{{{}}}", members.join(","));
    let key = format!("/{}", "k".repeat(16 << 10));
    let limits = json!({
        "editMembers": 32_768, "editKeyBytes": 16 << 10, "editBytes": 1 << 20, "timeoutMs": 10_000,
    });
    let first = json!([{"conf-set": [key, json]}]);
    let second = json!([{"conf-set": [format!("{key}/more"), "1"]}]);
    let host = two(first, second, limits).await;
    let (_, report) = edited(&host, storage()).await;
    assert_eq!(report.edits.len(), 2);
    for edit in &report.edits {
        assert_eq!((edit.patch.0.len(), edit.omitted), (0, 1));
    }
}

/// One policy sets thousands of members; each small edit of another is compared with them.
async fn many_members_and_a_guard() -> PolicyHost {
    let members: Vec<String> = (0..6_000).map(|n| format!(r#""{n}":{{"a":1}}"#)).collect();
    let first = json!([{"conf-set": ["/o", format!("{{{}}}", members.join(","))]}]);
    let guard: Vec<Value> = (0..63)
        .map(|n| json!({"conf-set": [format!("/g{n}"), "1"]}))
        .collect();
    let limits = json!({
        "editMembers": 32_768, "editBytes": 1 << 20, "timeoutMs": 10_000, "hostCallBytes": 1 << 20,
    });
    two(first, Value::Array(guard), limits).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_one_policy_do_not_delay_another() {
    let host = many_members_and_a_guard().await;
    let (attachment, report) = edited(&host, large(30_000)).await;
    assert_eq!(conf_at(&attachment, "/g62").as_deref(), Some("1"));
    assert_eq!(report.edits.len(), 2);
}

/// On a single thread, as requests are served.
#[tokio::test(flavor = "current_thread")]
async fn other_requests_are_served_beside_costly_edits() {
    let costly = many_members_and_a_guard().await;
    let other = Policies::new(COMPILER)
        .with("10-mtu", "annotation-mtu", &json!({}))
        .load()
        .await;
    let mut session = add(&costly);
    let mut hostile = std::pin::pin!(session.before_add(large(30_000)));
    let mut served = 0_u32;
    loop {
        let mut session = add(&other);
        let request = session.before_add(storage());
        tokio::select! {
            biased;
            answer = &mut hostile => {
                answer.unwrap();
                break;
            }
            answer = request => {
                answer.unwrap();
                served += 1;
            }
        }
    }
    assert!(served > 0);
}

#[tokio::test]
async fn ownership_holds_in_selections_too() {
    let insert = json!({"select": [{"select-ips": [0, ["10.0.0.7/24"]]}]});
    let other = json!({"select": [{"try": {"select-ips": [0, ["10.0.0.8/24"]]}}]});
    let rest = json!({"grants": ["state"]});
    let host = Policies::new(COMPILER)
        .with("10-first", "witness", &witness(&insert, &rest))
        .with("20-second", "witness", &witness(&other, &rest))
        .load()
        .await;
    let denied = add(&host).select(vec![selection("a")]).await.unwrap_err();
    assert_eq!(denied.cause, Cause::Conflict);
    assert!(denied.message.contains("10-first"), "{}", denied.message);
}
