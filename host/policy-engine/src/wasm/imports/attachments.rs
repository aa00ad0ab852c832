//! Attachments of the node; needs the grant. What a policy sees, and how many it may look at, is
//! decided here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::model::grant::Grant;
use crate::model::outside::{self, Question};
use crate::model::ports::{Cluster, NodeAttachment};
use crate::wasm::bindings::cnidaria::policy::attachments::{Error, Filter, Host, Info, Page};
use crate::wasm::store::GuestState;
use crate::wasm::usage::LimitReached;

/// Maximum number of attachments in one answer.
const MAX_PAGE: usize = 64;
/// Maximum bytes of the texts in one answer, beyond the first attachment's.
const MAX_BYTES: usize = 128 << 10;

/// An answer, in the form of a record.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    attachments: Vec<One>,
    next: Option<String>,
}

/// One attachment.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    container_id: String,
    namespace: String,
    pod: String,
    network: String,
    if_name: String,
    ips: Vec<String>,
    mac: Option<String>,
    /// An object, so that rules of redaction find keys.
    tags: BTreeMap<String, String>,
}

/// What a guest looks for, in canonical form.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<(IpAddr, u8)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

impl Host for GuestState {
    fn find(
        &mut self,
        filter: Filter,
        next: Option<String>,
    ) -> wasmtime::Result<Result<Page, Error>> {
        let cluster = self.granted(Grant::Attachments)?.cluster.clone();
        let wanted = match Wanted::of(filter, next) {
            Ok(wanted) => wanted,
            Err(reason) => return Ok(Err(Error::Invalid(reason))),
        };
        let limit = self.spec().limits.attachments;
        let mut left = limit.saturating_sub(self.looked_at);
        let mut is_spent = false;
        let question = serde_json::to_string(&wanted).unwrap_or_default();
        let answer = outside::lookup(Question::Attachments(&question), || {
            let cluster = cluster.as_deref()?;
            let matching = &self.spec().matching;
            // Once for each namespace: looking its labels up copies all that the cache has of it.
            let mut seen = BTreeMap::new();
            let mut sees = |namespace: &str| match seen.get(namespace) {
                Some(sees) => *sees,
                None => {
                    let sees = matching.tenant(namespace, &|| cluster.namespace_labels(namespace));
                    seen.insert(namespace.to_owned(), sees);
                    sees
                }
            };
            match find(cluster, &wanted, &mut sees, &mut left) {
                Looked::All(found) => serde_json::to_string(&found).ok(),
                Looked::Unknown => None,
                Looked::Spent => {
                    is_spent = true;
                    None
                }
            }
        });
        self.looked_at = limit.saturating_sub(left);
        if is_spent {
            return Err(LimitReached::attachments(limit).into());
        }
        let found: Option<Found> = answer.and_then(|answer| serde_json::from_str(&answer).ok());
        Ok(found.map(Page::from).ok_or(Error::Unavailable))
    }
}

/// How a search ended.
#[derive(Debug, PartialEq)]
enum Looked {
    All(Found),
    /// The attachments are not known.
    Unknown,
    /// The policy may look at no more.
    Spent,
}

fn find(
    cluster: &dyn Cluster,
    wanted: &Wanted,
    sees: &mut dyn FnMut(&str) -> bool,
    left: &mut u64,
) -> Looked {
    let mut found = Found::default();
    let (mut bytes, mut is_spent) = (0, false);
    let mut last: Option<String> = None;
    let is_known = cluster.attachments(wanted.after.as_deref(), &mut |key, one| {
        let Some(rest) = left.checked_sub(1) else {
            is_spent = true;
            return ControlFlow::Break(());
        };
        *left = rest;
        if !wanted.fits(&one) || !sees(one.namespace) {
            return ControlFlow::Continue(());
        }
        let size = size(&one);
        let is_full = found.attachments.len() >= MAX_PAGE
            || !found.attachments.is_empty() && bytes + size > MAX_BYTES;
        if is_full {
            // Never names an attachment that the policy does not see.
            found.next = last.take();
            return ControlFlow::Break(());
        }
        bytes += size;
        found.attachments.push(One::of(&one));
        last = Some(key.to_owned());
        ControlFlow::Continue(())
    });
    match (is_known, is_spent) {
        (false, _) => Looked::Unknown,
        (true, true) => Looked::Spent,
        (true, false) => Looked::All(found),
    }
}

fn size(one: &NodeAttachment<'_>) -> usize {
    let ips: usize = one.ips.iter().map(String::len).sum();
    let tags = one.tags.iter();
    let tags: usize = tags.map(|(key, value)| key.len() + value.len()).sum();
    one.network.len() + ips + tags
}

impl Wanted {
    fn of(filter: Filter, after: Option<String>) -> Result<Self, String> {
        let Filter {
            namespace,
            pod,
            network,
            ip,
            mac,
        } = filter;
        let shown = |text: &str| crate::model::report::clean(text, 64);
        let ip = ip.map(|text| {
            network_of(&text).ok_or_else(|| format!("{:?} is not an address", shown(&text)))
        });
        let mac = mac.map(|text| {
            let canonical = cni_types::address::canonical_mac(&text);
            canonical.ok_or_else(|| format!("{:?} is not a MAC", shown(&text)))
        });
        Ok(Self {
            namespace,
            pod,
            network,
            ip: ip.transpose()?,
            mac: mac.transpose()?,
            after,
        })
    }

    fn fits(&self, one: &NodeAttachment<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&self.namespace, one.namespace)
            && is(&self.pod, one.pod)
            && is(&self.network, one.network)
            && self.mac.as_deref().is_none_or(|mac| one.mac == Some(mac))
            && self.ip.is_none_or(|network| {
                let ips = one.ips.iter();
                let mut ips = ips.filter_map(|ip| network_of(ip));
                ips.any(|(ip, _)| within(ip, network))
            })
    }
}

/// An address and the length of its prefix; the whole address without one.
fn network_of(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip.parse().ok()?, Some(prefix.parse().ok()?)),
        None => (text.parse().ok()?, None),
    };
    let bits = if matches!(ip, IpAddr::V4(_)) { 32 } else { 128 };
    let prefix = prefix.unwrap_or(bits);
    (prefix <= bits).then_some((ip, prefix))
}

fn within(ip: IpAddr, (network, prefix): (IpAddr, u8)) -> bool {
    let same = |one: u128, other: u128, bits: u8| {
        let shift = u32::from(bits.saturating_sub(prefix));
        one.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
    };
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            same(u32::from(ip).into(), u32::from(network).into(), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => same(ip.into(), network.into(), 128),
        _ => false,
    }
}

impl One {
    fn of(one: &NodeAttachment<'_>) -> Self {
        Self {
            container_id: one.container_id.to_owned(),
            namespace: one.namespace.to_owned(),
            pod: one.pod.to_owned(),
            network: one.network.to_owned(),
            if_name: one.if_name.to_owned(),
            ips: one.ips.to_vec(),
            mac: one.mac.map(str::to_owned),
            tags: one.tags.clone(),
        }
    }
}

impl From<Found> for Page {
    fn from(found: Found) -> Self {
        let attachments = found.attachments.into_iter();
        Self {
            attachments: attachments.map(Info::from).collect(),
            next: found.next,
        }
    }
}

impl From<One> for Info {
    fn from(one: One) -> Self {
        let One {
            container_id,
            namespace,
            pod,
            network,
            if_name,
            ips,
            mac,
            tags,
        } = one;
        Self {
            container_id,
            namespace,
            pod,
            network,
            if_name,
            ips,
            mac,
            tags: tags.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
