//! What a pod may request for one attachment besides its network: addresses, MAC, ports, bandwidth.
//! Delegates that declare the capability get it as `runtimeConfig` (CNI conventions).

use cni_types::args::CniArgs;
use cni_types::capability::{Bandwidth, PortMapping, empty_is_none};
use cni_types::json::RawObject;
use serde::{Deserialize, Serialize};

use super::members;
use super::sandbox::Sandbox;

/// Keys of a runtime configuration, in Go's spelling.
const MEMBERS: [&str; 7] = [
    "portMappings",
    "bandwidth",
    "ips",
    "mac",
    "infinibandGUID",
    "deviceID",
    "CNIDeviceInfoFile",
];
/// Keys of a port mapping.
pub(crate) const PORT_MAPPING_MEMBERS: [&str; 4] =
    ["hostPort", "containerPort", "protocol", "hostIP"];
/// Keys of bandwidth limits.
pub(crate) const BANDWIDTH_MEMBERS: [&str; 4] =
    ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];

const IGNORE_UNKNOWN: &str = "IgnoreUnknown";
const POD_NAMESPACE: &str = "K8S_POD_NAMESPACE";
const POD_NAME: &str = "K8S_POD_NAME";
const POD_UID: &str = "K8S_POD_UID";
const INFRA_CONTAINER_ID: &str = "K8S_POD_INFRA_CONTAINER_ID";
/// The `CNI_ARGS` argument for an IP address.
const IP_ARGUMENT: &str = "IP";
/// The `CNI_ARGS` argument for a MAC address.
const MAC_ARGUMENT: &str = "MAC";
/// Arguments that every delegate gets from the daemon rather than from the runtime.
const OWN_ARGUMENTS: [&str; 5] = [
    IGNORE_UNKNOWN,
    POD_NAMESPACE,
    POD_NAME,
    POD_UID,
    INFRA_CONTAINER_ID,
];

/// `CNI_ARGS` for DEL and CHECK: without `IP` and `MAC`, which request what ADD should make. IPAM
/// plugins read them for every verb, and reject values they would not assign.
pub fn args_after_add(args: &CniArgs) -> CniArgs {
    args.without(&[IP_ARGUMENT, MAC_ARGUMENT])
}

/// What `CNI_ARGS` of a runtime request for an attachment: plugins that know no capabilities take
/// the MAC and the addresses from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArgRequest {
    /// `MAC`.
    pub mac: Option<String>,
    /// `IP`, which the static IPAM plugin reads as a list.
    pub ips: Vec<String>,
}

impl ArgRequest {
    /// The MAC and addresses in these arguments.
    pub fn of(args: &CniArgs) -> Self {
        let given = |key| args.get(key).map(str::trim).filter(|text| !text.is_empty());
        let ips = given(IP_ARGUMENT).into_iter();
        let ips = ips.flat_map(|ips| ips.split(',')).map(str::trim);
        Self {
            mac: given(MAC_ARGUMENT).map(ToOwned::to_owned),
            ips: ips
                .filter(|ip| !ip.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
        }
    }
}

/// `CNI_ARGS` without a MAC.
pub fn args_without_mac(args: &CniArgs) -> CniArgs {
    args.without(&[MAC_ARGUMENT])
}

/// `CNI_ARGS` without addresses.
pub fn args_without_ips(args: &CniArgs) -> CniArgs {
    args.without(&[IP_ARGUMENT])
}

/// The runtime configuration of one attachment, or of all of them (`runtimeConfig` of the CNI
/// conf).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeConfig {
    /// Ports of the node that are forwarded to the pod.
    #[serde(
        rename = "portMappings",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub port_mappings: Vec<PortMapping>,
    /// Bandwidth limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Addresses, with or without a prefix length.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub ips: Vec<String>,
    /// MAC address.
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
    /// Id of a device allocated to the pod.
    #[serde(
        rename = "deviceID",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub device_id: Option<String>,
    /// The device-info file that the delegate writes (device-info specification 1.1).
    #[serde(
        rename = "CNIDeviceInfoFile",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub device_info_file: Option<String>,
    /// Arguments of capabilities unknown here, such as `dns` or `aliases`, as the runtime wrote
    /// them.
    #[serde(skip)]
    pub others: RawObject,
}

impl RuntimeConfig {
    /// Parses `runtimeConfig` of a CNI conf. Keys match in any case, as in Go.
    ///
    /// # Errors
    /// A member has the wrong type.
    pub fn parse(object: &RawObject) -> Result<Self, serde_json::Error> {
        let mut known = RawObject::new();
        let mut others = Vec::new();
        for (key, value) in object.iter() {
            match members::known(&MEMBERS, key) {
                Some("portMappings") => known.set_raw(
                    "portMappings",
                    members::folded_elements(value, &PORT_MAPPING_MEMBERS),
                ),
                Some("bandwidth") => {
                    known.set_raw(
                        "bandwidth",
                        members::folded_value(value, &BANDWIDTH_MEMBERS),
                    );
                }
                Some(name) => known.set_raw(name, value.to_owned()),
                None => others.push((key, value.to_owned())),
            }
        }
        let mut unknown = RawObject::new();
        unknown.extend(others);
        Ok(Self {
            others: unknown,
            ..serde_json::from_str(&known.to_text())?
        })
    }

