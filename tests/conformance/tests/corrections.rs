//! Where Multus is wrong: a test for each correction listed in the README of the recordings, by
//! number. Those about hostile input are in `hostile_corrections.rs`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing or malformed fails the test"
)]

use std::fs;
use std::thread;

use conformance::observe;
use conformance::rig::Rig;
use conformance::steps::links;
use node::case::on_a_private_node;
use node::{Answer, run, runs, until};
use serde_json::{Value, json};

fn code(answer: &Answer) -> u64 {
    assert_eq!(answer.code, Some(1), "{answer:#?}");
    answer.json().unwrap()["code"].as_u64().unwrap()
}

/// The ledger without its retry notes.
fn recorded(rig: &Rig<'_>) -> Value {
    let mut ledger = observe::ledger(rig.node);
    let files = ledger.as_object_mut().unwrap();
    files.retain(|path, _| !path.contains("/.undo/"));
    ledger
}

#[test]
fn correction_01_check_checks_every_attachment() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        let life = rig.life("one-br");
        rig.succeed(&life["add"]);
        rig.succeed(&life["check"]);
        run("ip", &["-n", "g-one-br", "link", "delete", "net1"]).unwrap();
        let check = rig.replay(&life["check"]);
        assert_eq!(check.code, Some(1), "{check:#?}");
        assert!(check.stdout.contains("default/br-sec"), "{check:#?}");
        rig.succeed(&life["del"]);
        rig.nothing_is_left_of("one-br");
    });
}

#[test]
fn correction_02_delegate_errors_are_kept() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        rig.make_namespace("g-bad-failing");
        let recorded = rig.golden("lifecycle/bad-failing.json");
        for (failure, expected) in [(11, 11), (100, 100), (7, 7), (4711, 4711)] {
            let error = json!({"cniVersion": "1.0.0", "code": failure, "msg": "the reason", "details": "the details"});
            rig.install("fail", &json!({"ADD": {"error": error}}));
            let answer = rig.replay(&recorded["add"]);
            assert_eq!(code(&answer), expected);
            let error = answer.json().unwrap();
            let text = |key: &str| error[key].as_str().unwrap().to_owned();
            assert!(text("msg").contains("the reason"), "{error}");
            assert!(text("msg").contains("default/failing"), "{error}");
            assert_eq!(text("details"), "the details");
        }
        rig.nothing_is_left_of("bad-failing");
    });
}

#[test]
fn correction_03_failed_del_stays_recorded() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        let life = rig.life("one-br");
        // Never added: nothing to do.
        rig.succeed(&life["del"]);
        rig.succeed(&life["add"]);
        let before = recorded(&rig);

        rig.node.stop_daemon().unwrap();
        assert_eq!(code(&rig.replay(&life["del"])), 11);
        assert_eq!(recorded(&rig), before);
        assert_eq!(links("g-one-br"), ["eth0", "net1"]);

        rig.node.start_daemon().unwrap();
        let bridge = rig.node.path("cnibin/bridge");
        let moved = rig.node.path("cnibin/bridge-away");
        fs::rename(&bridge, &moved).unwrap();
        let answer = rig.replay(&life["del"]);
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        assert_eq!(recorded(&rig), before);

        fs::rename(&moved, &bridge).unwrap();
        rig.succeed(&life["del"]);
        rig.nothing_is_left_of("one-br");
        rig.succeed(&life["del_again"]);
    });
}

