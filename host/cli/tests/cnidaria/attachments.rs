//! `cnidaria attachments`, from the daemon and from disk.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::node::Node;

const PATH: &str = "/v1/attachments";

const ATTACHMENTS: &str = r#"{"attachments":[
  {"containerId":"b1946ac92492d2347c6235b4d2611184","network":"cbr0","ifName":"eth0",
   "pod":{"namespace":"default","name":"web"},"netns":"/run/netns/a","state":"attached"},
  {"containerId":"0cc175b9c0f1b6a831c399e269772661","network":"storage/ipvlan","ifName":"net1",
   "pod":{"namespace":"storage","name":"gone-0"},"netns":"","state":"undo-pending",
   "reason":"ipam is down","retries":4,"sinceUnixSeconds":1}]}"#;

/// An entry as written by Multus' library, without the result.
fn entry(container: &str, network: &str, if_name: &str) -> String {
    format!(
        r#"{{"kind":"cniCacheV1","containerId":"{container}","config":"e30=","ifName":"{if_name}",
           "networkName":"{network}","netns":"/run/netns/{container}",
           "cniArgs":[["IgnoreUnknown","true"],["K8S_POD_NAMESPACE","default"],
                      ["K8S_POD_NAME","web-{container}"],["K8S_POD_UID","u"]],
           "result":{{"cniVersion":"1.0.0"}}}}"#
    )
}

/// A node without a daemon but with the results of two pods.
fn node_with_results() -> Node {
    let node = Node::idle();
    let results = node.dir().join("results");
    fs::create_dir(&results).unwrap();
    for (container, network, if_name) in [
        ("b", "cbr0", "eth0"),
        ("a", "vlan7", "net1"),
        ("a", "cbr0", "eth0"),
    ] {
        let path = results.join(format!("{network}-{container}-{if_name}"));
        fs::write(&path, entry(container, network, if_name)).unwrap();
        #[expect(clippy::disallowed_methods, reason = "times of files")]
        let three_days_ago = SystemTime::now() - Duration::from_secs(3 * 86_400);
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(three_days_ago).unwrap();
    }
    node
}

#[test]
fn list_shows_failed_undos() {
    let node = Node::serving(PATH, 200, ATTACHMENTS);
    let printed = node.run(&["attachments"]).success();
    let lines: Vec<_> = printed.lines().collect();
    let [header, web, gone, "", note] = lines[..] else {
        panic!("{printed}");
    };
    assert_eq!(
        header,
        "NAMESPACE  POD     INTERFACE  NETWORK         STATE         AGE     CONTAINER"
    );
    assert_eq!(
        web,
        "default    web     eth0       cbr0            attached      -       b1946ac92492d"
    );
    assert!(
        gone.starts_with("storage    gone-0  net1       storage/ipvlan  undo-pending  "),
        "{gone}"
    );
    assert_eq!(
        note,
        "storage/gone-0 net1: not undone after 4 attempts: ipam is down"
    );
}

#[test]
fn json_has_whole_container_ids() {
    let node = Node::serving(PATH, 200, ATTACHMENTS);
    let printed = node.run(&["--output", "json", "attachments"]).success();
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        printed.pointer("/attachments/1/containerId").unwrap(),
        "0cc175b9c0f1b6a831c399e269772661"
    );
    assert_eq!(printed.pointer("/attachments/1/retries").unwrap(), 4);
}

