//! `cnidaria attachments`, from the daemon and from disk.

use std::fs;

use crate::node::Node;

const PATH: &str = "/v1/attachments";

const ATTACHMENTS: &str = r#"{"attachments":[
  {"containerId":"b1946ac92492d2347c6235b4d2611184","network":"cbr0","ifName":"eth0",
   "pod":{"namespace":"default","name":"web"},"netns":"/run/netns/a","state":"attached"},
  {"containerId":"0cc175b9c0f1b6a831c399e269772661","network":"storage/ipvlan","ifName":"net1",
   "pod":{"namespace":"storage","name":"gone-0"},"netns":"","state":"undo-pending",
   "reason":"ipam is down","retries":4,"sinceUnixSeconds":1}]}"#;

/// An entry as Multus' library writes it, the result aside.
fn entry(container: &str, network: &str, if_name: &str) -> String {
    format!(
        r#"{{"kind":"cniCacheV1","containerId":"{container}","config":"e30=","ifName":"{if_name}",
           "networkName":"{network}","netns":"/run/netns/{container}",
           "cniArgs":[["IgnoreUnknown","true"],["K8S_POD_NAMESPACE","default"],
                      ["K8S_POD_NAME","web-{container}"],["K8S_POD_UID","u"]],
           "result":{{"cniVersion":"1.0.0"}}}}"#
    )
}

/// A node without a daemon, but with the results of two pods.
fn node_with_results() -> Node {
    let node = Node::idle();
    let results = node.dir().join("results");
    fs::create_dir(&results).unwrap();
    for (container, network, if_name) in [
        ("b", "cbr0", "eth0"),
        ("a", "vlan7", "net1"),
        ("a", "cbr0", "eth0"),
    ] {
        let name = format!("{network}-{container}-{if_name}");
        fs::write(results.join(name), entry(container, network, if_name)).unwrap();
    }
    node
}

#[test]
fn the_ledger_is_listed_with_what_could_not_be_undone() {
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
fn the_directory_is_not_read_while_the_daemon_answers() {
    let node = Node::serving(PATH, 200, r#"{"attachments":[]}"#);
    let printed = node.run(&["attachments", "--cni-dir", "/does/not/exist"]);
    assert_eq!(printed.success(), "no attachments\n");
}

#[test]
fn while_the_daemon_is_away_results_on_disk_are_read_and_it_is_said() {
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
default    web-a  eth0       cbr0     attached  -    a
default    web-a  net1       vlan7    attached  -    a
default    web-b  eth0       cbr0     attached  -    b
"
    );
}

#[test]
fn a_corrupt_result_is_named_and_the_others_are_listed() {
    let node = node_with_results();
    fs::write(node.dir().join("results/cbr0-c-eth0"), "{nope").unwrap();
    let dir = node.dir().to_str().unwrap();
    let output = node.run(&["attachments", "--cni-dir", dir]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert!(output.stderr.contains("results/cbr0-c-eth0"), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 4, "{output:?}");
}

#[test]
fn a_directory_that_is_not_there_is_no_empty_one() {
    let message = Node::idle()
        .run(&["attachments", "--cni-dir", "/does/not/exist"])
        .failure();
    assert!(
        message.contains("cnidaria: /does/not/exist: No such file or directory"),
        "{message}"
    );
}

#[test]
fn without_a_directory_a_daemon_that_is_away_is_an_error_that_names_the_option() {
    let message = Node::idle().run(&["attachments"]).failure();
    assert!(message.contains("--socket-dir"), "{message}");
    assert!(message.contains("--cni-dir"), "{message}");
}