#[test]
fn correction_04_corrupt_ledger_leaks_nothing() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        let life = rig.life("one-br");
        let corrupt = |what: &str| {
            for (path, _) in observe::ledger(rig.node).as_object().unwrap() {
                if path.contains("/results/") == (what == "results") {
                    fs::write(path, "[{\"Conf\":{\"cniVers").unwrap();
                }
            }
        };
        // The result cache still knows the attachments.
        rig.succeed(&life["add"]);
        corrupt("delegates");
        rig.succeed(&life["del"]);
        rig.nothing_is_left_of("one-br");

        // Only the API still knows them.
        rig.succeed(&life["add"]);
        fs::remove_dir_all(rig.node.path("cnidir/results")).unwrap();
        corrupt("delegates");
        rig.succeed(&life["del"]);
        rig.nothing_is_left_of("one-br");

        // Nothing knows them.
        rig.succeed(&life["add"]);
        fs::remove_dir_all(rig.node.path("cnidir/results")).unwrap();
        corrupt("delegates");
        fs::remove_file(rig.node.path("manifests/pods.json")).unwrap();
        let answer = rig.replay(&life["del"]);
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        assert!(answer.stdout.contains("cnidir/cid-one-br"), "{answer:#?}");
        assert!(rig.node.path("cnidir/cid-one-br").exists());
    });
}

#[test]
fn correction_05_a_second_add_harms_nothing() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        let life = rig.life("one-br");
        rig.succeed(&life["add"]);
        let before = (observe::namespace("g-one-br"), observe::ledger(rig.node));
        let second = rig.replay(&life["add"]);
        assert_eq!(second.code, Some(1), "{second:#?}");
        let after = (observe::namespace("g-one-br"), observe::ledger(rig.node));
        assert_eq!(before, after);
        rig.succeed(&life["check"]);
        rig.succeed(&life["del"]);

        let call = rig.call(&life["add"]);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| call.make().unwrap()));
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let winners = answers.iter().filter(|answer| answer.succeeded()).count();
        assert_eq!(winners, 1, "{answers:#?}");
        rig.succeed(&life["check"]);
        rig.succeed(&life["del"]);
        rig.nothing_is_left_of("one-br");
    });
}

#[test]
fn correction_06_both_default_routes_are_moved() {
    on_a_private_node(|node| {
        let rig = Rig::new(node, "conf");
        let life = rig.life("gw");
        let conf = json!({
            "cniVersion": "1.0.0", "name": "dual", "type": "bridge", "bridge": "dual0", "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": format!("{}/ipam", rig.root),
                "ranges": [[{"subnet": "10.82.0.0/24"}], [{"subnet": "fd82::/64"}]],
            },
        });
        rig.add_nad("default", "dual", &conf);
        rig.ask_for(
            "gw",
            r#"[{"name":"dual","default-route":["10.82.0.1","fd82::1"]}]"#,
        );
        rig.node.start_daemon().unwrap();
        let added = rig.succeed(&life["add"]).json().unwrap();
        assert!(added.get("routes").is_none(), "{added:#}");
        for (family, gateway) in [("-4", "10.82.0.1"), ("-6", "fd82::1")] {
            let shown = run("ip", &["-n", "g-gw", family, "route", "show", "default"]).unwrap();
            let routes: Vec<&str> = shown.lines().collect();
            assert_eq!(routes.len(), 1, "{shown}");
            assert!(
                routes[0].contains(&format!("via {gateway} dev net1")),
                "{shown}"
            );
        }
        let status = observe::status(rig.node, "default/gw");
        assert!(status[0].get("gateway").is_none(), "{status:#}");
        assert_eq!(status[1]["gateway"], json!(["10.82.0.1", "fd82::1"]));
        rig.succeed(&life["check"]);
        rig.succeed(&life["del"]);
        rig.nothing_is_left_of("gw");
    });
}

