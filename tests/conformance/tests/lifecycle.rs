//! Replays `lifecycle/`: complete pod lives and single calls, most with bad input.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing or malformed fails the test"
)]

use conformance::rig::{self, Rig, uid};
use conformance::{compare, golden, normal, observe};
use node::Answer;
use node::case::on_a_private_node;
use serde_json::{Value, json};

/// Applies the intended differences from a pod's recording.
type Correction = fn(&mut Expected);

/// The expected state after an ADD.
struct Expected {
    result: Value,
    namespace: Value,
    status: Value,
    ledger: Value,
    events: Vec<Value>,
}

impl Expected {
    fn of(rig: &Rig<'_>, recorded: &Value, pod: &str) -> Self {
        let mut expected = Self {
            result: json_of(recorded["add"]["stdout"].as_str().unwrap()),
            namespace: recorded["netns_after_add"].clone(),
            status: observe::recorded_status(&recorded["annotations"]),
            ledger: observe::recorded_ledger(&recorded["cnidir_after_add"], rig.root.as_ref()),
            events: observe::recorded_events(&recorded["events"]),
        };
        // The runtime passes no UID; Cnidaria looks it up.
        for (_, file) in expected.ledger.as_object_mut().unwrap() {
            if let Some(uid_arg) = file.pointer_mut("/json/cniArgs/4/1") {
                *uid_arg = json!(uid(pod));
            }
        }
        // Correction 11.
        for element in expected.status.as_array_mut().unwrap() {
            if element["gateway"] == json!(["<nil>"]) {
                element["gateway"] = json!(["10.77.0.1"]);
            }
        }
        expected
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// Members in which Multus' ADD tracks default routes in the delegates file; never read again.
const WORKING_STATE: [&str; 3] = ["IsFilterV4Gateway", "IsFilterV6Gateway", "default-route"];

/// A ledger without our own members and without Multus' working state.
fn comparable(mut ledger: Value) -> Value {
    for (_, file) in ledger.as_object_mut().unwrap() {
        for delegate in file["json"].as_array_mut().into_iter().flatten() {
            let members = delegate.as_object_mut().unwrap();
            members.remove("cnidaria");
            members.retain(|key, _| !WORKING_STATE.contains(&key.as_str()));
        }
    }
    normal::value(ledger)
}

/// ADD, CHECK, DEL and a second DEL of a pod, each compared with the recording.
fn lives(rig: &Rig<'_>, name: &str, correct: Correction) {
    let recorded = rig.golden(&format!("lifecycle/ok-{name}.json"));
    let pod = format!("default/{name}");
    let netns = format!("g-{name}");
    rig.make_namespace(&netns);
    let mut expected = Expected::of(rig, &recorded, name);
    correct(&mut expected);

    let added = rig.succeed(&recorded["add"]);
    let same = |what: &str, expected: Value, actual: Value| {
        compare::same(
            &format!("{pod}: {what}"),
            &normal::value(expected),
            &normal::value(actual),
        );
    };
    same("result", expected.result, added.json().unwrap());
    same("namespace", expected.namespace, observe::namespace(&netns));
    same(
        "network-status",
        expected.status.clone(),
        observe::status(rig.node, &pod),
    );
    compare::same(
        &format!("{pod}: ledger"),
        &comparable(expected.ledger),
        &comparable(observe::ledger(rig.node)),
    );
    same(
        "events",
        Value::from(expected.events),
        Value::from(observe::events(rig.node, &pod)),
    );

    rig.succeed(&recorded["check"]);
    rig.succeed(&recorded["del"]);
    same(
        "namespace after DEL",
        recorded["netns_after_del"].clone(),
        observe::namespace(&netns),
    );
    same(
        "ledger after DEL",
        recorded["cnidir_after_del"].clone(),
        observe::ledger(rig.node),
    );
    rig.succeed(&recorded["del_again"]);
    same(
        "network-status after DEL",
        expected.status,
        observe::status(rig.node, &pod),
    );
    rig.nothing_is_left();
}

#[test]
fn a_pod_with_the_default_network_alone() {
    on_a_private_node(|node| lives(&Rig::started(node, "conf"), "plain", |_| {}));
}

#[test]
fn a_pod_with_a_bridge_network() {
    on_a_private_node(|node| lives(&Rig::started(node, "conf"), "one-br", |_| {}));
}

#[test]
fn a_pod_with_a_macvlan_network() {
    on_a_private_node(|node| lives(&Rig::started(node, "conf"), "one-mv", |_| {}));
}

#[test]
fn a_pod_with_a_network_of_another_namespace() {
    on_a_private_node(|node| lives(&Rig::started(node, "conf"), "cross-ns", |_| {}));
}

#[test]
fn a_pod_that_chooses_interface_address_and_mac() {
    on_a_private_node(|node| lives(&Rig::started(node, "conf"), "json-sel", |_| {}));
}

#[test]
fn a_pod_that_moves_its_default_route() {
    // Correction 6: the route is moved in the pod, in the results and in network-status.
    on_a_private_node(|node| {
        lives(&Rig::started(node, "conf"), "gw", |expected| {
            expected.namespace["routes"][0] = json!({"dst": "default", "gateway": "10.78.0.1", "dev": "net1", "protocol": "static", "flags": []});
            expected.result.as_object_mut().unwrap().remove("routes");
            let status = &mut expected.status;
            status[0].as_object_mut().unwrap().remove("gateway");
            status[1]["gateway"] = json!(["10.78.0.1"]);
        });
    });
}

/// A recorded shim execution, Multus' answer and the correct one: exit code and CNI error code.
struct Case {
    name: &'static str,
    multus: (i32, Option<u64>),
    right: (i32, Option<u64>),
    /// Words that the error must contain.
    words: &'static [&'static str],
    /// Why the answers differ, if they do.
    why: &'static str,
}

const fn case(
    name: &'static str,
    multus: (i32, Option<u64>),
    right: (i32, Option<u64>),
    words: &'static [&'static str],
    why: &'static str,
) -> Case {
    Case {
        name,
        multus,
        right,
        words,
        why,
    }
}

