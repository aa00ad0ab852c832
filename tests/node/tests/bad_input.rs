//! Bad input yields a CNI error object and exit code 1, and changes nothing.

#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::fs;

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Call, Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

/// Makes a call that must fail with this code and these words, and change nothing.
fn refused(node: &Node, sandbox: &Sandbox, call: &Call, code: u64, words: &[&str]) {
    let traces = || Traces::of(node, &sandbox.netns_name).expect("the node can be inspected");
    let status = || inspect::files(&node.path("status")).expect("the directory can be read");
    let before = (traces(), status());
    let answer = call.make().expect("the shim can be executed");
    assert_eq!(answer.code, Some(1), "{call:#?} {answer:#?}");
    let error = answer.json().expect("an error object is printed");
    assert_eq!(error["code"], code, "{call:#?} {error:#}");
    assert!(error["cniVersion"].is_string(), "{error:#}");
    let text = format!("{} {}", error["msg"], error["details"]);
    for word in words {
        assert!(text.contains(word), "{word} is missing: {error:#}");
    }
    assert_eq!((traces(), status()), before, "{error:#}");
}

fn node_and_pod(node: &mut Node, pod: Pod) -> Sandbox {
    let prepare = || {
        networks::prepare(node)?;
        node.start_daemon()?;
        node.add_pod(pod)
    };
    prepare().expect("the node can be prepared")
}

#[test]
fn missing_and_malformed_variables_are_named() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, Pod::new("default", "a"));
        let add = node.call("ADD", &pod).unwrap();
        let cases: &[(Call, &str)] = &[
            (add.clone().with("CNI_COMMAND", "MOVE"), "CNI_COMMAND"),
            (add.clone().without("CNI_CONTAINERID"), "CNI_CONTAINERID"),
            (
                add.clone().with("CNI_CONTAINERID", "../x"),
                "CNI_CONTAINERID",
            ),
            (add.clone().without("CNI_NETNS"), "CNI_NETNS"),
            (add.clone().with("CNI_IFNAME", "a/b"), "CNI_IFNAME"),
            (
                add.clone().with("CNI_IFNAME", "much-too-long-a-name"),
                "CNI_IFNAME",
            ),
            (add.clone().with("CNI_ARGS", "K8S_POD_NAME"), "CNI_ARGS"),
            (
                add.clone()
                    .with("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default"),
                "K8S_POD_NAME",
            ),
            (
                add.clone().with(
                    "CNI_ARGS",
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE=../../etc;K8S_POD_NAME=a",
                ),
                "K8S_POD_NAMESPACE",
            ),
            (
                add.clone()
                    .with("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=../a"),
                "K8S_POD_NAME",
            ),
        ];
        for (call, variable) in cases {
            refused(node, &pod, call, 4, &[variable]);
        }
    });
}

#[test]
fn standard_input_other_than_json_is_code_6() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, Pod::new("default", "a"));
        for input in ["", "{", "[]", "\u{0}", "null"] {
            let call = node.call("ADD", &pod).unwrap().stdin(input);
            refused(node, &pod, &call, 6, &[]);
        }
    });
}

#[test]
fn wrong_conf_value_names_its_key() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, Pod::new("default", "a"));
        let with = |key: &str, value: Value| {
            let mut conf = node.conf.clone();
            conf[key] = value;
            node.call("ADD", &pod).unwrap().stdin(conf.to_string())
        };
        refused(node, &pod, &with("name", json!("")), 7, &["name"]);
        refused(node, &pod, &with("name", json!("a/b")), 7, &["name", "a/b"]);
        refused(
            node,
            &pod,
            &with("daemonSocketDir", json!(7)),
            7,
            &["daemonSocketDir", "7"],
        );
        refused(
            node,
            &pod,
            &with("clusterNetwork", json!(8)),
            7,
            &["clusterNetwork", "8"],
        );
        refused(
            node,
            &pod,
            &with("namespaceIsolation", json!("x")),
            7,
            &["namespaceIsolation", "x"],
        );
        refused(
            node,
            &pod,
            &with("clusterNetwork", json!("/does/not/exist.conf")),
            7,
            &["/does/not/exist.conf"],
        );
        refused(
            node,
            &pod,
            &with("cniVersion", json!("9.9.9")),
            1,
            &["9.9.9"],
        );
    });
}

