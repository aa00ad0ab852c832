//! The `network-status` annotation (multi-network specification 1.3, section 5).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use cni_types::result::{CniResult, Dns, Interface, IpConfig, Route};
use serde::Serialize;
use serde_json::value::RawValue;

use super::entry::Entry;

/// One element of the annotation: one interface of an attachment.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkStatus {
    /// `namespace/name` of the NAD, or the name of the conf.
    pub name: String,
    /// The interface's name in the pod.
    pub interface: String,
    /// Addresses without prefix length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// MAC address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// MTU in bytes, if the delegate reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether this is the default network.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// The delegate's resolver configuration.
    pub dns: StatusDns,
    /// Device info, as written by the delegate or the device plugin.
    #[serde(rename = "device-info", skip_serializing_if = "Option::is_none")]
    pub device_info: Option<Box<RawValue>>,
    /// Gateways of the default routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<String>,
    /// Tags set by policies.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// `dns` of an element; an empty object if the delegate reports none.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StatusDns {
    /// Addresses of name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Search list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl From<&Dns> for StatusDns {
    fn from(dns: &Dns) -> Self {
        Self {
            nameservers: dns.nameservers.clone(),
            domain: dns.domain.clone(),
            search: dns.search.clone(),
            options: dns.options.clone(),
        }
    }
}

impl StatusDns {
    /// About as many bytes as its text has.
    fn text_len(&self) -> usize {
        /// Quotes and comma.
        const AROUND: usize = 3;
        let lists = [&self.nameservers, &self.search, &self.options];
        let texts = lists.into_iter().flatten().chain(&self.domain);
        texts.map(|text| text.len() + AROUND).sum()
    }
}

/// Maximum bytes that what elements of one attachment repeat may take in all of them.
const MAX_REPEATED: usize = 64 << 10;
/// Maximum default routes of one attachment of which gateways are shown.
const MAX_GATEWAYS: usize = 64;

/// How many elements of an attachment repeat something of this many bytes: at least the first. As in
/// Multus all of them do, unless a delegate lists so many interfaces that no API server would take
/// the annotation.
pub fn repeats(bytes: usize) -> usize {
    let times = MAX_REPEATED.checked_div(bytes);
    times.map_or(usize::MAX, |times| times.max(1))
}

/// The elements for one attachment: one per interface that the delegate made in the pod, or one for
/// the requested interface if the result lists none, as results before 0.3.0 cannot. `result` is
/// the delegate's after the policies.
pub fn of_attachment(
    entry: &Entry,
    result: &CniResult,
    tags: &BTreeMap<String, String>,
) -> Vec<NetworkStatus> {
    let is_default = entry.is_default;
    let dns = StatusDns::from(&result.dns);
    let tags_len: usize = tags
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let repeated = repeats(dns.text_len() + tags_len);
    let element =
        |number: usize, interface: Option<&Interface>, ips, default, gateway| NetworkStatus {
            name: entry.network.clone(),
            interface: interface.map_or_else(|| entry.if_name.to_string(), |i| i.name.clone()),
            ips,
            mac: interface.and_then(|i| i.mac.clone()),
            mtu: interface.and_then(|i| i.mtu).filter(|mtu| *mtu > 0),
            default,
            dns: match number < repeated {
                true => dns.clone(),
                false => StatusDns::default(),
            },
            device_info: None,
            gateway,
            tags: match number < repeated {
                true => tags.clone(),
                false => BTreeMap::new(),
            },
        };
    let in_pod = result.interfaces.iter().enumerate();
    let in_pod: Vec<(usize, &Interface)> = in_pod.filter(|(_, i)| is_in_pod(i)).collect();
    if in_pod.is_empty() || result.interfaces.len() == 1 {
        // Old results list addresses without interfaces.
        let only = in_pod.first().map(|(_, interface)| *interface);
        let (ips, gateways) = (texts(&result.ips), default_gateways(result));
        return vec![element(0, only, ips, is_default, gateways)];
    }
    let default_index = default_interface(&in_pod, result);
    let own = by_interface(result, &in_pod);
    let defaults = default_routes(result);
    let elements = in_pod.iter().enumerate();
    elements
        .map(|(number, (index, interface))| {
            let own = own.get(index).map(Vec::as_slice).unwrap_or_default();
            let ips = texts(own.iter().copied());
            let is_default_interface = Some(*index) == default_index;
            let gateway = match in_pod.len() {
                1 => default_gateways(result),
                _ => own_gateways(&defaults, own, is_default_interface),
            };
            let is_default = is_default && is_default_interface;
            element(number, Some(interface), ips, is_default, gateway)
        })
        .collect()
}

