//! ADD, CHECK and DEL of pods with one or more networks, on real plugins.

#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Answer, Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

/// A started node with the test networks, and a pod that selects some of them.
fn node_and_pod(node: &mut Node, selected: &str) -> Sandbox {
    networks::prepare(node).expect("the networks can be prepared");
    node.start_daemon().expect("the daemon starts");
    let pod = Pod::new("default", "a");
    let pod = match selected {
        "" => pod,
        selected => pod.networks(selected),
    };
    node.add_pod(pod).expect("the pod can be added")
}

/// Detaches a pod and checks that nothing is left.
fn detached(node: &Node, sandbox: &Sandbox) {
    node.succeed("DEL", sandbox);
    nothing_is_left(node, sandbox);
}

/// Names and interfaces in network-status, in order.
fn status(node: &Node, pod: &Pod) -> Vec<(String, String)> {
    let status = node.network_status(pod).expect("there is a network-status");
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let all = status.as_array().into_iter().flatten();
    all.map(|one| (text(one, "name"), text(one, "interface")))
        .collect()
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, link): &(&str, &str)| ((*name).to_owned(), (*link).to_owned());
    pairs.iter().map(owned).collect()
}

fn nothing_is_left(node: &Node, sandbox: &Sandbox) {
    let traces = Traces::of(node, &sandbox.netns_name).expect("the node can be inspected");
    assert_eq!(
        traces,
        Traces {
            node_links: vec!["storage".to_owned(), "uplink".to_owned()],
            pod_links: vec![],
            addresses: vec![],
            ledger: vec![],
        }
    );
}

#[test]
fn comma_list_networks_are_attached() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "blue, storage@data");

        let result = node.succeed("ADD", &pod).json().unwrap();
        assert_eq!(result["cniVersion"], "1.0.0");
        assert_eq!(result["ips"][0]["gateway"], "10.77.0.1");
        let links = inspect::links(Some(&pod.netns_name)).unwrap();
        let links: Vec<_> = links
            .iter()
            .map(|l| (l.name.as_str(), l.kind.as_str(), l.addresses[0].as_str()))
            .collect();
        assert_eq!(
            links,
            [
                ("data", "macvlan", "10.79.0.2/24"),
                (
                    "eth0",
                    "veth",
                    result["ips"][0]["address"].as_str().unwrap()
                ),
                ("net1", "veth", "10.78.0.2/24"),
            ]
        );
        assert_eq!(
            status(node, &pod.pod),
            named(&[
                ("cluster", "eth0"),
                ("default/blue", "net1"),
                ("default/storage", "data")
            ])
        );
        for (link, gateway) in [("eth0", "10.77.0.1"), ("net1", "10.78.0.1")] {
            inspect::ping(&pod.netns_name, link, gateway).unwrap();
        }

        node.succeed("CHECK", &pod);
        detached(node, &pod);
        node.succeed("DEL", &pod);
    });
}

#[test]
fn json_annotation_members_take_effect() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let green = networks::bridge(node, "green", "10.80.0.0/24");
        node.add_network("other", "green", &green).unwrap();
        node.start_daemon().unwrap();
        let annotation = json!([{
            "name": "green", "namespace": "other", "interface": "green0",
            "ips": ["10.80.0.77/24"], "mac": "02:00:00:00:00:77",
        }]);
        let pod = node
            .add_pod(Pod::new("default", "a").networks(&annotation.to_string()))
            .unwrap();

        node.succeed("ADD", &pod);
        let links = inspect::links(Some(&pod.netns_name)).unwrap();
        assert_eq!(links[1].name, "green0");
        assert_eq!(links[1].mac, "02:00:00:00:00:77");
        assert_eq!(links[1].addresses, ["10.80.0.77/24"]);
        assert_eq!(
            status(node, &pod.pod),
            named(&[("cluster", "eth0"), ("other/green", "green0")])
        );
        node.succeed("CHECK", &pod);
        detached(node, &pod);
    });
}

#[test]
fn unannotated_pod_gets_default_network() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "");
        node.succeed("ADD", &pod);
        assert_eq!(status(node, &pod.pod), named(&[("cluster", "eth0")]));
        detached(node, &pod);
    });
}

