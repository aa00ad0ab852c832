//! Results and the whole plan.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::json;

use crate::{Attachment, Dns, EditError, IfInfo, IpConfig, Route};

/// A result that a test makes.
#[derive(Debug, Clone)]
pub struct Outcome {
    state: RefCell<State>,
    refusal: Option<EditError>,
}

#[derive(Debug, Clone)]
struct State {
    interfaces: Vec<IfInfo>,
    ips: Vec<IpConfig>,
    routes: Vec<Route>,
    dns: Dns,
    tags: BTreeMap<String, String>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self::new()
    }
}

impl Outcome {
    /// A result without anything in it.
    pub fn new() -> Self {
        let state = State {
            interfaces: Vec::new(),
            ips: Vec::new(),
            routes: Vec::new(),
            dns: Dns::EMPTY,
            tags: BTreeMap::new(),
        };
        Self {
            state: RefCell::new(state),
            refusal: None,
        }
    }

    /// The same result with these interfaces.
    #[must_use]
    pub fn with_interfaces(self, interfaces: Vec<IfInfo>) -> Self {
        self.state.borrow_mut().interfaces = interfaces;
        self
    }

    /// The same result with these addresses.
    #[must_use]
    pub fn with_ips(self, ips: Vec<IpConfig>) -> Self {
        self.state.borrow_mut().ips = ips;
        self
    }

    /// The same result with these routes.
    #[must_use]
    pub fn with_routes(self, routes: Vec<Route>) -> Self {
        self.state.borrow_mut().routes = routes;
        self
    }

    /// The same result with this DNS.
    #[must_use]
    pub fn with_dns(self, dns: Dns) -> Self {
        self.state.borrow_mut().dns = dns;
        self
    }

    /// The same result, answering every edit with `error`.
    #[must_use]
    pub fn refusing(mut self, error: EditError) -> Self {
        self.refusal = Some(error);
        self
    }

    /// The tags that the policy set.
    pub fn tags(&self) -> BTreeMap<String, String> {
        self.state.borrow().tags.clone()
    }

    fn edit(&self, change: impl FnOnce(&mut State)) -> Result<(), EditError> {
        match &self.refusal {
            Some(error) => Err(error.clone()),
            None => {
                change(&mut self.state.borrow_mut());
                Ok(())
            }
        }
    }

    /// The interfaces.
    pub fn interfaces(&self) -> Vec<IfInfo> {
        self.state.borrow().interfaces.clone()
    }

    /// The addresses.
    pub fn ips(&self) -> Vec<IpConfig> {
        self.state.borrow().ips.clone()
    }

    /// The routes.
    pub fn routes(&self) -> Vec<Route> {
        self.state.borrow().routes.clone()
    }

    /// The DNS.
    pub fn dns(&self) -> Dns {
        self.state.borrow().dns.clone()
    }

    /// The whole result as JSON text; here, its addresses and DNS.
    pub fn json(&self) -> String {
        let state = self.state.borrow();
        let ips: Vec<_> = state
            .ips
            .iter()
            .map(|ip| json!({ "address": ip.address, "gateway": ip.gateway }))
            .collect();
        json!({
            "ips": ips,
            "dns": { "nameservers": state.dns.nameservers, "search": state.dns.search },
        })
        .to_string()
    }

    /// Sets the DNS.
    ///
    /// # Errors
    /// What [`refusing`](Self::refusing) says.
    pub fn set_dns(&self, dns: &Dns) -> Result<(), EditError> {
        self.edit(|state| state.dns = dns.clone())
    }

    /// Sets the interfaces.
    ///
    /// # Errors
    /// What [`refusing`](Self::refusing) says.
    pub fn set_interfaces(&self, interfaces: &[IfInfo]) -> Result<(), EditError> {
        self.edit(|state| state.interfaces = interfaces.to_vec())
    }

    /// Sets the addresses.
    ///
    /// # Errors
    /// What [`refusing`](Self::refusing) says.
    pub fn set_ips(&self, ips: &[IpConfig]) -> Result<(), EditError> {
        self.edit(|state| state.ips = ips.to_vec())
    }

    /// Sets the routes.
    ///
    /// # Errors
    /// What [`refusing`](Self::refusing) says.
    pub fn set_routes(&self, routes: &[Route]) -> Result<(), EditError> {
        self.edit(|state| state.routes = routes.to_vec())
    }

    /// Tags the attachment.
    ///
    /// # Errors
    /// What [`refusing`](Self::refusing) says.
    pub fn tag(&self, key: &str, value: &str) -> Result<(), EditError> {
        self.edit(|state| {
            state.tags.insert(key.to_owned(), value.to_owned());
        })
    }
}

/// A plan that a test makes.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    attachments: Vec<(Attachment, Outcome)>,
}

impl Plan {
    /// The attachments in order, each with what network-status says of it.
    pub fn new(attachments: Vec<(Attachment, Outcome)>) -> Self {
        Self { attachments }
    }

    /// How many there are.
    pub fn length(&self) -> u32 {
        u32::try_from(self.attachments.len()).unwrap_or(u32::MAX)
    }

    /// One attachment.
    pub fn at(&self, index: u32) -> Option<Attachment> {
        Some(self.attachments.get(index as usize)?.0.clone())
    }

    /// What network-status says of one attachment. Edits of it are not seen by the plan.
    pub fn status(&self, index: u32) -> Option<Outcome> {
        Some(self.attachments.get(index as usize)?.1.clone())
    }
}
