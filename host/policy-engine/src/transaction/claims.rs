//! Which policy set what: a policy owns every value it changed for the rest of the hook.
//!
//! Claims form a tree keyed by path tokens. A subtree that a policy set is one claim, however
//! large; an edit is compared only with the claims on its path and below it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cni_types::json::{Node, Pointer};

use super::EditError;
use super::difference::{Kind, Path, Step, folded};
use super::twins::{Twin, Way};

mod place;

use place::{Claim, Place};

/// Maximum bytes of the path in a message.
const MAX_PATH: usize = 256;
/// Maximum bytes of a value in a message.
const MAX_VALUE: usize = 256;

/// The values that policies changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    root: Place,
    /// Values that are reached in several ways, with the ways in which policies set them.
    twins: BTreeMap<Box<str>, Vec<Reached>>,
    owners: BTreeSet<Arc<str>>,
}

#[derive(Debug, Clone)]
struct Reached {
    owner: Arc<str>,
    way: Way,
}

impl Claims {
    /// Whether no policy changed anything yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Whether a policy other than `owner` changed something.
    pub(super) fn concern(&self, owner: &str) -> bool {
        self.owners.iter().any(|other| **other != *owner)
    }

    /// Whether `owner` may make this difference. `grown` is what it already added in this turn
    /// inside values of others.
    pub(super) fn check(
        &self,
        owner: &str,
        grown: &Self,
        step: &Step<'_, '_>,
        twins: &[Twin],
    ) -> Result<(), EditError> {
        self.check_place(owner, grown, step)
            .and_then(|()| {
                let taken = twins.iter().find_map(|twin| self.taken(owner, twin));
                taken.map_or(Ok(()), Err)
            })
            .map_err(|owner| EditError::Conflict {
                owner: Arc::clone(owner),
                path: shown(step.path),
                values: Box::new([step.old, step.new].map(|value| value.map(shortened))),
            })
    }

    fn check_place(&self, owner: &str, grown: &Self, step: &Step<'_, '_>) -> Result<(), &Arc<str>> {
        let foreign = |claim: &&Claim| *claim.owner != *owner;
        let way = self.root.way(step.path);
        let cover = way
            .iter()
            .enumerate()
            .rev()
            .find_map(|(depth, place)| Some((depth, place.claim.as_ref()?)));
        if let Some((depth, claim)) = cover.filter(|(_, claim)| foreign(claim)) {
            let within = depth < step.path.len() && !claim.removed;
            // Policies may add members to values of others, and own what they add.
            let own = grown.root.way(step.path);
            let own = own.iter().skip(depth + 1);
            if own
                .filter_map(|place| place.claim.as_ref())
                .any(|claim| !claim.removed)
            {
                return Ok(());
            }
            if !within || step.kind != (Kind::Added { member: true }) {
                return Err(&claim.owner);
            }
        }
        let Some(place) = way.get(step.path.len()) else {
            return Ok(());
        };
        let found = match step.kind {
            Kind::Shifted(from) => {
                let moved = place
                    .children
                    .iter()
                    .filter(|(index, _)| index.parse::<usize>().is_ok_and(|index| index >= from));
                let mut moved = moved.map(|(_, place)| place);
                moved.find_map(|place| place.find(&mut |claim| foreign(&claim)))
            }
            _ => place.find_below(step.new, &mut |claim, now| {
                foreign(&claim) && (!claim.removed || now.is_some())
            }),
        };
        found.map_or(Ok(()), |claim| Err(&claim.owner))
    }

    /// The policy that set a value in another way than this.
    fn taken(&self, owner: &str, twin: &Twin) -> Option<&Arc<str>> {
        let reached = self.twins.get(&twin.value)?;
        let taken = reached
            .iter()
            .find(|one| *one.owner != *owner && twin.meets(one.way));
        taken.map(|one| &one.owner)
    }

    /// Records a difference as one claim of `owner`, whatever lies below.
    pub(super) fn record(&mut self, owner: &Arc<str>, step: &Step<'_, '_>, twins: &[Twin]) {
        if matches!(step.kind, Kind::Shifted(_)) {
            return;
        }
        // Claims of others below are unchanged, or there would have been a conflict.
        *self.root.make(step.path) = Place {
            claim: Some(Claim {
                owner: Arc::clone(owner),
                removed: step.kind == Kind::Removed,
            }),
            children: BTreeMap::new(),
        };
        self.reach(owner, twins);
    }

