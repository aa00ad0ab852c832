//! What policies own of a selection, carried on to the attachment that it becomes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use cni_types::json::Node;

use super::difference::{Kind, Step, at, folded};
use super::selections::{claimed, token};
use super::{Claims, twins};
use crate::model::request::{PolicyAttachment, Selection};

/// Key of a selection's cni-args in claims.
const ARGS: &str = "cni-args";

/// The claims on the chosen selections.
#[derive(Debug, Default)]
pub(crate) struct SelectionClaims {
    /// On what replaces the cluster's default network.
    default: Option<Part>,
    /// On the others, by index.
    others: Vec<Part>,
}

/// One selection, and the claims on it.
#[derive(Debug)]
struct Part {
    id: usize,
    selection: Arc<Selection>,
    claims: Arc<Claims>,
}

impl SelectionClaims {
    /// What policies own of the default network and of the other selections, given with the
    /// identities under which they are claimed.
    pub(super) fn new<'s>(
        default: Option<(usize, &'s Arc<Selection>)>,
        others: impl Iterator<Item = (usize, &'s Arc<Selection>)>,
        claims: &Arc<Claims>,
    ) -> Self {
        let part = |(id, selection): (usize, &'s Arc<Selection>)| Part {
            id,
            selection: Arc::clone(selection),
            claims: Arc::clone(claims),
        };
        Self {
            default: default.map(part),
            others: others.map(part).collect(),
        }
    }

    /// The claims on the selection that became this attachment, in the form of the attachment's.
    pub(crate) fn claims(&self, attachment: &PolicyAttachment) -> Claims {
        let part = match (attachment.is_default, attachment.selection) {
            (true, _) => self.default.as_ref(),
            (false, index) => index.and_then(|index| self.others.get(index)),
        };
        part.map_or_else(Claims::default, |part| part.claims(&attachment.if_name))
    }
}

impl Part {
    fn claims(&self, if_name: &str) -> Claims {
        let node = claimed(&self.selection);
        let args = args(&node);
        let mut carried = Claims::default();
        let place = [token(self.id)];
        self.claims.below(&place, &mut |path, owner, removed| {
            let mut carry =
                |path: &[&str], value| carry(&mut carried, (owner, if_name), path, value);
            match path {
                [] => members(&node).for_each(|(key, value)| {
                    carry(&[&*folded(key)], Some(value));
                }),
                path if removed => carry(path, None),
                path => {
                    let value = match path {
                        [member, key, rest @ ..] if *member == ARGS => {
                            args.get(*key).and_then(|value| at(value, rest))
                        }
                        path => at(&node, path),
                    };
                    if let Some(value) = value {
                        carry(path, Some(value));
                    }
                }
            }
        });
        carried
    }
}

/// The selection's cni-args by folded key, of which many may have claims.
fn args(node: &Node) -> HashMap<Cow<'_, str>, &Node> {
    let args = at(node, &[ARGS]).into_iter().flat_map(members);
    args.map(|(key, value)| (folded(key), value)).collect()
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
    if let (&ARGS, [], Some(value)) = (member, rest, value) {
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
        ARGS => &["cniArgs"],
        // Cannot be edited; keeps others from skipping what the policy named.
        "network" => &["network"],
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