    /// Drops the unknown capabilities, which are meant for the default network only.
    #[must_use]
    pub(crate) fn of_known_capabilities(self) -> Self {
        Self {
            others: RawObject::new(),
            ..self
        }
    }

    /// Merges both configurations; values of `other` take precedence.
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
            bandwidth: other.bandwidth.or(self.bandwidth),
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
            others: match other.others.is_empty() {
                true => self.others.clone(),
                false => other.others.clone(),
            },
        }
    }
}

impl RuntimeConfig {
    /// Parses capability arguments; empty if they are malformed.
    pub fn of_capability_args(arguments: &RawObject) -> Self {
        if arguments.is_empty() {
            return Self::default();
        }
        serde_json::from_str(&arguments.to_text()).unwrap_or_default()
    }

    /// The arguments of all capabilities, not yet filtered by those a plugin declares.
    pub fn capability_args(&self) -> RawObject {
        if *self == Self::default() {
            return RawObject::new();
        }
        let text = serde_json::to_string(self).expect("strings and numbers are JSON");
        let mut arguments =
            RawObject::parse(text).expect("a runtime configuration is a JSON object");
        let others = self.others.iter();
        arguments.extend(others.map(|(key, value)| (key, value.to_owned())));
        arguments
    }

    /// `CNI_ARGS` for an attachment's ADD: the pod's identity, the runtime's other arguments for
    /// this attachment (`more`), and MAC and IP for plugins that know these arguments but not the
    /// capabilities. Several addresses are omitted: IPAM plugins take one `IP` and fail on a list.
    ///
    /// # Errors
    /// A value contains characters that `CNI_ARGS` does not allow, such as a uid with a semicolon.
    pub fn cni_args(
        &self,
        sandbox: &Sandbox,
        more: &CniArgs,
    ) -> Result<CniArgs, cni_types::args::Error> {
        let mut args = CniArgs::new();
        args.push(IGNORE_UNKNOWN, "true")?;
        args.push(POD_NAMESPACE, &sandbox.pod.namespace)?;
        args.push(POD_NAME, &sandbox.pod.name)?;
        args.push(INFRA_CONTAINER_ID, &sandbox.infra_container_id)?;
        args.push(POD_UID, &sandbox.pod.uid)?;
        for (key, value) in more.without(&OWN_ARGUMENTS).iter() {
            args.push(key, value)?;
        }
        if let Some(mac) = &self.mac {
            args = args.without(&[MAC_ARGUMENT]);
            args.push(MAC_ARGUMENT, mac)?;
        }
        if !self.ips.is_empty() {
            args = args.without(&[IP_ARGUMENT]);
        }
        if let [ip] = self.ips.as_slice() {
            args.push(IP_ARGUMENT, ip)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_args_use_standard_names() {
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
    fn empty_values_request_nothing() {
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

    fn sandbox(args: &str) -> Sandbox {
        Sandbox {
            args: CniArgs::parse(args).unwrap(),
            ..Sandbox::recorded(cni_types::args::ContainerId::new("c").unwrap())
        }
    }

    #[test]
    fn one_address_is_an_argument_and_two_are_not() {
        let args = |ips: &[&str]| {
            let config = RuntimeConfig {
                ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
                ..Default::default()
            };
            config.cni_args(&sandbox(""), &CniArgs::new()).unwrap()
        };
        assert_eq!(args(&["10.0.0.1/24"]).get("IP"), Some("10.0.0.1/24"));
        assert_eq!(args(&["10.0.0.1/24", "fd00::1/64"]).get("IP"), None);
        assert_eq!(args_after_add(&args(&["10.0.0.1/24"])).get("IP"), None);
    }

    #[test]
    fn the_runtimes_arguments_are_kept() {
        let sandbox = sandbox("IgnoreUnknown=1;K8S_POD_NAME=a;VENDOR=b=c;IP=10.0.0.1;MAC=x");
        let own = RuntimeConfig {
            mac: Some("02:00:00:00:00:01".into()),
            ..Default::default()
        };
        let args = own.cni_args(&sandbox, &sandbox.args).unwrap().to_string();
        assert!(
            args.ends_with(";VENDOR=b=c;IP=10.0.0.1;MAC=02:00:00:00:00:01"),
            "{args}"
        );
        assert_eq!(args.matches("IgnoreUnknown").count(), 1);
    }

    #[test]
    fn unknown_capabilities_keep_their_bytes() {
        let text = r#"{"Mac":"02:00:00:00:00:01","aliases":{"n": [1.50, 12345678901234567890]},"portmappings":[{"hostport":1}]}"#;
        let config = RuntimeConfig::parse(&RawObject::parse(text).unwrap()).unwrap();
        let arguments = config.capability_args();
        assert_eq!(
            arguments.get("aliases").unwrap().get(),
            r#"{"n": [1.50, 12345678901234567890]}"#
        );
        assert_eq!(config.port_mappings[0].host_port, 1);
        assert_eq!(config.mac.as_deref(), Some("02:00:00:00:00:01"));
        let others = config.of_known_capabilities().capability_args();
        assert!(!others.contains_key("aliases"));
    }
}
