//! Results and whole plans.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::json;

use crate::{Attachment, Dns, EditError, IfInfo, IpConfig, Route};

/// A result for tests.
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
    /// An empty result.
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

    /// Sets the interfaces.
    #[must_use]
    pub fn with_interfaces(self, interfaces: Vec<IfInfo>) -> Self {
        self.state.borrow_mut().interfaces = interfaces;
        self
    }

    /// Sets the addresses.
    #[must_use]
    pub fn with_ips(self, ips: Vec<IpConfig>) -> Self {
        self.state.borrow_mut().ips = ips;
        self
    }

    /// Sets the routes.
    #[must_use]
    pub fn with_routes(self, routes: Vec<Route>) -> Self {
        self.state.borrow_mut().routes = routes;
        self
    }

    /// Sets the DNS configuration.
    #[must_use]
    pub fn with_dns(self, dns: Dns) -> Self {
        self.state.borrow_mut().dns = dns;
        self
    }

    /// Makes every edit fail with `error`.
    #[must_use]
    pub fn refusing(mut self, error: EditError) -> Self {
        self.refusal = Some(error);
        self
    }

    /// Sets a tag of an earlier hook.
    #[must_use]
    pub fn with_tag(self, key: &str, value: &str) -> Self {
        let tag = (key.to_owned(), value.to_owned());
        self.state.borrow_mut().tags.extend([tag]);
        self
    }

    /// The tags, by key.
    pub fn tags(&self) -> Vec<(String, String)> {
        self.state.borrow().tags.clone().into_iter().collect()
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

    /// The DNS configuration.
    pub fn dns(&self) -> Dns {
        self.state.borrow().dns.clone()
    }

    /// The whole result as JSON text; here, only its addresses and DNS.
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

    /// Sets the DNS configuration.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_dns(&self, dns: &Dns) -> Result<(), EditError> {
        self.edit(|state| state.dns = dns.clone())
    }

    /// Sets the interfaces.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_interfaces(&self, interfaces: &[IfInfo]) -> Result<(), EditError> {
        self.edit(|state| state.interfaces = interfaces.to_vec())
    }

    /// Sets the addresses.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_ips(&self, ips: &[IpConfig]) -> Result<(), EditError> {
        self.edit(|state| state.ips = ips.to_vec())
    }

    /// Sets the routes.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn set_routes(&self, routes: &[Route]) -> Result<(), EditError> {
        self.edit(|state| state.routes = routes.to_vec())
    }

    /// Tags the attachment.
    ///
    /// # Errors
    /// The error given to [`refusing`](Self::refusing).
    pub fn tag(&self, key: &str, value: &str) -> Result<(), EditError> {
        self.edit(|state| {
            state.tags.insert(key.to_owned(), value.to_owned());
        })
    }
}

/// A plan for tests.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    attachments: Vec<(Attachment, Outcome)>,
}

impl Plan {
    /// Creates a plan of attachments in order, each with its network-status.
    pub fn new(attachments: Vec<(Attachment, Outcome)>) -> Self {
        Self { attachments }
    }

    /// Number of attachments.
    pub fn length(&self) -> u32 {
        u32::try_from(self.attachments.len()).unwrap_or(u32::MAX)
    }

    /// The attachment at `index`.
    pub fn at(&self, index: u32) -> Option<Attachment> {
        Some(self.attachments.get(index as usize)?.0.clone())
    }

    /// The network-status of the attachment at `index`. Edits do not affect the plan.
    pub fn status(&self, index: u32) -> Option<Outcome> {
        Some(self.attachments.get(index as usize)?.1.clone())
    }
}
