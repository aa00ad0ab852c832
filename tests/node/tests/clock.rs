//! The wall clock jumps by decades: nothing hangs, expires, is lost or is retried early.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use node::case::on_a_private_node;
use node::inspect;
use node::{Clock, Node, Pod, networks};
use serde_json::{Value, json};

const JUMPS: [i32; 4] = [12, -20, 3, 0];
const YEAR: u64 = 365 * 24 * 60 * 60;

/// How many times a verb of the fake delegate was executed.
fn executed(calls: &Path, verb: &str) -> usize {
    let end = format!("-{verb}.json");
    let names = fs::read_dir(calls)
        .unwrap()
        .map(|file| file.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(&end))
        .count()
}

/// A node whose daemons have a movable clock; [`instruct`] writes the fake delegate's instructions.
fn prepare(node: &mut Node) -> Clock {
    let mut prepare = || {
        networks::prepare(node)?;
        let conf = json!({ "cniVersion": "1.0.0", "name": "odd", "type": networks::FAKE });
        node.add_network("default", "odd", &conf)?;
        Clock::of(node)
    };
    let clock = prepare().unwrap_or_else(|error: node::Error| unreachable!("{}", error.chain()));
    fs::create_dir(node.path("calls")).unwrap();
    clock
}

fn instruct(node: &Node, mut instructions: Value) {
    instructions["record"] = json!(node.path("calls"));
    node.write("bin/fake.fake.json", instructions.to_string())
        .unwrap();
}

#[test]
fn requests_survive_clock_jumps() {
    on_a_private_node(|node| {
        let clock = prepare(node);
        instruct(node, json!({ "ADD": { "until": node.path("go-on") } }));
        node.conf["cniVersion"] = json!("1.1.0");
        node.start_daemon().unwrap();
        let pod = Pod::new("default", "slow").networks("blue,odd");
        let pod = node.add_pod(pod).unwrap();
        let add = node.call("ADD", &pod).unwrap();
        let adding = thread::spawn(move || add.make().unwrap());
        let calls = node.path("calls");
        node.until("the ADD", || executed(&calls, "ADD") == 1);
        let beside = Pod::new("default", "beside").networks("blue");
        let beside = node.add_pod(beside).unwrap();
        for years in JUMPS {
            clock.jump_to_years(years).unwrap();
            for verb in ["STATUS", "ADD", "CHECK", "DEL"] {
                node.succeed(verb, &beside);
            }
        }
        clock.jump_to_years(30).unwrap();
        fs::write(node.path("go-on"), "").unwrap();
        let added = adding.join().unwrap();
        assert!(added.succeeded(), "{added:#?} {}", node.log());
        for verb in ["CHECK", "DEL"] {
            clock.jump_to_years(-15).unwrap();
            node.succeed(verb, &pod);
        }
        assert!(inspect::files(&node.path("ledger")).unwrap().is_empty());
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
    });
}

