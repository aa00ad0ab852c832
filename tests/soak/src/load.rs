//! The load on the daemon: pods come and go, some with networks that fail in various ways, with
//! policies of which one changes before each round.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use node::{Call, Error, Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

/// Number of concurrent requests.
const WORKERS: usize = 4;
/// What pods request, besides the default network.
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
/// Size beyond which the daemon's log is truncated.
const LOG_BYTES: usize = 8 << 20;

/// The pods and their calls so far.
pub(crate) struct Load {
    pods: Vec<Sandbox>,
    calls: u64,
    rounds: u64,
}

impl Load {
    /// Creates networks and pods, and starts the daemon.
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

    /// The number of calls made.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// Adds, checks and deletes pods for this long; none is left at the end.
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
        // The log is not part of the measurement.
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

/// A policy that writes the round as a tag to each network-status.
fn tagging(round: u64) -> Value {
    json!({
        "grants": ["state"],
        "settings": { "after-add": [{ "tag": ["round", round.to_string()] }] },
    })
}

/// One worker: adds and deletes its pods in sequence until the time is up.
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
