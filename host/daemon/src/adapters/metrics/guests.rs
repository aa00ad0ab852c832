//! Metrics that policies have of their own: few names, whatever a policy makes them of.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Names that one policy may have.
const MAX_NAMES: usize = 32;
/// Before the name that the policy gives.
const PREFIX: &str = "cnidaria_policy_guest_";

type Sum = Counter<f64, AtomicU64>;

/// The metrics of all policies.
#[derive(Debug, Default, Clone)]
pub(super) struct Guests {
    metrics: Arc<Mutex<BTreeMap<String, Metric>>>,
    dropped: Counter,
}

/// One name, by policy. It is of the kind that whoever used it first took it for.
#[derive(Debug)]
enum Metric {
    Counter(BTreeMap<String, Sum>),
    Histogram(BTreeMap<String, Histogram>),
}

/// A policy knows the scale of its values and this does not: from a thousandth to sixty millions.
fn values() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 19))
}

impl Guests {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "cnidaria_policy_guest_dropped",
            "Values of policies' own metrics that were dropped: too many names, or a name of another kind",
            self.dropped.clone(),
        );
        registry.register_collector(Box::new(self.clone()));
    }

    /// Adds to a counter of a policy.
    pub(super) fn count(&self, policy: &str, name: &str, by: f64) {
        // The format adds it.
        let name = name.strip_suffix("_total").unwrap_or(name);
        let new = || Metric::Counter(BTreeMap::new());
        let counted = self.with(policy, name, new, |metric| match metric {
            Metric::Counter(by_policy) => {
                let counter = by_policy.entry(policy.to_owned()).or_default();
                counter.inc_by(by);
                true
            }
            Metric::Histogram(_) => false,
        });
        self.drop_unless(counted);
    }

    /// Adds a value to a histogram of a policy.
    pub(super) fn observe(&self, policy: &str, name: &str, value: f64) {
        let new = || Metric::Histogram(BTreeMap::new());
        let observed = self.with(policy, name, new, |metric| match metric {
            Metric::Histogram(by_policy) => {
                let histogram = by_policy.entry(policy.to_owned()).or_insert_with(values);
                histogram.observe(value);
                true
            }
            Metric::Counter(_) => false,
        });
        self.drop_unless(observed);
    }

    /// Forgets the metrics of policies that are gone.
    pub(super) fn keep(&self, known: impl Fn(&str) -> bool) {
        self.lock().retain(|_, metric| match metric {
            Metric::Counter(by_policy) => {
                by_policy.retain(|policy, _| known(policy));
                !by_policy.is_empty()
            }
            Metric::Histogram(by_policy) => {
                by_policy.retain(|policy, _| known(policy));
                !by_policy.is_empty()
            }
        });
    }

    fn with(
        &self,
        policy: &str,
        name: &str,
        new: impl FnOnce() -> Metric,
        change: impl FnOnce(&mut Metric) -> bool,
    ) -> bool {
        let mut metrics = self.lock();
        let known = metrics.get(name).is_some_and(|metric| metric.has(policy));
        let names = || metrics.values().filter(|metric| metric.has(policy)).count();
        if !known && names() >= MAX_NAMES {
            return false;
        }
        change(metrics.entry(name.to_owned()).or_insert_with(new))
    }

    fn drop_unless(&self, taken: bool) {
        if !taken {
            self.dropped.inc();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Metric>> {
        // Every change is made in one step.
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metric {
    fn has(&self, policy: &str) -> bool {
        match self {
            Self::Counter(by_policy) => by_policy.contains_key(policy),
            Self::Histogram(by_policy) => by_policy.contains_key(policy),
        }
    }

    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }

    fn by_policy(&self) -> Vec<(&str, &dyn Encode)> {
        match self {
            Self::Counter(by_policy) => by_policy
                .iter()
                .map(|(policy, counter)| (policy.as_str(), counter as &dyn Encode))
                .collect(),
            Self::Histogram(by_policy) => by_policy
                .iter()
                .map(|(policy, histogram)| (policy.as_str(), histogram as &dyn Encode))
                .collect(),
        }
    }
}

/// Values of either kind.
trait Encode {
    fn encode_into(
        &self,
        encoder: prometheus_client::encoding::MetricEncoder<'_>,
    ) -> Result<(), fmt::Error>;
}

impl<M: EncodeMetric> Encode for M {
    fn encode_into(
        &self,
        encoder: prometheus_client::encoding::MetricEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        self.encode(encoder)
    }
}

impl Collector for Guests {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for (name, metric) in self.lock().iter() {
            let name = format!("{PREFIX}{name}");
            let help = "A metric of policies' own";
            let mut family = encoder.encode_descriptor(&name, help, None, metric.kind())?;
            for (policy, value) in metric.by_policy() {
                value.encode_into(family.encode_family(&[("policy", policy)])?)?;
            }
        }
        Ok(())
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
    fn counters_and_histograms_have_the_policy_as_their_label() {
        let guests = Guests::default();
        guests.count("10-a", "seen", 1.5);
        guests.count("10-a", "seen_total", 1.0);
        guests.count("20-b", "seen", 1.0);
        guests.observe("10-a", "size", 5.0);
        let text = text(&guests);
        for line in [
            r#"cnidaria_policy_guest_seen_total{policy="10-a"} 2.5"#,
            r#"cnidaria_policy_guest_seen_total{policy="20-b"} 1.0"#,
            r#"cnidaria_policy_guest_size_count{policy="10-a"} 1"#,
            "cnidaria_policy_guest_dropped_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_policy_has_few_names_whatever_it_makes_them_of() {
        let guests = Guests::default();
        for number in 0..10_000 {
            guests.count("10-a", &format!("pod_{number}"), 1.0);
        }
        guests.count("20-b", "one_more", 1.0);
        assert_eq!(guests.lock().len(), MAX_NAMES + 1);
        let dropped = 10_000 - MAX_NAMES as u64;
        assert_eq!(guests.dropped.get(), dropped);
        guests.keep(|policy| policy == "20-b");
        assert_eq!(guests.lock().len(), 1);
    }

    #[test]
    fn a_name_is_of_one_kind() {
        let guests = Guests::default();
        guests.count("10-a", "x", 1.0);
        guests.observe("20-b", "x", 1.0);
        assert_eq!(guests.dropped.get(), 1);
        assert!(!text(&guests).contains("x_bucket"));
    }
}
