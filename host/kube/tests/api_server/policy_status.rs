//! The state of the node's policies as an object: what it says, when it is written, and what stops it.

use std::time::Duration;

use cnidaria_kube::client::Error;
use cnidaria_kube::{Kube, Mode, NodePolicies, NodePolicy, Pace, PolicyStatus, State};
use fake_api::{Fault, Recorded, User};
use serde_json::{Value, json};

use crate::rig::{LONG, NODE, Rig, until};

/// Fast enough for tests.
pub(crate) const PACE: Pace = Pace {
    settle: Duration::from_millis(20),
    interval: Duration::from_millis(20),
    first_pause: Duration::from_millis(20),
    last_pause: Duration::from_millis(100),
};

pub(crate) fn object(rig: &Rig) -> Option<Value> {
    rig.api.get("PolicyNodeStatus", "", NODE)
}

fn add_node(rig: &Rig) -> Value {
    let node = json!({"kind": "Node", "metadata": {"name": NODE}});
    rig.api.apply(node)
}

fn policy(name: &str, state: State) -> NodePolicy {
    NodePolicy {
        name: name.to_owned(),
        state,
        mode: Mode::Enforce,
        digest: Some("sha256:1".to_owned()),
        load: 1,
        reason: Some("it does not load".to_owned()),
    }
}

fn policies(states: &[(&str, State)]) -> NodePolicies {
    let policies = states.iter().map(|(name, state)| policy(name, *state));
    NodePolicies {
        generation: 1,
        is_bypassed: false,
        policies: policies.collect(),
    }
}

/// Waits until the object's list has exactly these states.
async fn shows(rig: &Rig, states: &[(&str, &str)]) -> Value {
    let shown = || {
        let status = object(rig)?["status"].clone();
        let listed: Vec<(String, String)> = status["policies"]
            .as_array()?
            .iter()
            .map(|one| [&one["name"], &one["state"]].map(|text| text.as_str().unwrap().to_owned()))
            .map(|[name, state]| (name, state))
            .collect();
        let is_it = listed.len() == states.len()
            && listed
                .iter()
                .zip(states)
                .all(|((name, state), expected)| (&**name, &**state) == *expected);
        is_it.then_some(status)
    };
    until(|| shown().is_some()).await;
    shown().unwrap()
}

/// The requests about nodes and their policies since the last call.
fn acts(rig: &Rig) -> Vec<String> {
    let requests = rig.api.take_requests();
    let acts = requests.iter().map(Recorded::act);
    acts.filter(|act| act.contains("policynode") || act == "get nodes")
        .collect()
}

/// Waits until the server has received such a request.
async fn sent(rig: &Rig, is_it: impl Fn(&Recorded) -> bool) {
    until(|| rig.api.take_requests().iter().any(&is_it)).await;
}

/// Time for a request that must not come.
async fn quiet(rig: &Rig) {
    tokio::time::sleep(10 * PACE.settle).await;
    assert_eq!(acts(rig), Vec::<String>::new());
}

