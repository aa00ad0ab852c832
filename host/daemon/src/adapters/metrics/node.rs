//! The state of the node's daemon, read when it is scraped: build, watches, API requests, queues,
//! ledger and retries; and, if configured, which pod has which network.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cnidaria_kube::Requests;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use cnidaria_core::domain::entry::Entry;

use super::interfaces::Interfaces;
use super::registered;
use crate::adapters::pod_counters::Reading;

/// Maximum number of `pod_network_name_info` series: more than a node has interfaces.
const MAX_POD_NETWORKS: usize = 5000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watch {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Export {
    outcome: &'static str,
}

/// Labels of the network-metrics daemon's convention.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PodNetwork {
    /// The pod's name.
    pub pod: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The interface in the pod.
    pub interface: String,
    /// `namespace/name` of the definition, or the conf's name.
    pub network_name: String,
}

/// The labels of an attachment, shared by its series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shared(pub(super) Arc<PodNetwork>);

impl EncodeLabelSet for Shared {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

impl PodNetwork {
    /// The labels of an attachment.
    pub fn of(entry: &Entry) -> Self {
        Self {
            pod: entry.pod.name.clone(),
            namespace: entry.pod.namespace.clone(),
            interface: entry.if_name.to_string(),
            network_name: entry.network.clone(),
        }
    }
}

/// What a scrape reads.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Each watched kind, and whether the server serves the watch.
    pub watches: Vec<(&'static str, bool)>,
    /// Requests to the API server since the start.
    pub requests: Vec<Requests>,
    /// Whether the daemon's socket was removed and cannot be bound again.
    pub is_unbound: bool,
    /// Delegates that run now.
    pub delegates_running: usize,
    /// Delegates that wait for a slot.
    pub delegates_waiting: usize,
    /// Containers in the ledger.
    pub containers: usize,
    /// Containers with recorded DELs.
    pub deferred: usize,
    /// Containers with an undo that is retried.
    pub undos: usize,
    /// Requests that were exported as traces, by outcome; `None` unless configured.
    pub exported: Option<[(&'static str, u64); 3]>,
    /// Pods and their networks; empty unless configured.
    pub pod_networks: Vec<Arc<PodNetwork>>,
    /// Traffic of pods' interfaces; empty unless configured.
    pub traffic: Reading,
}

#[derive(Debug)]
pub(super) struct NodeMetrics {
    watches: Family<Watch, Gauge>,
    requests: Family<RequestLabels, Counter>,
    socket: Gauge,
    delegates_running: Gauge,
    delegates_waiting: Gauge,
    containers: Gauge,
    deferred: Gauge,
    undos: Gauge,
    exported: Family<Export, Counter>,
    pod_networks: Family<Shared, Gauge>,
    interfaces: Interfaces,
}

impl NodeMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let build = Family::<Build, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&Build { version }).set(1);
        registry.register("cnidaria_build_info", "Version of the daemon", build);
        Self {
            watches: registered(
                registry,
                "cnidaria_watch_up",
                "Whether the API server serves the watch of a kind",
            ),
            requests: registered(
                registry,
                "cnidaria_api_requests",
                "Requests to the API server by the status of their answer, 0 without one",
            ),
            socket: registered(
                registry,
                "cnidaria_socket_up",
                "Whether the daemon's socket is at its path",
            ),
            delegates_running: registered(
                registry,
                "cnidaria_delegates_running",
                "Delegates of networks that run now",
            ),
            delegates_waiting: registered(
                registry,
                "cnidaria_delegates_waiting",
                "Delegates that wait for a slot of their network or namespace",
            ),
            containers: registered(
                registry,
                "cnidaria_ledger_containers",
                "Containers in the ledger",
            ),
            deferred: registered(
                registry,
                "cnidaria_deferred_containers",
                "Containers with recorded DELs that are not carried out yet",
            ),
            undos: registered(
                registry,
                "cnidaria_undos_pending",
                "Containers with attachments that could not be undone and are retried",
            ),
            exported: registered(
                registry,
                "cnidaria_traces_exported",
                "Requests that were sent to the collector of traces, refused by it, or dropped from the queue",
            ),
            pod_networks: registered(
                registry,
                "pod_network_name_info",
                "Networks of the node's pods, in the convention of the network-metrics daemon",
            ),
            interfaces: Interfaces::register(registry),
        }
    }

