//! While hostile guests, networks and annotations keep the daemon busy, it serves other pods, and
//! stays within its memory.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what is missing fails the test"
)]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use hostile_misbehave::{Behaviour, Place};
use hostile_tireless::Task;
use node::case::on_a_private_node;
use node::{Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

/// The memory limit of the DaemonSet, in KiB.
const MEMORY: u64 = 768 << 10;
/// ADDs of the other pod while the hostile cases go on.
const ROUNDS: usize = 3;

/// What keeps the daemon busy.
struct Case {
    name: String,
    pod: Sandbox,
    /// What each answer to its ADD must contain; anything if empty.
    says: &'static str,
}

/// The daemon's peak memory in KiB.
fn most_memory(node: &Node) -> u64 {
    let pid = node.daemon_pid().expect("it runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Repeats all cases at the same time until the other pod was attached and detached some times.
/// The clients give up after 30 s.
fn watch(node: &Node, cases: &[Case]) {
    let other = node.add_pod(Pod::new("default", "other")).unwrap();
    let is_over = AtomicBool::new(false);
    let calls: Vec<AtomicUsize> = cases.iter().map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for (case, calls) in cases.iter().zip(&calls) {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = node.make("ADD", &case.pod);
                    let text = &answer.stdout;
                    assert!(text.contains(case.says), "{}: {answer:#?}", case.name);
                    node.make("STATUS", &case.pod);
                    node.make("DEL", &case.pod);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..ROUNDS {
            assert_eq!(node.health().unwrap(), 200);
            node.succeed("ADD", &other);
            assert_eq!(node.health().unwrap(), 200);
            node.succeed("DEL", &other);
        }
    });
    for (case, calls) in cases.iter().zip(&calls) {
        assert!(
            calls.load(Ordering::Relaxed) > 0,
            "{} did nothing",
            case.name
        );
    }
    let memory = most_memory(node);
    assert!(memory <= MEMORY, "{memory} KiB");
}

/// Ends the cases, also if the watch fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until every policy has been compiled.
fn until_loaded(node: &Node) {
    node.until("every policy is compiled", || {
        let list = node.command_line(&["policy", "list"]).unwrap();
        !list.contains("loading")
    });
}

/// The settings of each hostile guest, with its name.
fn guests() -> Vec<(String, &'static str, Value)> {
    let name = |behaviour: Behaviour| serde_json::to_value(behaviour).unwrap();
    let mut guests: Vec<_> = Behaviour::ALL
        .into_iter()
        .map(|behaviour| {
            let settings = json!({"do": behaviour, "at": Place::BeforeAdd});
            let name = name(behaviour).as_str().unwrap().to_owned();
            (name, "hostile-misbehave", settings)
        })
        .collect();
    for place in [Place::Configure, Place::Status, Place::Del] {
        for behaviour in [Behaviour::Spin, Behaviour::SpinInHost, Behaviour::Grow] {
            let settings = json!({"do": behaviour, "at": place});
            let place = serde_json::to_value(place).unwrap();
            let name = format!("{}-{}", name(behaviour), place).replace('"', "");
            guests.push((name, "hostile-misbehave", settings));
        }
    }
    for (key, number) in [
        ("keys", 100_000),
        ("value", 1 << 20),
        ("metrics", 100_000),
        ("random", 1 << 20),
    ] {
        let settings = json!({ key: number });
        guests.push((format!("greedy-{key}"), "hostile-greedy", settings));
    }
    guests
}

#[test]
fn no_call_of_the_host_holds_up_another_pod() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.config["cnidaria"]["policies"]["record"] = json!({
            "directory": node.path("record"),
            "maxBytes": 8 << 20,
        });
        let conf = conf(&format!(r#","x":"{}""#, "z".repeat(200 << 10)));
        node.add_raw_network("default", "large", &conf).unwrap();
        let mut cases = Vec::new();
        for task in Task::ALL {
            let name = serde_json::to_value(task).unwrap();
            let name = name.as_str().unwrap().to_owned();
            let config = json!({
                "settings": {"do": task},
                "grants": [
                    "append-plugin", "attachments", "metrics", "namespaces", "random",
                    "rewrite-result", "state",
                ],
                "appendTypes": ["noop"],
                "match": {"namespaces": [name]},
            });
            node.add_policy(&format!("10-{name}"), "hostile-tireless", &config)
                .unwrap();
            let pod = Pod::new(&name, "bad").networks("default/large,default/large");
            cases.push(Case {
                pod: node.add_pod(pod).unwrap(),
                name,
                // The policy fails, and is closed.
                says: "\"code\"",
            });
        }
        node.start_daemon().unwrap();
        until_loaded(node);
        watch(node, &cases);
    });
}

#[test]
fn no_hostile_guest_holds_up_another_pod() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let grants = [
            "clock",
            "metrics",
            "nads",
            "namespaces",
            "node",
            "random",
            "state",
        ];
        let mut cases = Vec::new();
        for (name, module, settings) in guests() {
            let config = json!({
                "settings": settings,
                "failurePolicy": "open",
                "grants": if module == "hostile-greedy" { &grants[..] } else { &[] },
                "match": {"namespaces": [name]},
            });
            node.add_policy(&format!("10-{name}"), module, &config)
                .unwrap();
            let pod = node.add_pod(Pod::new(&name, "bad")).unwrap();
            cases.push(Case {
                name,
                pod,
                says: "",
            });
        }
        node.start_daemon().unwrap();
        until_loaded(node);
        watch(node, &cases);
    });
}

