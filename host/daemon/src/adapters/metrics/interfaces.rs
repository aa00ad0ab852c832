//! Traffic of pods' secondary interfaces, read when it is scraped.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::node::Shared;
use super::registered;
use crate::adapters::pod_counters::{Direction, Reading};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The counters of one direction.
#[derive(Debug)]
struct Counters {
    bytes: Family<Shared, Counter>,
    packets: Family<Shared, Counter>,
    errors: Family<Shared, Counter>,
    dropped: Family<Shared, Counter>,
}

impl Counters {
    fn clear(&self) {
        for family in [&self.bytes, &self.packets, &self.errors, &self.dropped] {
            family.clear();
        }
    }

    fn set(&self, labels: &Shared, counts: Direction) {
        for (family, count) in [
            (&self.bytes, counts.bytes),
            (&self.packets, counts.packets),
            (&self.errors, counts.errors),
            (&self.dropped, counts.dropped),
        ] {
            let counter = family.get_or_create(labels);
            counter.inner().store(count, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
pub(super) struct Interfaces {
    received: Counters,
    sent: Counters,
    left_out: Family<Reason, Gauge>,
}

impl Interfaces {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let received = Counters {
            bytes: registered(
                registry,
                "cnidaria_pod_interface_receive_bytes",
                "Bytes that a secondary interface of a pod has received",
            ),
            packets: registered(
                registry,
                "cnidaria_pod_interface_receive_packets",
                "Packets that a secondary interface of a pod has received",
            ),
            errors: registered(
                registry,
                "cnidaria_pod_interface_receive_errors",
                "Packets received with errors by a secondary interface of a pod",
            ),
            dropped: registered(
                registry,
                "cnidaria_pod_interface_receive_dropped",
                "Received packets that a secondary interface of a pod has dropped",
            ),
        };
        let sent = Counters {
            bytes: registered(
                registry,
                "cnidaria_pod_interface_transmit_bytes",
                "Bytes that a secondary interface of a pod has sent",
            ),
            packets: registered(
                registry,
                "cnidaria_pod_interface_transmit_packets",
                "Packets that a secondary interface of a pod has sent",
            ),
            errors: registered(
                registry,
                "cnidaria_pod_interface_transmit_errors",
                "Packets that a secondary interface of a pod could not send",
            ),
            dropped: registered(
                registry,
                "cnidaria_pod_interface_transmit_dropped",
                "Packets to send that a secondary interface of a pod has dropped",
            ),
        };
        Self {
            received,
            sent,
            left_out: registered(
                registry,
                "cnidaria_pod_interfaces_left_out",
                "Secondary interfaces of pods without counters, by reason",
            ),
        }
    }

    pub(super) fn clear(&self) {
        self.received.clear();
        self.sent.clear();
        self.left_out.clear();
    }

    /// Takes over what a scrape has read.
    pub(super) fn set(&self, reading: Reading) {
        self.clear();
        for (labels, traffic) in reading.interfaces {
            let labels = Shared(labels);
            self.received.set(&labels, traffic.received);
            self.sent.set(&labels, traffic.sent);
        }
        for (reason, count) in reading.left_out.all() {
            if count > 0 {
                let gauge = self.left_out.get_or_create(&Reason { reason });
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Metrics;
    use super::super::node::{PodNetwork, Snapshot};
    use super::*;
    use crate::adapters::pod_counters::{LeftOut, Traffic};

    #[test]
    fn traffic_has_the_labels_of_its_network() {
        let metrics = Metrics::default();
        let labels = Arc::new(PodNetwork {
            pod: "p".to_owned(),
            namespace: "n".to_owned(),
            interface: "net1".to_owned(),
            network_name: "n/blue".to_owned(),
        });
        let traffic = Traffic {
            received: Direction {
                bytes: 7,
                ..Direction::default()
            },
            ..Traffic::default()
        };
        let reading = Reading {
            interfaces: vec![(labels, traffic)],
            left_out: LeftOut {
                limit: 3,
                ..LeftOut::default()
            },
        };
        let text = metrics.text(Snapshot {
            traffic: reading,
            ..Snapshot::default()
        });
        for line in [
            r#"cnidaria_pod_interface_receive_bytes_total{pod="p",namespace="n",interface="net1",network_name="n/blue"} 7"#,
            r#"cnidaria_pod_interface_transmit_dropped_total{pod="p",namespace="n",interface="net1",network_name="n/blue"} 0"#,
            r#"cnidaria_pod_interfaces_left_out{reason="limit"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let text = metrics.text(Snapshot::default());
        assert!(!text.contains(r#"pod="p""#), "{text}");
    }
}
