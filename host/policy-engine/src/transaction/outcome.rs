//! A result and the tags of its attachment.

use std::collections::BTreeMap;

use cni_types::address::{canonical_mac, parse_cidr, parse_ip};
use cni_types::json::Node;
use cni_types::result::{CniResult, Dns, Interface, IpConfig, Route};
use cni_types::version::Version;

use super::tree::{object, parsed, set, string, strings_as_set};
use super::validate::{at_most, invalid, word};
use super::{Draft, EditError, validate};
use crate::report::deceives;

/// Interfaces, addresses or routes of one result.
const MAX_ELEMENTS: usize = 128;
/// Tags of one attachment.
const MAX_TAGS: usize = 32;
/// glibc reads three, other resolvers more.
const MAX_NAMESERVERS: usize = 16;

/// A result that is edited.
#[derive(Debug, Clone)]
pub(crate) struct OutcomeDraft {
    result: CniResult,
    tags: BTreeMap<String, String>,
}

/// An address as a guest writes it.
#[derive(Debug, Clone)]
pub(crate) struct RawIp {
    pub(crate) address: String,
    pub(crate) gateway: Option<String>,
    pub(crate) interface: Option<u32>,
}

impl OutcomeDraft {
    /// Begins with what the delegate answered and without tags.
    pub(crate) fn new(result: CniResult) -> Self {
        Self {
            result,
            tags: BTreeMap::new(),
        }
    }

    /// The result as it is now.
    pub(crate) fn result(&self) -> &CniResult {
        &self.result
    }

    /// Result and tags at the end.
    pub(crate) fn into_parts(self) -> (CniResult, BTreeMap<String, String>) {
        (self.result, self.tags)
    }

    /// The result as JSON text of CNI 1.1.
    pub(crate) fn json(&self) -> String {
        match self.result.to_raw(Version::V1_1_0) {
            Ok(raw) => raw.get().to_owned(),
            Err(_) => "{}".to_owned(),
        }
    }

    pub(crate) fn set_dns(&mut self, dns: Dns) -> Result<(), EditError> {
        at_most("name servers", &dns.nameservers, MAX_NAMESERVERS)?;
        at_most("search domains", &dns.search, MAX_ELEMENTS)?;
        at_most("resolver options", &dns.options, MAX_ELEMENTS)?;
        let nameservers = dns
            .nameservers
            .iter()
            .map(|server| validate::address(server))
            .collect::<Result<_, _>>()?;
        for domain in dns.domain.iter().chain(&dns.search) {
            word("domain", domain, 253)?;
        }
        for option in &dns.options {
            word("resolver option", option, 253)?;
        }
        self.result.dns = Dns { nameservers, ..dns };
        Ok(())
    }

    pub(crate) fn set_interfaces(&mut self, interfaces: Vec<Interface>) -> Result<(), EditError> {
        at_most("interfaces", &interfaces, MAX_ELEMENTS)?;
        let sandboxes: Vec<_> = self
            .result
            .interfaces
            .iter()
            .map(|known| known.sandbox.clone())
            .collect();
        let mut checked = Vec::with_capacity(interfaces.len());
        for mut interface in interfaces {
            validate::if_name(&interface.name)?;
            if interface.sandbox.is_some() && !sandboxes.contains(&interface.sandbox) {
                return Err(EditError::Immutable(
                    "the sandbox of an interface".to_owned(),
                ));
            }
            if let Some(mac) = &mut interface.mac {
                *mac = canonical_mac(mac)
                    .ok_or_else(|| invalid(format!("{mac:?} is no MAC address")))?;
            }
            if let Some(mtu) = interface.mtu {
                validate::mtu(mtu, &[])?;
            }
            for (what, text) in [
                ("socket path", &interface.socket_path),
                ("PCI id", &interface.pci_id),
            ] {
                if let Some(text) = text {
                    word(what, text, 4096)?;
                }
            }
            checked.push(interface);
        }
        let dangling = self
            .result
            .ips
            .iter()
            .filter_map(|ip| ip.interface)
            .any(|index| index >= checked.len());
        if dangling {
            return Err(invalid(
                "an address belongs to an interface that would be gone",
            ));
        }
        self.result.interfaces = checked;
        Ok(())
    }