#[test]
fn result_is_printed_in_conf_version() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "");
        node.conf["cniVersion"] = json!("0.3.1");
        let result = node.succeed("ADD", &pod).json().unwrap();
        assert_eq!(result["cniVersion"], "0.3.1");
        assert_eq!(result["ips"][0]["version"], "4");
        detached(node, &pod);
    });
}

#[test]
fn a_second_add_fails_and_harms_nothing() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "blue");
        node.succeed("ADD", &pod);
        let before = Traces::of(node, &pod.netns_name).unwrap();

        let again = node.call("ADD", &pod).unwrap().make().unwrap();
        assert_eq!(again.code, Some(1), "{again:#?}");
        assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), before);
        inspect::ping(&pod.netns_name, "eth0", "10.77.0.1").unwrap();
        node.succeed("CHECK", &pod);
        detached(node, &pod);
    });
}

#[test]
fn del_needs_no_pod_network_or_netns() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "blue");
        node.succeed("ADD", &pod);
        for manifest in fs::read_dir(node.path("manifests")).unwrap() {
            fs::remove_file(manifest.unwrap().path()).unwrap();
        }
        fs::remove_file(node.path("net.d/10-default.conflist")).unwrap();
        node::run("ip", &["netns", "delete", &pod.netns_name]).unwrap();

        node.succeed("DEL", &pod);
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
        assert!(inspect::files(&node.path("ledger")).unwrap().is_empty());
    });
}

#[test]
fn del_of_unknown_container_succeeds() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "");
        detached(node, &pod);
    });
}

#[test]
fn check_detects_missing_secondary_interface() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "blue");
        node.succeed("ADD", &pod);
        node::run("ip", &["-n", &pod.netns_name, "link", "delete", "net1"]).unwrap();

        let check = node.call("CHECK", &pod).unwrap().make().unwrap();
        assert_eq!(check.code, Some(1), "{check:#?}");
        assert!(check.stdout.contains("default/blue"), "{check:#?}");
        detached(node, &pod);
    });
}

#[test]
fn many_pods_at_once_get_addresses_of_their_own() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let pods: Vec<_> = (0..8)
            .map(|number| {
                let pod = Pod::new("default", &format!("p{number}"));
                node.add_pod(pod.networks("blue,storage")).unwrap()
            })
            .collect();
        let all = |command: &str| {
            thread::scope(|scope| {
                for pod in &pods {
                    scope.spawn(|| node.succeed(command, pod));
                }
            });
        };
        all("ADD");
        let held: BTreeSet<_> = inspect::reserved_addresses(node)
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(held.len(), 8 * 3, "{held:?}");
        // No CHECK: a bridge changes its MAC as ports join, which the plugin reports as an error.
        all("DEL");
        for pod in &pods {
            nothing_is_left(node, pod);
        }
    });
}

#[test]
fn del_passes_the_same_environment_as_add() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let calls = node.path("calls");
        fs::create_dir(&calls).unwrap();
        let mut conf = networks::fake("traced", &json!({ "record": calls }));
        conf["number"] = json!(9_007_199_254_740_993_u64);
        node.add_network("default", "traced", &conf).unwrap();
        node.start_daemon().unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("traced@t0"))
            .unwrap();
        node.succeed("ADD", &pod);
        node.succeed("DEL", &pod);

        let records: Vec<Value> = inspect::files(&calls)
            .unwrap()
            .into_values()
            .map(|bytes| serde_json::from_slice(&bytes).unwrap())
            .collect();
        let [add, del] = &records[..] else {
            panic!("two calls were expected: {records:#?}");
        };
        for (record, command) in [(add, "ADD"), (del, "DEL")] {
            let variables = record["env"].as_object().unwrap();
            assert_eq!(variables["CNI_COMMAND"], command);
            assert_eq!(variables["CNI_CONTAINERID"], pod.container_id);
            assert_eq!(variables["CNI_NETNS"], pod.netns().to_str().unwrap());
            assert_eq!(variables["CNI_IFNAME"], "t0");
            let given = record["stdin"].as_str().unwrap();
            assert!(given.contains("9007199254740993"), "{given}");
        }
        assert_eq!(add["env"]["CNI_ARGS"], del["env"]["CNI_ARGS"]);
        let given: Value = serde_json::from_str(del["stdin"].as_str().unwrap()).unwrap();
        assert_eq!(given["prevResult"]["interfaces"][0]["name"], "t0");
    });
}

