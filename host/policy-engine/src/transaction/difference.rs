//! The difference of two values, step by step: for claims, with keys as Go's `encoding/json` reads
//! them; for the log, with keys as written. The cost is proportional to the size of both values.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;

use cni_types::json::Node;
pub(super) use cni_types::json::keys::{folded, folds_to};

/// How object keys are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// As written.
    Exact,
    /// As Go reads them: case-folded, and the last of several equal keys counts.
    Folded,
}

/// The tokens of a path, outermost first.
pub(crate) type Path<'a> = [Cow<'a, str>];

/// What happened at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A new value: an object member, or an array element.
    Added {
        /// Whether it is an object member.
        member: bool,
    },
    /// A value was removed.
    Removed,
    /// A value was replaced.
    Changed,
    /// The array's elements from this index on moved to another index.
    Shifted(usize),
}

/// One difference, in the smallest value that contains it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'s, 'a> {
    pub(super) path: &'s Path<'a>,
    pub(super) kind: Kind,
    /// The previous value.
    pub(super) old: Option<&'a Node>,
    /// The current value.
    pub(super) new: Option<&'a Node>,
}

/// Receives the steps; may end the walk.
pub(crate) type Visit<'v> = dyn FnMut(&Step<'_, '_>) -> ControlFlow<()> + 'v;

/// A walk over two values at the same path.
pub(super) struct Walk<'v, 'f, 'a> {
    keys: Keys,
    path: Vec<Cow<'a, str>>,
    visit: &'v mut Visit<'f>,
}

impl<'v, 'f, 'a> Walk<'v, 'f, 'a> {
    pub(super) fn new(keys: Keys, path: Vec<Cow<'a, str>>, visit: &'v mut Visit<'f>) -> Self {
        Self { keys, path, visit }
    }

