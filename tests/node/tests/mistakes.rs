//! Attachments that were never created because the plugin rejects the conf, on ADD and on DEL: they
//! fail the ADD, nothing after it, and leave nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::thread;
use std::time::Duration;

use node::case::on_a_private_node;
use node::every_plugin::{self, State};
use node::inspect::Traces;
use node::mistakes::{self, Mistake};
use node::{Node, Pod, Sandbox, networks, run};
use serde_json::{Value, json};

const POLL: Duration = Duration::from_millis(5);

/// A GC without valid attachments, and STATUS.
fn collect(node: &Node, pod: &Sandbox) {
    for command in ["GC", "STATUS"] {
        let mut conf = node.conf.clone();
        conf["cniVersion"] = json!("1.1.0");
        conf["cni.dev/valid-attachments"] = json!([]);
        let call = node.call(command, pod).unwrap().stdin(conf.to_string());
        let answer = call.make().unwrap();
        assert!(answer.succeeded(), "{command}: {answer:#?}");
    }
}

/// An ADD that fails because of the mistake and leaves nothing behind.
fn refuse(node: &Node, pod: &Sandbox, says: &str) {
    let name = &pod.pod.name;
    let before = traces(node, pod);
    let answer = node.make("ADD", pod);
    assert_eq!(answer.code, Some(1), "{name}: {answer:#?}");
    let error = answer.json().unwrap();
    let text = format!("{} {}", error["msg"], error["details"]);
    assert!(text.contains(name.as_str()), "{name}: {text}");
    assert!(text.contains(says), "{name}: {text}");
    assert_eq!(traces(node, pod), before, "{name}: {text}");
}

/// Excludes bridges, which the plugin keeps for the next pod.
fn traces(node: &Node, pod: &Sandbox) -> Traces {
    Traces::of(node, &pod.netns_name).unwrap()
}

/// The firewall rules that accept a pod's address.
fn admitted(node: &Node) -> String {
    let rules = State::of(node).unwrap().firewall;
    let rules = rules.into_iter().filter(|rule| rule.contains("10.90."));
    rules.collect::<Vec<_>>().join("\n")
}

fn pods(node: &Node, mistakes: &[Mistake]) -> Vec<Sandbox> {
    let pod = |mistake: &Mistake| {
        let pod = Pod::new("default", mistake.name).networks(&mistake.selection());
        node.add_pod(pod).unwrap()
    };
    mistakes.iter().map(pod).collect()
}

#[test]
fn a_mistake_fails_the_add_and_nothing_after_it() {
    on_a_private_node(|node| {
        mistakes::prepare(node).unwrap();
        let mistakes = mistakes::all(node);
        assert!(mistakes.len() > 21);
        for mistake in &mistakes {
            let (name, conf) = (mistake.name, &mistake.conf);
            node.add_network("default", name, conf).unwrap();
        }
        node.start_daemon().unwrap();
        let pods = pods(node, &mistakes);
        let before = State::of(node).unwrap();
        for (mistake, pod) in mistakes.iter().zip(&pods) {
            refuse(node, pod, mistake.says);
            node.succeed("DEL", pod);
        }
        collect(node, &pods[0]);

        // The next sandbox of the same name, and a daemon that has forgotten the first.
        node.stop_daemon().unwrap();
        node.start_daemon().unwrap();
        for (mistake, pod) in mistakes.iter().zip(&pods) {
            node.succeed("DEL", pod);
            refuse(node, pod, mistake.says);
        }
        collect(node, &pods[0]);
        for pod in &pods {
            run("ip", &["netns", "delete", &pod.netns_name]).unwrap();
            node.succeed("DEL", pod);
            run("ip", &["netns", "add", &pod.netns_name]).unwrap();
        }
        let after = State::of(node).unwrap();
        assert_eq!((after.addresses, after.ledger), (vec![], vec![]));
        assert_eq!(after.firewall, before.firewall);

        for (mistake, pod) in mistakes.iter().zip(&pods) {
            let right = mistake.put_right(node);
            node.add_network("default", mistake.name, &right).unwrap();
            let mended = Pod::new("default", mistake.name).networks(mistake.name);
            let manifest = mended.manifest().to_string();
            let path = format!("manifests/pod-default-{}.json", mistake.name);
            node.write(&path, manifest).unwrap();
            let before = traces(node, pod);
            for command in ["ADD", "CHECK", "DEL"] {
                node.succeed(command, pod);
            }
            assert_eq!(traces(node, pod), before, "{}", mistake.name);
        }
    });
}

#[test]
fn a_mistake_late_in_a_chain_leaves_nothing() {
    on_a_private_node(|node| {
        mistakes::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let mut count = 0;
        for mistake in mistakes::all(node) {
            for is_last in [false, true] {
                let Some(conf) = mistake.chained(node, is_last) else {
                    continue;
                };
                let name = format!("{}-{is_last}", mistake.name);
                node.add_network("default", &name, &conf).unwrap();
                let pod = Pod::new("default", &name).networks(&name);
                let pod = node.add_pod(pod).unwrap();
                refuse(node, &pod, "");
                assert_eq!(admitted(node), "", "{name}");
                node.succeed("DEL", &pod);
                run("ip", &["netns", "delete", &pod.netns_name]).unwrap();
                node.succeed("DEL", &pod);
                count += 1;
            }
        }
        assert!(count > 40);
        let pod = node.add_pod(Pod::new("default", "other")).unwrap();
        collect(node, &pod);
    });
}

