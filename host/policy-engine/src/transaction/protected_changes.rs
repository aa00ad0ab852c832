//! Finds differences in protected members and types of two confs, and checks them against grants.

use std::borrow::Cow;
use std::collections::HashMap;

use cni_types::args::PluginType;
use cni_types::json::{Node, Pointer};

use super::EditError;
use super::difference::{Keys, folded, same};
use super::roles::{self, Role, name};
use super::rules::{Context, Place, Rule, permit, short};
use crate::model::grant::{ConfGrant, Grant};
use crate::model::outside;

/// Protected members and types that differ between two values. Paths are kept as chains of tokens,
/// so that a long path is not copied for each member below it.
#[derive(Default)]
pub(super) struct ProtectedChanges<'a> {
    tokens: Vec<(Option<usize>, Cow<'a, str>)>,
    /// The first differing member for each rule.
    members: Vec<(usize, Rule)>,
    /// The first differing type.
    first: Option<usize>,
    /// The first differing type in cni-args.
    in_args: Option<usize>,
    /// The first plugin that changed its order or role.
    moved: Option<usize>,
    changes: Vec<Change<'a>>,
}

/// One differing type.
struct Change<'a> {
    at: usize,
    role: Role,
    old: Option<&'a Node>,
    new: Option<&'a Node>,
}

impl<'a> ProtectedChanges<'a> {
    fn token(&mut self, parent: Option<usize>, token: impl Into<Cow<'a, str>>) -> usize {
        self.tokens.push((parent, token.into()));
        self.tokens.len() - 1
    }

    /// Compares two values at one place.
    pub(super) fn pair(&mut self, at: Option<usize>, place: Place, old: &'a Node, new: &'a Node) {
        match (old, new) {
            (Node::Object(old), Node::Object(new)) => self.objects(at, place, old, new),
            (Node::Array(old), Node::Array(new)) => self.arrays(at, place, old, new),
            (Node::Scalar(_), Node::Scalar(_)) if old == new => {}
            (old, new) => {
                self.element(at, place, Some(old), None);
                self.element(at, place, None, Some(new));
            }
        }
    }

