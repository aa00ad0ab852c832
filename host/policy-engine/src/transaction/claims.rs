//! Who set what: every path that a policy changed belongs to it for the rest of the hook.

use std::collections::BTreeSet;
use std::sync::Arc;

use cni_types::json::{Node, Operation, Patch, Pointer};

use super::EditError;

/// The paths that policies changed, and what they left there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    claims: Vec<Claim>,
}

#[derive(Debug, Clone)]
struct Claim {
    path: Pointer,
    /// `None` where the policy removed what was there.
    value: Option<Node>,
    owner: Arc<str>,
}

impl Claims {
    /// Whether nobody changed anything yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Gives `owner` every path in which `new` differs from `old`.
    ///
    /// An added object is claimed member by member, so that another policy may add to it.
    pub(crate) fn record(&mut self, owner: &Arc<str>, old: &Node, new: &Node) {
        for operation in Patch::between(old, new).operations() {
            let (Operation::Add { path, .. }
            | Operation::Remove { path }
            | Operation::Replace { path, .. }) = operation;
            let Ok(path) = Pointer::parse(path) else {
                continue;
            };
            // Whoever changed it before agreed, or there would have been a conflict: it was the
            // same policy.
            self.claims.retain(|claim| !path.contains(&claim.path));
            match new.get(&path) {
                Some(value) => self.claim(owner, path, value),
                None => self.push(owner, path, None),
            }
        }
    }

    /// Takes over what policies claimed in an earlier hook of the same thing, which lies at `place`
    /// in `tree` now: as far as it is as they left it.
    pub(crate) fn carry(&mut self, earlier: &Self, place: &str, tree: &Node) {
        for claim in &earlier.claims {
            let Ok(path) = Pointer::parse(&format!("{place}{}", claim.path)) else {
                continue;
            };
            if tree.get(&path) == claim.value.as_ref() {
                self.push(&claim.owner, path, claim.value.clone());
            }
        }
    }

    /// The first path of another policy than `owner` that is not in `tree` as that policy left it.
    pub(crate) fn violated_by(&self, owner: &str, tree: &Node) -> Option<EditError> {
        self.claims
            .iter()
            .find(|claim| &*claim.owner != owner && tree.get(&claim.path) != claim.value.as_ref())
            .map(|claim| EditError::Conflict {
                owner: Arc::clone(&claim.owner),
                path: claim.path.to_string(),
            })
    }

    /// The policies that changed `place`, something in it, or all that it is in.
    pub(crate) fn owners(&self, place: &str) -> BTreeSet<Arc<str>> {
        let Ok(place) = Pointer::parse(place) else {
            return BTreeSet::new();
        };
        let touching = self
            .claims
            .iter()
            .filter(|claim| place.contains(&claim.path) || claim.path.contains(&place));
        touching.map(|claim| Arc::clone(&claim.owner)).collect()
    }

    fn claim(&mut self, owner: &Arc<str>, path: Pointer, value: &Node) {
        match value {
            Node::Object(members) if !members.is_empty() => {
                for (key, member) in members {
                    self.claim(owner, path.child(key.as_str()), member);
                }
            }
            value => self.push(owner, path, Some(value.clone())),
        }
    }

    fn push(&mut self, owner: &Arc<str>, path: Pointer, value: Option<Node>) {
        self.claims.push(Claim {
            path,
            value,
            owner: Arc::clone(owner),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> Node {
        Node::parse(json, cni_types::json::Limits::default()).unwrap()
    }

    /// Policy `a` turns `old` into `new`; may policy `b` then make it `next`?
    fn check(old: &str, new: &str, next: &str, conflict: Option<&str>) {
        let mut claims = Claims::default();
        claims.record(&"a".into(), &node(old), &node(new));
        let found = claims
            .violated_by("b", &node(next))
            .map(|error| match error {
                EditError::Conflict { owner, path } => format!("{owner}{path}"),
                other => panic!("{other}"),
            });
        assert_eq!(found.as_deref(), conflict, "{old} {new} {next}");
        assert_eq!(
            claims.violated_by("a", &node(next)),
            None,
            "a policy may change its own edits"
        );
    }

    #[test]
    fn a_path_keeps_the_value_that_its_owner_set() {
        check(
            r#"{"mtu":1}"#,
            r#"{"mtu":2}"#,
            r#"{"mtu":3}"#,
            Some("a/mtu"),
        );
        check(
            r#"{"mtu":1}"#,
            r#"{"mtu":2}"#,
            r#"{"mtu":2,"vlan":5}"#,
            None,
        );
        check(r"{}", r#"{"mtu":2}"#, r"{}", Some("a/mtu"));
    }

    #[test]
    fn what_a_policy_removed_stays_away() {
        check(r#"{"mtu":1}"#, r"{}", r#"{"mtu":1}"#, Some("a/mtu"));
        check(r#"{"mtu":1}"#, r"{}", r#"{"vlan":1}"#, None);
    }

    #[test]
    fn an_added_object_may_grow_but_not_change() {
        check(r"{}", r#"{"o":{"x":1}}"#, r#"{"o":{"x":1,"y":2}}"#, None);
        check(r"{}", r#"{"o":{"x":1}}"#, r#"{"o":{"x":2}}"#, Some("a/o/x"));
        check(r"{}", r#"{"o":{}}"#, r"{}", Some("a/o"));
    }

    #[test]
    fn what_was_claimed_in_an_earlier_hook_is_carried_over_unless_it_changed_meanwhile() {
        let mut earlier = Claims::default();
        earlier.record(&"a".into(), &node("{}"), &node(r#"{"x":1,"y":2}"#));
        let now = node(r#"{"all":[{"x":1,"y":3}]}"#);
        let mut claims = Claims::default();
        claims.carry(&earlier, "/all/0", &now);
        let changed = |json: &str| claims.violated_by("b", &node(json)).is_some();
        assert!(changed(r#"{"all":[{"x":9,"y":3}]}"#));
        assert!(!changed(r#"{"all":[{"x":1,"y":9}]}"#));
    }

    #[test]
    fn an_unclaimed_path_is_free() {
        check(r#"{"mtu":1}"#, r#"{"mtu":1}"#, r#"{"mtu":3}"#, None);
    }
}
