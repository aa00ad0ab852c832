//! The daemon is killed at random moments of random requests; the next one undoes everything that
//! was started, even when a pod's DEL found no daemon running. The kernel and host-local, not the
//! ledger, show what is left.
//!
//! `CNIDARIA_CRASH_ROUNDS` sets the number of rounds, `CNIDARIA_CRASH_SEED` repeats a run's choices
//! but not its timing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Answer, Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

const ROUNDS: u64 = 30;
/// Short enough that most kills hit a request.
const LONGEST_LIFE_MS: u64 = 160;
/// What a round's pods request, besides the default network.
const NETWORKS: [&str; 4] = ["", "blue", "blue,storage", "blue,blue,storage"];
/// All that runs on a clean node: the test itself, the daemon, and the shell that is process 1.
const PROGRAMS: [&str; 3] = ["crash-", "cnidaria-daemon", "enter"];

/// SplitMix64: random enough for choices, and the same on every platform.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a seed")]
fn next_daemon_cleans_up_after_any_crash() {
    on_a_private_node(|node| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = number("CNIDARIA_CRASH_SEED").unwrap_or(now.subsec_nanos().into());
        let rounds = number("CNIDARIA_CRASH_ROUNDS").unwrap_or(ROUNDS);
        println!("{rounds} rounds from CNIDARIA_CRASH_SEED={seed}");
        let pods = prepare(node).expect("the node can be prepared");
        let clean = State::of(node, &pods);
        for round in 0..rounds {
            let mut random = Random(seed.wrapping_add(round.wrapping_mul(0x1_0001)));
            let done = crash(node, &pods, &mut random);
            let recovered = match random.one_in(3) {
                true => recover_unheard(node, &pods),
                false => recover(node, &pods, &mut random),
            };
            let left = State::of(node, &pods);
            assert_eq!(
                left,
                clean,
                "round {round} of seed {seed}: {done:#?} {recovered:#?}\n{}",
                node.log()
            );
            node.kill_daemon()
                .expect("the second daemon lives until now");
            fs::write(node.path("daemon.log"), "").unwrap();
        }
    });
}

fn prepare(node: &mut Node) -> Result<Vec<Sandbox>, node::Error> {
    networks::prepare(node)?;
    // Calls should not wait long for a dead daemon.
    node.conf["cnidaria"] = json!({ "shim": { "addConnectTimeoutMs": 1 } });
    node.conf["cniVersion"] = json!("1.1.0");
    let pods = NETWORKS.iter().enumerate().map(|(number, networks)| {
        let mut pod = Pod::new("default", &format!("pod-{number}"));
        if !networks.is_empty() {
            pod = pod.networks(networks);
        }
        node.add_pod(pod)
    });
    pods.collect()
}

/// Sends random requests for every pod at once until the daemon is killed. Returns the answers.
fn crash(node: &mut Node, pods: &[Sandbox], random: &mut Random) -> Vec<String> {
    node.start_daemon().expect("the daemon starts");
    let life = Duration::from_millis(random.below(LONGEST_LIFE_MS));
    let killed = AtomicBool::new(false);
    let seeds: Vec<u64> = pods.iter().map(|_| random.next()).collect();
    let gc = random.one_in(3);
    let calls = Calls::of(node, pods);
    thread::scope(|scope| {
        let mut working: Vec<_> = seeds
            .iter()
            .enumerate()
            .map(|(number, seed)| {
                let (calls, killed) = (&calls, &killed);
                scope.spawn(move || calls.add_and_delete(number, Random(*seed), killed))
            })
            .collect();
        if gc {
            let (calls, killed) = (&calls, &killed);
            working.push(scope.spawn(move || calls.collect_garbage(killed)));
        }
        thread::sleep(life);
        node.kill_daemon().expect("the daemon lives until now");
        killed.store(true, Ordering::Relaxed);
        let answers = working
            .into_iter()
            .flat_map(|one| one.join().expect("no call fails"));
        answers.collect()
    })
}

/// Starts the next daemon and sends the runtime's requests: DEL of each pod, or GC of all.
/// Sometimes the pods' namespaces are already gone.
fn recover(node: &mut Node, pods: &[Sandbox], random: &mut Random) -> Vec<Answer> {
    node.start_daemon().expect("the daemon starts again");
    let calls = Calls::of(node, pods);
    let answers: Vec<Answer> = if random.one_in(4) {
        vec![calls.gc(json!([]))]
    } else {
        thread::scope(|scope| {
            let calls = &calls;
            let deleting: Vec<_> = (0..pods.len())
                .map(|number| scope.spawn(move || calls.make(number, "DEL")))
                .collect();
            deleting
                .into_iter()
                .map(|one| one.join().expect("no call fails"))
                .collect()
        })
    };
    for answer in &answers {
        assert!(answer.succeeded(), "{answer:#?} {}", node.log());
    }
    answers
}

