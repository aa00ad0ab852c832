//! What policies own of a selection, carried on to the attachment that it becomes.

use std::borrow::Cow;
use std::sync::Arc;

use cni_types::json::Node;

use super::difference::{Kind, Step, at, folded};
use super::selections::claimed;
use super::{Claims, twins};
use crate::model::request::{Attachment, Selection};

/// The claims on one selection, in the form of its attachment's.
#[derive(Debug)]
pub(crate) struct Carried {
    network: String,
    if_name: Option<String>,
    pub(crate) claims: Claims,
}

impl Carried {
    /// What policies own of the selection with this identity; `None` if nothing.
    pub(super) fn of(id: usize, selection: &Selection, claims: &Claims) -> Option<Self> {
        let node = claimed(selection);
        let mut carried = Claims::default();
        claims.below(&[id.to_string().into()], &mut |path, owner, removed| {
            let mut carry = |path: &[&str], value| carry(&mut carried, owner, path, value);
            match path {
                [] => members(&node).for_each(|(key, value)| {
                    carry(&[&*folded(key)], Some(value));
                }),
                path if removed => carry(path, None),
                path => {
                    if let Some(value) = at(&node, path) {
                        carry(path, Some(value));
                    }
                }
            }
        });
        (!carried.is_empty()).then(|| Self {
            network: format!("{}/{}", selection.namespace, selection.name),
            if_name: selection.if_name.clone(),
            claims: carried,
        })
    }

    /// Whether the selection became this attachment.
    pub(crate) fn is(&self, attachment: &Attachment) -> bool {
        let named = self.if_name.as_ref();
        !attachment.is_default
            && self.network == attachment.network
            && named.is_none_or(|name| *name == attachment.if_name)
    }
}

fn members(node: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let members = match node {
        Node::Object(members) => members.as_slice(),
        _ => &[],
    };
    members.iter().map(|(key, value)| (key.as_str(), value))
}

/// Carries one claim: the path below the selection, and the value unless it was removed.
fn carry(claims: &mut Claims, owner: &Arc<str>, path: &[&str], value: Option<&Node>) {
    let Some((member, rest)) = path.split_first() else {
        return;
    };
    if let (&"cni-args", [], Some(value)) = (member, rest, value) {
        // The attachment's conf already has them: each is a claim, as none can be added beside it.
        for (key, value) in members(value) {
            carry(claims, owner, &[member, &*folded(key)], Some(value));
        }
        return;
    }
    let place: &[&str] = match *member {
        "interface" => &["ifName"],
        "ips" => &["runtimeConfig", "ips"],
        "mac" => &["runtimeConfig", "mac"],
        "infiniband-guid" => &["runtimeConfig", "infinibandGUID"],
        "bandwidth" => &["runtimeConfig", "bandwidth"],
        "portmappings" => &["runtimeConfig", "portMappings"],
        "cni-args" => &["cniArgs"],
        // An attachment has no others.
        _ => return,
    };
    let path: Vec<_> = place
        .iter()
        .chain(rest)
        .map(|token| Cow::Borrowed(*token))
        .collect();
    let step = Step {
        path: &path,
        kind: match value {
            Some(_) => Kind::Added { member: true },
            None => Kind::Removed,
        },
        old: None,
        new: value,
    };
    claims.record(owner, &step, &twins::of_attachment(&step));
}