const CODES: &str = "Multus says 999 for nearly everything";
const MISSING_POD: &str = "correction 8";
/// `daemon/tests/containers.rs` tests them with a cluster.
const WITHOUT_CLUSTER: &str = "podman and nerdctl send no more, and this rig has no cluster";

/// Cases with a failed or missing delegate, which Cnidaria, unlike Multus, reports in an Event.
const FAILED_DELEGATE: [&str; 3] = ["bad-failing", "bad-failraw", "bad-noplugin"];

/// ADDs that fail because of the pod's request.
#[rustfmt::skip]
const BAD: [Case; 10] = [
    case("bad-failing", (1, Some(999)), (1, Some(11)), &["default/failing", "try again later", "fake"], "correction 2"),
    case("bad-failraw", (1, Some(999)), (1, Some(5)), &["default/failraw", "boom on stderr"], CODES),
    case("bad-ip", (1, Some(999)), (1, Some(7)), &["default/bad-ip", "300.1.1.1"], CODES),
    case("bad-json", (1, Some(999)), (1, Some(7)), &["default/bad-json", "annotation"], CODES),
    case("bad-mac", (1, Some(999)), (1, Some(7)), &["default/bad-mac", "zz:zz"], CODES),
    case("bad-name", (1, Some(999)), (1, Some(7)), &["default/bad-name", "Bad_Name"], CODES),
    case("bad-noplugin", (1, Some(999)), (1, Some(7)), &["default/noplugin", "does-not-exist", "/cnibin"], CODES),
    case("bad-notype", (1, Some(999)), (1, Some(7)), &["default/notype", "type"], CODES),
    case("bad-slashes", (1, Some(999)), (1, Some(7)), &["default/bad-slashes", "a/b/c"], CODES),
    case("bad-unknown-nad", (1, Some(999)), (1, Some(7)), &["default/nope", "not found"], CODES),
];