#[test]
fn concurrent_adds_succeed_once() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "blue");
        let call = node.call("ADD", &pod).unwrap();
        let answers: Vec<Answer> = thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| call.make().unwrap()));
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let winners = answers.iter().filter(|answer| answer.succeeded()).count();
        assert_eq!(winners, 1, "{answers:#?}");
        node.succeed("CHECK", &pod);
        inspect::ping(&pod.netns_name, "net1", "10.78.0.1").unwrap();
        detached(node, &pod);
    });
}

#[test]
fn missing_uid_is_taken_from_the_pod() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let calls = node.path("calls");
        fs::create_dir(&calls).unwrap();
        let conf = networks::fake("traced", &json!({ "record": calls }));
        node.add_network("default", "traced", &conf).unwrap();
        node.start_daemon().unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("traced"))
            .unwrap();
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a";
        let call = node.call("ADD", &pod).unwrap().with("CNI_ARGS", arguments);
        let answer = call.make().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");

        let records = inspect::files(&calls).unwrap();
        let record: Value = serde_json::from_slice(records.values().next().unwrap()).unwrap();
        let given = record["env"]["CNI_ARGS"].as_str().unwrap();
        let uid = format!("K8S_POD_UID={}", pod.pod.uid);
        assert!(given.split(';').any(|argument| argument == uid), "{given}");
    });
}

#[test]
fn add_of_replaced_pod_fails() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, "");
        let mut old = pod.clone();
        old.pod.uid = "uid-of-the-one-before".to_owned();
        let answer = node.call("ADD", &old).unwrap().make().unwrap();
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        assert!(
            answer.stdout.contains("uid-of-the-one-before"),
            "{answer:#?}"
        );
        nothing_is_left(node, &pod);
    });
}

#[test]
fn a_node_that_is_ready_says_so_on_status() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        node.conf["cniVersion"] = json!("1.1.0");
        let pod = node.add_pod(Pod::new("default", "a")).unwrap();
        node.succeed("STATUS", &pod);
    });
}

#[test]
fn parallel_attachments_complete_and_roll_back() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        for (name, subnet) in [("green", "10.80.0.0/24"), ("red", "10.81.0.0/24")] {
            let conf = networks::bridge(node, name, subnet);
            node.add_network("default", name, &conf).unwrap();
        }
        let bad = networks::fake(
            "bad",
            &json!({ "ADD": { "error": { "cniVersion": "1.0.0", "code": 117, "msg": "no port" } } }),
        );
        node.add_network("default", "bad", &bad).unwrap();
        if let Some(Value::Object(own)) = node.config.get_mut("cnidaria") {
            own.insert("attachmentsAtOnce".to_owned(), json!(4));
            // More than one thread, so that threads can interfere with each other.
            own.insert("threads".to_owned(), json!(2));
        }
        node.start_daemon().unwrap();
        let networks = "blue, green, red, storage";
        let pod = node
            .add_pod(Pod::new("default", "a").networks(networks))
            .unwrap();
        node.succeed("ADD", &pod);
        assert_eq!(
            status(node, &pod.pod),
            named(&[
                ("cluster", "eth0"),
                ("default/blue", "net1"),
                ("default/green", "net2"),
                ("default/red", "net3"),
                ("default/storage", "net4"),
            ])
        );
        for (link, gateway) in [
            ("net1", "10.78.0.1"),
            ("net2", "10.80.0.1"),
            ("net3", "10.81.0.1"),
        ] {
            inspect::ping(&pod.netns_name, link, gateway).unwrap();
        }
        node.succeed("CHECK", &pod);
        detached(node, &pod);

        let pod = node
            .add_pod(Pod::new("default", "b").networks("blue, bad, green, red"))
            .unwrap();
        let answer = node.call("ADD", &pod).unwrap().make().unwrap();
        assert_eq!(answer.json().unwrap()["code"], 117);
        nothing_is_left(node, &pod);
    });
}