#[test]
fn bad_annotation_error_names_pod_and_element() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, Pod::new("default", "a"));
        for (annotation, word) in [
            ("no-such-network", "no-such-network"),
            ("blue,Capital", "Capital"),
            ("a/b/c", "a/b/c"),
            ("blue@eth0", "eth0"),
            ("blue@much-too-long-a-name", "much-too-long-a-name"),
            ("[{\"name\":", "annotation"),
            ("[{\"namespace\":\"default\"}]", "name"),
            (r#"[{"name":"blue","ips":["10.78.0.300"]}]"#, "10.78.0.300"),
            (r#"[{"name":"blue","mac":"02:00"}]"#, "02:00"),
            (r#"[{"name":"blue","interface":"a b"}]"#, "a b"),
        ] {
            let changed = pod.pod.clone().networks(annotation).manifest();
            node.write("manifests/pod-default-a.json", changed.to_string())
                .unwrap();
            let call = node.call("ADD", &pod).unwrap();
            refused(node, &pod, &call, 7, &["default/a", word]);
        }
    });
}

#[test]
fn a_nad_with_a_malformed_conf_is_named() {
    on_a_private_node(|node| {
        for (name, conf) in [
            ("garbage", "{no JSON"),
            ("untyped", r#"{"cniVersion":"1.0.0","name":"untyped"}"#),
            (
                "path",
                r#"{"cniVersion":"1.0.0","name":"path","type":"../../bin/sh"}"#,
            ),
        ] {
            node.add_raw_network("default", name, conf).unwrap();
        }
        let pod = node_and_pod(node, Pod::new("default", "a"));
        for name in ["garbage", "untyped", "path"] {
            let changed = pod.pod.clone().networks(name).manifest();
            node.write("manifests/pod-default-a.json", changed.to_string())
                .unwrap();
            let call = node.call("ADD", &pod).unwrap();
            refused(node, &pod, &call, 7, &[&format!("default/{name}")]);
        }
    });
}

#[test]
fn missing_delegate_error_lists_directories() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, Pod::new("default", "a").networks("gone"));
        let conf = json!({ "cniVersion": "1.0.0", "name": "gone", "type": "no-such-plugin" });
        node.add_network("default", "gone", &conf).unwrap();
        let answer = node.call("ADD", &pod).unwrap().make().unwrap();
        let error = answer.json().unwrap();
        let words = ["no-such-plugin".to_owned(), node.plugins()];
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let code = error["code"].as_u64().unwrap();
        refused(node, &pod, &node.call("ADD", &pod).unwrap(), code, &words);
    });
}

#[test]
fn a_pod_that_the_cluster_does_not_know_is_named() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node, Pod::new("default", "a"));
        std::fs::remove_file(node.path("manifests/pod-default-a.json")).unwrap();
        let call = node.call("ADD", &pod).unwrap();
        refused(node, &pod, &call, 11, &["default/a"]);
    });
}

#[test]
fn a_renamed_shim_is_not_a_delegate() {
    on_a_private_node(|node| {
        let shim = json!({ "type": "innocent", "daemonSocketDir": node.path("multus") });
        let mut conf = shim.clone();
        conf["cniVersion"] = json!("1.0.0");
        conf["name"] = json!("loop");
        node.add_network("default", "loop", &conf).unwrap();
        let ipam = json!({
            "cniVersion": "1.0.0", "name": "nested", "type": "bridge", "bridge": "nested",
            "daemonSocketDir": node.path("multus"), "ipam": shim,
        });
        node.add_network("default", "nested", &ipam).unwrap();
        for network in ["loop", "nested"] {
            let pod = Pod::new("default", network).networks(network);
            let pod = match network {
                "loop" => node_and_pod(node, pod),
                _ => node.add_pod(pod).unwrap(),
            };
            fs::copy(node.binaries().shim().unwrap(), node.path("bin/innocent")).unwrap();
            let add = node.call("ADD", &pod).unwrap();
            let words = ["has executed the shim", network];
            refused(node, &pod, &add, 7, &words);
        }
    });
}
