//! Replays `delegate-calls/`: what delegates receive for each verb, variable by variable and member
//! by member, and what is reported about the attachments.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing or malformed fails the test"
)]

use std::collections::BTreeMap;

use conformance::rig::{Rig, uid};
use conformance::{compare, golden, normal, observe};
use node::case::on_a_private_node;
use serde_json::{Map, Value, json};

/// Variables that a delegate's environment may have, besides CNI's.
const MINIMAL: [&str; 1] = ["PATH"];

/// Versions that have CHECK, and pass ADD's result to DEL.
const WITH_RESULT: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// One recorded case of Multus.
struct Case<'a> {
    rig: &'a Rig<'a>,
    pod: &'a str,
    recorded: Value,
}

impl<'a> Case<'a> {
    fn of(rig: &'a Rig<'a>, pod: &'a str) -> Self {
        rig.make_namespace(&format!("g-{pod}"));
        Self {
            rig,
            pod,
            recorded: rig.golden(&format!("delegate-calls/tracer-{pod}.json")),
        }
    }

    fn shim(&self, verb: &str) -> &Value {
        &self.recorded[verb]["shim"]
    }

    fn recorded_calls(&self, verb: &str) -> Vec<Value> {
        let calls = self.recorded[verb]["delegate_calls"].as_array();
        calls.cloned().unwrap_or_default()
    }

    /// The expected ADD calls: as recorded, plus the pod's UID and the confs' exact numbers.
    fn add_calls(&self) -> Vec<Value> {
        let calls = self.recorded_calls("ADD");
        calls.into_iter().map(|call| self.corrected(call)).collect()
    }

    /// A recorded call with the corrections applied.
    fn corrected(&self, mut call: Value) -> Value {
        let arguments = call["env"]["CNI_ARGS"].as_str().unwrap();
        let with_uid = format!("K8S_POD_UID={}", uid(self.pod));
        let arguments = arguments.replace("K8S_POD_UID=", &with_uid);
        // Multus joins several addresses into one argument, which IPAM plugins cannot read; the
        // capability carries them.
        let is_list = |pair: &&str| pair.starts_with("IP=") && pair.contains(',');
        let pairs: Vec<&str> = arguments.split(';').filter(|p| !is_list(p)).collect();
        call["env"]["CNI_ARGS"] = json!(pairs.join(";"));
        let conf: Value = serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap();
        call["stdin"] = corrected_conf(conf);
        call.as_object_mut().unwrap().remove("cwd");
        call
    }

    /// The expected CHECK calls (correction 1): those of ADD, each with its attachment's result.
    /// Versions before 0.4.0 have no CHECK.
    fn check_calls(&self) -> Vec<Value> {
        let results = self.results();
        let checked = self.add_calls().into_iter().filter(|call| {
            let version = call["stdin"]["cniVersion"].as_str().unwrap_or_default();
            WITH_RESULT.contains(&version)
        });
        let with_result = |mut call: Value| {
            let interface = call["env"]["CNI_IFNAME"].as_str().unwrap().to_owned();
            call["env"]["CNI_COMMAND"] = json!("CHECK");
            without_addresses(&mut call);
            call["stdin"]["prevResult"] = results[&interface].clone();
            call
        };
        checked.map(with_result).collect()
    }

    /// The expected DEL calls (corrections 9 and 10): those of ADD in reverse, each with its
    /// attachment's result from 0.4.0 on.
    fn del_calls(&self) -> Vec<Value> {
        let results = self.results();
        let mut calls = self.add_calls();
        calls.reverse();
        for call in &mut calls {
            let interface = call["env"]["CNI_IFNAME"].as_str().unwrap().to_owned();
            let version = call["stdin"]["cniVersion"].as_str().unwrap_or_default();
            let knows = WITH_RESULT.contains(&version);
            call["env"]["CNI_COMMAND"] = json!("DEL");
            without_addresses(call);
            let conf = call["stdin"].as_object_mut().unwrap();
            conf.remove("prevResult");
            if knows {
                conf.insert("prevResult".to_owned(), results[&interface].clone());
            }
        }
        // The recording determines which delegates are called, and in which order.
        let order = |calls: &[Value]| -> Vec<Value> {
            calls
                .iter()
                .map(|c| c["env"]["CNI_IFNAME"].clone())
                .collect()
        };
        assert_eq!(order(&calls), order(&self.recorded_calls("DEL")));
        calls
    }