fn conf(members: &str) -> String {
    format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"bridge"{members}}}"#)
}

fn numbered(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).map(each).collect()
}

/// Confs that make a policy's edit as expensive as a tenant can, and what is said about them:
/// beyond the limits, and just within.
fn hostile_confs() -> Vec<(&'static str, String, &'static str)> {
    let types = |count| conf(&numbered(count, |at| format!(r#","k{at}":{{"type":"t"}}"#)));
    let plugins = |count| {
        let plugins = numbered(count, |_| r#"{"type":"tuning"},"#.to_owned());
        let plugins = plugins.trim_end_matches(',').to_owned();
        format!(r#"{{"cniVersion":"1.0.0","name":"n","plugins":[{plugins}]}}"#)
    };
    let (deep, end) = ("[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("members", types(35_000), "cnidaria.limits."),
        (
            "same",
            conf(&r#","type":"bridge""#.repeat(75_000)),
            "cnidaria.limits.",
        ),
        ("within", types(2000), ""),
        ("deep", conf(&format!(r#","x":{deep}{end}"#)), "msg"),
        ("chain", plugins(20_000), "cnidaria.limits."),
        (
            "long-key",
            conf(&format!(r#","{}":1"#, "k".repeat(200_000))),
            "",
        ),
        (
            "text",
            conf(&format!(r#","x":"{}""#, "z".repeat(1 << 20))),
            "cnidaria.limits.",
        ),
        (
            "folded",
            conf(&numbered(2000, |at| {
                format!(r#","{}":1"#, cased("masterinterface", at))
            })),
            "",
        ),
    ]
}

/// A key in one of its cases.
fn cased(key: &str, number: usize) -> String {
    let chars = key.chars().enumerate();
    chars
        .map(|(at, c)| match number >> at & 1 {
            1 => c.to_ascii_uppercase(),
            _ => c,
        })
        .collect()
}

/// Annotations of pods, and what is said about them.
fn hostile_annotations() -> Vec<(&'static str, String, &'static str)> {
    let args = |count| {
        let args = numbered(count, |at| format!(r#""k{at}":1,"#));
        let args = args.trim_end_matches(',').to_owned();
        format!(r#"[{{"name":"blue","cni-args":{{{args}}}}}]"#)
    };
    let ips = numbered(20_000, |_| r#""10.0.0.1","#.to_owned());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("args", args(20_000), "cnidaria.limits."),
        ("args-within", args(100), ""),
        ("networks", "blue,".repeat(40_000), "cnidaria.limits."),
        (
            "ips",
            format!(
                r#"[{{"name":"blue","ips":[{}]}}]"#,
                ips.trim_end_matches(',')
            ),
            "cnidaria.limits.",
        ),
        ("nested", deep, "msg"),
    ]
}

#[test]
fn no_hostile_network_holds_up_another_pod() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.add_policy("10-mtu", "annotation-mtu", &json!({}))
            .unwrap();
        let mut cases = Vec::new();
        for (name, conf, says) in hostile_confs() {
            node.add_raw_network("default", name, &conf).unwrap();
            let pod = Pod::new("default", name).networks(name);
            let pod = pod.annotation("cnidaria.dev/mtu", &format!("{name}=1337"));
            cases.push(Case {
                name: format!("network {name}"),
                pod: node.add_pod(pod).unwrap(),
                says,
            });
        }
        for (name, annotation, says) in hostile_annotations() {
            let pod = Pod::new("tenant", name).networks(&annotation);
            let pod = pod.annotation("cnidaria.dev/mtu", "default/blue=1337");
            cases.push(Case {
                name: format!("annotation {name}"),
                pod: node.add_pod(pod).unwrap(),
                says,
            });
        }
        node.start_daemon().unwrap();
        until_loaded(node);
        watch(node, &cases);
    });
}