    /// Records a value that `owner` set as it was, unless it belongs to a policy already.
    pub(super) fn keep(
        &mut self,
        owner: &Arc<str>,
        step: &Step<'_, '_>,
        twins: impl FnOnce() -> Vec<Twin>,
    ) {
        if self
            .root
            .way(step.path)
            .iter()
            .any(|place| place.claim.is_some())
        {
            return;
        }
        self.root.make(step.path).claim = Some(Claim {
            owner: Arc::clone(owner),
            removed: step.kind == Kind::Removed,
        });
        self.reach(owner, &twins());
    }

    fn reach(&mut self, owner: &Arc<str>, twins: &[Twin]) {
        for Twin { value, way, .. } in twins {
            let reached = self.twins.entry(value.clone()).or_default();
            if !reached
                .iter()
                .any(|known| known.owner == *owner && known.way == *way)
            {
                reached.push(Reached {
                    owner: Arc::clone(owner),
                    way: *way,
                });
            }
        }
        if !self.owners.contains(owner) {
            self.owners.insert(Arc::clone(owner));
        }
    }

    /// Carries over claims of an earlier hook on the same value, which was `left` then and is now
    /// at `place` of `now`, as far as it is unchanged.
    pub(super) fn carry(&mut self, earlier: &Self, place: &Path<'_>, left: &Node, now: &Node) {
        let kept = earlier.root.unchanged(Some(left), Some(now));
        if let Some(kept) = kept {
            kept.owners(&mut self.owners);
            *self.root.make(place) = kept;
        }
    }

    /// Visits the claims below `place`: the path there, the owner, and whether it removed the value.
    pub(super) fn below(&self, place: &Path<'_>, seen: &mut Below<'_>) {
        let way = self.root.way(place);
        if let Some(place) = way.get(place.len()) {
            place.visit(&mut Vec::new(), &mut |path, claim| {
                seen(path, &claim.owner, claim.removed);
            });
        }
    }

    /// The policies that changed `place`, something within it, or a value that contains it.
    pub(crate) fn owners(&self, place: &str) -> BTreeSet<Arc<str>> {
        let Ok(pointer) = Pointer::parse(place) else {
            return BTreeSet::new();
        };
        let tokens = pointer.tokens();
        let is_conf = tokens.first().is_some_and(|top| top == "conf");
        let path: Vec<_> = tokens
            .iter()
            .map(|token| match is_conf {
                true => folded(token),
                false => Cow::Borrowed(token.as_str()),
            })
            .collect();
        let way = self.root.way(&path);
        let mut owners = BTreeSet::new();
        for claim in way.iter().filter_map(|place| place.claim.as_ref()) {
            owners.insert(Arc::clone(&claim.owner));
        }
        if let Some(place) = way.get(path.len()) {
            place.owners(&mut owners);
        }
        owners
    }

    /// What `owner` claims by turning `old` into `new`.
    #[cfg(test)]
    pub(super) fn of(owner: &str, old: &Node, new: &Node) -> Self {
        use super::difference::{Keys, Walk};
        use std::ops::ControlFlow;
        let mut claims = Self::default();
        let owner: Arc<str> = owner.into();
        let mut visit = |step: &Step<'_, '_>| {
            claims.record(&owner, step, &[]);
            ControlFlow::Continue(())
        };
        let _ = Walk::new(Keys::Folded, Vec::new(), &mut visit).values(&[old], &[new], true);
        claims
    }

    /// The number of claims.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut count = 0;
        self.root.visit(&mut Vec::new(), &mut |_, _| count += 1);
        count
    }
}

/// Receives a path, its owner, and whether the owner removed the value.
type Below<'v> = dyn FnMut(&[&str], &Arc<str>, bool) + 'v;

/// A value as JSON for a message.
fn shortened(value: &Node) -> String {
    let mut text = value.to_string();
    if text.len() > MAX_VALUE {
        let end = text.floor_char_boundary(MAX_VALUE);
        text.truncate(end);
        text.push('…');
    }
    text
}