    /// The expected STATUS and GC calls: the cluster network's plugins with complete confs,
    /// although Multus loses members here.
    fn node_calls(&self, verb: &str) -> Vec<Value> {
        let plugins = self.add_calls().into_iter().take(2);
        plugins
            .map(|mut call| {
                call["env"] = json!({"CNI_COMMAND": verb, "CNI_PATH": call["env"]["CNI_PATH"]});
                let conf = call["stdin"].as_object_mut().unwrap();
                conf.remove("prevResult");
                conf.remove("runtimeConfig");
                call
            })
            .collect()
    }

    /// The results that Multus cached, by interface.
    fn results(&self) -> BTreeMap<String, Value> {
        let files = self.recorded["cnidir"].as_object().unwrap();
        let cached = files.iter().filter(|(path, _)| path.contains("/results/"));
        cached
            .map(|(_, file)| {
                let file: Value = serde_json::from_str(file["text"].as_str().unwrap()).unwrap();
                let interface = file["ifName"].as_str().unwrap().to_owned();
                (interface, corrected_conf(file["result"].clone()))
            })
            .collect()
    }

    /// Compares the calls made since the last time.
    fn made(&self, what: &str, expected: Vec<Value>) {
        let calls: Vec<Value> = self.rig.calls().into_iter().map(comparable).collect();
        compare::same(
            &format!("{}: calls of {what}", self.pod),
            &Value::from(expected),
            &Value::from(calls),
        );
    }

    fn statuses(&self) -> Value {
        let text = self.recorded["status"].as_str().unwrap();
        serde_json::from_str(text).unwrap()
    }
}

fn without_addresses(call: &mut Value) {
    let arguments = call["env"]["CNI_ARGS"].as_str().unwrap();
    call["env"]["CNI_ARGS"] = json!(normal::without_addresses(arguments));
}

/// A conf, or the result in it, with the NADs' exact numbers (correction 10), and with each
/// address's version, which Multus leaves empty although results before 1.0.0 need it.
fn corrected_conf(value: Value) -> Value {
    let mut members = match value {
        Value::Object(members) => members,
        Value::Array(elements) => return elements.into_iter().map(corrected_conf).collect(),
        other => return other,
    };
    for (key, value) in &mut members {
        *value = match key.as_str() {
            "num" => json!(12_345_678_901_234_567_890_u64),
            "f" => json!(1.0),
            "unknown" => json!([1, 2.50, 1e3, true, null]),
            _ => corrected_conf(value.take()),
        };
    }
    if members.get("version") == Some(&json!("")) {
        let is_v6 = members["address"].as_str().unwrap().contains(':');
        members.insert("version".to_owned(), json!(if is_v6 { "6" } else { "4" }));
    }
    Value::Object(members)
}

/// A fake delegate's record in the recordings' format.
fn comparable(record: Value) -> Value {
    let mut env: Map<String, Value> = record["env"].as_object().unwrap().clone();
    env.retain(|name, value| {
        let empty = value == "";
        !MINIMAL.contains(&name.as_str()) && !empty
    });
    let conf: Value = serde_json::from_str(record["stdin"].as_str().unwrap()).unwrap();
    json!({ "argv0": record["argv0"], "env": env, "stdin": conf })
}

