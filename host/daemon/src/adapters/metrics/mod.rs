//! Metrics in the Prometheus text format. No label has a value that a pod chooses.

mod guests;
mod interfaces;
mod node;
mod policies;
mod types;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

pub use node::{PodNetwork, Snapshot};
pub use policies::Policies;

use node::NodeMetrics;
use types::Types;

use cnidaria_core::domain::entry::Entry;
use cnidaria_core::ports::{Answered, Attached, DelegateError, Delegates, Meter, Wanted};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Http {
    handler: &'static str,
    code: u16,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// All metrics of the daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    http: Family<Http, Counter>,
    requests: Family<OutcomeLabels, Histogram>,
    delegates: Family<OutcomeLabels, Histogram>,
    types: Types,
    undo_failures: Counter,
    undo_refusals: Counter,
    undos_given_up: Counter,
    collected: Family<KindLabels, Counter>,
    policies: Arc<Policies>,
    node: NodeMetrics,
    /// One scrape writes at a time.
    turn: Mutex<()>,
}

/// Registers a new metric, and returns the handle that changes it.
fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        // Multus' name and labels, for existing dashboards.
        let http = registered(
            &mut registry,
            "multus_server_request",
            "Counter of HTTP requests",
        );
        let requests = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register(
            "cnidaria_request_seconds",
            "Time from a request to its answer",
            requests.clone(),
        );
        let delegates = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register(
            "cnidaria_delegate_seconds",
            "Time that the delegates of one network took",
            delegates.clone(),
        );
        let types = Types::default();
        registry.register(
            "cnidaria_delegate_calls",
            "Calls of networks by the type of their first plugin",
            types.calls.clone(),
        );
        let undo_failures = registered(
            &mut registry,
            "cnidaria_undo_failures",
            "Attachments that could not be removed and stayed in the ledger",
        );
        let undo_refusals = registered(
            &mut registry,
            "cnidaria_undo_refusals",
            "Plugins that refused a DEL after refusing the ADD, so that nothing was left to remove",
        );
        let undos_given_up = registered(
            &mut registry,
            "cnidaria_undos_given_up",
            "Attachments that were forgotten although something of them may be left on the node",
        );
        let collected = Family::<KindLabels, Counter>::default();
        for kind in ["attachment", "address"] {
            drop(collected.get_or_create(&KindLabels { kind }));
        }
        registry.register(
            "cnidaria_collected",
            "Attachments and addresses of containers without a sandbox that the daemon collected",
            collected.clone(),
        );
        let policies = Arc::new(Policies::register(&mut registry));
        let node = NodeMetrics::register(&mut registry);
        Self {
            registry,
            http,
            requests,
            delegates,
            types,
            undo_failures,
            undo_refusals,
            undos_given_up,
            collected,
            policies,
            node,
            turn: Mutex::default(),
        }
    }
}

/// Buckets from half a millisecond (a no-op delegate) to about two minutes.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 18))
}

impl Metrics {
    /// Counts a response on the socket. `handler` and `method` come from a fixed set.
    pub fn http(&self, handler: &'static str, method: &'static str, code: u16) {
        let labels = Http {
            handler,
            code,
            method,
        };
        self.http.get_or_create(&labels).inc();
    }

    /// The policies' metrics.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// All metrics in the Prometheus text format, with the daemon's state as it is now.
    pub fn text(&self, snapshot: Snapshot) -> String {
        let _turn = self.turn.lock();
        self.node.set(snapshot);
        let mut text = String::new();
        // Writing to memory cannot fail.
        let _ = encode(&mut text, &self.registry);
        self.node.forget_pods();
        text
    }

    fn delegate<T, E>(
        &self,
        verb: &'static str,
        conf: &NetworkConfList,
        begun: Instant,
        done: &Result<T, E>,
    ) {
        self.types.count(verb, conf, done.is_ok());
        let outcome = match done {
            Ok(_) => "success",
            Err(_) => "failure",
        };
        self.delegates
            .get_or_create(&OutcomeLabels { verb, outcome })
            .observe(begun.elapsed().as_secs_f64());
    }
}

impl Meter for Metrics {
    fn answered(&self, verb: &'static str, answered: Answered, took: Duration) {
        let outcome = match answered {
            Answered::Success => "success",
            Answered::Denied => "denied",
            Answered::Failure => "failure",
        };
        self.requests
            .get_or_create(&OutcomeLabels { verb, outcome })
            .observe(took.as_secs_f64());
    }

    fn gave_up(&self) {
        self.undos_given_up.inc();
    }

    fn collected(&self, kind: &'static str) {
        self.collected.get_or_create(&KindLabels { kind }).inc();
    }
}

/// Delegates with metrics of their executions.
pub struct Metered {
    inner: Arc<dyn Delegates>,
    metrics: Arc<Metrics>,
}

impl Metered {
    /// Counts the executions of `inner`.
    pub fn new(inner: Arc<dyn Delegates>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl Delegates for Metered {
    async fn add(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
        wanted: Wanted,
    ) -> Result<CniResult, DelegateError> {
        let begun = Instant::now();
        let done = self.inner.add(bin_dirs, entry, wanted).await;
        self.metrics.delegate("ADD", &entry.conf, begun, &done);
        done
    }

    async fn check(&self, bin_dirs: &[PathBuf], entry: &Entry) -> Result<(), DelegateError> {
        let begun = Instant::now();
        let done = self.inner.check(bin_dirs, entry).await;
        self.metrics.delegate("CHECK", &entry.conf, begun, &done);
        done
    }

    async fn status(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
    ) -> Result<(), DelegateError> {
        let begun = Instant::now();
        let done = self.inner.status(bin_dirs, conf).await;
        self.metrics.delegate("STATUS", conf, begun, &done);
        done
    }

    async fn gc(
        &self,
        bin_dirs: &[PathBuf],
        conf: &NetworkConfList,
        valid: &[Attached],
    ) -> Result<(), Vec<DelegateError>> {
        let begun = Instant::now();
        let done = self.inner.gc(bin_dirs, conf, valid).await;
        self.metrics.delegate("GC", conf, begun, &done);
        done
    }

    async fn del(
        &self,
        bin_dirs: &[PathBuf],
        entry: &Entry,
    ) -> Result<Vec<DelegateError>, DelegateError> {
        let begun = Instant::now();
        let done = self.inner.del(bin_dirs, entry).await;
        self.metrics.delegate("DEL", &entry.conf, begun, &done);
        match &done {
            Ok(refusals) => {
                let refusals = u64::try_from(refusals.len()).unwrap_or(u64::MAX);
                self.metrics.undo_refusals.inc_by(refusals);
            }
            Err(_) => {
                self.metrics.undo_failures.inc();
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multus_metric_keeps_its_name_and_labels() {
        let metrics = Metrics::default();
        metrics.http("/cni", "post", 200);
        metrics.http("/cni", "post", 200);
        let text = metrics.text(Snapshot::default());
        let line = r#"multus_server_request_total{handler="/cni",code="200",method="post"} 2"#;
        assert!(text.lines().any(|found| found == line), "{text}");
    }

    #[test]
    fn requests_are_timed_by_verb_and_outcome() {
        let metrics = Metrics::default();
        metrics.answered("ADD", Answered::Denied, Duration::from_millis(3));
        let text = metrics.text(Snapshot::default());
        let count = r#"cnidaria_request_seconds_count{verb="ADD",outcome="denied"} 1"#;
        assert!(text.contains(count), "{text}");
        assert!(text.contains("cnidaria_undo_failures_total 0"), "{text}");
    }
}
