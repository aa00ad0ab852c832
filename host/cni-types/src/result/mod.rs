//! The result of ADD: one type shaped like CNI 1.1.0, read from and printed in the form of any
//! version.

mod decode;
mod encode;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::value::RawValue;

use crate::json;
use crate::version::{self, ConfVersion, Version};

/// A successful result of ADD (specification, section 5, ADD Success).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniResult {
    /// The version it was read in, or is to be printed in.
    pub cni_version: Version,
    /// Interfaces created or used, on the node and in the pod.
    pub interfaces: Vec<Interface>,
    /// Addresses of all interfaces.
    pub ips: Vec<IpConfig>,
    /// Routes in the pod.
    pub routes: Vec<Route>,
    /// DNS configuration of the pod.
    pub dns: Dns,
}

/// An interface of a [`CniResult`]. Empty or zero JSON values are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Interface name.
    pub name: String,
    /// Hardware address, as the delegate printed it.
    pub mac: Option<String>,
    /// MTU in bytes; since 1.0.0.
    pub mtu: Option<u32>,
    /// Path of the network namespace; `None` for an interface on the node.
    pub sandbox: Option<String>,
    /// Absolute path of a vhost-user socket; since 1.0.0.
    pub socket_path: Option<String>,
    /// PCI address of the underlying device; since 1.0.0.
    pub pci_id: Option<String>,
}

/// An address of a [`CniResult`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// Index into [`CniResult::interfaces`]; `None` if it is negative. As in the reference library,
    /// a delegate's index may be out of bounds.
    pub interface: Option<usize>,
    /// Address with prefix length, including the host part.
    pub address: IpNet,
    /// Gateway of the address's subnet.
    pub gateway: Option<IpAddr>,
}

/// A route of a [`CniResult`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination, with host bits if the delegate printed any.
    pub dst: IpNet,
    /// Next hop.
    pub gw: Option<IpAddr>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Advertised MSS in bytes.
    pub advmss: Option<u32>,
    /// Metric; lower is preferred.
    pub priority: Option<u32>,
    /// Routing table.
    pub table: Option<u32>,
    /// Scope of the destination.
    pub scope: Option<u32>,
}

impl Route {
    /// A route with only a destination and a next hop.
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

/// DNS configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Nameserver addresses, by priority.
    pub nameservers: Vec<String>,
    /// Local domain.
    pub domain: Option<String>,
    /// Search domains, by priority.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether all fields are empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a result was rejected, or cannot be printed in a version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The JSON does not have the form of its version.
    #[error("malformed result")]
    Json(#[from] json::Error),
    /// The result's `cniVersion` is malformed or unsupported.
    #[error("cniVersion of the result")]
    Version(#[from] version::Error),
    /// An address is malformed.
    #[error("invalid {key} {value:?} in the result")]
    Address {
        /// Where, such as `ips[0].address`.
        key: String,
        /// The rejected text.
        value: String,
    },
    /// The version (0.2.0 or older) requires at least one address.
    #[error("a result without addresses cannot be expressed in CNI {version}")]
    NoAddress {
        /// The requested version.
        version: Version,
    },
}

impl CniResult {
    /// An empty result.
    pub fn empty(cni_version: Version) -> Self {
        Self {
            cni_version,
            interfaces: Vec::new(),
            ips: Vec::new(),
            routes: Vec::new(),
            dns: Dns::default(),
        }
    }

    /// Parses a delegate's output. Without `cniVersion`, the configuration's version applies;
    /// `null` is an empty result. Members unknown to the version are ignored.
    ///
    /// # Errors
    /// [`Error`], except [`Error::NoAddress`].
    pub fn parse(bytes: &[u8], conf_version: ConfVersion) -> Result<Self, Error> {
        decode::decode(bytes, conf_version)
    }

    /// The result in the form of `version`, identical to the reference library's output.
    ///
    /// Converting to an older version loses data: before 1.0.0 the MTU, socket and PCI address of
    /// interfaces; before 0.3.0 also interfaces, all but the first address of each family, and
    /// everything in a route but destination and next hop.
    ///
    /// # Errors
    /// [`Error::NoAddress`] when `version` requires an address and the result, read in another
    /// version, has none.
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