    fn objects(
        &mut self,
        at: Option<usize>,
        place: Place,
        old: &'a [(String, Node)],
        new: &'a [(String, Node)],
    ) {
        let index = |members: &'a [(String, Node)]| -> HashMap<&'a str, &'a Node> {
            members
                .iter()
                .map(|(key, value)| (key.as_str(), value))
                .collect()
        };
        let (olds, news) = (index(old), index(new));
        for (key, value) in new {
            let old = olds.get(key.as_str()).copied();
            self.member(at, place, key, old, Some(value));
        }
        for (key, value) in old {
            if !news.contains_key(key.as_str()) {
                self.member(at, place, key, Some(value), None);
            }
        }
        // Among keys that Go treats as equal, the last one counts.
        let (before, after) = (spellings(place, old), spellings(place, new));
        if before.len() != after.len() {
            return;
        }
        for (_, (key, _)) in before.iter().zip(&after).filter(|(old, new)| old != new) {
            let at = self.token(at, key.clone());
            self.broken(at, place.rule(key).unwrap_or(Rule::Never));
        }
    }

    fn arrays(&mut self, at: Option<usize>, place: Place, old: &'a [Node], new: &'a [Node]) {
        let equal = |(a, b): &(&Node, &Node)| same(a, b, Keys::Exact);
        let head = old.iter().zip(new).take_while(equal).count();
        let shorter = old.len().min(new.len()) - head;
        let ends = old.iter().rev().zip(new.iter().rev());
        let tail = ends.take(shorter).take_while(equal).count();
        let alignment = roles::align(old, new, head, tail);
        if let Some(index) = alignment.moved {
            let at = self.token(at, index.to_string());
            self.first.get_or_insert(at);
            self.moved.get_or_insert(at);
        }
        for (before, after) in alignment.pairs {
            let index = after.or(before).unwrap_or_default();
            let at = Some(self.token(at, index.to_string()));
            let old = before.and_then(|index| old.get(index));
            let new = after.and_then(|index| new.get(index));
            self.element(at, place.element(index), old, new);
        }
    }

    /// Compares one element of a list, edited by index.
    pub(super) fn in_list(
        &mut self,
        place: Place,
        token: &str,
        len: usize,
        (old, new): (Option<&'a Node>, Option<&'a Node>),
    ) {
        let index = token.parse().unwrap_or(len);
        let at = self.token(None, token.to_owned());
        self.element(Some(at), place.element(index), old, new);
        if self.first.is_some() && index == 0 && new.is_none() && len > 1 {
            // The next plugin takes over its role.
            self.moved.get_or_insert(at);
        }
    }

    /// Compares a value that has no key of its own to judge by.
    pub(super) fn element(
        &mut self,
        at: Option<usize>,
        place: Place,
        old: Option<&'a Node>,
        new: Option<&'a Node>,
    ) {
        let (one, is_new) = match (old, new) {
            (Some(old), Some(new)) => return self.pair(at, place, old, new),
            (Some(old), None) => (old, false),
            (None, Some(new)) => (new, true),
            (None, None) => return,
        };
        let sides = |value| {
            if is_new {
                (None, Some(value))
            } else {
                (Some(value), None)
            }
        };
        match one {
            Node::Scalar(_) => {
                if let Some(grant) = place.value(one) {
                    let at = at.unwrap_or_else(|| self.token(None, ""));
                    self.broken(at, Rule::Granted(grant));
                }
            }
            Node::Object(members) => {
                for (key, value) in members {
                    let (old, new) = sides(value);
                    self.member(at, place, key, old, new);
                }
            }
            Node::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    let (old, new) = sides(value);
                    let at = self.token(at, index.to_string());
                    self.element(Some(at), place.element(index), old, new);
                }
            }
        }
    }

    /// Compares a member of an object.
    pub(super) fn member(
        &mut self,
        at: Option<usize>,
        place: Place,
        key: &str,
        old: Option<&'a Node>,
        new: Option<&'a Node>,
    ) {
        let token = self.token(at, key.to_owned());
        let key = folded(key);
        let differs = || old != new;
        if *key == *"type" && differs() {
            self.first.get_or_insert(token);
            if place.context == Context::CniArgs && new.is_some() {
                self.in_args.get_or_insert(token);
            }
            self.changes.push(Change {
                at: token,
                role: place.role,
                old,
                new,
            });
        } else if let Some(rule) = place.rule(&key).filter(|_| differs()) {
            self.broken(token, rule);
        }
        self.element(Some(token), place.below(&key), old, new);
    }

    fn broken(&mut self, at: usize, rule: Rule) {
        if self.members.iter().all(|(_, known)| *known != rule) {
            self.members.push((at, rule));
        }
    }

    /// Whether these grants allow everything found; `place` is where the comparison started.
    pub(super) fn judge(&self, grant: &ConfGrant, place: &Pointer) -> Result<(), EditError> {
        let path = |at| self.path(at, place);
        for (at, rule) in &self.members {
            permit(*rule, grant, || path(*at))?;
        }
        if let Some(at) = self.in_args {
            return Err(EditError::Immutable(path(at)));
        }
        let Some(first) = self.first else {
            return Ok(());
        };
        if !grant.changes_plugins() {
            return Err(EditError::Immutable(path(first)));
        }
        let needs = |needed, at| permit(Rule::Granted(needed), grant, || path(at));
        if let Some(at) = self.moved {
            needs(Grant::MovePlugin, at)?;
        }
        let moves = grant.has(Grant::MovePlugin);
        // A type that is gone here and new elsewhere has moved.
        let mut gone = Pool::of(self.changes.iter().filter(|_| moves), |change| change.old);
        let mut come = Pool::of(self.changes.iter().filter(|_| moves), |change| change.new);
        for Change { at, role, old, new } in &self.changes {
            if old.map(name) == new.map(name) {
                continue;
            }
            let loses = old.is_some_and(|old| !come.take(old));
            if loses && (new.is_none() || *role == Role::Chained) {
                needs(Grant::RemovePlugin, *at)?;
            }
            let Some(new) = new.filter(|new| !gone.take(new)) else {
                continue;
            };
            let name: Option<String> = new.get_as().ok();
            let allowed = name
                .as_ref()
                .is_some_and(|name| grant.types.contains(name) && PluginType::new(name).is_ok());
            if !allowed {
                let (path, name) = (path(*at), short(&new.to_string()));
                return Err(EditError::Immutable(format!("{path} to {name}")));
            }
            outside::allowed(Grant::ChangeType);
            if name.is_some_and(|name| !role.fits(&name)) {
                needs(Grant::MovePlugin, *at)?;
            }
        }
        Ok(())
    }

    fn path(&self, token: usize, place: &Pointer) -> String {
        let mut tokens = Vec::new();
        let mut next = Some(token);
        while let Some((parent, token)) = next.and_then(|next| self.tokens.get(next)) {
            tokens.push(token);
            next = *parent;
        }
        let within = tokens.into_iter().rev();
        let path = within.fold(place.clone(), |path, token| path.child(&**token));
        short(&path.to_string())
    }
}

/// Names of plugins with their number of occurrences.
struct Pool(HashMap<String, usize>);

impl Pool {
    fn of<'a: 'c, 'c>(
        changes: impl Iterator<Item = &'c Change<'a>>,
        side: impl Fn(&Change<'a>) -> Option<&'a Node>,
    ) -> Self {
        let mut names = HashMap::new();
        for value in changes.filter_map(side) {
            *names.entry(name(value)).or_default() += 1;
        }
        Self(names)
    }

    fn take(&mut self, value: &Node) -> bool {
        let left = self.0.get_mut(&name(value)).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}

/// The protected keys as written, in order, with those that Go treats as equal grouped together.
fn spellings(place: Place, members: &[(String, Node)]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = members
        .iter()
        .filter_map(|(key, _)| {
            let folded = folded(key);
            let counts = *folded == *"type" || place.rule(&folded).is_some();
            counts.then(|| (folded.clone().into_owned(), key.clone()))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}