#[test]
fn a_delegate_that_hangs_is_stopped_all_the_same() {
    on_a_private_node(|node| {
        let clock = prepare(node);
        instruct(node, json!({ "ADD": { "hang": true } }));
        node.config["cnidaria"]["timeouts"] = json!({ "delegateMs": 2000 });
        node.start_daemon().unwrap();
        let pod = node.add_pod(Pod::new("default", "a").networks("blue,odd"));
        let pod = pod.unwrap();
        let add = node.call("ADD", &pod).unwrap();
        let adding = thread::spawn(move || add.make().unwrap());
        let calls = node.path("calls");
        node.until("the ADD", || executed(&calls, "ADD") == 1);
        // By this clock the deadline is now decades away.
        clock.jump_to_years(-20).unwrap();
        let answer = adding.join().unwrap();
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        assert!(answer.stdout.contains("default/odd"), "{answer:#?}");
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the clock that jumps")]
fn clock_jumps_do_not_shift_undo_retries() {
    on_a_private_node(|node| {
        let clock = prepare(node);
        let busy = json!({ "cniVersion": "1.0.0", "code": 111, "msg": "busy" });
        instruct(node, json!({ "DEL": { "error": busy } }));
        node.start_daemon().unwrap();
        let pod = node.add_pod(Pod::new("default", "a").networks("blue,odd"));
        let pod = pod.unwrap();
        node.succeed("ADD", &pod);
        clock.jump_to_years(12).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (start, calls) = (Instant::now(), node.path("calls"));
        assert!(!node.make("DEL", &pod).succeeded());
        let listed = node
            .command_line(&["--output", "json", "attachments"])
            .unwrap();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let since = listed["attachments"][0]["sinceUnixSeconds"].as_u64();
        assert!(
            since.is_some_and(|since| since > now.as_secs() + 11 * YEAR),
            "the daemon's clock is not moved: {listed:#}"
        );

        clock.jump_to_years(40).unwrap();
        node.until("a retry", || executed(&calls, "DEL") > 1);
        // Only a lower bound: a busy machine may lengthen the pause arbitrarily.
        let first = start.elapsed();
        assert!(first >= Duration::from_secs(5), "{first:?}");
        clock.jump_to_years(-20).unwrap();
        instruct(node, json!({}));
        let ledger = node.path("ledger");
        node.until("the undo", || inspect::files(&ledger).unwrap().is_empty());
        let second = start.elapsed();
        assert!(second >= Duration::from_secs(15), "{second:?}");
        assert_eq!(executed(&calls, "DEL"), 3, "{}", node.log());
    });
}

#[test]
fn deferred_del_runs_despite_clock_jump() {
    on_a_private_node(|node| {
        let clock = prepare(node);
        instruct(node, json!({}));
        for years in [25, -25] {
            clock.jump_to_years(0).unwrap();
            node.start_daemon().unwrap();
            let pod = Pod::new("default", &format!("a{years}")).networks("blue");
            let pod = node.add_pod(pod).unwrap();
            node.succeed("ADD", &pod);
            node.kill_daemon().unwrap();
            // The shim uses the machine's clock.
            node.succeed("DEL", &pod);
            clock.jump_to_years(years).unwrap();
            node.start_daemon().unwrap();
            let ledger = node.path("ledger");
            node.until("the DEL", || inspect::files(&ledger).unwrap().is_empty());
            assert!(inspect::reserved_addresses(node).unwrap().is_empty());
            node.stop_daemon().unwrap();
        }
    });
}

#[test]
fn clock_jumps_cause_no_policy_recompilation() {
    on_a_private_node(|node| {
        let clock = prepare(node);
        let config = json!({
            "grants": ["state"],
            "settings": { "after-add": [{ "tag": ["generation", "one"] }] },
        });
        node.add_policy("10-witness", "witness", &config).unwrap();
        let pod = node.add_pod(Pod::new("default", "a")).unwrap();
        let mut compiled = None;
        for years in [0, 25, -25] {
            clock.jump_to_years(years).unwrap();
            node.start_daemon().unwrap();
            node.succeed("ADD", &pod);
            // Also while a daemon is running.
            clock.jump_to_years(-years).unwrap();
            node.succeed("DEL", &pod);
            node.succeed("ADD", &pod);
            let status = node.network_status(&pod.pod).unwrap().to_string();
            assert!(status.contains("generation"), "{status}");
            node.succeed("DEL", &pod);
            let cache = node.path("policy-cache");
            let artefacts = inspect::files(&cache).unwrap();
            let artefacts: Vec<_> = artefacts
                .into_keys()
                .filter(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "cwasm")
                })
                .map(|path| fs::metadata(cache.join(path)).unwrap().ino())
                .collect();
            assert_eq!(artefacts.len(), 1);
            // A different inode would mean a recompilation.
            assert_eq!(*compiled.get_or_insert(artefacts.clone()), artefacts);
            node.stop_daemon().unwrap();
        }
    });
}
