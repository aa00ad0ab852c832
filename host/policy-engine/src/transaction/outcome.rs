//! The draft of a result and the tags of its attachment.

use std::collections::BTreeMap;

use cni_types::address::{canonical_mac, parse_cidr, parse_ip};
use cni_types::result::{CniResult, Dns, Interface, IpConfig, Route};
use cni_types::text::deceives;
use cni_types::version::Version;

use super::validate::{at_most, invalid, word};
use super::{EditError, validate};

/// Maximum interfaces, addresses or routes of one result.
const MAX_ELEMENTS: usize = 128;
/// Maximum tags of one attachment.
const MAX_TAGS: usize = 32;
/// glibc reads three, other resolvers more.
const MAX_NAMESERVERS: usize = 16;

/// A result being edited.
#[derive(Debug, Clone)]
pub(crate) struct OutcomeDraft {
    pub(super) result: CniResult,
    pub(super) tags: BTreeMap<String, String>,
    /// Tags of earlier hooks, which `tags` adds to; claimed elsewhere.
    earlier: BTreeMap<String, String>,
}

/// One edit of an outcome.
#[derive(Debug)]
pub(crate) enum OutcomeChange {
    /// Sets the whole DNS configuration.
    Dns(Dns),
    Interfaces(Vec<Interface>),
    Ips(Vec<IpConfig>),
    Routes(Vec<Route>),
    /// Sets one tag.
    Tag(String, String),
}

/// An address as a guest writes it.
#[derive(Debug, Clone)]
pub(crate) struct RawIp {
    pub(crate) address: String,
    pub(crate) gateway: Option<String>,
    pub(crate) interface: Option<u32>,
}

impl OutcomeDraft {
    /// Starts from the delegate's result, without tags.
    pub(crate) fn new(result: CniResult) -> Self {
        Self::with_tags(result, BTreeMap::new())
    }

    /// Continues with tags that earlier policies have set.
    pub(crate) fn with_tags(result: CniResult, tags: BTreeMap<String, String>) -> Self {
        Self {
            result,
            tags,
            earlier: BTreeMap::new(),
        }
    }

    /// The same, with tags of earlier hooks that guests see beside the outcome's own.
    pub(crate) fn after(self, earlier: BTreeMap<String, String>) -> Self {
        Self { earlier, ..self }
    }

    /// The tags as edited so far, without those of [`after`](Self::after).
    pub(crate) fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// The tags of earlier hooks, which the tags add to.
    pub(crate) fn earlier_tags(&self) -> &BTreeMap<String, String> {
        &self.earlier
    }