/// Single calls, in this order on one rig.
#[rustfmt::skip]
const SINGLE: [Case; 35] = [
    case("args-missing-del", (0, None), (0, None), &[], ""),
    case("conf-031", (0, None), (0, None), &[], ""),
    case("conf-031-del", (0, None), (0, None), &[], ""),
    case("conf-100-status", (1, Some(1)), (1, Some(1)), &["STATUS"], ""),
    case("conf-bad-version", (1, Some(1)), (1, Some(1)), &["9.9.9", "1.1.0"], ""),
    case("conf-empty", (1, Some(6)), (1, Some(6)), &[], ""),
    case("conf-garbage", (1, Some(6)), (1, Some(6)), &[], ""),
    case("conf-no-name", (1, Some(7)), (1, Some(7)), &["name"], ""),
    case("conf-no-version", (1, Some(999)), (1, Some(7)), &["clusterNetwork"], CODES),
    case("env-args-empty-podname", (1, Some(999)), (1, Some(4)), &["K8S_POD_NAME"], CODES),
    case("env-args-no-podname", (1, Some(999)), (1, Some(4)), &["K8S_POD_NAME"], CODES),
    case("env-args-unknown-no-ignore", (1, Some(999)), (1, Some(4)), &["FOO"], CODES),
    case("env-bad-containerid", (1, Some(4)), (1, Some(4)), &["CNI_CONTAINERID", "../../etc/x"], ""),
    case("env-gc-no-valid", (0, None), (0, None), &[], ""),
    case("env-missing-command", (0, None), (0, None), &[], ""),
    case("env-missing-containerid", (1, Some(4)), (1, Some(4)), &["CNI_CONTAINERID"], ""),
    case("env-missing-ifname", (1, Some(4)), (1, Some(4)), &["CNI_IFNAME"], ""),
    case("env-missing-netns", (1, Some(4)), (1, Some(4)), &["CNI_NETNS"], ""),
    case("env-missing-path", (1, Some(4)), (1, Some(4)), &["CNI_PATH"], ""),
    case("env-status", (0, None), (0, None), &[], ""),
    case("env-unknown-command", (1, Some(4)), (1, Some(4)), &["CNI_COMMAND", "FROB"], ""),
    case("env-version-command", (0, None), (0, None), &[], ""),
    case("netns-empty-add", (1, Some(4)), (1, Some(4)), &["CNI_NETNS"], ""),
    case("netns-missing-add", (1, Some(999)), (1, Some(8)), &["/run/netns/does-not-exist"], CODES),
    case("netns-missing-del", (0, None), (0, None), &[], ""),
    case("pod-not-found-add", (1, Some(999)), (1, Some(11)), &["default/ghost"], CODES),
    case("pod-not-found-add-uid", (0, None), (1, Some(11)), &["default/ghost"], MISSING_POD),
    case("pod-not-found-check", (1, Some(999)), (1, Some(3)), &["cid-ghost"], "what is not attached cannot be checked"),
    case("pod-not-found-del", (0, None), (0, None), &[], ""),
    case("pod-not-found-del-uid", (0, None), (0, None), &[], ""),
    case("pod-right-uid-add", (0, None), (0, None), &[], ""),
    case("pod-right-uid-del", (0, None), (0, None), &[], ""),
    case("pod-right-uid-add", (0, None), (0, None), &[], "once more: the DEL left nothing"),
    case("pod-right-uid-del", (0, None), (0, None), &[], ""),
    case("netns-missing-del", (0, None), (0, None), &[], ""),
];

/// ADDs that identify the pod less completely than a cluster requires.
#[rustfmt::skip]
const UNNAMED: [Case; 2] = [
    case("env-args-no-ns", (1, Some(999)), (0, None), &["eth0"], WITHOUT_CLUSTER),
    case("env-missing-cni-args", (1, Some(999)), (0, None), &["eth0"], WITHOUT_CLUSTER),
];

impl Case {
    /// The Events must be these in addition to Multus'.
    fn is_reported_by(&self, events: &[Value]) {
        let expected = usize::from(FAILED_DELEGATE.contains(&self.name));
        assert_eq!(events.len(), expected, "{}: {events:?}", self.name);
        for event in events {
            assert_eq!(event["type"], "Warning");
            let message = event["message"].as_str().unwrap();
            let missing: Vec<_> = self
                .words
                .iter()
                .filter(|w| !message.contains(**w))
                .collect();
            assert!(missing.is_empty(), "{message}: without {missing:?}");
        }
    }

    /// The case must match the recording, and explain a different expectation.
    fn agrees_with(&self, recorded: &Value) {
        let answer = (
            recorded["exit"].as_i64().unwrap() as i32,
            code_of(recorded["stdout"].as_str().unwrap()),
        );
        assert_eq!(answer, self.multus, "{}", self.name);
        assert!(
            self.multus == self.right || !self.why.is_empty(),
            "{}",
            self.name
        );
    }

    fn answered(&self, answer: &Answer) {
        let found = (answer.code.unwrap(), code_of(&answer.stdout));
        assert_eq!(found, self.right, "{}: {answer:#?}", self.name);
        for word in self.words {
            assert!(
                answer.stdout.contains(word),
                "{}: {word} is missing: {answer:#?}",
                self.name
            );
        }
        if self.right.0 != 0 {
            let error = answer.json().unwrap();
            assert!(error["cniVersion"].is_string(), "{}: {error}", self.name);
        }
    }
}

fn code_of(stdout: &str) -> Option<u64> {
    serde_json::from_str::<Value>(stdout).ok()?["code"].as_u64()
}

