//! The result of ADD: one type in the shape of CNI 1.1.0, read from and printed in the form of any
//! version.

mod decode;
mod encode;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::value::RawValue;

use crate::json;
use crate::version::{self, ConfVersion, Version};

/// What ADD achieved (specification, section 5, ADD Success).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniResult {
    /// The version that the result was read in, or the one to print it in.
    pub cni_version: Version,
    /// Interfaces that were created or used, on the node and in the pod.
    pub interfaces: Vec<Interface>,
    /// Addresses, of whatever interface.
    pub ips: Vec<IpConfig>,
    /// Routes in the pod.
    pub routes: Vec<Route>,
    /// Name resolution for the pod.
    pub dns: Dns,
}

/// An interface of a [`CniResult`]. What is empty or zero in JSON is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Hardware address, as the delegate printed it.
    pub mac: Option<String>,
    /// Largest packet in bytes. From 1.0.0 on.
    pub mtu: Option<u32>,
    /// Path of the network namespace; `None` on the node.
    pub sandbox: Option<String>,
    /// Absolute path of a vhost-user socket. From 1.0.0 on.
    pub socket_path: Option<String>,
    /// PCI address of the device behind it. From 1.0.0 on.
    pub pci_id: Option<String>,
}

/// An address of a [`CniResult`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// Index into [`CniResult::interfaces`]; within bounds when read by [`CniResult::parse`], which
    /// takes a negative one for none.
    pub interface: Option<usize>,
    /// Address with prefix length; the host part counts.
    pub address: IpNet,
    /// Gateway of the address's subnet.
    pub gateway: Option<IpAddr>,
}

/// A route of a [`CniResult`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination, with host bits if the delegate printed some.
    pub dst: IpNet,
    /// Next hop.
    pub gw: Option<IpAddr>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Largest TCP segment to announce, in bytes.
    pub advmss: Option<u32>,
    /// Metric, lower is preferred.
    pub priority: Option<u32>,
    /// Routing table.
    pub table: Option<u32>,
    /// Scope of the destination.
    pub scope: Option<u32>,
}

impl Route {
    /// A route with nothing but a destination and a next hop.
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }
}

/// Name resolution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of servers, by priority.
    pub nameservers: Vec<String>,
    /// Local domain.
    pub domain: Option<String>,
    /// Domains to search, by priority.
    pub search: Vec<String>,
    /// Options for the resolver.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a result was refused, or cannot be printed in a version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON that the version asks for.
    #[error("malformed result")]
    Json(#[from] json::Error),
    /// `cniVersion` of the result.
    #[error("cniVersion of the result")]
    Version(#[from] version::Error),
    /// An address is not one.
    #[error("invalid {key} {value:?} in the result")]
    Address {
        /// Where, such as `ips[0].address`.
        key: String,
        /// The refused text.
        value: String,
    },
    /// An address belongs to an interface that is not in the list.
    #[error("ips[{ip}].interface is {index}, but the result has {len} interfaces")]
    InterfaceIndex {
        /// Index of the address.
        ip: usize,
        /// The refused index.
        index: i64,
        /// Number of interfaces.
        len: usize,
    },
    /// Results of 0.2.0 and older have at least one address.
    #[error("a result without addresses cannot be expressed in CNI {version}")]
    NoAddress {
        /// The wanted version.
        version: Version,
    },
}

impl CniResult {
    /// A result that says nothing.
    pub fn empty(cni_version: Version) -> Self {
        Self {
            cni_version,
            interfaces: Vec::new(),
            ips: Vec::new(),
            routes: Vec::new(),
            dns: Dns::default(),
        }
    }

    /// Reads what a delegate printed. A result without `cniVersion` is one of the configuration's
    /// version; `null` is an empty result. Members that the version does not know are ignored.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::NoAddress`].
    pub fn parse(bytes: &[u8], conf_version: ConfVersion) -> Result<Self, Error> {
        decode::decode(bytes, conf_version)
    }

    /// The result in the form of `version`, member for member what the reference library prints.
    ///
    /// Going down loses what the older version has no place for: MTU, socket and PCI address of an
    /// interface before 1.0.0; interfaces, all but the first address of each family, and all of a
    /// route but destination and next hop before 0.3.0.
    ///
    /// # Errors
    /// [`Error::NoAddress`] when `version` needs an address and there is none, unless the result
    /// was read from such a version.
    pub fn to_raw(&self, version: Version) -> Result<Box<RawValue>, Error> {
        encode::encode(self, version, |form| {
            serde_json::value::to_raw_value(form).map_err(json::Error::from)
        })
    }

    /// As [`to_raw`](Self::to_raw), indented as plugins print it.
    ///
    /// # Errors
    /// As [`to_raw`](Self::to_raw).
    pub fn to_json(&self, version: Version) -> Result<String, Error> {
        encode::encode(self, version, |form| json::to_string_pretty(form))
    }
}