#[test]
fn running_daemon_outranks_files() {
    let node = Node::serving(PATH, 200, r#"{"attachments":[]}"#);
    let printed = node.run(&["attachments", "--cni-dir", "/does/not/exist"]);
    assert_eq!(printed.success(), "no attachments\n");
}

#[test]
fn stopped_daemon_falls_back_to_disk() {
    let node = node_with_results();
    let dir = node.dir().to_str().unwrap();
    let output = node.run(&["attachments", "--cni-dir", dir]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert_eq!(
        output.stderr,
        format!(
            "cnidaria: the daemon does not answer at {}; reading {dir}\n",
            node.socket().display()
        )
    );
    assert_eq!(
        output.stdout,
        "\
NAMESPACE  POD    INTERFACE  NETWORK  STATE     AGE  CONTAINER
default    web-a  eth0       cbr0     attached  3d   a
default    web-a  net1       vlan7    attached  3d   a
default    web-b  eth0       cbr0     attached  3d   b
"
    );
}

#[test]
fn corrupt_result_does_not_hide_the_others() {
    let node = node_with_results();
    fs::write(node.dir().join("results/cbr0-c-eth0"), "{nope").unwrap();
    let dir = node.dir().to_str().unwrap();
    let output = node.run(&["attachments", "--cni-dir", dir]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert!(output.stderr.contains("results/cbr0-c-eth0"), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 4, "{output:?}");
}

#[test]
fn a_missing_directory_is_not_an_empty_one() {
    let message = Node::idle()
        .run(&["attachments", "--cni-dir", "/does/not/exist"])
        .failure();
    assert!(
        message.contains("cnidaria: /does/not/exist: No such file or directory"),
        "{message}"
    );
}

#[test]
fn stopped_daemon_error_names_both_options() {
    let message = Node::idle().run(&["attachments"]).failure();
    assert!(message.contains("--socket-dir"), "{message}");
    assert!(message.contains("--cni-dir"), "{message}");
}

/// A daemon that lists [`ATTACHMENTS`] and expects a forget request with `body`.
fn forgetting(body: &str, status: u16, answer: &str) -> Node {
    let forget = format!(
        "POST /v1/attachments/forget HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let list = format!("GET {PATH} HTTP/1.1\r\n");
    Node::serving_all([
        (list, 200, ATTACHMENTS.to_owned()),
        (forget, status, answer.to_owned()),
    ])
}

#[test]
fn an_attachment_is_forgotten_by_its_shown_id() {
    let asked = r#"{"containerId":"0cc175b9c0f1b6a831c399e269772661","ifName":"net1"}"#;
    let answer = r#"{"attachments":[{"containerId":"0cc175b9c0f1b6a831c399e269772661","pod":{},
        "network":"storage/ipvlan","ifName":"net1","netns":"","state":"attached"}]}"#;
    let node = forgetting(asked, 200, answer);
    let output = node.run(&["attachments", "forget", "0cc175b9c0f1b", "net1", "--yes"]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert_eq!(
        output.stdout,
        "forgot net1 of container 0cc175b9c0f1b6a831c399e269772661\n"
    );
    let said = "net1 of network storage/ipvlan in pod storage/gone-0: not undone after 4 attempts: ipam is down\n";
    assert!(output.stderr.starts_with(said), "{output:?}");
    assert!(output.stderr.contains("What may be left"), "{output:?}");
}

#[test]
fn without_a_terminal_forgetting_needs_consent() {
    let node = forgetting("", 200, "{}");
    let output = node.run(&["attachments", "forget", "b1946ac92492d"]);
    assert_eq!(output.exit, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("no DEL will take it away"),
        "{output:?}"
    );
    assert!(output.stderr.ends_with("this needs --yes\n"), "{output:?}");
}

#[test]
fn what_is_to_be_forgotten_must_be_known() {
    for (arguments, expected) in [
        (vec!["ffff"], "the ledger has no container \"ffff\""),
        (vec![""], "the ids of 2 containers begin with \"\""),
        (vec!["b19", "net7"], "has no interface net7 in the ledger"),
    ] {
        let node = Node::serving(PATH, 200, ATTACHMENTS);
        let all = [vec!["attachments", "forget", "--yes"], arguments].concat();
        let message = node.run(&all).failure();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn forget_error_shows_the_daemons_message() {
    let asked = r#"{"containerId":"b1946ac92492d2347c6235b4d2611184"}"#;
    let answer = r#"{"cniVersion":"1.1.0","code":3,"msg":"container b19 is not attached"}"#;
    let node = forgetting(asked, 400, answer);
    let output = node.run(&["attachments", "forget", "b1946ac92492d", "--yes"]);
    assert_eq!(output.exit, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("container b19 is not attached"),
        "{output:?}"
    );
}

#[test]
fn damaged_sandboxes_are_shown_below_the_list() {
    let list =
        r#"{"attachments":[],"unreadable":[{"containerId":"d","reason":"/l/d is damaged: torn"}]}"#;
    let printed = Node::serving(PATH, 200, list)
        .run(&["attachments"])
        .success();
    assert!(
        printed.ends_with("\ncontainer d: /l/d is damaged: torn\n"),
        "{printed}"
    );
}

/// One id in two directories, pending in one and running in the other.
const TWICE: &str = r#"{"attachments":[
  {"containerId":"c1","network":"n","ifName":"eth0","pod":{"namespace":"default","name":"web"},
   "netns":"","state":"undo-pending","reason":"x","retries":1,"cniDir":"/lA"},
  {"containerId":"c1","network":"n","ifName":"eth0","pod":{"namespace":"default","name":"web"},
   "netns":"/run/netns/a","state":"attached","cniDir":"/lB"}]}"#;

#[test]
fn an_id_in_two_directories_needs_a_choice() {
    let node = Node::serving(PATH, 200, TWICE);
    let message = node
        .run(&["attachments", "forget", "c1", "--yes"])
        .failure();
    let choices = "--dir /lA (eth0 undo-pending), --dir /lB (eth0 attached)";
    assert!(message.contains(choices), "{message}");
    let forget = |body: &str| {
        format!(
            "POST /v1/attachments/forget HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let asked = forget(r#"{"containerId":"c1","cniDir":"/lA"}"#);
    let node = Node::serving_all([
        (format!("GET {PATH} HTTP/1.1\r\n"), 200, TWICE.to_owned()),
        (asked, 200, r#"{"attachments":[]}"#.to_owned()),
    ]);
    let output = node.run(&["attachments", "forget", "c1", "--dir", "/lA", "--yes"]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert!(!output.stderr.contains("no DEL will"), "{output:?}");
}
