//! What is asked of the daemon: pods come and go, some with networks that fail in every way, through
//! policies of which one is changed before each round.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use node::{Call, Error, Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

/// So many requests are made at once.
const WORKERS: usize = 4;
/// What pods ask for, beside the default network.
const NETWORKS: [&str; 8] = [
    "",
    "blue",
    "blue,storage",
    "blue,blue,storage",
    "blue,failing",
    "blue,garbage",
    "blue,spewing",
    "missing",
];
/// What is kept of the daemon's log.
const LOG_BYTES: usize = 8 << 20;

/// Pods, and who asks for them.
pub(crate) struct Load {
    pods: Vec<Sandbox>,
    calls: u64,
    rounds: u64,
}

impl Load {
    /// Makes networks and pods, and starts the daemon.
    pub(crate) fn prepare(node: &mut Node) -> Result<Self, Error> {
        networks::prepare(node)?;
        for (name, instructions) in [
            ("failing", json!({ "ADD": { "exit": 1 } })),
            ("garbage", json!({ "ADD": { "text": "no result" } })),
            ("spewing", json!({ "ADD": { "spew": 16_u64 << 20 } })),
        ] {
            node.add_network("default", name, &networks::fake(name, &instructions))?;
        }
        node.add_policy("10-mtu", "annotation-mtu", &json!({}))?;
        node.add_policy("20-tag", "witness", &tagging(0))?;
        node.conf["cniVersion"] = json!("1.1.0");
        node.start_daemon()?;
        let pods = (0..WORKERS * NETWORKS.len()).map(|number| {
            let mut pod = Pod::new("default", &format!("pod-{number}"));
            let wanted = NETWORKS.get(number % NETWORKS.len()).copied();
            if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
                pod = pod.networks(wanted);
            }
            if number % 2 == 0 {
                pod = pod.annotation("cnidaria.dev/mtu", "blue=1337");
            }
            node.add_pod(pod)
        });
        Ok(Self {
            pods: pods.collect::<Result<_, _>>()?,
            calls: 0,
            rounds: 0,
        })
    }

    /// So many calls were made.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// Adds, checks and deletes pods for a while; at the end none is left.
    pub(crate) fn run(&mut self, node: &mut Node, length: Duration) -> Result<(), Error> {
        node.add_policy("20-tag", "witness", &tagging(self.rounds))?;
        let verbs = ["ADD", "CHECK", "DEL"];
        let of_pod = |pod: &Sandbox| -> Result<BTreeMap<&str, Call>, Error> {
            let calls = verbs.iter().map(|verb| Ok((*verb, node.call(verb, pod)?)));
            calls.collect()
        };
        let calls = self.pods.iter().map(of_pod);
        let calls = calls.collect::<Result<Vec<_>, Error>>()?;
        let made = AtomicU64::new(0);
        let make = |call: &Call| {
            made.fetch_add(1, Ordering::Relaxed);
            call.make()
        };
        let end = Instant::now() + length;
        thread::scope(|scope| {
            let working: Vec<_> = calls
                .chunks(calls.len() / WORKERS)
                .map(|mine| scope.spawn(move || work(mine, end, make)))
                .collect();
            working
                .into_iter()
                .try_for_each(|one| one.join().expect("no worker panics"))
        })?;
        if let Some(call) = self.pods.first().map(|pod| node.call("GC", pod)) {
            let answer = make(&self.garbage_collection(node, call?))?;
            assert!(answer.succeeded(), "{answer:#?}");
        }
        self.calls += made.into_inner();
        self.rounds += 1;
        // The log is not what is measured.
        if node.log().len() > LOG_BYTES {
            node.write("daemon.log", "")?;
        }
        Ok(())
    }

    fn garbage_collection(&self, node: &Node, call: Call) -> Call {
        let mut conf: Value = node.conf.clone();
        conf["cni.dev/valid-attachments"] = json!([]);
        ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"]
            .into_iter()
            .fold(call, Call::without)
            .stdin(conf.to_string())
    }
}

/// A policy that writes a tag into each network-status, and which one that is in this round.
fn tagging(round: u64) -> Value {
    json!({
        "grants": ["state"],
        "settings": { "after-add": [{ "tag": ["round", round.to_string()] }] },
    })
}

/// One worker's pods, one after the other, until the end.
fn work(
    pods: &[BTreeMap<&str, Call>],
    end: Instant,
    make: impl Fn(&Call) -> Result<node::Answer, Error>,
) -> Result<(), Error> {
    while Instant::now() < end {
        for pod in pods {
            for verb in ["ADD", "ADD", "CHECK", "DEL", "DEL"] {
                let answer = match pod.get(verb) {
                    Some(call) => make(call)?,
                    None => continue,
                };
                assert!(verb != "DEL" || answer.succeeded(), "{answer:#?}");
            }
        }
    }
    Ok(())
}
