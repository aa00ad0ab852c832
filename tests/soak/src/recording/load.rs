//! The recorded requests: pods come and go, some with networks or annotations that fail.

use std::collections::BTreeMap;
use std::thread;

use node::{Call, Error, Node, Pod, Sandbox, networks};
use serde_json::{Value, json};

/// Number of concurrent requests.
const WORKERS: usize = 4;
/// How often a worker adds each of its pods in a round.
const REPEATS: usize = 4;
/// What pods request, besides the default network.
const NETWORKS: [&str; 6] = [
    "",
    "blue",
    "blue,storage",
    "blue,blue,storage",
    "blue,failing",
    "missing",
];
/// What pods ask of the recorded policy, if anything.
const ANNOTATIONS: [&str; 4] = ["", ASKING, "blue=big", "storage=1300"];
/// The annotation that the changed policy denies.
const ASKING: &str = "blue=1337";

/// The recorded policy's settings.
pub(crate) fn unchanged() -> Value {
    json!({})
}

/// The changed policy's settings.
pub(crate) fn changed() -> Value {
    json!({ "max": 1336 })
}

/// The pods, and the calls so far.
#[derive(Debug)]
pub(crate) struct Load {
    pods: Vec<Sandbox>,
    rounds: usize,
}

impl Load {
    /// Creates networks and pods, and starts a daemon that records.
    pub(crate) fn prepare(node: &mut Node) -> Result<Self, Error> {
        networks::prepare(node)?;
        let failing = networks::fake("failing", &json!({ "ADD": { "exit": 1 } }));
        node.add_network("default", "failing", &failing)?;
        node.add_policy(
            "10-mtu",
            "annotation-mtu",
            &json!({ "settings": unchanged() }),
        )?;
        let anywhere = json!({ "settings": { "namespaces": { "*": ["0.0.0.0/0"] } } });
        node.add_policy("20-guard", "address-guard", &anywhere)?;
        // Has every hook: with it, all verbs are recorded.
        let tagging = json!({
            "grants": ["state"],
            "settings": { "after-add": [{ "tag": ["tier", "gold"] }] },
        });
        node.add_policy("30-tag", "witness", &tagging)?;
        node.config["cnidaria"]["policies"]["record"] = crate::record(node);
        node.start_daemon()?;
        let pods = ANNOTATIONS
            .iter()
            .flat_map(|annotation| NETWORKS.iter().map(|networks| (*annotation, *networks)));
        let pods = pods.enumerate().map(|(number, (annotation, networks))| {
            let mut pod = Pod::new("default", &format!("pod-{number}"));
            if !networks.is_empty() {
                pod = pod.networks(networks);
            }
            if !annotation.is_empty() {
                pod = pod.annotation("cnidaria.dev/mtu", annotation);
            }
            node.add_pod(pod)
        });
        Ok(Self {
            pods: pods.collect::<Result<_, _>>()?,
            rounds: 0,
        })
    }

    /// Adds, checks and deletes each pod several times.
    pub(crate) fn round(&mut self, node: &Node) -> Result<(), Error> {
        let verbs = ["ADD", "CHECK", "DEL"];
        let of_pod = |pod: &Sandbox| -> Result<Vec<Call>, Error> {
            let calls = verbs.iter().map(|verb| node.call(verb, pod));
            calls.collect()
        };
        let calls = self.pods.iter().map(of_pod);
        let calls = calls.collect::<Result<Vec<_>, Error>>()?;
        thread::scope(|scope| {
            let working: Vec<_> = calls
                .chunks(calls.len().div_ceil(WORKERS))
                .map(|mine| scope.spawn(move || work(mine)))
                .collect();
            working
                .into_iter()
                .try_for_each(|one| one.join().expect("no worker panics"))
        })?;
        self.rounds += 1;
        Ok(())
    }

    /// The number of calls made.
    pub(crate) fn calls(&self) -> usize {
        self.rounds * REPEATS * self.pods.len() * 3
    }

    /// The number of ADDs that the changed policy denies, by container id.
    pub(crate) fn affected(&self) -> BTreeMap<String, usize> {
        let asks = |sandbox: &&Sandbox| {
            let annotations = &sandbox.pod.annotations;
            let is = |key: &str, wanted: &dyn Fn(&str) -> bool| {
                annotations.get(key).is_some_and(|value| wanted(value))
            };
            is("cnidaria.dev/mtu", &|value| value == ASKING)
                && is("k8s.v1.cni.cncf.io/networks", &|value| {
                    value.contains("blue")
                })
        };
        let affected = self.pods.iter().filter(asks);
        let adds = self.rounds * REPEATS;
        affected
            .map(|sandbox| (sandbox.container_id.clone(), adds))
            .collect()
    }
}

/// One worker: adds, checks and deletes its pods in sequence.
fn work(pods: &[Vec<Call>]) -> Result<(), Error> {
    for _ in 0..REPEATS {
        for calls in pods {
            for call in calls {
                call.make()?;
            }
        }
    }
    Ok(())
}
