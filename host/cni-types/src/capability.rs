//! Values of well-known capabilities in `runtimeConfig` (CNI conventions).

use serde::{Deserialize, Deserializer, Serialize};

/// The protocol of a port mapping that names none.
const DEFAULT_PROTOCOL: &str = "tcp";

/// One element of the `portMappings` capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port on the node; 0 if absent.
    #[serde(default)]
    pub host_port: u16,
    /// Port in the pod; 0 if absent.
    #[serde(default)]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`; see [`PortMapping::protocol`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub protocol: Option<String>,
    /// The node's address to listen on; all addresses if absent.
    #[serde(
        default,
        rename = "hostIP",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub host_ip: Option<String>,
}

impl PortMapping {
    /// The protocol, or the default one.
    pub fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or(DEFAULT_PROTOCOL)
    }
}

/// The `bandwidth` capability: rates in bits per second, bursts in bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bandwidth {
    /// Towards the pod, bits per second.
    pub ingress_rate: u64,
    /// Towards the pod, bits.
    pub ingress_burst: u64,
    /// From the pod, bits per second.
    pub egress_rate: u64,
    /// From the pod, bits.
    pub egress_burst: u64,
}

/// Treats an empty string as absent, as Go does.
///
/// # Errors
/// The value is not a string.
pub fn empty_is_none<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}