    pub(crate) fn set_ips(&mut self, ips: &[RawIp]) -> Result<(), EditError> {
        at_most("addresses", ips, MAX_ELEMENTS)?;
        self.result.ips = ips.iter().map(|ip| self.ip(ip)).collect::<Result<_, _>>()?;
        Ok(())
    }

    pub(crate) fn set_routes(&mut self, routes: Vec<Route>) -> Result<(), EditError> {
        at_most("routes", &routes, MAX_ELEMENTS)?;
        self.result.routes = routes;
        Ok(())
    }

    pub(crate) fn tag(&mut self, key: &str, value: &str) -> Result<(), EditError> {
        word("key of a tag", key, 63)?;
        if value.len() > 253 || value.contains(deceives) {
            return Err(invalid(format!(
                "tag {key:?} has control or bidirectional characters or more than 253 bytes"
            )));
        }
        if !self.tags.contains_key(key) && self.tags.len() >= MAX_TAGS {
            return Err(EditError::TooLarge(format!("more than {MAX_TAGS} tags")));
        }
        self.tags.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn ip(&self, ip: &RawIp) -> Result<IpConfig, EditError> {
        let address = parse_cidr(&ip.address)
            .ok_or_else(|| invalid(format!("{:?} is no CIDR", ip.address)))?;
        let interface = ip.interface.map(|index| index as usize);
        if let Some(index) = interface.filter(|index| *index >= self.result.interfaces.len()) {
            return Err(invalid(format!("no interface {index}")));
        }
        Ok(IpConfig {
            interface,
            address,
            gateway: ip.gateway.as_deref().map(gateway).transpose()?,
        })
    }
}

/// A gateway that a guest gives.
pub(crate) fn gateway(text: &str) -> Result<std::net::IpAddr, EditError> {
    parse_ip(text).ok_or_else(|| invalid(format!("{text:?} is no IP address")))
}

/// A route that a guest gives: destination and next hop.
pub(crate) fn route(dst: &str, gw: Option<&str>) -> Result<Route, EditError> {
    let dst = parse_cidr(dst).ok_or_else(|| invalid(format!("{dst:?} is no CIDR")))?;
    Ok(Route::new(dst, gw.map(gateway).transpose()?))
}

impl Draft for OutcomeDraft {
    fn tree(&self) -> Node {
        object([
            ("result", Some(parsed(&self.json()))),
            ("tags", Some(self.tags_tree())),
        ])
    }