/// DELs each pod before the next daemon starts, which must then clean up unprompted.
fn recover_unheard(node: &mut Node, pods: &[Sandbox]) -> Vec<Answer> {
    let calls = Calls::of(node, pods);
    let answers: Vec<Answer> = (0..pods.len())
        .map(|number| calls.make(number, "DEL"))
        .collect();
    for answer in &answers {
        assert!(answer.succeeded(), "{answer:#?} {}", node.log());
    }
    node.start_daemon().expect("the daemon starts again");
    node.until("the ledger is empty", || {
        inspect::files(&node.path("ledger")).unwrap().is_empty()
    });
    answers
}

/// Shim calls, built before the node is mutably borrowed.
struct Calls {
    of_pods: Vec<BTreeMap<&'static str, node::Call>>,
    gc: node::Call,
    conf: Value,
}

impl Calls {
    fn of(node: &Node, pods: &[Sandbox]) -> Self {
        let call = |command, pod| node.call(command, pod).expect("the shim is built");
        let of_pod = |pod| BTreeMap::from(["ADD", "DEL"].map(|verb| (verb, call(verb, pod))));
        Self {
            of_pods: pods.iter().map(of_pod).collect(),
            gc: call("GC", &pods[0])
                .without("CNI_CONTAINERID")
                .without("CNI_NETNS")
                .without("CNI_IFNAME")
                .without("CNI_ARGS"),
            conf: node.conf.clone(),
        }
    }

    fn make(&self, pod: usize, verb: &str) -> Answer {
        self.of_pods[pod][verb]
            .make()
            .expect("the shim can be executed")
    }

    fn gc(&self, valid: Value) -> Answer {
        let mut conf = self.conf.clone();
        conf["cni.dev/valid-attachments"] = valid;
        let call = self.gc.clone().stdin(conf.to_string());
        call.make().expect("the shim can be executed")
    }

    fn add_and_delete(&self, pod: usize, mut random: Random, killed: &AtomicBool) -> Vec<String> {
        let mut answers = Vec::new();
        while !killed.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(random.below(15)));
            let verb = if random.one_in(3) { "DEL" } else { "ADD" };
            let answer = self.make(pod, verb);
            answers.push(format!("{verb} {pod}: {:?} {}", answer.code, answer.stdout));
            if verb == "ADD" && random.one_in(2) {
                let answer = self.make(pod, "DEL");
                answers.push(format!("DEL {pod}: {:?} {}", answer.code, answer.stdout));
            }
        }
        answers
    }

    /// Every pod is in use, so GC must remove nothing.
    fn collect_garbage(&self, killed: &AtomicBool) -> Vec<String> {
        let valid: Vec<Value> = self
            .of_pods
            .iter()
            .map(|pod| json!({ "containerID": pod["ADD"].variables["CNI_CONTAINERID"], "ifname": "eth0" }))
            .collect();
        let mut answers = Vec::new();
        while !killed.load(Ordering::Relaxed) {
            let answer = self.gc(json!(valid));
            answers.push(format!("GC: {:?} {}", answer.code, answer.stdout));
        }
        answers
    }
}

/// Everything that an ADD can leave on a node.
#[derive(Debug, PartialEq, Eq)]
struct State {
    traces: Vec<Traces>,
    routes: Vec<String>,
    mounts: Vec<String>,
    processes: Vec<String>,
}

impl State {
    fn of(node: &Node, pods: &[Sandbox]) -> Self {
        let traces = pods.iter().map(|pod| Traces::of(node, &pod.netns_name));
        let routes = pods
            .iter()
            .flat_map(|pod| inspect::routes(&pod.netns_name).unwrap());
        Self {
            traces: traces
                .collect::<Result<_, _>>()
                .expect("the node can be inspected"),
            routes: routes.map(|route| format!("{route:?}")).collect(),
            mounts: fs::read_to_string("/proc/self/mounts")
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect(),
            processes: processes(),
        }
    }
}

/// Leftover processes on the node.
fn processes() -> Vec<String> {
    let mut strange = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        if !process
            .file_name()
            .to_string_lossy()
            .starts_with(|c: char| c.is_ascii_digit())
        {
            continue;
        }
        let read = |name| fs::read_to_string(process.path().join(name)).unwrap_or_default();
        // An exited process has neither a command line nor memory.
        let command = read("cmdline").replace('\0', " ");
        let name = read("comm");
        if !command.is_empty() && !PROGRAMS.iter().any(|known| name.starts_with(known)) {
            strange.push(format!("{} {name} {command}", process.path().display()));
        }
    }
    strange
}
