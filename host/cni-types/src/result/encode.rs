//! Prints a [`CniResult`] in the JSON form of any version.
//!
//! Member order and presence match the reference library: from 1.0.0 on sorted and without empty
//! members; before that in the order of its types, with `dns` even when empty.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{CniResult, Dns, Error, Interface, IpConfig, Route};
use crate::json;
use crate::version::Version;

/// Builds the form of `version` and passes it to `print`.
pub(super) fn encode<T>(
    result: &CniResult,
    version: Version,
    print: impl FnOnce(&Form<'_>) -> Result<T, json::Error>,
) -> Result<T, Error> {
    let form = if version >= Version::V1_0_0 {
        Form::New(NewResult::of(result, version))
    } else if version >= Version::V0_3_0 {
        Form::Middle(MiddleResult::of(result, version))
    } else {
        let old = OldResult::of(result, version);
        let converted = result.cni_version >= Version::V0_3_0;
        if converted && old.ip4.is_none() && old.ip6.is_none() {
            return Err(Error::NoAddress { version });
        }
        Form::Old(old)
    };
    Ok(print(&form)?)
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Form<'a> {
    New(NewResult<'a>),
    Middle(MiddleResult<'a>),
    Old(OldResult<'a>),
}

type Text<'a> = Option<&'a str>;

/// 1.0.0 and 1.1.0; members are sorted by name.
#[derive(Serialize)]
pub(super) struct NewResult<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<NewDns<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<NewInterface<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<NewIp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<NewRoute>,
}

impl<'a> NewResult<'a> {
    fn of(result: &'a CniResult, cni_version: Version) -> Self {
        Self {
            cni_version,
            dns: (!result.dns.is_empty()).then(|| NewDns::of(&result.dns)),
            interfaces: result.interfaces.iter().map(NewInterface::of).collect(),
            ips: result.ips.iter().map(NewIp::of).collect(),
            routes: result.routes.iter().map(NewRoute::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct NewDns<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Text<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    nameservers: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    options: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    search: &'a [String],
}

impl<'a> NewDns<'a> {
    fn of(dns: &'a Dns) -> Self {
        Self {
            domain: dns.domain.as_deref(),
            nameservers: &dns.nameservers,
            options: &dns.options,
            search: &dns.search,
        }
    }
}

#[derive(Serialize)]
struct NewInterface<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    name: &'a str,
    #[serde(rename = "pciID", skip_serializing_if = "Option::is_none")]
    pci_id: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Text<'a>,
    #[serde(rename = "socketPath", skip_serializing_if = "Option::is_none")]
    socket_path: Text<'a>,
}

impl<'a> NewInterface<'a> {
    fn of(interface: &'a Interface) -> Self {
        Self {
            mac: interface.mac.as_deref(),
            mtu: interface.mtu,
            name: &interface.name,
            pci_id: interface.pci_id.as_deref(),
            sandbox: interface.sandbox.as_deref(),
            socket_path: interface.socket_path.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct NewIp {
    address: IpNetText,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<usize>,
}

impl NewIp {
    fn of(ip: &IpConfig) -> Self {
        Self {
            address: IpNetText(ip.address),
            gateway: ip.gateway,
            interface: ip.interface,
        }
    }
}

#[derive(Serialize)]
struct NewRoute {
    #[serde(skip_serializing_if = "Option::is_none")]
    advmss: Option<u32>,
    dst: IpNetText,
    #[serde(skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<u32>,
}

impl NewRoute {
    fn of(route: &Route) -> Self {
        Self {
            advmss: route.advmss,
            dst: IpNetText(route.dst),
            gw: route.gw,
            mtu: route.mtu,
            priority: route.priority,
            scope: route.scope,
            table: route.table,
        }
    }
}

/// 0.3.0, 0.3.1 and 0.4.0.
#[derive(Serialize)]
pub(super) struct MiddleResult<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: Version,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<MiddleInterface<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<MiddleIp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<MiddleRoute>,
    dns: OldDns<'a>,
}

impl<'a> MiddleResult<'a> {
    fn of(result: &'a CniResult, cni_version: Version) -> Self {
        Self {
            cni_version,
            interfaces: result.interfaces.iter().map(MiddleInterface::of).collect(),
            ips: result.ips.iter().map(MiddleIp::of).collect(),
            routes: result.routes.iter().map(MiddleRoute::of).collect(),
            dns: OldDns::of(&result.dns),
        }
    }
}

#[derive(Serialize)]
struct MiddleInterface<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Text<'a>,
}

impl<'a> MiddleInterface<'a> {
    fn of(interface: &'a Interface) -> Self {
        Self {
            name: &interface.name,
            mac: interface.mac.as_deref(),
            sandbox: interface.sandbox.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct MiddleIp {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<usize>,
    address: IpNetText,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

impl MiddleIp {
    fn of(ip: &IpConfig) -> Self {
        Self {
            version: if ip.address.addr().is_ipv4() {
                "4"
            } else {
                "6"
            },
            interface: ip.interface,
            address: IpNetText(ip.address),
            gateway: ip.gateway,
        }
    }
}

#[derive(Serialize)]
struct MiddleRoute {
    dst: IpNetText,
    #[serde(skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advmss: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<u32>,
}

impl MiddleRoute {
    fn of(route: &Route) -> Self {
        Self {
            dst: IpNetText(route.dst),
            gw: route.gw,
            mtu: route.mtu,
            advmss: route.advmss,
            priority: route.priority,
            table: route.table,
            scope: route.scope,
        }
    }
}

/// 0.1.0 and 0.2.0.
#[derive(Serialize)]
pub(super) struct OldResult<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<OldIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<OldIp>,
    dns: OldDns<'a>,
}

impl<'a> OldResult<'a> {
    fn of(result: &'a CniResult, cni_version: Version) -> Self {
        Self {
            cni_version,
            ip4: OldIp::first(result, |net| net.addr().is_ipv4()),
            ip6: OldIp::first(result, |net| net.addr().is_ipv6()),
            dns: OldDns::of(&result.dns),
        }
    }
}

#[derive(Serialize)]
struct OldIp {
    ip: IpNetText,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<OldRoute>,
}

impl OldIp {
    /// The first address of a family, with all routes of that family.
    fn first(result: &CniResult, family: impl Fn(&IpNet) -> bool) -> Option<Self> {
        let ip = result.ips.iter().find(|ip| family(&ip.address))?;
        let routes = result.routes.iter().filter(|route| family(&route.dst));
        Some(Self {
            ip: IpNetText(ip.address),
            gateway: ip.gateway,
            routes: routes
                .map(|route| OldRoute {
                    dst: IpNetText(route.dst),
                    gw: route.gw,
                })
                .collect(),
        })
    }
}

#[derive(Serialize)]
struct OldRoute {
    dst: IpNetText,
    #[serde(skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
}

/// Before 1.0.0.
#[derive(Serialize)]
struct OldDns<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    nameservers: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Text<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    search: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    options: &'a [String],
}

impl<'a> OldDns<'a> {
    fn of(dns: &'a Dns) -> Self {
        Self {
            nameservers: &dns.nameservers,
            domain: dns.domain.as_deref(),
            search: &dns.search,
            options: &dns.options,
        }
    }
}

/// Address and prefix length as one string.
struct IpNetText(IpNet);

impl Serialize for IpNetText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