/// ADD, CHECK, STATUS and DEL of a pod, with the calls of each.
fn traced(case: &Case<'_>, status: Value, events: &[&str]) {
    let rig = case.rig;
    let pod = format!("default/{}", case.pod);
    let added = rig.succeed(case.shim("ADD"));
    let expected: Value =
        serde_json::from_str(case.shim("ADD")["stdout"].as_str().unwrap()).unwrap();
    compare::same(&format!("{pod}: result"), &expected, &added.json().unwrap());
    case.made("ADD", case.add_calls());
    compare::same(
        &format!("{pod}: network-status"),
        &status,
        &observe::status(rig.node, &pod),
    );
    let told: Vec<Value> = observe::events(rig.node, &pod)
        .into_iter()
        .map(|event| event["message"].clone())
        .collect();
    assert_eq!(told, events);
    same_ledger(case);

    rig.succeed(case.shim("CHECK"));
    case.made("CHECK", case.check_calls());
    rig.succeed(case.shim("STATUS"));
    case.made("STATUS", case.node_calls("STATUS"));
    rig.succeed(case.shim("DEL"));
    case.made("DEL", case.del_calls());
    assert_eq!(observe::ledger(rig.node), case.recorded["cnidir_after_del"]);
    rig.succeed(case.shim("DEL"));
    case.made("a second DEL", Vec::new());
}

/// The result cache is as recorded, except for the corrections; the delegates file has what Multus
/// reads of each network.
fn same_ledger(case: &Case<'_>) {
    let root = case.rig.root.as_ref();
    let recorded = observe::recorded_ledger(&case.recorded["cnidir"], root);
    let ledger = observe::ledger(case.rig.node);
    let names =
        |files: &Value| -> Vec<String> { files.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&ledger), names(&recorded));
    for (path, file) in recorded.as_object().unwrap() {
        let found = &ledger[path];
        assert_eq!(file["mode"], found["mode"], "{path}");
        if path.contains("/results/") {
            let mut expected = corrected_conf(file["json"].clone());
            expected["cniArgs"][4][1] = json!(uid(case.pod));
            let arguments = expected["cniArgs"].as_array_mut().unwrap();
            let is_list = |pair: &Value| {
                pair[0] == "IP" && pair[1].as_str().is_some_and(|ips| ips.contains(','))
            };
            arguments.retain(|pair| !is_list(pair));
            compare::same(path, &expected, &found["json"]);
            continue;
        }
        for (expected, found) in file["json"]
            .as_array()
            .unwrap()
            .iter()
            .zip(found["json"].as_array().unwrap())
        {
            let told = [
                "Name",
                "ifnameRequest",
                "macRequest",
                "infinibandGUIDRequest",
                "ipRequest",
            ];
            for key in told {
                assert_eq!(expected.get(key), found.get(key), "{path}: {key}");
            }
            // Multus keeps a NAD's list here, and a summary of a file's list in another member.
            let lists = |delegate: &Value| delegate["ConfList"].clone();
            compare::same(path, &lists(expected), &lists(found));
        }
    }
}

fn status_without_a_version(interface: &str) -> Value {
    json!({
        "name": "default/tr-nover", "interface": interface,
        "dns": {"nameservers": ["10.9.0.53"], "domain": "d.example", "search": ["s.example"], "options": ["ndots:5"]},
    })
}

#[test]
fn the_default_network_alone() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        let case = Case::of(&rig, "plain");
        let events = ["Add eth0 [10.9.0.2/24 fd00::2/64] from tracenet"];
        traced(&case, case.statuses(), &events);
    });
}

#[test]
fn delegates_get_every_version_and_pod_option() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        let case = Case::of(&rig, "tr");
        // Correction 11.
        let mut status = case.statuses();
        let elements = status.as_array_mut().unwrap();
        elements.insert(4, status_without_a_version("net4"));
        let events = [
            "Add eth0 [10.9.0.2/24 fd00::2/64] from tracenet",
            "Add sec0 [10.9.0.2/24 fd00::2/64] from default/tr-conf",
            "Add net2 [10.9.0.2/24 fd00::2/64] from default/tr-list",
            "Add net3 [10.9.0.2/24 fd00::2/64] from default/tr-noname",
            "Add net4 [] from default/tr-nover",
            "Add net5 [10.9.0.2/24 fd00::2/64] from default/tr-031",
        ];
        traced(&case, status, &events);
    });
}

