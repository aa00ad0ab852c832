//! The tree of claims, keyed by path tokens.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cni_types::json::Node;

use super::super::difference::{Path, folded};

/// The claims at a path and below it.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) claim: Option<Claim>,
    pub(super) children: BTreeMap<Box<str>, Place>,
}

#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) owner: Arc<str>,
    /// Whether the policy removed the value.
    pub(super) removed: bool,
}

type Matches<'v> = dyn FnMut(&Claim, Option<&Node>) -> bool + 'v;

impl Place {
    /// The places on the way to a path, this one first, as far as claims exist.
    pub(super) fn way(&self, path: &Path<'_>) -> Vec<&Self> {
        let mut way = vec![self];
        let mut place = self;
        for token in path {
            let Some(child) = place.children.get(&**token) else {
                break;
            };
            way.push(child);
            place = child;
        }
        way
    }

    pub(super) fn make(&mut self, path: &Path<'_>) -> &mut Self {
        path.iter().fold(self, |place, token| {
            place.children.entry((**token).into()).or_default()
        })
    }

    /// The first claim found below; `now` is the value here.
    pub(super) fn find_below(&self, now: Option<&Node>, found: &mut Matches<'_>) -> Option<&Claim> {
        if self.children.is_empty() {
            return None;
        }
        let nodes = Nodes::of(now);
        let mut children = self.children.iter();
        children.find_map(|(token, child)| {
            let now = nodes.get(token);
            let own = child.claim.as_ref().filter(|claim| found(claim, now));
            own.or_else(|| child.find_below(now, found))
        })
    }

    pub(super) fn find(&self, found: &mut dyn FnMut(&Claim) -> bool) -> Option<&Claim> {
        let own = self.claim.as_ref().filter(|claim| found(claim));
        own.or_else(|| self.children.values().find_map(|child| child.find(found)))
    }

    pub(super) fn visit<'a>(
        &'a self,
        path: &mut Vec<&'a str>,
        seen: &mut dyn FnMut(&[&'a str], &'a Claim),
    ) {
        if let Some(claim) = &self.claim {
            seen(path, claim);
        }
        for (token, child) in &self.children {
            path.push(token);
            child.visit(path, seen);
            path.pop();
        }
    }

    pub(super) fn owners(&self, owners: &mut BTreeSet<Arc<str>>) {
        self.visit(&mut Vec::new(), &mut |_, claim| {
            if !owners.contains(&claim.owner) {
                owners.insert(Arc::clone(&claim.owner));
            }
        });
    }

    /// The claims whose values are the same in both.
    pub(super) fn unchanged(&self, left: Option<&Node>, now: Option<&Node>) -> Option<Self> {
        let mut children = BTreeMap::new();
        if !self.children.is_empty() {
            let (lefts, nows) = (Nodes::of(left), Nodes::of(now));
            children.extend(self.children.iter().filter_map(|(token, child)| {
                let kept = child.unchanged(lefts.get(token), nows.get(token))?;
                Some((token.clone(), kept))
            }));
        }
        let claim = self.claim.clone().filter(|_| left == now);
        (claim.is_some() || !children.is_empty()).then_some(Self { claim, children })
    }
}

/// The values directly below a value, to look many of them up.
enum Nodes<'a> {
    Members(HashMap<Cow<'a, str>, &'a Node>),
    Elements(&'a [Node]),
    None,
}

impl<'a> Nodes<'a> {
    fn of(node: Option<&'a Node>) -> Self {
        match node {
            Some(Node::Object(members)) => {
                let members = members.iter().map(|(key, value)| (folded(key), value));
                Self::Members(members.collect())
            }
            Some(Node::Array(elements)) => Self::Elements(elements),
            Some(Node::Scalar(_)) | None => Self::None,
        }
    }

    fn get(&self, token: &str) -> Option<&'a Node> {
        match self {
            Self::Members(members) => members.get(token).copied(),
            Self::Elements(elements) => elements.get(token.parse::<usize>().ok()?),
            Self::None => None,
        }
    }
}