#[test]
fn correction_07_gc_undoes_stale_pods_everywhere() {
    on_a_private_node(|node| {
        let rig = Rig::new(node, "tracer");
        let recorded = rig.golden("delegate-calls/tracer-plain.json");
        rig.make_namespace("g-plain");
        let conf = json!({"cniVersion": "1.1.0", "name": "own", "type": "tracer"});
        rig.add_nad("default", "own", &conf);
        rig.ask_for("plain", "own");
        rig.node.start_daemon().unwrap();
        rig.succeed(&recorded["ADD"]["shim"]);
        rig.calls();
        let collect = |valid: Value| {
            let call = rig.with_conf(&recorded["GC"]["shim"], |conf| {
                conf["cni.dev/valid-attachments"] = valid;
            });
            let answer = call.make().unwrap();
            assert!(answer.succeeded(), "{answer:#?}");
            let told = |call: &Value| {
                let conf: Value = serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap();
                let command = call["env"]["CNI_COMMAND"].as_str().unwrap().to_owned();
                let network = conf["name"].as_str().unwrap().to_owned();
                (command, network, conf["cni.dev/valid-attachments"].clone())
            };
            rig.calls().iter().map(told).collect::<Vec<_>>()
        };
        let told = |command: &str, network: &str, valid: &Value| {
            (command.to_owned(), network.to_owned(), valid.clone())
        };

        // The runtime knows only eth0, but the pod's other interface is in use as well.
        let valid = json!([
            {"containerID": "cid-plain", "ifname": "eth0"}, {"containerID": "cid-plain", "ifname": "net1"},
        ]);
        let mut calls = collect(json!([{"containerID": "cid-plain", "ifname": "eth0"}]));
        calls.sort_by_key(|(_, network, _)| network.clone());
        let expected = ["own", "tracenet", "tracenet"].map(|name| told("GC", name, &valid));
        assert_eq!(calls, expected);

        // The runtime no longer has the pod.
        let calls = collect(json!([]));
        let deleted: Vec<&str> = calls
            .iter()
            .filter(|(command, ..)| command == "DEL")
            .map(|(_, network, _)| network.as_str())
            .collect();
        assert_eq!(deleted, ["own", "tracenet", "tracenet"]);
        for network in ["own", "tracenet"] {
            assert!(
                calls.contains(&told("GC", network, &json!([]))),
                "{calls:?}"
            );
        }
        assert_eq!(observe::ledger(rig.node), json!({}));
    });
}

#[test]
fn correction_08_add_awaits_pod_or_fails() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        rig.make_namespace("g-plain");
        for name in ["pod-not-found-add-uid", "pod-not-found-add"] {
            let recorded = rig.golden(&format!("lifecycle/{name}.json"));
            let answer = rig.replay(&recorded["run"]);
            assert_eq!(code(&answer), 11);
            assert!(answer.stdout.contains("default/ghost"), "{answer:#?}");
            rig.nothing_is_left_of("plain");
        }
        // The pod appears shortly after the runtime's call, which passes no UID.
        let recorded = rig.golden("lifecycle/pod-not-found-add.json");
        let call = rig.call(&recorded["run"]);
        let waiting = thread::spawn(move || call.make().unwrap());
        until("the shim runs", || runs("cnidaria-shim"));
        rig.ask_for("ghost", "");
        let answer = waiting.join().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");
        rig.succeed(&rig.golden("lifecycle/pod-not-found-del.json")["run"]);
        rig.nothing_is_left_of("plain");
    });
}

#[test]
fn correction_09_del_gets_the_arguments_of_add() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        let recorded = rig.golden("delegate-calls/tracer-tr.json");
        rig.make_namespace("g-tr");
        rig.succeed(&recorded["ADD"]["shim"]);
        // The runtime may have forgotten what it passed to ADD, and lost the namespace.
        let del = rig.with_conf(&recorded["DEL"]["shim"], |conf| {
            conf.as_object_mut().unwrap().remove("runtimeConfig");
        });
        let answer = del.make().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");
        let calls = rig.calls();
        let given = |command: &str| {
            let of_sec0 = |call: &&Value| {
                call["env"]["CNI_COMMAND"] == command && call["env"]["CNI_IFNAME"] == "sec0"
            };
            let call = calls.iter().find(of_sec0).unwrap();
            let conf: Value = serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap();
            (
                call["env"]["CNI_ARGS"].clone(),
                conf["runtimeConfig"].clone(),
                conf["args"].clone(),
            )
        };
        let (arguments, capabilities, args) = given("ADD");
        // All arguments except MAC and IP, which say what ADD should assign: IPAM plugins read them
        // for every verb and fail. For two addresses no verb has an argument; the capability
        // carries them.
        let arguments = arguments.as_str().unwrap();
        assert!(arguments.ends_with(";MAC=02:aa:bb:cc:dd:ee"), "{arguments}");
        let without = json!(arguments.trim_end_matches(";MAC=02:aa:bb:cc:dd:ee"));
        assert_eq!(given("DEL"), (without, capabilities.clone(), args));
        assert_eq!(capabilities["ips"], json!(["10.5.0.5/24", "fd01::5/64"]));
        assert_eq!(capabilities["portMappings"][0]["hostPort"], 8080);
        assert_eq!(capabilities["bandwidth"]["egressBurst"], 4000);
    });
}

