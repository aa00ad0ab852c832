//! `cnidaria policy list` and its failures.

use crate::node::Node;

const PATH: &str = "/v1/policies";

const POLICIES: &str = r#"{"policies":[
  {"name":"annotation-mtu","file":"/p/10-annotation-mtu.wasm","state":"loaded","mode":"enforce",
   "digest":"sha256:3f29a1c9d0e47b6655aa11","hooks":["configure","before-add"],
   "counts":{"evaluations":1412,"denials":0,"failures":0}},
  {"name":"address-guard","file":"/p/20-address-guard.wasm","state":"stale","mode":"enforce",
   "required":true,"digest":"sha256:9c0de12345678900","hooks":["before-add"],
   "grantsAsked":["namespaces","nads"],"grantsGiven":["namespaces"],
   "lastError":"settings refused: no CIDR\n\u001b[2J","counts":{"evaluations":9,"denials":7}},
  {"name":"new","file":"/p/30-new.wasm","state":"warming","mode":"off"}]}"#;

#[test]
fn list_shows_policies_and_their_problems() {
    let node = Node::serving(PATH, 200, POLICIES);
    assert_eq!(
        node.run(&["policy", "list"]).success(),
        "\
NAME            STATE   MODE     HOOKS                  ASKED             GRANTED     CALLS  DENIED  FAILED  DIGEST
annotation-mtu  loaded  enforce  configure, before-add  -                 -           1412   0       0       3f29a1c9d0e4
address-guard   stale   enforce  before-add             namespaces, nads  namespaces  9      7       0       9c0de1234567
new             ?       off      -                      -                 -           0      0       0       -

address-guard (/p/20-address-guard.wasm): settings refused: no CIDR\\n\\u{1b}[2J
address-guard (/p/20-address-guard.wasm): asks for nads, which its configuration does not grant
"
    );
}

#[test]
fn last_failure_has_its_age_and_module() {
    let of = |load: u64, digest: &str| {
        let policies = format!(
            r#"{{"policies":[{{"name":"guard","file":"/p/guard.wasm","state":"loaded","mode":"enforce",
               "digest":"sha256:bbbb","load":2,"lastError":"trap in hook before-add: x","lastFailure":
               {{"error":"trap in hook before-add: x","atUnixSeconds":1000000000,"load":{load},"digest":"{digest}"}}}}]}}"#
        );
        let node = Node::serving(PATH, 200, &policies);
        let text = node.run(&["policy", "list"]).success();
        text.lines().last().unwrap().to_owned()
    };
    let line = of(2, "sha256:bbbb");
    assert!(line.starts_with("guard (/p/guard.wasm): failed "), "{line}");
    assert!(
        line.ends_with("d ago: trap in hook before-add: x"),
        "{line}"
    );
    let line = of(1, "sha256:bbbb");
    assert!(
        line.contains("ago, with an earlier configuration: trap"),
        "{line}"
    );
    let line = of(1, "sha256:aaaa");
    assert!(
        line.contains("ago, of the earlier module aaaa: trap"),
        "{line}"
    );
}

#[test]
fn json_has_everything() {
    let node = Node::serving(PATH, 200, POLICIES);
    let printed = node.run(&["policy", "list", "--output", "json"]).success();
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        printed.pointer("/policies/1/lastError").unwrap(),
        "settings refused: no CIDR\n\u{1b}[2J"
    );
    assert_eq!(printed.pointer("/policies/1/required").unwrap(), true);
}

#[test]
fn that_there_are_none_is_said() {
    let node = Node::serving(PATH, 200, r#"{"policies":[]}"#);
    assert_eq!(node.run(&["policy", "list"]).success(), "no policies\n");
}

#[test]
fn stopped_daemon_error_names_the_socket() {
    let node = Node::idle();
    let message = node.run(&["policy", "list"]).failure();
    assert_eq!(
        message,
        format!(
            "cnidaria: the daemon does not answer at {}\n  \
             cannot connect to the socket\n  \
             No such file or directory (os error 2)\n\
             Is cnidaria-daemon running on this node? If its configuration has another socketDir, \
             give it as --socket-dir.\n",
            node.socket().display()
        )
    );
}

#[test]
fn multus_own_daemon_is_recognised() {
    let node = Node::serving(PATH, 404, "");
    let message = node.run(&["policy", "list"]).failure();
    assert!(message.contains("does not know /v1/policies"), "{message}");
}

#[test]
fn unexpected_responses_are_reported_escaped() {
    let node = Node::serving(PATH, 500, "oops\u{1b}[2J\n");
    let message = node.run(&["policy", "list"]).failure();
    assert!(
        message.contains("HTTP status 500: oops\\u{1b}[2J\n"),
        "{message}"
    );

    let node = Node::serving(PATH, 200, "[]");
    let message = node.run(&["policy", "list"]).failure();
    assert!(
        message.contains("something else than was asked"),
        "{message}"
    );

    let node = Node::serving("/v1/elsewhere", 200, "{}");
    let message = node.run(&["policy", "list"]).failure();
    assert!(message.contains("the connection ended"), "{message}");
}