    fn claim_tree(&self) -> Node {
        let CniResult {
            interfaces,
            ips,
            routes,
            dns,
            ..
        } = &self.result;
        let debug = |text: String| string(&text);
        let result = object([
            (
                "interfaces",
                Some(set(interfaces.iter().map(|interface| {
                    let place = interface.sandbox.as_deref().unwrap_or_default();
                    (
                        format!("{place}/{}", interface.name),
                        debug(format!("{interface:?}")),
                    )
                }))),
            ),
            (
                "ips",
                Some(set(ips.iter().map(|ip| {
                    (ip.address.to_string(), debug(format!("{ip:?}")))
                }))),
            ),
            (
                "routes",
                Some(set(routes.iter().map(|route| {
                    (
                        format!("{} {:?} {:?}", route.dst, route.gw, route.table),
                        debug(format!("{route:?}")),
                    )
                }))),
            ),
            (
                "dns",
                Some(object([
                    ("nameservers", Some(strings_as_set(&dns.nameservers))),
                    ("domain", dns.domain.as_deref().map(string)),
                    ("search", Some(strings_as_set(&dns.search))),
                    ("options", Some(strings_as_set(&dns.options))),
                ])),
            ),
        ]);
        object([("result", Some(result)), ("tags", Some(self.tags_tree()))])
    }
}

impl OutcomeDraft {
    fn tags_tree(&self) -> Node {
        set(self
            .tags
            .iter()
            .map(|(key, value)| (key.as_str(), string(value))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Working};
    use super::*;
    use std::sync::Arc;

    const BUDGET: Budget = Budget {
        edits: 10,
        bytes: 1 << 16,
    };

    fn draft() -> OutcomeDraft {
        let json = r#"{"cniVersion":"1.0.0",
            "interfaces":[{"name":"eth0","sandbox":"/run/netns/a"}],
            "ips":[{"address":"10.1.0.2/16","interface":0}],
            "dns":{"nameservers":["10.0.0.1"]}}"#;
        let version = cni_types::version::ConfVersion::parse("1.0.0").unwrap();
        OutcomeDraft::new(CniResult::parse(json.as_bytes(), version).unwrap())
    }

    fn dns(nameservers: &[&str]) -> Dns {
        Dns {
            nameservers: nameservers
                .iter()
                .map(|server| (*server).to_owned())
                .collect(),
            ..Dns::default()
        }
    }

    #[test]
    fn name_servers_are_addresses() {
        let mut draft = draft();
        draft.set_dns(dns(&["::FFFF:10.0.0.9"])).unwrap();
        assert_eq!(draft.result().dns.nameservers, ["10.0.0.9"]);
        for bad in ["", "dns.example", "10.0.0.1\nnameserver 6.6.6.6"] {
            draft.set_dns(dns(&[bad])).unwrap_err();
        }
        let search = Dns {
            search: vec!["a b".to_owned()],
            ..Dns::default()
        };
        draft.set_dns(search).unwrap_err();
    }

    #[test]
    fn two_policies_may_add_name_servers_and_neither_drops_the_other_ones() {
        let mut working = Working::new(draft());
        let first: Arc<str> = "first".into();
        let mut transaction = working.begin(first.clone(), BUDGET);
        transaction
            .edit(1, |draft| draft.set_dns(dns(&["10.0.0.1", "10.0.0.2"])))
            .unwrap();
        let staged = working.staged(transaction);
        let patch = working.commit(&first, staged).unwrap().to_string();
        assert_eq!(
            patch,
            r#"[{"op":"add","path":"/result/dns/nameservers/1","value":"10.0.0.2"}]"#
        );

        let mut second = working.begin("second".into(), BUDGET);
        second
            .edit(1, |draft| draft.set_dns(dns(&["10.0.0.3", "10.0.0.2"])))
            .unwrap();
        second
            .edit(1, |draft| draft.set_dns(dns(&["10.0.0.3"])))
            .unwrap_err();
    }

    #[test]
    fn addresses_and_interfaces_stay_consistent() {
        let mut draft = draft();
        let ip = |interface| RawIp {
            address: "10.1.0.9/16".to_owned(),
            gateway: None,
            interface,
        };
        draft.set_ips(&[ip(Some(1))]).unwrap_err();
        draft.set_ips(&[ip(Some(0))]).unwrap();
        draft.set_interfaces(Vec::new()).unwrap_err();
        let foreign = Interface {
            name: "eth0".to_owned(),
            sandbox: Some("/proc/1/ns/net".to_owned()),
            ..Interface::default()
        };
        draft.set_interfaces(vec![foreign]).unwrap_err();
    }

    #[test]
    fn tags_are_few_and_short() {
        let mut draft = draft();
        draft.tag("tier", "gold").unwrap();
        draft.tag("a b", "x").unwrap_err();
        for value in ["x\ny", "a\u{202e}b", "\u{200f}", "\u{61c}", "\u{2067}"] {
            draft.tag("tier", value).unwrap_err();
            draft.tag(value, "x").unwrap_err();
        }
        for index in 1..MAX_TAGS {
            draft.tag(&index.to_string(), "x").unwrap();
        }
        draft.tag("tier", "silver").unwrap();
        assert!(matches!(
            draft.tag("one-more", "x"),
            Err(EditError::TooLarge(_))
        ));
    }
}
