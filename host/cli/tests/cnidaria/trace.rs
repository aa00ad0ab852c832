//! `cnidaria trace` against canned answers.

use serde_json::json;
use shim_api::endpoint;

use super::node::Node;

fn node() -> Node {
    let body = json!({ "traces": [{
        "id": "4bf92f3577b34da6a3ce929d0e0e4736", "began": "2027-01-15T08:00:00Z",
        "beganUnixNanos": 1_800_000_000_000_000_000_u64,
        "spans": [
            { "id": "1", "name": "request", "startNanos": 0, "durationNanos": 5_000_000,
              "attributes": { "verb": "ADD", "pod": "shop/web", "outcome": "failure" },
              "error": "no plugin" },
            { "id": "2", "parentId": "1", "name": "attach", "startNanos": 1_000_000,
              "durationNanos": 4_000_000, "error": "no plugin",
              "attributes": { "network": "shop/blue", "interface": "net1" } },
        ],
    }] });
    Node::serving(endpoint::TRACES, 200, &body.to_string())
}

#[test]
fn requests_are_listed() {
    let listed = node().run(&["trace"]).success();
    let row = listed.lines().nth(1).unwrap();
    for cell in [
        "ADD",
        "shop/web",
        "failure",
        "5.00ms",
        "4bf92f3577b34da6a3ce929d0e0e4736",
    ] {
        assert!(row.contains(cell), "{listed}");
    }
}

#[test]
fn a_request_is_shown_by_pod_or_id() {
    for wanted in ["web", "shop/web", "4bf92f35"] {
        let shown = node().run(&["trace", wanted]).success();
        assert!(shown.contains("attach net1 shop/blue"), "{shown}");
        assert_eq!(shown.matches("! no plugin").count(), 1, "{shown}");
    }
    let shown = node().run(&["--output", "json", "trace", "web"]).success();
    let parsed: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(parsed["traces"][0]["spans"][1]["name"], "attach");
}

#[test]
fn an_unknown_request_is_an_error() {
    let message = node().run(&["trace", "other"]).failure();
    assert!(message.contains("none of the last requests"), "{message}");
}

#[test]
fn traces_that_are_off_are_explained() {
    let error = json!({ "code": 7, "msg": "the daemon traces no requests" }).to_string();
    let node = Node::serving(endpoint::TRACES, 400, &error);
    let message = node.run(&["trace"]).failure();
    assert!(message.contains("traces no requests"), "{message}");
}
