//! Bandwidth and port mappings as the capabilities of these names take them.

use cni_types::json::Node;

use super::tree::{number, object, set, string};
use crate::model::request::{Bandwidth, PortMapping};

/// The bandwidth in the form of the capability.
pub(super) fn bandwidth(bandwidth: &Bandwidth) -> Node {
    object([
        ("ingressRate", Some(number(bandwidth.ingress_rate))),
        ("ingressBurst", Some(number(bandwidth.ingress_burst))),
        ("egressRate", Some(number(bandwidth.egress_rate))),
        ("egressBurst", Some(number(bandwidth.egress_burst))),
    ])
}

/// The port mapping in the form of the capability.
pub(super) fn port_mapping(mapping: &PortMapping) -> Node {
    object([
        ("hostPort", Some(number(mapping.host_port))),
        ("containerPort", Some(number(mapping.container_port))),
        ("protocol", Some(string(mapping.protocol()))),
        ("hostIP", mapping.host_ip.as_deref().map(string)),
    ])
}

/// Port mappings whose elements can be owned separately.
pub(super) fn port_mappings_as_set(mappings: &[PortMapping]) -> Node {
    set(mappings.iter().map(|mapping| {
        let PortMapping {
            host_port, host_ip, ..
        } = mapping;
        let protocol = mapping.protocol();
        (
            format!(
                "{host_port}/{protocol}/{}",
                host_ip.as_deref().unwrap_or("*")
            ),
            port_mapping(mapping),
        )
    }))
}
