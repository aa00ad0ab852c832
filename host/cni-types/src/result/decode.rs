//! Parses the JSON form of any version into a [`CniResult`].

use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;

use super::{CniResult, Dns, Error, Interface, IpConfig, Route};
use crate::address::{parse_cidr, parse_ip};
use crate::clip::clip;
use crate::json::RawObject;
use crate::version::{ConfVersion, Version};

pub(super) fn decode(bytes: &[u8], conf_version: ConfVersion) -> Result<CniResult, Error> {
    let object = match bytes.trim_ascii() {
        b"null" => RawObject::new(),
        bytes => RawObject::parse(bytes)?,
    };
    let declared: Option<String> = object.get_as("cniVersion")?;
    let version = match declared.filter(|text| !text.is_empty()) {
        Some(text) => text.parse()?,
        None => conf_version.effective(),
    };
    let mut result = CniResult::empty(version);
    if let Some(dns) = object.get_as::<WireDns>("dns")? {
        result.dns = dns.into();
    }
    if version < Version::V0_3_0 {
        for key in ["ip4", "ip6"] {
            if let Some(ip) = object.get_as::<WireOldIp>(key)? {
                ip.read(key, &mut result)?;
            }
        }
        return Ok(result);
    }
    let interfaces: Vec<WireInterface> = object.get_as("interfaces")?.unwrap_or_default();
    result.interfaces = interfaces
        .into_iter()
        .map(|interface| interface.read(version))
        .collect();
    let ips: Vec<WireIp> = object.get_as("ips")?.unwrap_or_default();
    result.ips = ips
        .into_iter()
        .enumerate()
        .map(|(at, ip)| ip.read(at))
        .collect::<Result<_, _>>()?;
    let routes: Option<Vec<WireRoute>> = object.get_as("routes")?;
    result.routes = read_routes("routes", routes)?;
    Ok(result)
}

#[derive(Deserialize)]
struct WireInterface {
    name: Option<String>,
    mac: Option<String>,
    mtu: Option<u32>,
    sandbox: Option<String>,
    #[serde(rename = "socketPath")]
    socket_path: Option<String>,
    #[serde(rename = "pciID")]
    pci_id: Option<String>,
}

impl WireInterface {
    fn read(self, version: Version) -> Interface {
        let interface = Interface {
            name: self.name.unwrap_or_default(),
            mac: filled(self.mac),
            mtu: self.mtu.filter(|mtu| *mtu != 0),
            sandbox: filled(self.sandbox),
            socket_path: filled(self.socket_path),
            pci_id: filled(self.pci_id),
        };
        if version >= Version::V1_0_0 {
            return interface;
        }
        Interface {
            mtu: None,
            socket_path: None,
            pci_id: None,
            ..interface
        }
    }
}

#[derive(Deserialize)]
struct WireIp {
    interface: Option<i64>,
    address: Option<String>,
    gateway: Option<String>,
}

impl WireIp {
    fn read(self, at: usize) -> Result<IpConfig, Error> {
        Ok(IpConfig {
            // Multi-network specification 1.3, section 5.3.3.1: a negative index means no interface.
            // The reference library does not check the bounds.
            interface: self.interface.and_then(|index| index.try_into().ok()),
            address: cidr(|| format!("ips[{at}].address"), self.address)?,
            gateway: ip(|| format!("ips[{at}].gateway"), self.gateway)?,
        })
    }
}

/// `ip4` and `ip6` before 0.3.0.
#[derive(Deserialize)]
struct WireOldIp {
    ip: Option<String>,
    gateway: Option<String>,
    routes: Option<Vec<WireRoute>>,
}

impl WireOldIp {
    fn read(self, key: &str, result: &mut CniResult) -> Result<(), Error> {
        result.ips.push(IpConfig {
            interface: None,
            address: cidr(|| format!("{key}.ip"), self.ip)?,
            gateway: ip(|| format!("{key}.gateway"), self.gateway)?,
        });
        let routes = read_routes(&format!("{key}.routes"), self.routes)?;
        result.routes.extend(routes);
        Ok(())
    }
}

#[derive(Deserialize)]
struct WireRoute {
    dst: Option<String>,
    gw: Option<String>,
    mtu: Option<u32>,
    advmss: Option<u32>,
    priority: Option<u32>,
    table: Option<u32>,
    scope: Option<u32>,
}

fn read_routes(key: &str, routes: Option<Vec<WireRoute>>) -> Result<Vec<Route>, Error> {
    let read = |(at, route): (usize, WireRoute)| {
        let positive = |number: Option<u32>| number.filter(|number| *number != 0);
        Ok(Route {
            dst: cidr(|| format!("{key}[{at}].dst"), route.dst)?,
            gw: ip(|| format!("{key}[{at}].gw"), route.gw)?,
            mtu: positive(route.mtu),
            advmss: positive(route.advmss),
            priority: positive(route.priority),
            table: route.table,
            scope: route.scope,
        })
    };
    routes
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(read)
        .collect()
}

#[derive(Deserialize)]
struct WireDns {
    nameservers: Option<Vec<String>>,
    domain: Option<String>,
    search: Option<Vec<String>>,
    options: Option<Vec<String>>,
}

impl From<WireDns> for Dns {
    fn from(dns: WireDns) -> Self {
        Self {
            nameservers: dns.nameservers.unwrap_or_default(),
            domain: filled(dns.domain),
            search: dns.search.unwrap_or_default(),
            options: dns.options.unwrap_or_default(),
        }
    }
}

/// Go's JSON decoder does not distinguish absent, null and empty strings.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn cidr(key: impl Fn() -> String, text: Option<String>) -> Result<IpNet, Error> {
    let text = text.unwrap_or_default();
    parse_cidr(&text).ok_or_else(|| Error::Address {
        key: key(),
        value: clip(&text),
    })
}

fn ip(key: impl Fn() -> String, text: Option<String>) -> Result<Option<IpAddr>, Error> {
    filled(text)
        .map(|text| {
            parse_ip(&text).ok_or_else(|| Error::Address {
                key: key(),
                value: clip(&text),
            })
        })
        .transpose()
}