    /// Takes over what a scrape has read.
    pub(super) fn set(&self, snapshot: Snapshot) {
        for (kind, is_up) in snapshot.watches {
            let watch = self.watches.get_or_create(&Watch { kind });
            watch.set(i64::from(is_up));
        }
        for Requests {
            verb,
            resource,
            code,
            count,
        } in snapshot.requests
        {
            let labels = RequestLabels {
                verb,
                resource,
                code,
            };
            let counter = self.requests.get_or_create(&labels);
            counter.inner().store(count, Ordering::Relaxed);
        }
        for (outcome, count) in snapshot.exported.into_iter().flatten() {
            let counter = self.exported.get_or_create(&Export { outcome });
            counter.inner().store(count, Ordering::Relaxed);
        }
        let set = |gauge: &Gauge<i64, AtomicI64>, count: usize| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        self.socket.set(i64::from(!snapshot.is_unbound));
        set(&self.delegates_running, snapshot.delegates_running);
        set(&self.delegates_waiting, snapshot.delegates_waiting);
        set(&self.containers, snapshot.containers);
        set(&self.deferred, snapshot.deferred);
        set(&self.undos, snapshot.undos);
        self.pod_networks.clear();
        for labels in snapshot.pod_networks.into_iter().take(MAX_POD_NETWORKS) {
            self.pod_networks.get_or_create(&Shared(labels)).set(0);
        }
        self.interfaces.set(snapshot.traffic);
    }

    /// Drops the series of pods, which each scrape makes anew.
    pub(super) fn forget_pods(&self) {
        self.pod_networks.clear();
        self.interfaces.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }

    #[test]
    fn a_scrape_shows_the_daemons_state() {
        let metrics = Metrics::default();
        let text = metrics.text(Snapshot {
            watches: vec![("Pod", true), ("Node", false)],
            requests: vec![Requests {
                verb: "patch",
                resource: "pods",
                code: 200,
                count: 3,
            }],
            delegates_running: 2,
            undos: 1,
            exported: Some([("sent", 4), ("failed", 0), ("dropped", 2)]),
            ..Snapshot::default()
        });
        let version = env!("CARGO_PKG_VERSION");
        has(
            &text,
            &format!("cnidaria_build_info{{version=\"{version}\"}} 1"),
        );
        has(&text, r#"cnidaria_watch_up{kind="Pod"} 1"#);
        has(&text, r#"cnidaria_watch_up{kind="Node"} 0"#);
        has(
            &text,
            r#"cnidaria_api_requests_total{verb="patch",resource="pods",code="200"} 3"#,
        );
        has(&text, "cnidaria_delegates_running 2");
        has(&text, "cnidaria_delegates_waiting 0");
        has(&text, "cnidaria_undos_pending 1");
        has(
            &text,
            r#"cnidaria_traces_exported_total{outcome="dropped"} 2"#,
        );
        assert!(!text.contains("pod_network_name_info{"), "{text}");
    }

    #[test]
    fn networks_of_pods_are_replaced_and_bounded() {
        let metrics = Metrics::default();
        let networks = |count: usize| Snapshot {
            pod_networks: (0..count)
                .map(|number| {
                    Arc::new(PodNetwork {
                        pod: format!("p{number}"),
                        namespace: "n".to_owned(),
                        interface: "net1".to_owned(),
                        network_name: "n/blue".to_owned(),
                    })
                })
                .collect(),
            ..Snapshot::default()
        };
        let lines = |text: &str| {
            text.lines()
                .filter(|line| line.starts_with("pod_network_name_info{"))
                .count()
        };
        let text = metrics.text(networks(1));
        has(
            &text,
            r#"pod_network_name_info{pod="p0",namespace="n",interface="net1",network_name="n/blue"} 0"#,
        );
        assert_eq!(
            lines(&metrics.text(networks(2 * MAX_POD_NETWORKS))),
            MAX_POD_NETWORKS
        );
        assert_eq!(lines(&metrics.text(Snapshot::default())), 0);
    }
}