#[test]
fn invalid_pods_fail_and_leave_nothing() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        for case in &BAD {
            let recorded = rig.golden(&format!("lifecycle/{}.json", case.name));
            let pod = format!("default/{}", case.name);
            let netns = format!("g-{}", case.name);
            rig.make_namespace(&netns);
            case.agrees_with(&recorded["add"]);
            case.answered(&rig.replay(&recorded["add"]));
            let same = |what: &str, expected: &Value, actual: Value| {
                compare::same(
                    &format!("{pod}: {what}"),
                    &normal::value(expected.clone()),
                    &normal::value(actual),
                );
            };
            let recorded_namespace = &recorded["netns_after_add"];
            same("namespace", recorded_namespace, observe::namespace(&netns));
            let mut events = observe::events(rig.node, &pod);
            let failures: Vec<Value> = events
                .extract_if(.., |event| event["reason"] == "DelegateFailed")
                .collect();
            case.is_reported_by(&failures);
            let recorded_events = Value::from(observe::recorded_events(&recorded["events"]));
            same("events", &recorded_events, events.into());
            assert_eq!(observe::status(rig.node, &pod), Value::Null);
            // Multus leaves its file although it has undone everything.
            rig.nothing_is_left();

            // CHECK of an unattached pod fails; Multus did not check.
            let check = rig.replay(&recorded["check"]);
            assert_eq!(code_of(&check.stdout), Some(3), "{check:#?}");
            rig.succeed(&recorded["del"]);
            rig.nothing_is_left();
        }
    });
}

#[test]
fn single_calls_return_the_right_code() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        rig.make_namespace("g-plain");
        for case in &SINGLE {
            let recorded = rig.golden(&format!("lifecycle/{}.json", case.name));
            case.agrees_with(&recorded["run"]);
            let answer = rig.replay(&recorded["run"]);
            case.answered(&answer);
            let recorded_output = recorded["run"]["stdout"].as_str().unwrap();
            if case.right.0 == 0 {
                same_output(case.name, recorded_output, &answer.stdout);
            }
            if answer.succeeded() && recorded["run"]["env"]["CNI_COMMAND"] == "ADD" {
                let root = rig.root.as_ref();
                let mut files = observe::recorded_ledger(&recorded["cnidir"], root);
                for (_, file) in files.as_object_mut().unwrap() {
                    if let Some(uid_arg) = file.pointer_mut("/json/cniArgs/4/1") {
                        *uid_arg = json!(rig::PLAIN_UID);
                    }
                }
                compare::same(
                    case.name,
                    &comparable(files),
                    &comparable(observe::ledger(rig.node)),
                );
            } else {
                rig.nothing_is_left();
            }
        }
    });
}

#[test]
fn pods_need_no_names_without_a_cluster() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        rig.make_namespace("g-plain");
        for case in &UNNAMED {
            let recorded = rig.golden(&format!("lifecycle/{}.json", case.name));
            case.agrees_with(&recorded["run"]);
            case.answered(&rig.replay(&recorded["run"]));
            let del = rig.call(&recorded["run"]).with("CNI_COMMAND", "DEL");
            let answer = del.make().unwrap();
            assert!(answer.succeeded(), "{answer:#?}");
            rig.nothing_is_left();
        }
    });
}

fn same_output(what: &str, expected: &str, actual: &str) {
    if expected.is_empty() {
        assert_eq!(actual, "", "{what}");
        return;
    }
    compare::same(
        what,
        &normal::value(json_of(expected)),
        &normal::value(json_of(actual)),
    );
}

#[test]
fn without_a_command_the_shim_says_what_it_is() {
    on_a_private_node(|node| {
        let rig = Rig::new(node, "conf");
        let recorded = rig.golden("lifecycle/env-missing-command.json");
        let answer = rig.replay(&recorded["run"]);
        assert_eq!(answer.code, Some(0), "{answer:#?}");
        assert!(answer.stderr.contains("1.1.0"), "{answer:#?}");
    });
}

#[test]
fn every_recorded_life_and_call_is_replayed() {
    let lives = ["cross-ns", "gw", "json-sel", "one-br", "one-mv", "plain"];
    let lives = lives.map(|name| format!("ok-{name}"));
    let cases = BAD.iter().chain(&SINGLE).chain(&UNNAMED);
    let cases = cases.map(|case| case.name.to_owned());
    let mut replayed: Vec<String> = lives.into_iter().chain(cases).collect();
    replayed.sort();
    replayed.dedup();
    assert_eq!(replayed, golden::names("lifecycle"));
}