fn start(kube: &Kube) -> PolicyStatus {
    kube.policy_status("0.1.0", PACE).unwrap()
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["type"] == kind).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_written_when_they_change() {
    let rig = Rig::new().await;
    let node = add_node(&rig);
    let kube = rig.warm().await;
    let published = start(&kube);
    published.publish(policies(&[("10-a", State::Pending), ("20-b", State::Off)]));
    let status = shows(&rig, &[("10-a", "Pending"), ("20-b", "Off")]).await;
    assert_eq!(
        acts(&rig),
        [
            "get policynodestatuses",
            "get nodes",
            "create policynodestatuses",
            "patch policynodestatuses/status"
        ]
    );
    let owner = &object(&rig).unwrap()["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], node["metadata"]["uid"]);
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&json!("Node"), &json!(NODE))
    );
    assert_eq!(condition(&status, "Ready")["reason"], "Pending");

    published.publish(policies(&[("10-a", State::Loaded), ("20-b", State::Off)]));
    let status = shows(&rig, &[("10-a", "Loaded"), ("20-b", "Off")]).await;
    assert_eq!(acts(&rig), ["patch policynodestatuses/status"]);
    let ready = condition(&status, "Ready");
    assert_eq!(
        (&ready["status"], &ready["observedGeneration"]),
        (&json!("True"), &json!(1))
    );
    assert_eq!(status["daemonVersion"], "0.1.0");
    published.publish(policies(&[("10-a", State::Loaded), ("20-b", State::Off)]));
    quiet(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_shown_until_the_policy_is_gone() {
    let rig = Rig::new().await;
    add_node(&rig);
    let kube = rig.warm().await;
    let published = start(&kube);
    published.publish(policies(&[
        ("a", State::Failed),
        ("b", State::Quarantined),
        ("c", State::Stale),
    ]));
    let status = shows(
        &rig,
        &[("a", "Failed"), ("b", "Quarantined"), ("c", "Stale")],
    )
    .await;
    assert_eq!(status["trouble"], "a Failed, b Quarantined, c Stale");
    assert_eq!(status["policies"][0]["reason"], "it does not load");
    assert_eq!(status["counts"]["notInForce"], 2);
    assert_eq!(condition(&status, "Ready")["status"], "False");
    published.publish(policies(&[("c", State::Stale)]));
    let status = shows(&rig, &[("c", "Stale")]).await;
    assert_eq!(condition(&status, "Ready")["status"], "True");
    assert_eq!(condition(&status, "Current")["reason"], "Stale");
    published.publish(policies(&[]));
    let status = shows(&rig, &[]).await;
    assert_eq!(status["trouble"], Value::Null, "{status}");
    assert_eq!(condition(&status, "Ready")["reason"], "NoPolicies");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_daemon_writes_only_what_changed() {
    let rig = Rig::new().await;
    add_node(&rig);
    let kube = rig.warm().await;
    let first = start(&kube);
    first.publish(policies(&[("a", State::Loaded), ("b", State::Loaded)]));
    shows(&rig, &[("a", "Loaded"), ("b", "Loaded")]).await;
    drop(first);
    // As if that had been long ago.
    let mut before = object(&rig).unwrap();
    for list in ["policies", "conditions"] {
        for one in before["status"][list].as_array_mut().unwrap() {
            one["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
        }
    }
    rig.api.apply(before.clone());
    acts(&rig);
    let second = start(&kube);
    second.publish(policies(&[("a", State::Loaded), ("b", State::Loaded)]));
    sent(&rig, |one| one.act() == "get nodes").await;
    quiet(&rig).await;
    assert_eq!(object(&rig).unwrap()["status"], before["status"]);
    second.publish(policies(&[("a", State::Loaded), ("b", State::Stale)]));
    let status = shows(&rig, &[("a", "Loaded"), ("b", "Stale")]).await;
    let times = [0, 1].map(|index| status["policies"][index]["lastTransitionTime"].clone());
    assert_eq!(times[0], "2020-01-01T00:00:00Z");
    assert_ne!(times[1], "2020-01-01T00:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_delays_the_latest_state() {
    let rig = Rig::new().await;
    add_node(&rig);
    let kube = rig.warm().await;
    rig.api.go_down();
    let published = start(&kube);
    for state in [State::Pending, State::Failed, State::Loaded] {
        published.publish(policies(&[("a", state)]));
        tokio::time::sleep(3 * PACE.settle).await;
    }
    rig.api.come_up();
    shows(&rig, &[("a", "Loaded")]).await;
    rig.api.inject([
        Fault::answer("patch policynodestatuses/status", 503),
        Fault::reset("patch policynodestatuses/status").after_the_fact(),
    ]);
    published.publish(policies(&[("a", State::Stale)]));
    shows(&rig, &[("a", "Stale")]).await;
    // Each failure is followed by another look at the object; then it stays silent.
    let settling = async {
        while !acts(&rig).is_empty() {
            tokio::time::sleep(10 * PACE.settle).await;
        }
    };
    tokio::time::timeout(LONG, settling).await.unwrap();
    quiet(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_kind_one_request_is_sent() {
    let rig = Rig::new().await;
    add_node(&rig);
    rig.api.set_served("PolicyNodeStatus", false);
    let kube = rig.warm().await;
    let published = start(&kube);
    published.publish(policies(&[("a", State::Failed)]));
    sent(&rig, |one| one.verb == "get" && one.code == 404).await;
    quiet(&rig).await;
    // The next change finds that it is there.
    rig.api.set_served("PolicyNodeStatus", true);
    published.publish(policies(&[("a", State::Loaded)]));
    shows(&rig, &[("a", "Loaded")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_one_request_is_sent() {
    let rig = Rig::new().await;
    add_node(&rig);
    let stranger = rig
        .api
        .issue_token(User::service_account("default", "stranger"));
    let kubeconfig = rig.dir.path().join("kubeconfig");
    rig.api.write_kubeconfig(&kubeconfig, &stranger).unwrap();
    let kube = rig.start();
    let published = start(&kube);
    published.publish(policies(&[("a", State::Loaded)]));
    let refused = |one: &Recorded| one.resource == "policynodestatuses" && one.code == 403;
    sent(&rig, refused).await;
    quiet(&rig).await;
    assert_eq!(object(&rig), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_the_node_gets_no_object() {
    let rig = Rig::new().await;
    let kube = rig.warm().await;
    let published = start(&kube);
    published.publish(policies(&[("a", State::Loaded)]));
    sent(&rig, |one| one.act() == "get nodes").await;
    quiet(&rig).await;
    assert_eq!(object(&rig), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_changes_is_few_writes() {
    let rig = Rig::new().await;
    add_node(&rig);
    let kube = rig.warm().await;
    let pace = Pace {
        interval: Duration::from_secs(1),
        ..PACE
    };
    let published = kube.policy_status("1", pace).unwrap();
    for number in 0..100 {
        published.publish(policies(&[(&format!("p{number}"), State::Loaded)]));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shows(&rig, &[("p99", "Loaded")]).await;
    let acts = acts(&rig);
    let patches = acts.iter().filter(|act| act.starts_with("patch ")).count();
    assert!(patches <= 3, "{acts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definition_accepts_many_long_policies() {
    let rig = Rig::new().await;
    add_node(&rig);
    let kube = rig.warm().await;
    let published = start(&kube);
    let long = "\u{7}é".repeat(5000);
    let many = (0..500).map(|number| NodePolicy {
        digest: Some(long.clone()),
        reason: Some(long.clone()),
        ..policy(&format!("{number}-{long}"), State::Failed)
    });
    published.publish(NodePolicies {
        policies: many.collect(),
        ..policies(&[])
    });
    until(|| object(&rig).is_some_and(|object| object["status"]["counts"]["total"] == 500)).await;
    let status = &object(&rig).unwrap()["status"];
    assert_eq!(status["policies"].as_array().unwrap().len(), 128);
    assert_eq!(status["omitted"], 500 - 128);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_object_of_an_earlier_node_is_replaced() {
    let rig = Rig::new().await;
    let node = add_node(&rig);
    rig.api.apply(json!({
        "kind": "PolicyNodeStatus",
        "metadata": {
            "name": NODE,
            "ownerReferences": [{"kind": "Node", "name": NODE, "uid": "that-of-before"}],
        },
    }));
    let kube = rig.warm().await;
    let published = start(&kube);
    published.publish(policies(&[("a", State::Loaded)]));
    shows(&rig, &[("a", "Loaded")]).await;
    let owner = &object(&rig).unwrap()["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], node["metadata"]["uid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_object_returns_with_the_next_change() {
    let rig = Rig::new().await;
    add_node(&rig);
    let kube = rig.warm().await;
    let published = start(&kube);
    published.publish(policies(&[("a", State::Loaded)]));
    shows(&rig, &[("a", "Loaded")]).await;
    let client = kube.client();
    let shown = client.policy_status(NODE, LONG).await.unwrap().unwrap();
    let expected = (
        "a".to_owned(),
        "Loaded".to_owned(),
        Some("sha256:1".to_owned()),
    );
    assert_eq!(shown.policies, [expected]);
    for _ in 0..2 {
        client.delete_policy_status(NODE, LONG).await.unwrap();
        assert_eq!(client.policy_status(NODE, LONG).await.unwrap(), None);
    }
    published.publish(policies(&[("a", State::Stale)]));
    shows(&rig, &[("a", "Stale")]).await;
    rig.api.set_served("PolicyNodeStatus", false);
    let error = client.policy_status(NODE, LONG).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_wait_for_the_object() {
    let rig = Rig::new().await;
    add_node(&rig);
    let pod = rig.pod("a");
    let kube = rig.warm().await;
    let published = start(&kube);
    // The write hangs for as long as the test runs.
    rig.api.gather("get policynodestatuses", 2);
    published.publish(policies(&[("a", State::Loaded)]));
    tokio::time::sleep(5 * PACE.settle).await;
    use cnidaria_core::ports::Cluster as _;
    kube.set_network_status(&pod, "[1]").await.unwrap();
    assert!(kube.ready().is_ok());
    assert_eq!(object(&rig), None);
}
