//! What a pod may ask of one attachment beside its network: addresses, MAC, ports, bandwidth.
//! Delegates get it as `runtimeConfig` where their conf declares the capability (CNI conventions).

use cni_types::args::CniArgs;
use cni_types::json::RawObject;
use serde::{Deserialize, Serialize};

use super::sandbox::Sandbox;

/// One element of the `portMappings` capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port on the node; 0 where absent.
    #[serde(default)]
    pub host_port: u16,
    /// Port in the pod; 0 where absent.
    #[serde(default)]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`; the delegate's default where absent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub protocol: Option<String>,
    /// Address of the node to listen on.
    #[serde(
        default,
        rename = "hostIP",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub host_ip: Option<String>,
}

/// The `bandwidth` capability: rates in bits per second, bursts in bits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// The runtime configuration of one attachment, or of all of them (`runtimeConfig` of the CNI conf).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeConfig {
    /// Ports of the node that lead to the pod.
    #[serde(
        rename = "portMappings",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub port_mappings: Vec<PortMapping>,
    /// Limits of the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Addresses, with or without a prefix length.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub ips: Vec<String>,
    /// Hardware address.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub mac: Option<String>,
    /// InfiniBand GUID.
    #[serde(
        rename = "infinibandGUID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub infiniband_guid: Option<String>,
    /// Device that was allocated to the pod.
    #[serde(
        rename = "deviceID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub device_id: Option<String>,
    /// File in which the delegate describes its device (device-info specification 1.1).
    #[serde(
        rename = "CNIDeviceInfoFile",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub device_info_file: Option<String>,
}

impl RuntimeConfig {
    /// This configuration with everything that `other` says taking precedence.
    pub fn overridden_by(&self, other: &RuntimeConfig) -> RuntimeConfig {
        fn list<T: Clone>(base: &[T], over: &[T]) -> Vec<T> {
            if over.is_empty() {
                base.to_vec()
            } else {
                over.to_vec()
            }
        }
        RuntimeConfig {
            port_mappings: list(&self.port_mappings, &other.port_mappings),
            bandwidth: other.bandwidth.clone().or_else(|| self.bandwidth.clone()),
            ips: list(&self.ips, &other.ips),
            mac: other.mac.clone().or_else(|| self.mac.clone()),
            infiniband_guid: other
                .infiniband_guid
                .clone()
                .or_else(|| self.infiniband_guid.clone()),
            device_id: other.device_id.clone().or_else(|| self.device_id.clone()),
            device_info_file: other
                .device_info_file
                .clone()
                .or_else(|| self.device_info_file.clone()),
        }
    }
}

impl RuntimeConfig {
    /// What arguments of capabilities say of the attachment; nothing where they are malformed.
    pub fn of_capability_args(arguments: &RawObject) -> Self {
        if arguments.is_empty() {
            return Self::default();
        }
        serde_json::from_str(&arguments.to_text()).unwrap_or_default()
    }

    /// The arguments of all capabilities, before a conf says which of them a plugin has.
    pub fn capability_args(&self) -> RawObject {
        if *self == Self::default() {
            return RawObject::new();
        }
        let text = serde_json::to_string(self).expect("strings and numbers are JSON");
        RawObject::parse(text).expect("a runtime configuration is a JSON object")
    }

    /// `CNI_ARGS` for the delegates of an attachment: the pod's identity, and the MAC and the
    /// addresses for plugins that know these arguments but not the capabilities.
    ///
    /// # Errors
    /// A value that cannot stand in `CNI_ARGS`, such as a uid with a semicolon.
    pub fn cni_args(&self, sandbox: &Sandbox) -> Result<CniArgs, cni_types::args::Error> {
        let mut args = CniArgs::new();
        args.push("IgnoreUnknown", "true")?;
        args.push("K8S_POD_NAMESPACE", &sandbox.pod.namespace)?;
        args.push("K8S_POD_NAME", &sandbox.pod.name)?;
        args.push("K8S_POD_INFRA_CONTAINER_ID", &sandbox.infra_container_id)?;
        args.push("K8S_POD_UID", &sandbox.pod.uid)?;
        if let Some(mac) = &self.mac {
            args.push("MAC", mac)?;
        }
        if !self.ips.is_empty() {
            args.push("IP", &self.ips.join(","))?;
        }
        Ok(args)
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Go does not tell an empty string from an absent one.
fn empty_is_none<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_arguments_have_the_names_that_plugins_read() {
        let config = RuntimeConfig {
            port_mappings: vec![PortMapping {
                host_port: 8080,
                container_port: 80,
                protocol: Some("tcp".into()),
                host_ip: None,
            }],
            bandwidth: Some(Bandwidth {
                ingress_rate: 1,
                ingress_burst: 2,
                egress_rate: 3,
                egress_burst: 4,
            }),
            ips: vec!["10.1.1.1/24".into()],
            mac: Some("02:00:00:00:00:77".into()),
            ..RuntimeConfig::default()
        };
        assert_eq!(
            serde_json::to_string(&config).unwrap(),
            r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],"bandwidth":{"ingressRate":1,"ingressBurst":2,"egressRate":3,"egressBurst":4},"ips":["10.1.1.1/24"],"mac":"02:00:00:00:00:77"}"#
        );
    }

    #[test]
    fn what_is_empty_asks_for_nothing() {
        for text in [
            r#"{"portMappings":null,"bandwidth":null,"ips":null,"mac":null,"infinibandGUID":null,"deviceID":null}"#,
            r#"{"portMappings":[],"ips":[],"mac":"","infinibandGUID":"","deviceID":"","CNIDeviceInfoFile":""}"#,
            r#"{"dns":{"servers":["10.0.0.53"]},"aliases":{}}"#,
        ] {
            let config: RuntimeConfig = serde_json::from_str(text).unwrap();
            assert_eq!(config.capability_args().to_string(), "{}", "{text}");
        }
        let mapping = r#"{"hostPort":8080,"containerPort":80,"protocol":"","hostIP":""}"#;
        let mapping: PortMapping = serde_json::from_str(mapping).unwrap();
        assert_eq!(
            serde_json::to_string(&mapping).unwrap(),
            r#"{"hostPort":8080,"containerPort":80}"#
        );
    }

    #[test]
    fn the_attachments_own_wishes_win_over_the_confs() {
        let base = RuntimeConfig {
            mac: Some("02:00:00:00:00:01".into()),
            ips: vec!["10.0.0.1/24".into()],
            ..Default::default()
        };
        let own = RuntimeConfig {
            mac: Some("02:00:00:00:00:02".into()),
            ..Default::default()
        };
        let merged = base.overridden_by(&own);
        assert_eq!(merged.mac.as_deref(), Some("02:00:00:00:00:02"));
        assert_eq!(merged.ips, ["10.0.0.1/24"]);
    }
}
