//! What changes between ADD and CHECK or DEL, on real plugins: networks, directories, the conf.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;

use node::case::on_a_private_node;
use node::{Node, Pod, Sandbox, inspect, networks, run};
use serde_json::json;

/// A node with a pod on the networks `cluster` and `blue`.
fn begin(node: &mut Node) -> Sandbox {
    networks::prepare(node).unwrap();
    node.start_daemon().unwrap();
    let pod = node.add_pod(Pod::new("default", "web").networks("blue"));
    let pod = pod.unwrap();
    node.succeed("ADD", &pod);
    pod
}

fn expect_nothing_left(node: &Node, pod: &Sandbox) {
    let links = inspect::links(Some(&pod.netns_name)).unwrap();
    let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, [""; 0]);
    assert_eq!(inspect::reserved_addresses(node).unwrap(), [""; 0]);
}

fn check_fails(node: &Node, pod: &Sandbox) {
    let answer = node.make("CHECK", pod);
    assert!(!answer.succeeded(), "{answer:#?}");
}

/// As libcni, which gives CHECK the conf and the attachments that it stored at the ADD.
#[test]
fn check_uses_the_networks_of_the_add() {
    on_a_private_node(|node| {
        let pod = begin(node);
        let blue = node.path("manifests/nad-default-blue.json");
        let other = networks::macvlan(node, "blue", "nowhere", "10.79.0.0/24");
        let changes: [&dyn Fn(); 4] = [
            &|| node.add_network("default", "blue", &other).unwrap(),
            &|| node.add_raw_network("default", "blue", "{").unwrap(),
            &|| fs::remove_file(&blue).unwrap(),
            &|| {
                let pod = Pod::new("default", "web").networks("other");
                let path = "manifests/pod-default-web.json";
                node.write(path, pod.manifest().to_string()).unwrap();
            },
        ];
        for change in changes {
            change();
            node.succeed("CHECK", &pod);
        }
        node.kill_daemon().unwrap();
        node.start_daemon().unwrap();
        node.succeed("CHECK", &pod);
        run("ip", &["-n", &pod.netns_name, "link", "delete", "net1"]).unwrap();
        check_fails(node, &pod);
        node.succeed("DEL", &pod);
        expect_nothing_left(node, &pod);
    });
}

#[test]
fn a_new_cni_dir_loses_no_pod() {
    on_a_private_node(|node| {
        let pod = begin(node);
        let late = node.add_pod(Pod::new("default", "late").networks("blue"));
        let late = late.unwrap();
        node.succeed("ADD", &late);
        fs::remove_file(node.path("manifests/nad-default-blue.json")).unwrap();
        let restart_in = |node: &mut Node, name: &str| {
            node.kill_daemon().unwrap();
            node.config["cniDir"] = json!(node.path(name));
            node.start_daemon().unwrap();
            let listed = node.command_line(&["attachments"]).unwrap();
            assert!(listed.contains(" late "), "{listed}");
        };
        restart_in(node, "second");
        let warnings = node.log().matches("cniDir has changed").count();
        assert_eq!(warnings, 1, "{}", node.log());
        node.succeed("CHECK", &pod);
        node.succeed("DEL", &pod);
        restart_in(node, "third");
        node.succeed("CHECK", &late);
        node.succeed("DEL", &late);
        for pod in [&pod, &late] {
            assert!(!node.path("ledger").join(&pod.container_id).exists());
        }
        expect_nothing_left(node, &late);
    });
}

#[test]
fn a_new_bin_dir_holds_no_pod() {
    on_a_private_node(|node| {
        let pod = begin(node);
        node.stop_daemon().unwrap();
        fs::create_dir(node.path("bin2")).unwrap();
        node.config["binDir"] = json!(node.path("bin2"));
        node.start_daemon().unwrap();
        node.succeed("CHECK", &pod);
        let new = node.add_pod(Pod::new("default", "new")).unwrap();
        let answer = node.make("ADD", &new);
        assert!(!answer.succeeded(), "the old one is not for ADDs");
        node.succeed("DEL", &pod);
        expect_nothing_left(node, &pod);
    });
}

#[test]
fn a_file_in_the_place_of_results_is_moved() {
    on_a_private_node(|node| {
        let pod = begin(node);
        let results = node.path("ledger/results");
        fs::remove_dir_all(&results).unwrap();
        fs::write(&results, "").unwrap();
        let new = node.add_pod(Pod::new("default", "new").networks("blue"));
        let new = new.unwrap();
        node.succeed("ADD", &new);
        node.succeed("CHECK", &new);
        for pod in [&pod, &new] {
            node.succeed("DEL", pod);
        }
        expect_nothing_left(node, &pod);
    });
}

#[test]
fn a_del_needs_no_version_that_is_known() {
    on_a_private_node(|node| {
        let pod = begin(node);
        let mut conf = node.conf.clone();
        conf["cniVersion"] = json!("9.9.9");
        let call = |verb: &str| {
            let call = node.call(verb, &pod).unwrap();
            call.stdin(conf.to_string()).make().unwrap()
        };
        assert!(!call("CHECK").succeeded());
        assert!(call("DEL").succeeded(), "{}", node.log());
        expect_nothing_left(node, &pod);
    });
}