    /// All tags.
    pub(crate) fn all_tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.earlier.clone();
        tags.extend(self.tags.clone());
        tags
    }

    /// The result as edited so far.
    pub(crate) fn result(&self) -> &CniResult {
        &self.result
    }

    /// The edited result and tags.
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

    pub(crate) fn set_dns(&self, dns: Dns) -> Result<OutcomeChange, EditError> {
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
        Ok(OutcomeChange::Dns(Dns { nameservers, ..dns }))
    }

    pub(crate) fn set_interfaces(
        &self,
        interfaces: Vec<Interface>,
    ) -> Result<OutcomeChange, EditError> {
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
                    .ok_or_else(|| invalid(format!("{mac:?} is not a MAC address")))?;
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
        Ok(OutcomeChange::Interfaces(checked))
    }

    pub(crate) fn set_ips(&self, ips: &[RawIp]) -> Result<OutcomeChange, EditError> {
        at_most("addresses", ips, MAX_ELEMENTS)?;
        let ips = ips.iter().map(|ip| self.ip(ip));
        Ok(OutcomeChange::Ips(ips.collect::<Result<_, _>>()?))
    }

    pub(crate) fn set_routes(&self, routes: Vec<Route>) -> Result<OutcomeChange, EditError> {
        at_most("routes", &routes, MAX_ELEMENTS)?;
        Ok(OutcomeChange::Routes(routes))
    }

    pub(crate) fn tag(&self, key: &str, value: &str) -> Result<OutcomeChange, EditError> {
        word("key of a tag", key, 63)?;
        if value.len() > 253 || value.contains(deceives) {
            return Err(invalid(format!(
                "tag {key:?} has control or bidirectional characters or more than 253 bytes"
            )));
        }
        if !self.tags.contains_key(key) && self.tags.len() >= MAX_TAGS {
            return Err(EditError::TooLarge(format!("more than {MAX_TAGS} tags")));
        }
        Ok(OutcomeChange::Tag(key.to_owned(), value.to_owned()))
    }

    fn ip(&self, ip: &RawIp) -> Result<IpConfig, EditError> {
        let address = parse_cidr(&ip.address)
            .ok_or_else(|| invalid(format!("{:?} is not a CIDR", ip.address)))?;
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

/// Parses a guest's gateway.
pub(crate) fn gateway(text: &str) -> Result<std::net::IpAddr, EditError> {
    parse_ip(text).ok_or_else(|| invalid(format!("{text:?} is not an IP address")))
}

/// Parses a guest's route: destination and next hop.
pub(crate) fn route(dst: &str, gw: Option<&str>) -> Result<Route, EditError> {
    let dst = parse_cidr(dst).ok_or_else(|| invalid(format!("{dst:?} is not a CIDR")))?;
    Ok(Route::new(dst, gw.map(gateway).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Draft, Working};
    use super::*;
    use std::sync::Arc;

    const BUDGET: Budget = Budget::of(10, 1 << 16);

    fn edit(draft: &mut OutcomeDraft, change: Result<OutcomeChange, EditError>) {
        draft.apply(change.unwrap()).unwrap();
    }

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
        let change = draft.set_dns(dns(&["::FFFF:10.0.0.9"]));
        edit(&mut draft, change);
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
    fn policies_cannot_drop_others_name_servers() {
        let mut working = Working::new(draft());
        let first: Arc<str> = "first".into();
        let mut transaction = working.begin(first.clone(), BUDGET);
        transaction
            .edit(1, |draft| draft.set_dns(dns(&["10.0.0.1", "10.0.0.2"])))
            .unwrap();
        let staged = working.staged(transaction);
        let patch = working.commit(&first, staged).unwrap().patch.to_string();
        assert_eq!(
            patch,
            r#"[{"op":"add","path":"/result/dns/nameservers/1","value":"10.0.0.2"}]"#
        );

        let mut second = working.begin("second".into(), BUDGET);
        second
            .edit(1, |draft| {
                draft.set_dns(dns(&["10.0.0.3", "10.0.0.1", "10.0.0.2"]))
            })
            .unwrap();
        second
            .edit(1, |draft| draft.set_dns(dns(&["10.0.0.3"])))
            .unwrap_err();
    }

    #[test]
    fn a_result_set_as_it_was_has_an_owner() {
        type Edit<'a> = &'a dyn Fn(&OutcomeDraft) -> Result<OutcomeChange, EditError>;
        let conflict = |one: Edit<'_>, other: Edit<'_>| {
            let mut working = Working::new(draft());
            let first: Arc<str> = "first".into();
            let mut transaction = working.begin(first.clone(), BUDGET);
            transaction.edit(1, one).unwrap();
            let staged = working.staged(transaction);
            assert!(working.commit(&first, staged).is_none());
            let mut second = working.begin("second".into(), BUDGET);
            second.edit(1, other).is_err()
        };
        let same: Edit<'_> = &|draft| draft.set_dns(dns(&["10.0.0.1"]));
        assert!(conflict(same, &|draft| draft.set_dns(dns(&["10.0.0.2"]))));
        assert!(!conflict(same, &|draft| draft.set_dns(dns(&["10.0.0.2", "10.0.0.1"]))));
        assert!(!conflict(same, &|draft| draft.tag("tier", "gold")));
        let same: Edit<'_> = &|draft| draft.set_interfaces(draft.result.interfaces.clone());
        let renamed: Edit<'_> = &|draft| {
            let mut interfaces = draft.result.interfaces.clone();
            interfaces[0].name = "x".to_owned();
            draft.set_interfaces(interfaces)
        };
        assert!(conflict(same, renamed));
        let ip = |address: &str| RawIp {
            address: address.to_owned(),
            gateway: None,
            interface: Some(0),
        };
        let same: Edit<'_> = &|draft| draft.set_ips(&[ip("10.1.0.2/16")]);
        assert!(conflict(same, &|draft| draft.set_ips(&[])));
        assert!(!conflict(same, &|draft| draft
            .set_ips(&[ip("10.1.0.9/16"), ip("10.1.0.2/16")])));
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
        let change = draft.set_ips(&[ip(Some(0))]);
        edit(&mut draft, change);
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
        let change = draft.tag("tier", "gold");
        edit(&mut draft, change);
        draft.tag("a b", "x").unwrap_err();
        for value in ["x\ny", "a\u{202e}b", "\u{200f}", "\u{61c}", "\u{2067}"] {
            draft.tag("tier", value).unwrap_err();
            draft.tag(value, "x").unwrap_err();
        }
        for index in 1..MAX_TAGS {
            let change = draft.tag(&index.to_string(), "x");
            edit(&mut draft, change);
        }
        draft.tag("tier", "silver").unwrap();
        assert!(matches!(
            draft.tag("one-more", "x"),
            Err(EditError::TooLarge(_))
        ));
    }
}
