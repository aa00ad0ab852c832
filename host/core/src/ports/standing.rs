//! The attachments of the node, in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::domain::entry::Entry;
use crate::domain::pod::PodRef;

/// An attachment that has a result and is not undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingAttachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// Its pod; the names are empty if the ledger does not have them.
    pub pod: PodRef,
    /// The network's name as in network-status.
    pub network: String,
    /// The interface's name in the pod.
    pub if_name: String,
    /// Its addresses, as CIDRs.
    pub ips: Vec<String>,
    /// Its MAC, in canonical form.
    pub mac: Option<String>,
    /// Tags that policies set.
    pub tags: BTreeMap<String, String>,
}

impl StandingAttachment {
    /// What stands by an entry; `None` without a result.
    pub fn of(entry: &Entry) -> Option<Self> {
        let result = entry.result.as_ref()?;
        let if_name = entry.if_name.as_str();
        let mut interfaces = result.interfaces.iter();
        let own = interfaces.find(|one| one.name == if_name && one.sandbox.is_some());
        let mac = own.and_then(|one| one.mac.as_deref());
        Some(Self {
            container_id: entry.container_id.to_string(),
            pod: entry.pod.clone(),
            network: entry.network.clone(),
            if_name: if_name.to_owned(),
            ips: result.ips.iter().map(|ip| ip.address.to_string()).collect(),
            mac: mac.and_then(cni_types::address::canonical_mac),
            tags: entry.tags.clone(),
        })
    }
}

/// Answers from memory which attachments stand on the node.
pub trait Standing: Send + Sync {
    /// Begins to keep them, or forgets them. Called when policies that need them come or go.
    fn keep(&self, is_needed: bool);

    /// Visits them in a fixed order, from the one after `after`: what `after` names each by, and the
    /// attachment. Returns whether they are known.
    fn visit(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &StandingAttachment) -> ControlFlow<()>,
    ) -> bool;
}