/// The addresses of each interface by its index. Those of none go to the last one in the pod.
fn by_interface<'r>(
    result: &'r CniResult,
    in_pod: &[(usize, &Interface)],
) -> HashMap<usize, Vec<&'r IpConfig>> {
    let last = in_pod.last().map(|(index, _)| *index);
    let mut own: HashMap<usize, Vec<&IpConfig>> = HashMap::new();
    for ip in &result.ips {
        // Out-of-range indices are ignored.
        let named = ip.interface.filter(|at| *at < result.interfaces.len());
        if let Some(at) = named.or(last) {
            own.entry(at).or_default().push(ip);
        }
    }
    own
}

fn texts<'r>(ips: impl IntoIterator<Item = &'r IpConfig>) -> Vec<String> {
    let ips = ips.into_iter();
    ips.map(|ip| ip.address.addr().to_string()).collect()
}

/// Only interfaces in the pod have a sandbox.
fn is_in_pod(interface: &Interface) -> bool {
    interface
        .sandbox
        .as_deref()
        .is_some_and(|sandbox| !sandbox.is_empty())
}

/// The default one of several interfaces of the default network: the pod's first with a gateway,
/// else the first. Addresses may refer to the node's end.
fn default_interface(several: &[(usize, &Interface)], result: &CniResult) -> Option<usize> {
    let indexes: HashSet<usize> = several.iter().map(|(index, _)| *index).collect();
    let in_pod = |at: &usize| indexes.contains(at);
    result
        .ips
        .iter()
        .filter(|ip| ip.gateway.is_some())
        .filter_map(|ip| ip.interface)
        .find(in_pod)
        .or_else(|| several.first().map(|(index, _)| *index))
}

/// The default routes, and whether the gateway of each is reachable through any address.
fn default_routes(result: &CniResult) -> Vec<(&Route, bool)> {
    let defaults = result.routes.iter();
    let defaults = defaults.filter(|route| route.dst.prefix_len() == 0);
    let is_known = |route: &Route| {
        let mut ips = result.ips.iter();
        route
            .gw
            .is_some_and(|gateway| ips.any(|ip| behind(ip, gateway)))
    };
    let defaults = defaults.take(MAX_GATEWAYS);
    defaults.map(|route| (route, is_known(route))).collect()
}

fn behind(ip: &IpConfig, gateway: IpAddr) -> bool {
    ip.gateway == Some(gateway) || ip.address.contains(&gateway)
}

/// The gateways of default routes reachable through one of several interfaces, whose addresses are
/// `own`. Gateways reachable through none count for the default interface.
fn own_gateways(defaults: &[(&Route, bool)], own: &[&IpConfig], is_default: bool) -> Vec<String> {
    let gateway = |(route, is_known): &(&Route, bool)| match route.gw {
        Some(gateway) => {
            let is_own = own.iter().any(|ip| behind(ip, gateway));
            (is_own || is_default && !is_known).then_some(gateway)
        }
        None => {
            let mut gateways = own.iter().filter_map(|ip| ip.gateway);
            gateways.find(|gateway| gateway.is_ipv4() == route.dst.addr().is_ipv4())
        }
    };
    let gateways = defaults.iter().filter_map(gateway);
    gateways.map(|gateway| gateway.to_string()).collect()
}