#[test]
fn correction_10_confs_are_passed_unchanged() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "tracer");
        let recorded = rig.golden("delegate-calls/tracer-tr.json");
        rig.make_namespace("g-tr");
        rig.succeed(&recorded["ADD"]["shim"]);
        rig.succeed(&recorded["DEL"]["shim"]);
        let mut seen = 0;
        for call in rig.calls() {
            let given = call["stdin"].as_str().unwrap();
            if given.contains("\"tr-conf\"") {
                assert!(given.contains("12345678901234567890"), "{given}");
                assert!(
                    given.contains("\"f\": 1.0") || given.contains("\"f\":1.0"),
                    "{given}"
                );
                seen += 1;
            }
            if given.contains("\"unknown\"") {
                assert!(given.contains("[1,2.50,1e3,true,null]"), "{given}");
                seen += 1;
            }
        }
        assert_eq!(seen, 4, "ADD and DEL of both");
    });
}

#[test]
fn correction_11_status_has_gateway_and_networks() {
    on_a_private_node(|node| {
        let rig = Rig::new(node, "conf");
        let life = rig.life("one-br");
        let conf = json!({
            "type": "bridge", "bridge": "peer1",
            "ipam": {"type": "host-local", "dataDir": format!("{}/ipam", rig.root), "subnet": "10.79.0.0/16"},
        });
        rig.add_nad("default", "old", &conf);
        rig.ask_for("one-br", "old");
        rig.node.start_daemon().unwrap();
        rig.succeed(&life["add"]);
        let status = observe::status(rig.node, "default/one-br");
        assert_eq!(status[0]["gateway"], json!(["10.77.0.1"]));
        assert_eq!(status[1]["name"], "default/old");
        assert_eq!(status[1]["interface"], "net1");
        assert_eq!(status[1]["ips"], json!(["10.79.0.2"]));
        let events = observe::events(rig.node, "default/one-br");
        assert_eq!(
            events[1]["message"],
            "Add net1 [10.79.0.2/16] from default/old"
        );
        rig.succeed(&life["check"]);
        rig.succeed(&life["del"]);
        rig.nothing_is_left_of("one-br");
    });
}

#[test]
fn correction_12_system_namespaces_are_not_pods() {
    on_a_private_node(|node| {
        let rig = Rig::started(node, "conf");
        let life = rig.life("plain");
        let conf = json!({"cniVersion": "1.0.0", "name": "everybody", "type": "noop"});
        rig.add_nad("kube-system", "everybody", &conf);
        for (system, interfaces) in [("plain", 2), ("default", 1)] {
            let call = rig.with_conf(&life["add"], |conf| {
                conf["defaultNetworks"] = json!(["everybody"]);
                conf["systemNamespaces"] = json!([system]);
            });
            let answer = call.make().unwrap();
            assert!(answer.succeeded(), "{answer:#?}");
            let ledger = observe::ledger(rig.node);
            let file = &ledger[format!("{}/cnidir/cid-plain", rig.root)]["json"];
            assert_eq!(file.as_array().unwrap().len(), interfaces, "{system}");
            rig.succeed(&life["del"]);
        }
    });
}
