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
pub(crate) struct SelectionClaims {
    selection: Arc<Selection>,
    pub(crate) claims: Claims,
}

impl SelectionClaims {
    /// What policies own of the selection with this identity.
    pub(super) fn of(id: usize, selection: &Arc<Selection>, claims: &Claims) -> Self {
        let node = claimed(selection);
        let mut carried = Claims::default();
        claims.below(&[id.to_string().into()], &mut |path, owner, removed| {
            let if_name = selection.if_name.as_deref().unwrap_or_default();
            let mut carry =
                |path: &[&str], value| carry(&mut carried, (owner, if_name), path, value);
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
        Self {
            selection: Arc::clone(selection),
            claims: carried,
        }
    }

    /// Takes the claims on the selection that became this attachment out of those that are left.
    ///
    /// Attachments are offered in the order of their selections, so of several selections of one
    /// network it is the first that is left.
    pub(crate) fn take(left: &mut Vec<Self>, attachment: &Attachment) -> Claims {
        let found = left.iter().position(|one| one.may_be(attachment));
        found.map_or_else(Claims::default, |index| left.remove(index).claims)
    }

    /// Whether the selection can have become this attachment. The networks of every pod, which no
    /// pod selects, ask for no addresses.
    fn may_be(&self, attachment: &Attachment) -> bool {
        let Selection {
            namespace,
            name,
            if_name,
            ips,
            mac,
            infiniband_guid,
            ..
        } = &*self.selection;
        let network = attachment.network.strip_prefix(&**namespace);
        let network = network.and_then(|rest| rest.strip_prefix('/'));
        !attachment.is_default
            && network == Some(name)
            && if_name
                .as_ref()
                .is_none_or(|name| *name == attachment.if_name)
            && *ips == attachment.ips
            && *mac == attachment.mac
            && *infiniband_guid == attachment.infiniband_guid
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
fn carry(
    claims: &mut Claims,
    (owner, if_name): (&Arc<str>, &str),
    path: &[&str],
    value: Option<&Node>,
) {
    let Some((member, rest)) = path.split_first() else {
        return;
    };
    if let (&"cni-args", [], Some(value)) = (member, rest, value) {
        // The attachment's conf already has them: each is a claim, as none can be added beside it.
        for (key, value) in members(value) {
            carry(
                claims,
                (owner, if_name),
                &[member, &*folded(key)],
                Some(value),
            );
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
    claims.record(owner, &step, &twins::of_attachment(&step, if_name));
}