#[test]
fn bad_default_network_leaves_nothing() {
    on_a_private_node(|node| {
        mistakes::prepare(node).unwrap();
        node.start_daemon().unwrap();
        for mistake in mistakes::all(node) {
            let name = mistake.name;
            node.add_network("kube-system", name, &mistake.conf)
                .unwrap();
            let mut network = mistake.asks.clone();
            network.insert("name".to_owned(), json!(name));
            let key = "v1.multus-cni.io/default-network";
            let network = json!([network]).to_string();
            let pod = Pod::new("default", name).annotation(key, &network);
            let pod = node.add_pod(pod).unwrap();
            refuse(node, &pod, mistake.says);
            node.succeed("DEL", &pod);
        }
        let pod = node.add_pod(Pod::new("default", "other")).unwrap();
        collect(node, &pod);
    });
}

#[test]
fn a_mistake_in_a_hot_plug_harms_no_pod() {
    on_a_private_node(|node| {
        mistakes::prepare(node).unwrap();
        node.start_daemon().unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("blue"))
            .unwrap();
        let before = traces(node, &pod);
        node.succeed("ADD", &pod);
        let healthy = traces(node, &pod);
        for mistake in mistakes::all(node) {
            let asked = mistake.asks.get("interface").and_then(Value::as_str);
            if mistake.asks.contains_key("ips") {
                continue;
            }
            let (name, conf) = (mistake.name, &mistake.conf);
            let plug = |command| {
                node.plug(command, &pod, asked.unwrap_or("hot0"), conf)
                    .unwrap()
            };
            let (status, said) = plug("ADD");
            assert_ne!(status, 200, "{name}: {said}");
            assert!(said.contains(mistake.says), "{name}: {said}");
            assert_eq!(traces(node, &pod), healthy, "{name}");
            // A controller detaches what it failed to attach. What the daemon itself rejected, it
            // rejects again.
            let is_ours = said.contains(r#""code":7"#);
            let (status, said) = plug("DEL");
            assert!(status == 200 || is_ours, "{name}: {said}");
            assert_eq!(traces(node, &pod), healthy, "{name}");
            if let Some(chain) = mistake.chained(node, false) {
                let (status, said) = node.plug("ADD", &pod, "hot0", &chain).unwrap();
                assert_ne!(status, 200, "{name}: {said}");
                assert_eq!(traces(node, &pod), healthy, "{name}");
            }
        }
        node.succeed("CHECK", &pod);
        node.stop_daemon().unwrap();
        node.start_daemon().unwrap();
        node.succeed("CHECK", &pod);
        node.succeed("DEL", &pod);
        assert_eq!(traces(node, &pod), before);
        collect(node, &pod);
    });
}

#[test]
fn a_policys_edit_that_is_refused_leaves_nothing() {
    on_a_private_node(|node| {
        mistakes::prepare(node).unwrap();
        if !every_plugin::kernel_has("macvlan") {
            eprintln!("left out: this kernel has no macvlan");
            return;
        }
        let settings = json!({ "settings": { "min": 68, "max": 9300 } });
        node.add_policy("10-mtu", "annotation-mtu", &settings)
            .unwrap();
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "storage").networks("blue,storage");
        let pod = pod.annotation("cnidaria.dev/mtu", "storage=9300");
        let pod = node.add_pod(pod).unwrap();
        refuse(node, &pod, "9300");
        node.succeed("DEL", &pod);
        collect(node, &pod);
        run("ip", &["netns", "delete", &pod.netns_name]).unwrap();
        node.succeed("DEL", &pod);
    });
}

#[test]
fn a_mistake_begun_before_a_kill_holds_no_pod() {
    on_a_private_node(|node| {
        mistakes::prepare(node).unwrap();
        let (calls, go_on) = (node.path("calls"), node.path("go-on"));
        fs::create_dir(&calls).unwrap();
        let slow = json!({ "record": calls, "ADD": { "until": go_on } });
        let plugins = json!([
            { "type": networks::FAKE, "fake": slow },
            { "type": "tuning", "mtu": "1400" },
        ]);
        let conf = json!({ "cniVersion": "1.0.0", "name": "slow", "plugins": plugins });
        node.add_network("default", "slow", &conf).unwrap();
        node.start_daemon().unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("slow"))
            .unwrap();
        let before = traces(node, &pod);
        let call = node.call("ADD", &pod).unwrap();
        let adding = thread::spawn(move || call.make().unwrap());
        while fs::read_dir(&calls).unwrap().next().is_none() {
            assert!(!adding.is_finished());
            thread::sleep(POLL);
        }
        node.kill_daemon().unwrap();
        assert!(!adding.join().unwrap().succeeded());
        fs::write(&go_on, "").unwrap();

        node.start_daemon().unwrap();
        node.succeed("DEL", &pod);
        let kept = node.command_line(&["attachments"]).unwrap();
        assert!(
            kept.contains("slow") && kept.contains("TuningConf.mtu"),
            "{kept}"
        );
        collect(node, &pod);
        node.succeed("DEL", &pod);
        let right = mistakes::all(node)[0].put_right(node);
        node.add_network("default", "slow", &right).unwrap();
        for command in ["ADD", "CHECK", "DEL"] {
            node.succeed(command, &pod);
        }
        assert_eq!(traces(node, &pod), before);
    });
}
