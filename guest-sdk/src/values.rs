//! Constructors of the records that policies create.

use crate::{Dns, IpConfig, PortMapping, Route, Selection};

impl Selection {
    /// A selection with only a network, and no further requests.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            if_name: None,
            ips: Vec::new(),
            mac: None,
            infiniband_guid: None,
            bandwidth: None,
            port_mappings: Vec::new(),
            default_route: Vec::new(),
            cni_args: None,
        }
    }
}

impl Dns {
    /// No nameservers, domains or options.
    pub const EMPTY: Self = Self {
        nameservers: Vec::new(),
        domain: None,
        search: Vec::new(),
        options: Vec::new(),
    };
}

impl IpConfig {
    /// An address with prefix length, without interface and gateway.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            gateway: None,
            if_index: None,
        }
    }
}

impl Route {
    /// A route to `dst`, optionally through `gw`.
    pub fn new(dst: &str, gw: Option<&str>) -> Self {
        Self {
            dst: dst.to_owned(),
            gw: gw.map(str::to_owned),
            mtu: None,
            adv_mss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }
}

impl PortMapping {
    /// A TCP port on all addresses of the node.
    pub fn tcp(host_port: u16, container_port: u16) -> Self {
        Self {
            host_port,
            container_port,
            protocol: "tcp".to_owned(),
            host_ip: None,
        }
    }
}