    /// Visits the differences between `old` and `new`; `member` says whether they are object
    /// members. Each slice holds the values of all keys that Go treats as equal.
    pub(super) fn values(
        &mut self,
        old: &[&'a Node],
        new: &[&'a Node],
        member: bool,
    ) -> ControlFlow<()> {
        match (old, new) {
            ([], []) => ControlFlow::Continue(()),
            ([], _) => self.step(Kind::Added { member }, None, new.last().copied()),
            (_, []) => self.step(Kind::Removed, old.last().copied(), None),
            ([old], [new]) => self.pair(old, new),
            _ if same_group(old, new) => ControlFlow::Continue(()),
            _ => self.step(Kind::Changed, old.last().copied(), new.last().copied()),
        }
    }

    /// Visits the change of a key of many spellings, of which one is set or removed: as a change of
    /// the value that Go reads, unless the spelling keeps its value.
    pub(super) fn changed(
        &mut self,
        (old, new): (Option<&Node>, Option<&Node>),
        (before, after): (&'a Node, &'a Node),
    ) -> ControlFlow<()> {
        let is_same = match (old, new) {
            (Some(old), Some(new)) => same(old, new, self.keys),
            // Go reads the same scalar once more.
            (None, Some(new @ Node::Scalar(text))) => &**text != "null" && before == new,
            _ => false,
        };
        match is_same {
            true => ControlFlow::Continue(()),
            false => self.step(Kind::Changed, Some(before), Some(after)),
        }
    }

    fn pair(&mut self, old: &'a Node, new: &'a Node) -> ControlFlow<()> {
        match (old, new) {
            (Node::Object(old), Node::Object(new)) => self.objects(old, new),
            (Node::Array(old), Node::Array(new)) => self.arrays(old, new),
            _ if old == new => ControlFlow::Continue(()),
            _ => self.step(Kind::Changed, Some(old), Some(new)),
        }
    }

    fn objects(&mut self, old: &'a [(String, Node)], new: &'a [(String, Node)]) -> ControlFlow<()> {
        let (old, new) = (Groups::of(old, self.keys), Groups::of(new, self.keys));
        for (key, values) in &old.groups {
            self.below(key.clone(), values, new.get(key), true)?;
        }
        for (key, values) in &new.groups {
            if old.get(key).is_empty() {
                self.below(key.clone(), &[], values, true)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Keeps the common prefix and suffix; in between, compares elements pairwise and adds or
    /// removes the rest. So one insertion or removal is one step.
    fn arrays(&mut self, old: &'a [Node], new: &'a [Node]) -> ControlFlow<()> {
        let keys = self.keys;
        let equal = |(a, b): &(&Node, &Node)| same(a, b, keys);
        let head = old.iter().zip(new).take_while(equal).count();
        let shorter = old.len().min(new.len()) - head;
        let ends = old.iter().rev().zip(new.iter().rev());
        let tail = ends.take(shorter).take_while(equal).count();
        let middle = |nodes: &[Node]| nodes.len() - head - tail;
        let (removed, added) = (middle(old), middle(new));
        let both = removed.min(added);
        let pairs = old.iter().zip(new).enumerate();
        for (offset, (old, new)) in pairs.skip(head).take(both) {
            self.below(offset.to_string().into(), &[old], &[new], false)?;
        }
        if removed != added && tail > 0 {
            self.step(Kind::Shifted(head + both), None, None)?;
        }
        for offset in (head + both..head + removed).rev() {
            let old: Vec<&Node> = old.get(offset).into_iter().collect();
            self.below(offset.to_string().into(), &old, &[], false)?;
        }
        for (offset, value) in new.iter().enumerate().take(head + added).skip(head + both) {
            self.below(offset.to_string().into(), &[], &[value], false)?;
        }
        ControlFlow::Continue(())
    }

    fn below(
        &mut self,
        token: Cow<'a, str>,
        old: &[&'a Node],
        new: &[&'a Node],
        member: bool,
    ) -> ControlFlow<()> {
        self.path.push(token);
        let flow = self.values(old, new, member);
        self.path.pop();
        flow
    }

    fn step(
        &mut self,
        kind: Kind,
        old: Option<&'a Node>,
        new: Option<&'a Node>,
    ) -> ControlFlow<()> {
        let path = &self.path;
        (self.visit)(&Step {
            path,
            kind,
            old,
            new,
        })
    }
}

/// Visits the differences between two optional values at the same path.
pub(super) fn compare_nodes<'a>(
    keys: Keys,
    path: Vec<Cow<'a, str>>,
    old: Option<&'a Node>,
    new: Option<&'a Node>,
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    Walk::new(keys, path, visit).values(old.as_slice(), new.as_slice(), true)
}

/// The members of an object, in order, grouped by key.
struct Groups<'a> {
    groups: Vec<(Cow<'a, str>, Vec<&'a Node>)>,
    places: HashMap<Cow<'a, str>, usize>,
}

impl<'a> Groups<'a> {
    fn of(members: &'a [(String, Node)], keys: Keys) -> Self {
        let mut groups: Vec<(Cow<'a, str>, Vec<&'a Node>)> = Vec::with_capacity(members.len());
        let mut places = HashMap::with_capacity(members.len());
        for (key, value) in members {
            let key = keyed(key, keys);
            let place = *places.entry(key.clone()).or_insert(groups.len());
            match groups.get_mut(place) {
                Some((_, values)) => values.push(value),
                None => groups.push((key, vec![value])),
            }
        }
        Self { groups, places }
    }

    fn get(&self, key: &str) -> &[&'a Node] {
        let place = self.places.get(key);
        let group = place.and_then(|place| self.groups.get(*place));
        group.map_or(&[], |(_, values)| values.as_slice())
    }
}

/// Whether a reader that compares keys this way sees equal values.
pub(super) fn same(a: &Node, b: &Node, keys: Keys) -> bool {
    match (a, b) {
        (Node::Array(a), Node::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, keys))
        }
        (Node::Object(a), Node::Object(b)) => {
            let (a, b) = (Groups::of(a, keys), Groups::of(b, keys));
            a.groups.len() == b.groups.len()
                && a.groups.iter().all(|(key, values)| {
                    let others = b.get(key);
                    match (values.as_slice(), others) {
                        ([a], [b]) => same(a, b, keys),
                        _ => same_group(values, others),
                    }
                })
        }
        _ => a == b,
    }
}

/// Whether Go reads equal values from two groups of one key. The last plain value counts; objects
/// are merged, array elements reused, and `null` may leave the previous value.
fn same_group(old: &[&Node], new: &[&Node]) -> bool {
    let plain = |node: &&Node| matches!(node, Node::Scalar(text) if &**text != "null");
    match (old.last(), new.last()) {
        (Some(last), Some(other)) if old.iter().chain(new).all(plain) => last == other,
        (Some(_), Some(_)) => {
            old.len() == new.len()
                && old
                    .iter()
                    .zip(new)
                    .all(|(old, new)| same(old, new, Keys::Folded))
        }
        (old, new) => old.is_none() && new.is_none(),
    }
}

/// The values of an object under a key, with keys compared as Go does.
pub(super) fn group<'a>(object: Option<&'a Node>, key: &str) -> Vec<&'a Node> {
    let Some(Node::Object(members)) = object else {
        return Vec::new();
    };
    let key = folded(key);
    let same = members.iter().filter(|(other, _)| folds_to(other, &key));
    same.map(|(_, value)| value).collect()
}

/// The value at a path, as Go reads it: of the keys that folding matches, the last one counts.
pub(super) fn at<'a>(node: &'a Node, path: &[impl AsRef<str>]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, token| match node {
        Node::Object(members) => {
            let token = folded(token.as_ref());
            let mut keys = members.iter().rev();
            let found = keys.find(|(key, _)| folds_to(key, &token));
            found.map(|(_, value)| value)
        }
        Node::Array(_) => node.at(&[token.as_ref().to_owned()]),
        Node::Scalar(_) => None,
    })
}