/// The gateways of the default routes. A route without one uses the gateway of its family's
/// address, as IPAM plugins intend.
fn default_gateways(result: &CniResult) -> Vec<String> {
    let of_family = |is_ipv4: bool| {
        let mut gateways = result.ips.iter().filter_map(|ip| ip.gateway);
        gateways.find(|gateway| gateway.is_ipv4() == is_ipv4)
    };
    result
        .routes
        .iter()
        .filter(|route| route.dst.prefix_len() == 0)
        .take(MAX_GATEWAYS)
        .filter_map(|route| route.gw.or_else(|| of_family(route.dst.addr().is_ipv4())))
        .map(|gateway| gateway.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sandbox::Sandbox;
    use cni_types::args::{ContainerId, IfName};
    use cni_types::conf::NetworkConfList;
    use cni_types::version::{ConfVersion, Version};

    fn entry(is_default: bool) -> Entry {
        let sandbox = Sandbox::recorded(ContainerId::new("c").unwrap());
        let conf = NetworkConfList::parse_any(r#"{"name":"n","type":"t"}"#).unwrap();
        Entry {
            is_default,
            ..Entry::of(&sandbox, "net", IfName::new("net4").unwrap(), conf)
        }
    }

    fn status(is_default: bool, result: &str) -> String {
        let result =
            CniResult::parse(result.as_bytes(), ConfVersion::from(Version::V1_0_0)).unwrap();
        serde_json::to_string(&of_attachment(
            &entry(is_default),
            &result,
            &BTreeMap::new(),
        ))
        .unwrap()
    }

    #[test]
    fn old_result_uses_the_requested_interface() {
        assert_eq!(
            status(
                false,
                r#"{"cniVersion":"0.1.0","ip4":{"ip":"10.1.0.2/24"}}"#
            ),
            r#"[{"name":"net","interface":"net4","ips":["10.1.0.2"],"dns":{}}]"#
        );
    }

    #[test]
    fn only_interfaces_of_the_pod_are_shown() {
        assert_eq!(
            status(
                true,
                r#"{"cniVersion":"1.0.0","interfaces":[{"name":"br0","mac":"02:00:00:00:00:01"},
                    {"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/x"}],
                    "ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":1}],
                    "routes":[{"dst":"0.0.0.0/0"}]}"#
            ),
            r#"[{"name":"net","interface":"eth0","ips":["10.1.0.2"],"mac":"02:00:00:00:00:02","default":true,"dns":{},"gateway":["10.1.0.1"]}]"#
        );
    }

    #[test]
    fn host_interface_address_is_excluded() {
        assert_eq!(
            status(
                true,
                r#"{"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/run/netns/x"}],
                    "ips":[{"address":"10.1.0.1/24","interface":0},{"address":"10.1.0.2/24","interface":1},
                    {"address":"fd00::2/64"}]}"#
            ),
            r#"[{"name":"net","interface":"eth0","ips":["10.1.0.2","fd00::2"],"default":true,"dns":{}}]"#
        );
    }

    #[test]
    fn each_pod_interface_has_its_own_element() {
        assert_eq!(
            status(
                true,
                r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a","sandbox":"s"},{"name":"b","sandbox":"s"}],
                    "ips":[{"address":"10.1.0.2/24","interface":0},{"address":"10.2.0.2/24","gateway":"10.2.0.1","interface":1}]}"#
            ),
            r#"[{"name":"net","interface":"a","ips":["10.1.0.2"],"dns":{}},{"name":"net","interface":"b","ips":["10.2.0.2"],"default":true,"dns":{}}]"#
        );
    }

    #[test]
    fn each_interface_shows_its_own_gateway() {
        assert_eq!(
            status(
                true,
                r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a","sandbox":"s"},{"name":"b","sandbox":"s"}],
                    "ips":[{"address":"10.1.0.2/24","interface":0},{"address":"10.2.0.2/24","gateway":"10.2.0.1","interface":1}],
                    "routes":[{"dst":"0.0.0.0/0","gw":"10.2.0.1"}]}"#
            ),
            r#"[{"name":"net","interface":"a","ips":["10.1.0.2"],"dns":{}},{"name":"net","interface":"b","ips":["10.2.0.2"],"default":true,"dns":{},"gateway":["10.2.0.1"]}]"#
        );
    }

    #[test]
    fn a_gateway_of_the_node_leaves_a_default() {
        let shown = status(
            true,
            r#"{"cniVersion":"1.0.0","interfaces":[{"name":"veth0"},{"name":"eth0","sandbox":"s"}],
                "ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":0}]}"#,
        );
        assert!(shown.contains(r#""interface":"eth0""#), "{shown}");
        assert!(shown.contains(r#""default":true"#), "{shown}");
    }

    #[test]
    fn many_interfaces_repeat_little() {
        let many = |count: usize, element: &dyn Fn(usize) -> String| {
            let elements: Vec<String> = (0..count).map(element).collect();
            elements.join(",")
        };
        let interfaces = |count| many(count, &|n| format!(r#"{{"name":"i{n}","sandbox":"s"}}"#));
        let servers = |count| many(count, &|_| r#""10.0.0.53""#.to_owned());
        let shown = |interfaces_count, servers_count| {
            status(
                true,
                &format!(
                    r#"{{"cniVersion":"1.0.0","interfaces":[{}],"dns":{{"nameservers":[{}]}}}}"#,
                    interfaces(interfaces_count),
                    servers(servers_count)
                ),
            )
        };
        // As Multus does.
        assert_eq!(shown(20, 3).matches("nameservers").count(), 20);
        let huge = shown(2_000, 1_000);
        assert!(huge.len() < 512 << 10, "{}", huge.len());
        assert!(huge.contains("nameservers"));
        assert_eq!(huge.matches(r#""interface":"#).count(), 2_000);
    }

    #[test]
    fn result_without_interfaces_shows_addresses() {
        assert_eq!(
            status(
                false,
                r#"{"cniVersion":"1.0.0","ips":[{"address":"fd00::2/64"}],"dns":{"nameservers":["10.0.0.53"]}}"#
            ),
            r#"[{"name":"net","interface":"net4","ips":["fd00::2"],"dns":{"nameservers":["10.0.0.53"]}}]"#
        );
    }
}
