//! Metrics that policies define, with a bound on their names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Maximum number of names per policy.
const MAX_NAMES: usize = 32;
/// Prefix of counter names.
const COUNTER: &str = "cnidaria_policy_guest_counter_";
/// Prefix of histogram names. It keeps them distinct from counters, whatever names policies choose.
const HISTOGRAM: &str = "cnidaria_policy_guest_histogram_";

type Sum = Counter<f64, AtomicU64>;

#[derive(Debug, Default, Clone)]
pub(super) struct Guests {
    metrics: Arc<Mutex<Metrics>>,
    dropped: Counter,
}

/// By name and policy, so that policies using the same name do not interfere.
#[derive(Debug, Default)]
struct Metrics {
    counters: ByName<Sum>,
    histograms: ByName<Histogram>,
}

type ByName<M> = BTreeMap<String, BTreeMap<String, M>>;

/// Buckets from a thousandth to sixty million, since the scale of the values is unknown.
fn values() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 19))
}

impl Guests {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "cnidaria_policy_guest_dropped",
            "Values of policies' own metrics that were dropped: too many names",
            self.dropped.clone(),
        );
        registry.register_collector(Box::new(self.clone()));
    }

    /// Adds to a policy's counter.
    pub(super) fn count(&self, policy: &str, name: &str, by: f64) {
        // The text format appends it.
        let name = name.strip_suffix("_total").unwrap_or(name);
        let mut metrics = self.lock();
        if metrics.is_full(policy) && !has(&metrics.counters, policy, name) {
            self.dropped.inc();
            return;
        }
        let by_policy = metrics.counters.entry(name.to_owned()).or_default();
        let counter = by_policy.entry(policy.to_owned()).or_default();
        counter.inc_by(by);
    }

    /// Adds a value to a policy's histogram.
    pub(super) fn observe(&self, policy: &str, name: &str, value: f64) {
        let mut metrics = self.lock();
        if metrics.is_full(policy) && !has(&metrics.histograms, policy, name) {
            self.dropped.inc();
            return;
        }
        let by_policy = metrics.histograms.entry(name.to_owned()).or_default();
        let histogram = by_policy.entry(policy.to_owned()).or_insert_with(values);
        histogram.observe(value);
    }

    /// Drops the metrics of policies that are gone.
    pub(super) fn keep(&self, known: impl Fn(&str) -> bool) {
        let mut metrics = self.lock();
        keep(&mut metrics.counters, &known);
        keep(&mut metrics.histograms, &known);
    }

    fn lock(&self) -> MutexGuard<'_, Metrics> {
        // Every change is a single step, so a poisoned lock is still consistent.
        self.metrics.lock()
    }
}

impl Metrics {
    /// Whether a policy has reached [`MAX_NAMES`].
    fn is_full(&self, policy: &str) -> bool {
        names(&self.counters, policy) + names(&self.histograms, policy) >= MAX_NAMES
    }
}

fn has<M>(metrics: &ByName<M>, policy: &str, name: &str) -> bool {
    let by_policy = metrics.get(name);
    by_policy.is_some_and(|by_policy| by_policy.contains_key(policy))
}

fn names<M>(metrics: &ByName<M>, policy: &str) -> usize {
    let by_policy = metrics.values();
    by_policy.filter(|one| one.contains_key(policy)).count()
}

fn keep<M>(metrics: &mut ByName<M>, known: impl Fn(&str) -> bool) {
    metrics.retain(|_, by_policy| {
        by_policy.retain(|policy, _| known(policy));
        !by_policy.is_empty()
    });
}

fn encode_all<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    prefix: &str,
    kind: MetricType,
    metrics: &ByName<M>,
) -> Result<(), fmt::Error> {
    for (name, by_policy) in metrics {
        let name = format!("{prefix}{name}");
        let help = "A metric of policies' own";
        let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
        for (policy, metric) in by_policy {
            metric.encode(family.encode_family(&[("policy", policy.as_str())])?)?;
        }
    }
    Ok(())
}

impl Collector for Guests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metrics = self.lock();
        let encoder = &mut encoder;
        encode_all(encoder, COUNTER, MetricType::Counter, &metrics.counters)?;
        encode_all(
            encoder,
            HISTOGRAM,
            MetricType::Histogram,
            &metrics.histograms,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn text(guests: &Guests) -> String {
        let mut registry = Registry::default();
        guests.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn guest_metrics_are_labelled_by_policy() {
        let guests = Guests::default();
        guests.count("10-a", "seen", 1.5);
        guests.count("10-a", "seen_total", 1.0);
        guests.count("20-b", "seen", 1.0);
        guests.observe("10-a", "size", 5.0);
        let text = text(&guests);
        for line in [
            r#"cnidaria_policy_guest_counter_seen_total{policy="10-a"} 2.5"#,
            r#"cnidaria_policy_guest_counter_seen_total{policy="20-b"} 1.0"#,
            r#"cnidaria_policy_guest_histogram_size_count{policy="10-a"} 1"#,
            "cnidaria_policy_guest_dropped_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn metric_names_per_policy_are_limited() {
        let guests = Guests::default();
        for number in 0..10_000 {
            guests.count("10-a", &format!("pod_{number}"), 1.0);
        }
        guests.count("20-b", "one_more", 1.0);
        assert_eq!(guests.lock().counters.len(), MAX_NAMES + 1);
        let dropped = 10_000 - MAX_NAMES as u64;
        assert_eq!(guests.dropped.get(), dropped);
        guests.keep(|policy| policy == "20-b");
        assert_eq!(guests.lock().counters.len(), 1);
    }

    #[test]
    fn no_policy_takes_a_name_from_another() {
        let guests = Guests::default();
        guests.count("10-a", "x", 1.0);
        guests.observe("20-b", "x", 1.0);
        guests.count("10-a", "histogram_x", 1.0);
        guests.count("10-a", "dropped", 1.0);
        assert_eq!(guests.dropped.get(), 0);
        let text = text(&guests);
        for line in [
            r#"cnidaria_policy_guest_counter_x_total{policy="10-a"} 1.0"#,
            r#"cnidaria_policy_guest_histogram_x_count{policy="20-b"} 1"#,
            r#"cnidaria_policy_guest_counter_dropped_total{policy="10-a"} 1.0"#,
            "cnidaria_policy_guest_dropped_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let types = text.lines().filter(|line| line.starts_with("# TYPE"));
        let mut types: Vec<_> = types.collect();
        let all = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), all, "{text}");
    }
}