fn keyed(key: &str, keys: Keys) -> Cow<'_, str> {
    match keys {
        Keys::Exact => key.into(),
        Keys::Folded => folded(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(old: &str, new: &str, keys: Keys) -> Vec<String> {
        let node = |json: &str| Node::parse(json, cni_types::json::Limits::default()).unwrap();
        let (old, new) = (node(old), node(new));
        let mut found = Vec::new();
        let mut visit = |step: &Step<'_, '_>| {
            let sign = match step.kind {
                Kind::Added { .. } => "+".to_owned(),
                Kind::Removed => "-".to_owned(),
                Kind::Changed => "~".to_owned(),
                Kind::Shifted(from) => format!(">{from}"),
            };
            found.push(format!("{sign}/{}", step.path.join("/")));
            ControlFlow::Continue(())
        };
        let _ = Walk::new(keys, Vec::new(), &mut visit).values(&[&old], &[&new], true);
        found
    }

    #[test]
    fn only_what_differs_is_visited() {
        let check = |old, new, expected: &[&str]| {
            assert_eq!(steps(old, new, Keys::Exact), expected, "{old} {new}");
        };
        check(r#"{"a":1,"b":{"c":2}}"#, r#"{"b":{"c":2},"a":1}"#, &[]);
        check(
            r#"{"a":1,"b":{"c":2}}"#,
            r#"{"b":{"c":3,"d":4}}"#,
            &["-/a", "~/b/c", "+/b/d"],
        );
        check(r#"{"a":{}}"#, r#"{"a":[]}"#, &["~/a"]);
        check("[1,2,3]", "[2,3]", &[">0/", "-/0"]);
        check("[1,2]", "[1,2,3]", &["+/2"]);
        check("[1,2,3]", "[1,5,3]", &["~/1"]);
    }

    #[test]
    fn keys_are_compared_as_go_reads_them() {
        let check = |old, new, expected: &[&str]| {
            assert_eq!(steps(old, new, Keys::Folded), expected, "{old} {new}");
        };
        check(r#"{"vlan":5}"#, r#"{"VLAN":5}"#, &[]);
        check(r#"{"vlan":5}"#, r#"{"vlan":5,"VLAN":5}"#, &[]);
        check(r#"{"vlan":5}"#, r#"{"vlan":5,"VLAN":7}"#, &["~/vlan"]);
        check(r#"{"a":1}"#, r#"{"a":1,"A":null}"#, &["~/a"]);
        check("{}", r#"{"\u212aEY\u017f":7}"#, &["+/keys"]);
        // The order of the two keys matters, within arrays as well.
        check(
            r#"{"x":[{"a":1,"A":2}]}"#,
            r#"{"x":[{"A":2,"a":1}]}"#,
            &["~/x/0/a"],
        );
        check(
            r#"{"o":{"a":1},"O":{"b":1}}"#,
            r#"{"o":{"a":2},"O":{"b":1}}"#,
            &["~/o"],
        );
    }
}