fn shown(path: &Path<'_>) -> String {
    let mut text = String::new();
    for token in path {
        if text.len() + token.len() > MAX_PATH {
            text.push_str("/…");
            break;
        }
        text.push('/');
        text.push_str(&token.replace('~', "~0").replace('/', "~1"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::difference::{Keys, Walk};
    use super::*;

    fn node(json: &str) -> Node {
        Node::parse(json, cni_types::json::Limits::default()).unwrap()
    }

    fn violated(claims: &Claims, owner: &str, old: &Node, new: &Node) -> Option<String> {
        let mut found = None;
        let mut visit =
            |step: &Step<'_, '_>| match claims.check(owner, &Claims::default(), step, &[]) {
                Ok(()) => ControlFlow::Continue(()),
                Err(EditError::Conflict { owner, path, .. }) => {
                    found = Some(format!("{owner}{path}"));
                    ControlFlow::Break(())
                }
                Err(other) => panic!("{other}"),
            };
        let _ = Walk::new(Keys::Folded, Vec::new(), &mut visit).values(&[old], &[new], true);
        found
    }

    /// Policy `a` turns `old` into `new`; checks whether policy `b` may then make it `next`.
    fn check(old: &str, new: &str, next: &str, conflict: Option<&str>) {
        let (old, new, next) = (node(old), node(new), node(next));
        let claims = Claims::of("a", &old, &new);
        let found = violated(&claims, "b", &new, &next);
        assert_eq!(found.as_deref(), conflict, "{old} {new} {next}");
        let own = violated(&claims, "a", &new, &next);
        assert_eq!(own, None, "a policy may change its own edits");
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
        check(r"{}", r#"{"o":[1]}"#, r#"{"o":[1,2]}"#, Some("a/o/1"));
    }

    #[test]
    fn a_key_in_another_case_is_the_same_place() {
        let vlan = r#"{"vlan":5}"#;
        check("{}", vlan, r#"{"vlan":5,"VLAN":7}"#, Some("a/vlan"));
        check("{}", vlan, r#"{"vlan":5,"VLAN":5}"#, None);
        check(
            r#"{"VLAN":7}"#,
            r#"{"VLAN":7,"vlan":5}"#,
            r#"{"VLAN":8,"vlan":5}"#,
            None,
        );
        check(r#"{"VLAN":7}"#, vlan, r#"{"VLAN":7}"#, Some("a/vlan"));
        check(
            "{}",
            r#"{"IPAM":{"x":1}}"#,
            r#"{"ipam":{"X":2}}"#,
            Some("a/ipam/x"),
        );
    }

    #[test]
    fn claimed_list_elements_stay_in_place() {
        let (old, new) = ("[1,2,3]", "[1,2,4]");
        check(old, new, "[2,4]", Some("a"));
        check(old, new, "[1,5,4]", None);
        check(old, new, "[1,2,4,5]", None);
        check("[1,2]", "[1]", "[1,3]", Some("a/1"));
    }

    #[test]
    fn a_subtree_that_was_set_is_one_claim() {
        let key = "k".repeat(32_000);
        let members: Vec<String> = (0..4_000).map(|n| format!(r#""{n}":1"#)).collect();
        let new = node(&format!(r#"{{"{key}":{{{}}}}}"#, members.join(",")));
        let claims = Claims::of("a", &node("{}"), &new);
        assert_eq!(claims.len(), 1);
        assert_eq!(claims.owners("").len(), 1);
    }

    #[test]
    fn claims_of_an_earlier_hook_are_carried() {
        let left = node(r#"{"x":1,"y":2}"#);
        let earlier = Claims::of("a", &node("{}"), &left);
        let now = node(r#"{"x":1,"y":3}"#);
        let mut claims = Claims::default();
        let place = ["all".into(), "0".into()];
        claims.carry(&earlier, &place, &left, &now);
        let whole = |json: &str| node(&format!(r#"{{"all":[{json}]}}"#));
        let now = whole(r#"{"x":1,"y":3}"#);
        let changed = |json: &str| violated(&claims, "b", &now, &whole(json)).is_some();
        assert!(changed(r#"{"x":9,"y":3}"#));
        assert!(!changed(r#"{"x":1,"y":9}"#));
    }

    #[test]
    fn an_unclaimed_path_is_free() {
        check(r#"{"mtu":1}"#, r#"{"mtu":1}"#, r#"{"mtu":3}"#, None);
    }
}