#[test]
fn one_network_twice_in_a_comma_list() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        let case = Case::of(&rig, "tr2");
        let events = [
            "Add eth0 [10.9.0.2/24 fd00::2/64] from tracenet",
            "Add x0 [10.9.0.2/24 fd00::2/64] from default/tr-conf",
            "Add net2 [10.9.0.2/24 fd00::2/64] from default/tr-list",
            "Add net3 [10.9.0.2/24 fd00::2/64] from default/tr-conf",
        ];
        traced(&case, case.statuses(), &events);
    });
}

#[test]
fn default_route_on_missing_link_is_rolled_back() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        let case = Case::of(&rig, "trgw");
        let answer = rig.replay(case.shim("ADD"));
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        let calls: Vec<String> = rig
            .calls()
            .iter()
            .map(|call| {
                let variable = |name: &str| call["env"][name].as_str().unwrap().to_owned();
                format!("{} {}", variable("CNI_COMMAND"), variable("CNI_IFNAME"))
            })
            .collect();
        // Multus leaves everything it added.
        let expected = [
            "ADD eth0", "ADD eth0", "ADD net1", "DEL net1", "DEL eth0", "DEL eth0",
        ];
        assert_eq!(calls, expected);
        assert_eq!(observe::ledger(rig.node), json!({}));
        assert_eq!(observe::status(rig.node, "default/trgw"), Value::Null);
        rig.succeed(case.shim("DEL"));
        case.made("DEL", Vec::new());
    });
}

#[test]
fn gc_passes_attachments_and_undoes_the_rest() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        let case = Case::of(&rig, "plain");
        let gc_calls = |valid: Value| -> Vec<Value> {
            let mut calls = case.node_calls("GC");
            for call in &mut calls {
                call["stdin"]["cni.dev/valid-attachments"] = valid.clone();
                // As libcni does, for plugins that follow a draft of the specification.
                call["stdin"]["cni.dev/attachments"] = valid.clone();
            }
            calls
        };
        rig.succeed(case.shim("ADD"));
        rig.calls();

        // The runtime still has the pod.
        let both = json!([
            {"containerID": "cid-plain", "ifname": "eth0"},
            {"containerID": "keepme", "ifname": "eth0"},
        ]);
        let mut conf: Value =
            serde_json::from_str(case.shim("GC")["stdin"].as_str().unwrap()).unwrap();
        conf["cni.dev/valid-attachments"] = both.clone();
        let call = rig.call(case.shim("GC")).stdin(conf.to_string());
        let answer = call.make().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");
        case.made("GC", gc_calls(both));

        // As recorded: the runtime no longer has it (correction 7).
        rig.succeed(case.shim("GC"));
        let mut expected = case.del_calls();
        expected.extend(gc_calls(
            json!([{"containerID": "keepme", "ifname": "eth0"}]),
        ));
        for call in expected
            .iter_mut()
            .filter(|call| call["env"]["CNI_COMMAND"] == "DEL")
        {
            call["env"]["CNI_NETNS"] = json!("/run/netns/g-plain");
        }
        case.made("GC", expected);
        assert_eq!(observe::ledger(rig.node), json!({}));
    });
}

#[test]
fn numbers_and_key_order_reach_delegates() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        let case = Case::of(&rig, "tr2");
        rig.succeed(case.shim("ADD"));
        rig.succeed(case.shim("DEL"));
        for call in rig.calls() {
            let given = call["stdin"].as_str().unwrap();
            let name: Value = serde_json::from_str::<Value>(given).unwrap()["name"].take();
            let expected = match name.as_str().unwrap() {
                "tr-conf" => "\"num\": 12345678901234567890, \"f\": 1.0",
                "tracenet" if !given.contains("second") => {
                    "\"x\":{\"unknown\":[1,2.50,1e3,true,null]}"
                }
                _ => continue,
            };
            let compact = |text: &str| text.replace([' ', '\n'], "");
            assert!(compact(given).contains(&compact(expected)), "{given}");
        }
    });
}

#[test]
fn every_recorded_case_is_replayed() {
    let replayed = ["tracer-plain", "tracer-tr", "tracer-tr2", "tracer-trgw"];
    assert_eq!(golden::names("delegate-calls"), replayed);
}
